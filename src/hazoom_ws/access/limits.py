"""What a session may do: its own rates, then those that it shares with others. The clock is an argument; nothing waits.

Asked for each packet by the `Dispatcher`, before anything is parsed.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from hazoom_ws.access.buckets import TokenBucket
from hazoom_ws.access.credentials import NONE, Credentials
from hazoom_ws.access.identities import Identity
from hazoom_ws.access.shares import Share, Shares
from hazoom_ws.chat.presence import User
from hazoom_ws.chat.rights import EVERYTHING, NOTHING, Rights
from hazoom_ws.errors import RateLimited, TooManyConnections
from hazoom_ws.settings import Settings
from hazoom_ws.trace_context import TraceContext


class Costs(NamedTuple):
    """What something costs a share, which has one bucket for everything, in events."""

    byte: float  # what has more bytes than the rates of a connection give an event costs as many events as they would be
    relayed: float  # the part of an event that these rates make of it

    @classmethod
    def of(cls, settings: Settings) -> "Costs":
        rate_per_s, relayed_per_s = settings.rate_limit_per_s, settings.relay_rate_limit_per_s
        return cls(
            rate_per_s / settings.rate_limit_bytes_per_s, min(1.0, rate_per_s / relayed_per_s) if relayed_per_s else 0
        )


class Account:
    """What a session may still do and who it is, for as long as it lasts, whatever namespaces it enters and leaves.

    ``user`` is None before it is known who it is (`set_user`). ``address`` is whom slots are counted for, "" for who is not
    limited by address. ``takes_offsets``: the client's handlers can take an argument more, unless it says so itself.
    ``identity``: who it was found to be, None before that, and where nobody checks it; ``credentials``: what its request
    said of that. ``asking``: while somebody is asked about it, what waits for that; ``vouched``: what it was found out by.
    ``trace``: the one that the session's first request belongs to. ``client``: its connection's public id, "" before that.
    """

    __slots__ = (
        "_bytes",
        "_clock",
        "_costs",
        "_events",
        "_has_connected",
        "_settings",
        "_shares",
        "_unidentified",
        "_users",
        "address",
        "asking",
        "client",
        "credentials",
        "id",
        "identity",
        "is_closed",
        "is_limited",
        "opened_at_s",
        "refusals_count",
        "takes_offsets",
        "trace",
        "user",
        "vouched",
    )

    def __init__(
        self,
        settings: Settings,
        address: str,
        clock: Callable[[], float],
        *,
        takes_offsets: bool = True,
        session_id: str = "",
        trace: TraceContext | None = None,
        credentials: Credentials = NONE,
        of_address: Share | None = None,
        users: Shares | None = None,
        costs: Costs | None = None,
    ) -> None:
        """``clock`` is monotonic, in seconds. ``of_address``: a share that was opened; ``users``: those of all users.

        ``costs`` are those of the settings, made once.
        """
        self.id = session_id
        self.credentials = credentials
        self.identity: Identity | None = None
        self.is_closed = False
        self.opened_at_s = clock()
        self._unidentified = NOTHING if settings.auth in {"jwt", "url"} else EVERYTHING
        self.asking: deque[Callable[[], None]] | None = None
        self.vouched: object = None
        self.refusals_count = 0
        self.address = address
        self.takes_offsets = takes_offsets
        self.trace = trace
        self.client = ""
        self.user: User | None = None
        self.is_limited = settings.rate_limit_per_s != 0  # else nothing has to be charged
        self._settings = settings
        self._clock = clock
        self._shares: tuple[Share, ...] = () if of_address is None else (of_address,)
        self._users = users
        self._costs = costs or Costs.of(settings)
        self._has_connected = False
        if self.is_limited:
            now_s = clock()
            self._events = TokenBucket(settings.rate_limit_per_s, settings.rate_limit_burst_count, now_s)
            self._bytes = TokenBucket(settings.rate_limit_bytes_per_s, settings.rate_limit_burst_bytes, now_s)

    @property
    def rights(self) -> Rights:
        """What its client may do."""
        return self._unidentified if self.identity is None else self.identity.rights

    def set_user(self, user: User) -> None:
        """Note who it is, for as long as the session lasts. Raises `TooManyConnections`, and changes nothing then.

        Guests share nothing: whoever wants to is another one.
        """
        if self.user is None and self._users is not None and not user.is_guest:
            share, limit = self._users.open(user.id, self._clock()), self._settings.connections_per_user_limit
            if self._users.connection_count(user.id) > limit:
                share.close(self._clock())
                raise TooManyConnections(limit)
            self._shares = (share, *self._shares)
            if self.is_closed:  # in another thread, since somebody has asked
                self.close()
        self.user = user

    def close(self) -> None:
        """Give back what is shared: the session has ended. Calling it again changes nothing."""
        self.is_closed = True
        shares, self._shares = self._shares, ()
        for share in shares:
            share.close(self._clock())

    def charge(self, size_bytes: int, *, is_connect: bool, has_own_rate: bool = False) -> Callable[[], RateLimited] | None:
        """Count one packet of so many bytes; return what refuses it if that is too much, None if not.

        The first CONNECT, which nobody can do without, is free. ``has_own_rate``: it is relayed, and no event.
        """
        settings = self._settings
        if not self.is_limited:
            return None
        if is_connect and not self._has_connected:
            self._has_connected = True
            return None
        now_s = self._clock()
        retry_after_s = 0.0 if has_own_rate else self._events.spend(now_s)
        if retry_after_s:
            return partial(RateLimited, settings.rate_limit_per_s, "events", retry_after_s)
        retry_after_s = self._bytes.spend(now_s, size_bytes)
        if retry_after_s:
            return partial(RateLimited, settings.rate_limit_bytes_per_s, "bytes", retry_after_s)
        return self._charge_shares(size_bytes, has_own_rate, now_s) if self._shares else None

    def charge_shares(self, size_bytes: int, *, is_relayed: bool) -> Callable[[], RateLimited] | None:
        """Count an event, or what is relayed, for the user and the address only; return what refuses it."""
        return self._charge_shares(size_bytes, is_relayed, self._clock()) if self.is_limited else None

    def _charge_shares(self, size_bytes: int, is_relayed: bool, now_s: float) -> Callable[[], RateLimited] | None:
        costs = self._costs
        cost, least = size_bytes * costs.byte, costs.relayed if is_relayed else 1.0
        if cost < least:  # noqa: PLR1730 - calling max() takes as long as a bucket
            cost = least
        for share in self._shares:
            retry_after_s = share.spend(now_s, cost)
            if retry_after_s:
                return partial(RateLimited, share.of.rate_per_s, f"events of your {share.of.whose}", retry_after_s)
        return None
