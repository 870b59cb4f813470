"""Does on time what the hub does without being asked: one task, which lives while there is something to wait for."""

from collections.abc import Callable
from typing import Any

from hazoom_ws.chat.hub import NOTICE_INTERVAL_S, Hub
from hazoom_ws.namespaces.delivery import Delivery


class Timers:
    """Runs `Hub.run_due` when it is due."""

    def __init__(
        self, hub: Hub, delivery: Delivery, *, start_task: Callable[..., Any], sleep: Callable[[float], Any]
    ) -> None:
        self._hub = hub
        self._delivery = delivery
        self._start_task = start_task
        self._sleep = sleep
        self._is_running = False

    def ensure_running(self) -> None:
        """Start the task unless it runs; call within the turn in which something becomes due."""
        if not self._is_running:
            self._is_running = True
            self._start_task(self._run)

    def _run(self) -> None:
        while True:
            with self._delivery.turn():
                next_due_in_s = self._hub.run_due()
                if next_due_in_s is None:
                    self._is_running = False
                    return
            # What becomes due meanwhile is due after that at the earliest; what is overdue waits for others to have a turn.
            self._sleep(max(0.0, min(next_due_in_s, NOTICE_INTERVAL_S)))
