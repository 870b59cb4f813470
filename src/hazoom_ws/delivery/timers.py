"""Does on time what nobody asks for: one task, which lives while there is something to wait for."""

import logging
from collections.abc import Callable
from typing import Any
from weakref import ref

from hazoom_ws.chat.rooms import NOTICE_INTERVAL_S
from hazoom_ws.delivery.delivery import Delivery

logger = logging.getLogger(__name__)

RunDue = Callable[[], float | None]


class Timers:
    """Calls functions like `Hub.run_due` when it is time for one of them."""

    def __init__(self, delivery: Delivery, *, start_task: Callable[..., Any], sleep: Callable[[float], Any]) -> None:
        self._delivery = delivery
        self._start_task = start_task
        self._sleep = sleep
        self._run_due: tuple[RunDue, ...] = ()
        self._is_running = False
        self._is_closed = False

    def serve(self, *run_due: RunDue) -> None:
        """Call these from now on; each returns the seconds until its next time."""
        self._run_due = run_due

    def ensure_running(self) -> None:
        """Start the task unless it runs; call within the turn in which something becomes due."""
        if not self._is_running and not self._is_closed:
            self._is_running = True
            self._start_task(_run, ref(self), self._sleep)

    def close(self) -> None:
        """Do nothing from now on."""
        self._is_closed = True

    def run(self) -> float | None:
        """Do what is due; return the seconds until the next time, None if there is nothing to wait for."""
        due_in_s: list[float] = []
        if self._is_closed:
            return None
        try:
            with self._delivery.turn():
                due_in_s += [seconds for run_due in self._run_due if (seconds := _seconds_until(run_due)) is not None]
                if not due_in_s:
                    self._is_running = False
                    return None
        except Exception:
            logger.exception("what a timer's turn has said was not sent")
            self._is_running = True
            due_in_s.append(NOTICE_INTERVAL_S)
        # What becomes due meanwhile is due after that at the earliest; what is overdue waits for others to have a turn.
        return max(0.0, min(*due_in_s, NOTICE_INTERVAL_S))


def _run(reference: "ref[Timers]", sleep: Callable[[float], Any]) -> None:
    """Run the task. It does not keep an application alive that nobody uses any more."""
    while (timers := reference()) is not None and (delay_s := timers.run()) is not None:
        del timers
        sleep(delay_s)


def _seconds_until(run_due: RunDue) -> float | None:
    """Do what is due; what fails is tried again soon, and keeps nothing else from its time."""
    try:
        return run_due()
    except Exception:
        logger.exception("%r failed", run_due)
        return NOTICE_INTERVAL_S
