"""HTTP's share of eventlet's hub.

A greenlet gives others a turn only when it has to wait, and a client that sends request after request never lets it. So
each request waits here, and a few milliseconds of them pass between two turns of everybody else.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import eventlet
from eventlet import hubs

_SHARE_S = 0.002


class Gate:
    """Lets greenlets pass one after the other, in the order in which they came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.turn = 0  # the number of the greenlet that has passed and has not waited for anything since, else 0
        self._clock = clock
        self._turns = 0
        self._waiting: deque[Any] = deque()
        self._is_scheduled = False

    def enter(self) -> int:
        """Wait until it is the caller's turn, and return its number. To be called from a greenlet, not from the hub."""
        current = eventlet.getcurrent()
        self._waiting.append(current)
        hub = hubs.get_hub()
        if not self._is_scheduled:
            self._is_scheduled = True
            hub.schedule_call_global(0, self._let_in)
        try:
            hub.switch()
        except BaseException:
            # A time-out got here first: it must not be woken once more, wherever it waits then.
            with suppress(ValueError):
                self._waiting.remove(current)
            raise
        return self.turn

    def _let_in(self) -> None:
        """Let greenlets pass until the share is used up; called by the hub."""
        ends_at_s = self._clock() + _SHARE_S
        try:
            while self._waiting:
                self._turns += 1
                self.turn = self._turns
                self._waiting.popleft().switch()
                if self._clock() > ends_at_s:
                    break
        finally:
            self.turn = 0
            self._is_scheduled = bool(self._waiting)
            if self._is_scheduled:
                hubs.get_hub().schedule_call_global(0, self._let_in)
