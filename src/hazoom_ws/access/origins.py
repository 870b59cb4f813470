"""Which origins may use this server: one answer for flask-cors and for Socket.IO's own check, and what may be listed.

A request without ``Origin`` does not come from a browser's page and is not judged here. The server's own origin is taken
from the ``Host`` header, but only where that is an IP address, localhost or this machine's configured host: any other name
could be a stranger's that was made to resolve to this machine (DNS rebinding), so it has to be listed.
"""

import ipaddress
import logging
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from hazoom_ws.log_fields import fields

logger = logging.getLogger(__name__)
_REMEMBERED_REFUSALS = 100

EVERY_PAGE = "*"
NO_ORIGIN = "null"  # what browsers send for files, sandboxed frames and the like: anybody can make such a page
_ANY_LABELS = "*."
# Beside http and https the shells of phones and desktops (capacitor, tauri, ionic, app ...) and of browsers' extensions.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>(\*\.)?[a-z0-9._~-]+|\[(?P<ipv6>[0-9a-f:.]+)\])(:(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}  # which browsers leave out
_PAGES_SCHEMES = {"ws": "http", "wss": "https"}


def normal_origin(text: str) -> str:
    """Return an item of the list of origins as browsers would send it. Raises ValueError, which says how to write it."""
    origin = text.lower()
    if origin in (EVERY_PAGE, NO_ORIGIN):
        return origin
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        raise ValueError(_why_not_an_origin(text))
    scheme, host = match["scheme"], match["host"]
    if scheme in _PAGES_SCHEMES:
        raise ValueError(
            f"{text!r} is where a page connects to; list where it comes from: {_PAGES_SCHEMES[scheme]}://{host}"
        )
    if match["ipv6"]:
        host = f"[{_compressed(match['ipv6'])}]"
    elif host.startswith(_ANY_LABELS) and _is_ip_address(host.removeprefix(_ANY_LABELS)):
        raise ValueError(f"{text!r}: an IP address has no names before a dot")
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 0 < port <= 65535:
        raise ValueError(f"{text!r}: a port is at most 65535")
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS.get(scheme)) else f"{scheme}://{host}:{port}"


def _why_not_an_origin(text: str) -> str:
    """Return what is wrong with something that is none."""
    if "*" in text.replace("://*.", "://", 1):
        return (
            f"{text!r}: a star stands alone, for every page of the web, or for one or more names before a dot, "
            "as in https://*.example.com"
        )
    if not text.isascii():
        return f"{text!r}: write a name that is not ASCII as browsers send it (https://xn--...)"
    scheme, separator, rest = text.partition("://")
    netloc = re.split(r"[/?#]", rest)[0]
    exact = f"{scheme}://{netloc}"
    if separator and netloc != rest and _ORIGIN.fullmatch(exact.lower()):
        return f"an origin has no path and no slash at its end; write {exact}"
    return f"{text!r} is not an origin; write it like https://chat.example.com"


def _compressed(text: str) -> str:
    """Return an IPv6 address as browsers write it."""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv6 address") from None
    # These are written in two ways, by versions of Python as well.
    return text if address.ipv4_mapped else address.compressed


def allowed_patterns(origins: Iterable[str]) -> list[re.Pattern[str]]:
    """Return a pattern for each item of the list but ``*``, which matches the origins meant and nothing longer.

    flask-cors is given these and no text: it would take text with ``*`` or ``[`` for an expression, from the beginning of
    the origin to wherever that ends.
    """
    return [_pattern(origin) for origin in origins if origin != EVERY_PAGE]


def _pattern(origin: str) -> re.Pattern[str]:
    escaped = re.escape(origin).replace(re.escape(f"://{_ANY_LABELS}"), "://(?:[a-z0-9_-]+\\.)+", 1)
    return re.compile(rf"\A{escaped}\Z", re.IGNORECASE | re.ASCII)


def cors_origins(origins: Collection[str]) -> str | list[re.Pattern[str]]:
    """Return what flask-cors takes for the list."""
    return EVERY_PAGE if EVERY_PAGE in origins else allowed_patterns(origins)


class OriginCheck:
    """Decide about one origin; callable as Engine.IO's ``cors_allowed_origins``."""

    def __init__(self, origins: Collection[str], host: str) -> None:
        """``origins`` is the list, ``host`` the name or address that this server listens on."""
        self._allows_all = EVERY_PAGE in origins
        self._allowed = allowed_patterns(origins)
        self._own_hosts = frozenset({"localhost", host.lower()})
        self._refused: set[str] = set()

    def __call__(self, origin: str | None, environ: Mapping[str, Any]) -> bool:
        """Return whether ``origin`` (the header's text, or None) may go on; log each refused origin once."""
        if origin is None or self._allows_all or self._is_listed(origin) or self._is_own(origin, environ):
            return True
        if origin not in self._refused and len(self._refused) < _REMEMBERED_REFUSALS:
            self._refused.add(origin)
            logger.warning(
                "origin %.200r refused; to allow its pages add it to HAZOOM_CORS_ORIGINS",
                origin,
                extra=fields("refused", reason="an origin is refused", count=1),
            )
        return False

    def _is_listed(self, origin: str) -> bool:
        return any(pattern.match(origin) for pattern in self._allowed)

    def _is_own(self, origin: str, environ: Mapping[str, Any]) -> bool:
        if origin.lower() != f"{environ.get('wsgi.url_scheme')}://{environ.get('HTTP_HOST', '')}".lower():
            return False
        try:
            host = urlsplit(origin).hostname or ""
        except ValueError:
            return False
        return host in self._own_hosts or _is_ip_address(host)


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
