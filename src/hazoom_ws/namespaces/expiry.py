"""Ends typing indicators on time: one task that lives while somebody types and sleeps until the next indicator ends."""

from collections.abc import Callable
from typing import Any

from hazoom_ws.chat.hub import Hub
from hazoom_ws.namespaces.delivery import Delivery


class TypingExpiry:
    """Runs `Hub.expire_typing` when it is due."""

    def __init__(
        self, hub: Hub, delivery: Delivery, *, start_task: Callable[..., Any], sleep: Callable[[float], Any]
    ) -> None:
        self._hub = hub
        self._delivery = delivery
        self._start_task = start_task
        self._sleep = sleep
        self._is_running = False

    def ensure_running(self) -> None:
        """Start the task unless it runs; call within the turn in which an indicator starts."""
        if not self._is_running:
            self._is_running = True
            self._start_task(self._run)

    def _run(self) -> None:
        while True:
            with self._delivery.turn():
                next_end_in_s = self._hub.expire_typing()
                if next_end_in_s is None:
                    self._is_running = False
                    return
            self._sleep(next_end_in_s)
