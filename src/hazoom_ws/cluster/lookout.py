"""Notices that other processes are gone: their leases have ended, and stay so.

A process is judged when it has been away for `_GRACE_S` longer than its lease. When Redis was away all leases have ended at
once: then nobody is judged before that time is over again.
"""

from collections.abc import Callable
from typing import Any

from hazoom_ws.cluster.processes import RunBeside
from hazoom_ws.message_log.peers import Peers

_LOOK_INTERVAL_S = 2.0
_GRACE_S = 4.0


class Lookout:
    """Looks now and then, and tells within a turn."""

    def __init__(
        self,
        peers: Peers,
        *,
        seen: Callable[[], set[str]],
        known: Callable[[], set[str]],
        on_gone: Callable[[str, float], object],
        on_looked: Callable[[], object],
        run_beside: RunBeside,
        clock: Callable[[], float],
    ) -> None:
        """``on_gone`` is called for a process, and for how many seconds it has been judged, at each look until nobody names
        it any more; ``on_looked`` after each look.

        ``seen()`` returns the processes that Redis knows of, beside turns; ``known()`` those that matter here, in a turn.
        """
        self._peers = peers
        self._seen = seen
        self._known = known
        self._on_gone = on_gone
        self._on_looked = on_looked
        self._run_beside = run_beside
        self._clock = clock
        self._absent_since: dict[str, float] = {}
        self._is_looking = False
        self._looked_at_s = clock()
        peers.on_back.append(self._absent_since.clear)

    def sweep(self, now_s: float) -> None:
        """Look if it is time for that. Not within a turn."""
        if not self._is_looking and now_s - self._looked_at_s >= _LOOK_INTERVAL_S:
            self._is_looking, self._looked_at_s = True, now_s
            self._run_beside(lambda: (self._peers.alive(), self._seen()), self._looked)

    def _looked(self, found: Any, error: BaseException | None) -> None:
        self._is_looking = False
        absent_since = self._absent_since.copy()
        self._absent_since.clear()
        if error is not None:
            return  # who is away may only be away from Redis, as this process is
        alive, seen = found
        now_s = self._clock()
        for process in (seen | self._known()) - alive - {self._peers.name}:
            self._absent_since[process] = absent_since.get(process, now_s)
            gone_s = now_s - self._absent_since[process] - _GRACE_S
            if gone_s >= 0:
                self._on_gone(process, gone_s)
        self._on_looked()
