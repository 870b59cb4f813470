"""When what a client has shown of itself ends: it is told, and closed some time later unless it has shown something new.

One list of moments for all connections, looked at now and then: no timer for each. Called within turns.
"""

import heapq
import time
from collections.abc import Callable
from itertools import count

from hazoom_ws.access.limits import Account
from hazoom_ws.deadlines import Deadlines

NOTICE_S = 25.0  # time to get another token
_STALE_AT_LEAST = 1000


class Expiry:
    """The ends of the identities of one application."""

    def __init__(
        self,
        *,
        tell: Callable[[Account], None],
        end: Callable[[Account], None],
        find: Callable[[str], Account | None],
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``tell`` says to a client that its time is over, ``end`` closes its connection such that it comes back.

        ``find`` returns the account of a session that is open. ``wake`` is called when `run_due` has something to do later.
        """
        self._tell = tell
        self._end = end
        self._find = find
        self._wake = wake
        self._clock = clock
        self._wall_clock = wall_clock
        self._numbers = count()
        self._moments: list[tuple[float, int, Account]] = []  # a heap; of an account that has changed since, too
        self._watched: dict[Account, float] = {}  # the moment of each
        self._told: Deadlines[Account] = Deadlines(NOTICE_S)

    def __len__(self) -> int:
        """Return how many identities are watched."""
        return len(self._watched)

    def watch(self, account: Account) -> None:
        """Watch the end of an account's identity, instead of the one before; nothing is to be watched if it has none."""
        if account.is_closed:
            return
        self._told.stop(account)
        identity = account.identity
        if identity is None or identity.expires_at is None:
            self._watched.pop(account, None)
            return
        if self._watched.get(account) == identity.expires_at:
            return
        self._watched[account] = identity.expires_at
        heapq.heappush(self._moments, (identity.expires_at, next(self._numbers), account))
        if len(self._moments) > 2 * len(self._watched) + _STALE_AT_LEAST:
            self._moments = [moment for moment in self._moments if self._watched.get(moment[2]) == moment[0]]
            heapq.heapify(self._moments)
        self._wake()

    def forget(self, account: Account) -> None:
        """Watch an account no more, whose session has ended."""
        self._watched.pop(account, None)
        self._told.stop(account)

    def run_due(self) -> float | None:
        """Tell and end whom it is time for; return the seconds until the next time."""
        now_s, now = self._clock(), self._wall_clock()
        for account, _ in self._told.pop_due(now_s):
            self._end(account)
        while self._moments and self._moments[0][0] <= now:
            moment, _, account = heapq.heappop(self._moments)
            if self._watched.get(account) != moment:
                continue  # it has ended, or has a later one
            del self._watched[account]
            if self._find(account.id) is account:
                self._told.start(account, now_s)
                self._tell(account)
        due_in_s = [] if not self._moments else [self._moments[0][0] - now]
        if (told_in_s := self._told.next_due_in_s(now_s)) is not None:
            due_in_s.append(told_in_s)
        return min(due_in_s, default=None)
