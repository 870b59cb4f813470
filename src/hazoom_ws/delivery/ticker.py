"""Calls functions on time, to a millisecond or two, as long as there is something to wait for.

Where there is a loop, or greenlets, the hub calls back; where there are threads, one sleeps, and ends when nothing is due.
"""

import logging
from collections.abc import Callable
from typing import Any

from hazoom_ws.delivery.commit_beside_turns import Worker
from hazoom_ws.delivery.delivery import Delivery

logger = logging.getLogger(__name__)

_PAUSE_S = 0.001  # between two turns: one for each room, or for each document, would cost more


class Ticker:
    """Calls functions like `live.relay.Relay.run_due` in turns of its own."""

    def __init__(
        self,
        delivery: Delivery,
        *,
        interval_s: float,
        worker: Worker | None,
        start_task: Callable[..., Any],
        sleep: Callable[[float], Any],
    ) -> None:
        """``interval_s``: what becomes due is due no sooner than that. ``worker``: as in `Turns`."""
        self._delivery = delivery
        self._interval_s = interval_s
        self._worker = worker
        self._start_task = start_task
        self._sleep = sleep
        self._run_due: tuple[Callable[[], float | None], ...] = ()
        self._is_running = False
        self._is_closed = False

    def serve(self, *run_due: Callable[[], float | None]) -> None:
        """Call these from now on; each returns the seconds until its next time, 0 or less for at once, None for none."""
        self._run_due = run_due

    def ensure_running(self) -> None:
        """See to it that what has become due is done; call it within a turn."""
        if self._is_running or self._is_closed:
            return
        self._is_running = True
        if self._worker is None:
            self._start_task(self._run)
        else:
            self._worker.later(self._interval_s, self._ring)

    def close(self) -> None:
        """Do nothing from now on."""
        self._is_closed = True

    def _run(self) -> None:
        delay_s: float | None = self._interval_s
        while delay_s is not None:
            self._sleep(delay_s)
            delay_s = self._tick()

    def _ring(self) -> None:
        delay_s = self._tick()
        if delay_s is not None:
            assert self._worker is not None
            self._worker.later(delay_s, self._ring)

    def _tick(self) -> float | None:
        """Do what is due; return the seconds until the next time. What fails is tried again."""
        try:
            with self._delivery.turn():
                due_in_s = [] if self._is_closed else [run_due() for run_due in self._run_due]
                delay_s = min((max(_PAUSE_S, seconds) for seconds in due_in_s if seconds is not None), default=None)
                self._is_running = delay_s is not None
        except Exception:
            logger.exception("what is due was not done")
            self._is_running = True
            return self._interval_s
        return delay_s
