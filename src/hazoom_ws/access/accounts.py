"""Opens the account of a session, from what its first request says: which address it counts for, which program it is."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from hazoom_ws.access.addresses import address_reader
from hazoom_ws.access.limits import Account
from hazoom_ws.access.programs import takes_offsets
from hazoom_ws.settings import Settings


class Accounts:
    """The accounts of one application."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` is monotonic, in seconds."""
        self._settings = settings
        self._clock = clock
        self._address_of = address_reader(settings.trusted_proxies)

    def open(self, environ: Mapping[str, Any]) -> Account:
        """Return a new account. ``environ``: the request, in the keys of WSGI."""
        return Account(self._settings, self._address_of(environ), self._clock, takes_offsets=takes_offsets(environ))
