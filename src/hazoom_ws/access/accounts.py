"""Who may open a session, and its account, from what its first request says: its address, and which program it is."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from hazoom_ws.access.addresses import address_reader
from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.buckets import TokenBucket
from hazoom_ws.access.credentials import credentials_reader
from hazoom_ws.access.limits import Account, Costs
from hazoom_ws.access.programs import takes_offsets
from hazoom_ws.access.shares import Shares
from hazoom_ws.chat.presence import User
from hazoom_ws.settings import Settings
from hazoom_ws.trace_context import trace_of_request

_FULL_RETRY_S = 5.0  # nobody knows when one of an address's connections goes


class Accounts:
    """The accounts of one application, and what users and addresses share."""

    def __init__(self, settings: Settings, api_keys: ApiKeys, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` is monotonic, in seconds."""
        self._settings = settings
        self._by_id: dict[str, Account] = {}
        self._credentials_of = credentials_reader(settings, api_keys)
        self._clock = clock
        self._costs = Costs.of(settings)
        self._address_of = address_reader(settings.trusted_proxies)
        self.users = Shares(
            "user",
            settings.user_rate_limit_per_s,
            settings.user_rate_limit_burst_count,
            remembered_count=settings.address_limit_count,
        )
        self.addresses = Shares(
            "address",
            settings.address_rate_limit_per_s,
            settings.address_rate_limit_burst_count,
            handshakes_per_s=settings.connect_rate_limit_per_s,
            handshakes_burst_count=settings.connect_rate_limit_burst_count,
            remembered_count=settings.address_limit_count,
        )
        self._handshakes = TokenBucket(
            settings.connect_total_rate_limit_per_s, settings.connect_total_rate_limit_burst_count, clock()
        )

    def admit(self, environ: Mapping[str, Any]) -> float:
        """Count one handshake; return 0 if it may open a session, else in how many seconds another may.

        First is looked whether its address has had its share: then all others lose nothing by it. An address that is not
        remembered is, when it is let in: so strangers add no more of them than there are handshakes.
        """
        address, now_s = self._address_of(environ), self._clock()
        if address and self.addresses.connection_count(address) >= self._settings.connections_per_address_limit:
            return _FULL_RETRY_S
        return self._wait_s(address, now_s) or self._spend(address, now_s)

    def wait_s(self, environ: Mapping[str, Any]) -> float:
        """Return in how many seconds an address has a handshake again, 0 if it has not had its share. Counts nothing."""
        return self._wait_s(self._address_of(environ), self._clock())

    def note_unknown(self, environ: Mapping[str, Any]) -> None:
        """Count who has asked for a session of another process that is not there, like a handshake."""
        self._spend(self._address_of(environ), self._clock())

    def _wait_s(self, address: str, now_s: float) -> float:
        share = self.addresses.find(address) if address else None
        return 0.0 if share is None or share.handshakes is None else share.handshakes.wait_s(now_s)

    def _spend(self, address: str, now_s: float) -> float:
        retry_after_s = self._handshakes.spend(now_s)
        if address and not retry_after_s:
            self.addresses.remember(address, now_s).spend_handshake(now_s)
        return retry_after_s

    def open(self, session_id: str, environ: Mapping[str, Any]) -> Account:
        """Return the account of a new session, which is to be closed. ``environ``: its request, in the keys of WSGI."""
        address = self._address_of(environ)
        account = self._by_id[session_id] = Account(
            self._settings,
            address,
            self._clock,
            takes_offsets=takes_offsets(environ),
            session_id=session_id,
            trace=trace_of_request(environ),
            credentials=self._credentials_of(environ),
            of_address=self.addresses.open(address, self._clock()) if address else None,
            users=self.users,
            costs=self._costs,
        )
        return account

    def get(self, session_id: str) -> Account | None:
        """Return the account of a session, None if it has ended."""
        return self._by_id.get(session_id)

    def of_user(self, user: User) -> list[Account]:
        """Return the accounts of who was found to be a user; it looks at all that there are."""
        return [one for one in list(self._by_id.values()) if one.identity is not None and one.identity.user == user]

    def close(self, session_id: str) -> Account | None:
        """Close the account of a session, and return it, None if it had none."""
        account = self._by_id.pop(session_id, None)
        if account is not None:
            account.close()
        return account

    def sweep(self, now_s: float) -> None:
        """Forget users and addresses that have gone."""
        self.users.sweep(now_s)
        self.addresses.sweep(now_s)
