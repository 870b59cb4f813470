"""Which of the other processes have died. Called within turns.

Each process has a lease that it renews while it lives (`Peers.alive`). Whoever has something of another process asks that
process to be watched, and is told once when it has no lease any more.

Nobody is judged by one look: what keeps the leases may have hung, and then all of them have run out at once, while the
processes live. So a process is dead when two looks, one after the other, have not found it; and after what was heard was
interrupted, nobody is judged for as long as it takes all to renew their leases.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.peers import Peers

logger = logging.getLogger(__name__)

_LOOK_INTERVAL_S = 2.0  # twice that and the lease of 15 s: a dead process is known within 20 s
_GRACE_S = 10.0


class Watch:
    """Looks whether the processes live that somebody has something of."""

    def __init__(
        self,
        peers: Peers,
        *,
        run_beside: Callable[[Callable[[], Any], Callable[[Any, BaseException | None], None]], None],
        wake: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """``wake`` is called when there is something that `run_due` has to do later. ``clock``: monotonic, in seconds."""
        self._peers = peers
        self._run_beside = run_beside
        self._wake = wake
        self._clock = clock
        self._parts: list[tuple[Callable[[], Iterable[str]], Callable[[str], object]]] = []
        self._missing: set[str] = set()  # at the last look
        self._looks_at_s: float | None = None  # None: nobody is watched
        self._is_looking = False
        self._judges_from_s = 0.0
        peers.on_back.append(self._on_back)

    def serve(self, processes: Callable[[], Iterable[str]], lose: Callable[[str], object]) -> None:
        """Watch the processes that ``processes()`` returns, and call ``lose`` with each of them that has died."""
        self._parts.append((processes, lose))

    def begin(self) -> None:
        """Look from now on, as there is somebody to watch."""
        if self._looks_at_s is None:
            self._looks_at_s = self._clock() + _LOOK_INTERVAL_S
            self._wake()

    def run_due(self) -> float | None:
        """Look if it is time for it; return the seconds until the next time, None if there is nobody to watch."""
        if self._looks_at_s is None:
            return None
        now_s = self._clock()
        if now_s >= self._looks_at_s:
            if not any(True for processes, _ in self._parts for _ in processes()):
                self._looks_at_s = None
                self._missing.clear()
                return None
            self._looks_at_s = now_s + _LOOK_INTERVAL_S
            if not self._is_looking:
                self._is_looking = True
                self._run_beside(self._peers.alive, self._on_looked)
        return self._looks_at_s - now_s

    def _on_back(self) -> None:
        self._judges_from_s = self._clock() + _GRACE_S
        self._missing.clear()

    def _on_looked(self, alive: set[str] | None, error: BaseException | None) -> None:
        self._is_looking = False
        if alive is None:
            if not isinstance(error, LogUnavailable):
                logger.error("nobody knows which processes live", exc_info=error)
            return
        if self._clock() < self._judges_from_s:
            return
        earlier, self._missing = self._missing, set()
        for processes, lose in self._parts:
            for process in set(processes()) - alive:
                self._missing.add(process)
                if process in earlier:
                    lose(process)
