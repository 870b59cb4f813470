"""Which program a client is, as far as its request tells: whether its handlers can take one argument more.

The official client drops the offset that recovery needs before it calls a handler, and most others do not: a handler of one
argument fails then, or gets a list. They know nothing of recovery either, so they lose nothing without. Who is not known is
taken for the official client, whose users would miss messages.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

# Python, Java and Android, Flutter, iOS and macOS, Go. With OkHttp comes React Native too, which asks to recover.
_OTHERS = re.compile(
    r"\b(?:python-requests|aiohttp|httpx|(?:python-)?websocket-client|okhttp|dart|cfnetwork|swift|starscream|go-http-client)\b",
    re.IGNORECASE,
)
_BROWSER = "Mozilla/"  # how every one of them begins, also those that applications embed
_REMEMBERED_COUNT = 1024
_READ_CHARS = 256  # of a text that is the client's


def takes_offsets(environ: Mapping[str, Any]) -> bool:
    """Return whether the client of a request, in the keys of WSGI, takes offsets unless it says so itself."""
    user_agent: str = environ.get("HTTP_USER_AGENT", "")
    if user_agent:
        return _is_official(user_agent[:_READ_CHARS])
    # Python's websocket-client and Starscream (Swift) say nothing, but they name an origin as if they were a page. The
    # official client under Node says nothing either, names none, and offers to compress.
    is_like_a_page = "HTTP_ORIGIN" in environ and "HTTP_SEC_WEBSOCKET_KEY" in environ
    return not is_like_a_page or "HTTP_SEC_WEBSOCKET_EXTENSIONS" in environ


@lru_cache(_REMEMBERED_COUNT)
def _is_official(user_agent: str) -> bool:
    return user_agent.startswith(_BROWSER) or _OTHERS.search(user_agent) is None
