"""What commands ask over HTTP, and why there was no answer, in words that repeat no URL."""

import time
from typing import NamedTuple
from urllib.parse import urlsplit

import requests

from hazoom_ws.llm_bridge.proxies import is_loopback

_BODY_LIMIT_BYTES = 65_536


class Got(NamedTuple):
    """An answer: its status, its ``Date``, how it begins, and after how many milliseconds its head was there."""

    status: int
    date: str | None
    body: bytes
    took_ms: float


def session_for(url: str) -> requests.Session:
    """Return what asks a server; of this machine without a proxy of the environment, which has another loopback."""
    session = requests.Session()
    session.trust_env = not is_loopback(urlsplit(url).hostname or "")
    return session


def get(url: str, limit_s: float) -> Got:
    """Return what a URL answers, without following it elsewhere. Raises OSError or ValueError: see `reason_of`.

    ``limit_s`` is for the connection, and for each piece of the answer.
    """
    begun_s = time.monotonic()
    with (
        session_for(url) as session,
        session.get(url, timeout=limit_s, allow_redirects=False, stream=True) as response,
    ):
        took_ms = round((time.monotonic() - begun_s) * 1000, 1)
        return Got(response.status_code, response.headers.get("Date"), response.raw.read(_BODY_LIMIT_BYTES), took_ms)


def reason_of(error: BaseException) -> str:
    """Return why something could not be reached, as the system says it: libraries repeat URLs, and keys may be in those."""
    found: BaseException | None = error
    reason = "no answer in time" if "Timeout" in type(error).__name__ else type(error).__name__
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            reason = str(found.strerror)
        inner = found.args[0] if found.args and isinstance(found.args[0], BaseException) else None
        found = inner or getattr(found, "reason", None) or found.__cause__ or found.__context__
        found = found if isinstance(found, BaseException) else None
    return reason
