"""What the request that opens a session says of who its client is, beside what the client says in CONNECT.

Kept for as long as the session lasts, and only where the setting `auth` asks for it: it takes memory.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from hazoom_ws.access.addresses import reader
from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.settings import Settings
from hazoom_ws.settings.checks import is_loopback

_QUERY_LIMIT_CHARS = 4096


class Credentials(NamedTuple):
    """``has_key``: an API key of ours came along. ``headers``: those that `auth_url` is asked with.

    ``is_from_elsewhere``: it comes from another machine, while only this one should reach us.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # the headers are secrets

    has_key: bool = False
    is_from_elsewhere: bool = False
    headers: Mapping[str, str] = MappingProxyType({})
    address: str = ""


NONE = Credentials()
_FROM_ELSEWHERE = Credentials(is_from_elsewhere=True)


def credentials_reader(settings: Settings, api_keys: ApiKeys) -> Callable[[Mapping[str, Any]], Credentials]:
    """Return a function from a request, in the keys of WSGI, to the credentials that count."""
    if settings.auth == "api_key":
        return lambda environ: Credentials(has_key=_has_key(environ, api_keys))
    if settings.auth == "url":
        address_of = reader(settings.trusted_proxies)
        return lambda environ: Credentials(headers=_headers(environ), address=address_of(environ))
    if settings.auth == "open" and not settings.allow_open:
        # Whoever serves us, such as gunicorn, has not asked the setting host where to listen.
        return lambda environ: NONE if _is_here(environ.get("REMOTE_ADDR", "")) else _FROM_ELSEWHERE
    return lambda _environ: NONE


def key_in(environ: Mapping[str, Any]) -> str:
    """Return the API key of a request: that of its header, else that of its query; "" if it has none."""
    header: str = environ.get("HTTP_X_API_KEY", "")
    if header:
        return header
    query: str = environ.get("QUERY_STRING", "")
    if "api_key=" not in query or len(query) > _QUERY_LIMIT_CHARS:
        return ""
    return parse_qs(query, max_num_fields=100).get("api_key", [""])[0]


def _has_key(environ: Mapping[str, Any], api_keys: ApiKeys) -> bool:
    key = key_in(environ)
    return bool(key) and api_keys.holds(key)


@lru_cache(1024)
def _is_here(address: str) -> bool:
    return not address or is_loopback(address)


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers by which a site of ours knows its users."""
    found = {"Cookie": environ.get("HTTP_COOKIE", ""), "Authorization": environ.get("HTTP_AUTHORIZATION", "")}
    return {name: value for name, value in found.items() if value}
