"""Which origins may use this server: one answer for flask-cors and for Socket.IO's own check.

A request without ``Origin`` does not come from a browser's page and is not judged here. The server's own origin is taken
from the ``Host`` header, but only where that is an IP address, localhost or this machine's configured host: any other name
could be a stranger's that was made to resolve to this machine (DNS rebinding), so it has to be listed.
"""

import ipaddress
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from hazoom_ws.settings import Settings

logger = logging.getLogger(__name__)
_REMEMBERED_REFUSALS = 100


class OriginCheck:
    """Decide about one origin; callable as Engine.IO's ``cors_allowed_origins``."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = frozenset(settings.cors_origins)
        self._own_hosts = frozenset({"localhost", settings.host.lower()})
        self._refused: set[str] = set()

    def __call__(self, origin: str | None, environ: Mapping[str, Any]) -> bool:
        """Return whether ``origin`` (the header's text, or None) may go on; log each refused origin once."""
        if origin is None or "*" in self._allowed or origin.lower() in self._allowed or self._is_own(origin, environ):
            return True
        if origin not in self._refused and len(self._refused) < _REMEMBERED_REFUSALS:
            self._refused.add(origin)
            logger.warning("origin %.200r refused; to allow its pages add it to HAZOOM_CORS_ORIGINS", origin)
        return False

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
