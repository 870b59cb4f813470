"""How much a client may do. The clock is an argument; nothing here waits."""

from collections import deque
from collections.abc import Callable
from functools import partial

from hazoom_ws.access.credentials import NONE, Credentials
from hazoom_ws.access.identities import Identity
from hazoom_ws.chat.presence import User
from hazoom_ws.chat.rights import EVERYTHING, Rights
from hazoom_ws.errors import RateLimited
from hazoom_ws.settings import Settings


class TokenBucket:
    """Allow ``burst`` tokens at once and ``rate_per_s`` per second in the long run; a rate of 0 allows all."""

    __slots__ = ("_burst", "_rate_per_s", "_tokens", "_updated_s")

    def __init__(self, rate_per_s: float, burst: int, now_s: float) -> None:
        """Start full at ``now_s``, in seconds of a monotonic clock."""
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = float(burst)
        self._updated_s = now_s

    def spend(self, now_s: float, cost: float = 1) -> float:
        """Spend ``cost`` tokens and return 0, or none and return the seconds until there are so many.

        What costs more than the bucket holds is allowed when it is full, and owes the rest.
        """
        if self._rate_per_s == 0:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now_s - self._updated_s) * self._rate_per_s)
        self._updated_s = now_s
        needed = min(cost, self._burst)
        if self._tokens >= needed:
            self._tokens -= cost
            return 0.0
        return (needed - self._tokens) / self._rate_per_s


class Account:
    """What a session may still do and who it is, for as long as it lasts, whatever namespaces it enters and leaves.

    ``user`` is None before it has said who it is. ``address`` is whom slots are counted for, "" for who is not limited
    by address. ``takes_offsets``: the client's handlers can take an argument more, unless it says so itself.
    ``identity``: who it was found to be, None before that, and where nobody checks it; ``credentials``: what its request
    said of that. ``asking``: while somebody is asked about it, what waits for that; ``vouched``: what it was found out by.
    """

    __slots__ = (
        "_bytes",
        "_clock",
        "_events",
        "_has_connected",
        "_settings",
        "address",
        "asking",
        "credentials",
        "id",
        "identity",
        "is_limited",
        "refusals_count",
        "takes_offsets",
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
        credentials: Credentials = NONE,
    ) -> None:
        """``clock`` is monotonic, in seconds."""
        self.id = session_id
        self.credentials = credentials
        self.identity: Identity | None = None
        self.asking: deque[Callable[[], None]] | None = None
        self.vouched: object = None
        self.refusals_count = 0
        self.address = address
        self.takes_offsets = takes_offsets
        self.user: User | None = None
        self.is_limited = settings.rate_limit_per_s != 0  # else nothing has to be charged
        self._settings = settings
        self._clock = clock
        self._has_connected = False
        if self.is_limited:
            now_s = clock()
            self._events = TokenBucket(settings.rate_limit_per_s, settings.rate_limit_burst_count, now_s)
            self._bytes = TokenBucket(settings.rate_limit_bytes_per_s, settings.rate_limit_burst_bytes, now_s)

    @property
    def rights(self) -> Rights:
        """What its client may do."""
        return EVERYTHING if self.identity is None else self.identity.rights

    def charge(self, size_bytes: int, *, is_connect: bool, has_own_rate: bool = False) -> Callable[[], RateLimited] | None:
        """Count one packet of so many bytes; return what refuses it if that is too much, None if not.

        The first CONNECT, which nobody can do without, is free. ``has_own_rate``: only the bytes count.
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
        return None
