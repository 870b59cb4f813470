"""Whether an application takes traffic, and why not: what `/ready` says to who sends it clients.

The AI's backend is no part of it: chat goes on without one, and a server that is taken away for that has no chat either.
Called in a request, beside turns.
"""

import shutil
from collections.abc import Callable

from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.message_log.contract import MessageLog

_LAG_LIMIT_S = 1.0  # of the loop: far more than anybody's turn takes


class Readiness:
    """What keeps one application from taking traffic."""

    def __init__(
        self,
        delivery: Delivery,
        log: MessageLog,
        *,
        is_ending: Callable[[], bool],
        disk_free_limit_bytes: int,
        lag_s: Callable[[], float],
    ) -> None:
        """``is_ending()``: it takes nothing new any more. ``lag_s()`` is how late the loop is now, 0 where there is none.

        ``disk_free_limit_bytes`` 0: the disk is not asked.
        """
        self._delivery = delivery
        self._log = log
        self._is_ending = is_ending
        self._disk_free_limit_bytes = disk_free_limit_bytes
        self._lag_s = lag_s

    def why_not(self) -> str | None:
        """Return what is wrong, without the path of anything; None if it takes traffic."""
        if self._is_ending():
            return "shutting down"
        with self._delivery.turn():
            self._log.look()  # nobody may be saying anything
        if self._log.problem is not None:
            return f"message log: {self._log.problem}"
        return self._why_no_disk() or self._why_late()

    def _why_no_disk(self) -> str | None:
        path, limit_bytes = self._log.path, self._disk_free_limit_bytes
        if path is None or not limit_bytes:
            return None
        try:
            free_bytes = shutil.disk_usage(path.parent).free
        except OSError as error:
            return f"disk: {error.strerror or type(error).__name__}"
        return f"disk: {free_bytes} bytes are free, of {limit_bytes} that are to be" if free_bytes < limit_bytes else None

    def _why_late(self) -> str | None:
        lag_s = self._lag_s()
        return f"the event loop is late by {lag_s:.1f} s" if lag_s > _LAG_LIMIT_S else None
