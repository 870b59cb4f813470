"""The HTTP connections to the AI backend: pooled by `requests`, and known by their sockets.

Neither `requests` nor urllib3 lets a time-out change after the headers, another task end a request that waits for them, or
somebody else read the body; all are done with the socket. The standard library below them reads interim answers, heads and
trailers without a bound and, as long as they come, without a turn for others: here they have bounds. A kept connection may
be closed by the backend in the moment in which it is used again: one that was idle for long is not, and a request that got
no byte of an answer on one that was kept is sent once more, on a new one.
How: `urllib3_overrides`.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests

from hazoom_ws.llm_bridge.http_chunks import ChunkDecoder
from hazoom_ws.llm_bridge.proxies import is_loopback
from hazoom_ws.llm_bridge.urllib3_overrides import Adapter, Tell, current, socket_of

_PIECE_BYTES = 4096


@contextmanager
def telling_connection(tell: Tell) -> Iterator[None]:
    """Call ``tell`` with the socket of each request that this task sends meanwhile, before it waits for the answer.

    An OSError that ``tell`` raises ends the request as a lost connection does.
    """
    current.tell = tell
    try:
        yield
    finally:
        current.tell = None


class HttpClient:
    """Sends requests to one address. Keeps up to so many connections open, no cookies, and asks for no compression."""

    def __init__(self, url: str, connections: int) -> None:
        session = self._session = requests.Session()
        # The backend sets a session cookie on every answer; one that is kept would hand a user's conversation to the next.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.get_redirect_target = lambda _: None  # type: ignore[assignment,method-assign]  # it would read the body
        adapter = Adapter(pool_connections=1, pool_maxsize=connections)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        # What is the same for every request is found out once: it is most of what a request costs.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}  # compression would hold tokens back
        self._request = session.prepare_request(requests.Request("POST", url, headers=headers))
        self._is_encrypted = url.startswith("https:")
        self._options = session.merge_environment_settings(url, {}, stream=True, verify=None, cert=None)
        if is_loopback(urlsplit(url).hostname or ""):
            self._options["proxies"] = {}  # what the environment names has another loopback

    def post(
        self,
        body: bytes,
        *,
        accept: str,
        timeout_s: tuple[float, float],
        keep_alive: bool = True,
        is_wanted: Callable[[], bool] = lambda: True,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send ``body`` and return the response, its own body not read yet. Raises `requests.RequestException`.

        ``timeout_s``: to connect, and to the response's headers. Redirects are not followed. ``is_wanted()`` is asked
        before it is sent again. ``headers`` are further ones, of this request only.
        """
        request = self._request.copy()
        request.headers["Accept"] = accept
        if headers:
            request.headers.update(headers)
        if not keep_alive or self._is_encrypted:
            request.headers["Connection"] = "close"
        request.prepare_body(body, None)
        current.is_on_kept = current.wants_new = False
        try:
            return self._send(request, timeout_s)
        except requests.ConnectionError:
            if not (current.is_on_kept and is_wanted()):
                raise
        current.wants_new = True
        return self._send(request, timeout_s)

    def _send(self, request: requests.PreparedRequest, timeout_s: tuple[float, float]) -> requests.Response:
        return self._session.send(request, timeout=timeout_s, allow_redirects=False, **self._options)

    def close(self) -> None:
        """Close the connections that serve nobody now."""
        self._session.close()


class RawBody:
    """The body of a response, which somebody reads from ``connection`` instead of from the response.

    ``first`` has come already; ``is_chunked``: it is in the chunked transfer coding, else it ends with the connection.
    """

    __slots__ = ("_raw", "connection", "first", "is_chunked")

    def __init__(self, raw: Any, connection: socket.socket) -> None:
        self._raw = raw
        self.connection = connection
        self.is_chunked: bool = raw._fp.chunked
        timeout_s = connection.gettimeout()
        connection.settimeout(0)
        try:
            self.first: bytes = raw._fp.fp.peek()  # what is in its buffer, and then the buffer is not read any more
        finally:
            connection.settimeout(timeout_s)

    def close(self, *, is_whole: bool) -> None:
        """End it: the connection serves the next request if the body ``is_whole`` and the backend keeps it open."""
        if is_whole and not self._raw._fp.will_close:
            self._raw._fp.close()
            self._raw.release_conn()
        else:
            self._raw.close()


def raw_body(response: requests.Response) -> RawBody | None:
    """Return the body of a response of which nothing was read, None if only `requests` can read it (TLS, an encoding)."""
    raw: Any = response.raw
    connection = socket_of(raw)
    # The URL does not tell: a proxy may be behind TLS, and the backend not.
    is_plain = not isinstance(connection, ssl.SSLSocket) and "Content-Encoding" not in raw.headers
    if connection is None or not is_plain or raw._fp.length is not None:
        return None
    return RawBody(raw, connection)


def beginning_of(response: requests.Response, *, limit_bytes: int, timeout_s: float) -> bytes:
    """Return what comes of a body, of which nothing was read, within bounds of bytes and time; then it is to be closed.

    It may wait as `requests` does, but for no longer: http.client waits anew for each byte of a chunk's size.
    """
    raw: Any = response.raw
    connection = socket_of(raw)
    if connection is None or "Content-Encoding" in raw.headers:
        return b""
    chunks = ChunkDecoder() if raw._fp.chunked else None
    left_bytes = limit_bytes if raw._fp.length is None else min(limit_bytes, raw._fp.length)
    ends_at_s = time.monotonic() + timeout_s
    pieces: list[bytes] = []
    with suppress(OSError, ValueError):
        while left_bytes > 0 and (left_s := ends_at_s - time.monotonic()) > 0:
            connection.settimeout(left_s)
            piece: bytes = raw._fp.fp.read1(min(left_bytes, _PIECE_BYTES))  # receives once, or not at all
            left_bytes -= len(piece)
            pieces.append(chunks.feed(piece) if chunks is not None else piece)
            if not piece or (chunks is not None and chunks.is_whole):
                break
    return b"".join(pieces)
