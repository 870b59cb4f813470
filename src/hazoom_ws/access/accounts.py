"""Opens the account of a session, from what its first request says: which address it counts for, which program it is."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from hazoom_ws.access.addresses import address_reader
from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.credentials import credentials_reader
from hazoom_ws.access.limits import Account
from hazoom_ws.access.programs import takes_offsets
from hazoom_ws.chat.presence import User
from hazoom_ws.settings import Settings


class Accounts:
    """The accounts of one application."""

    def __init__(self, settings: Settings, api_keys: ApiKeys, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` is monotonic, in seconds."""
        self._settings = settings
        self._by_id: dict[str, Account] = {}
        self._credentials_of = credentials_reader(settings, api_keys)
        self._clock = clock
        self._address_of = address_reader(settings.trusted_proxies)

    def open(self, session_id: str, environ: Mapping[str, Any]) -> Account:
        """Return the account of a new session. ``environ``: its request, in the keys of WSGI."""
        account = self._by_id[session_id] = Account(
            self._settings,
            self._address_of(environ),
            self._clock,
            takes_offsets=takes_offsets(environ),
            session_id=session_id,
            credentials=self._credentials_of(environ),
        )
        return account

    def get(self, session_id: str) -> Account | None:
        """Return the account of a session, None if it has ended."""
        return self._by_id.get(session_id)

    def of_user(self, user: User) -> list[Account]:
        """Return the accounts of who was found to be a user; it looks at all that there are."""
        return [one for one in self._by_id.values() if one.identity is not None and one.identity.user == user]

    def close(self, session_id: str) -> None:
        """Forget the account of a session, if it has one."""
        self._by_id.pop(session_id, None)
