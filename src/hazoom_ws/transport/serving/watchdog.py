"""Watches the event loop: how late it is, and what blocks it for more than 250 ms.

The hub beats ten times a second, and by how much a beat is late is the lag. A thread of the system sleeps until the next
beat is late by 250 ms; has it not come by then, the stack of the loop's thread shows what keeps it.

What the thread finds the loop logs, at the beat that comes at last: the locks of logging are eventlet's, and where another
thread waits for one the hub fails ("Cannot switch to a different thread"). What has lasted for ten seconds may never end:
that the thread writes to stderr itself.
"""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from eventlet import hubs, patcher

from hazoom_ws.transport.engineio.engine import Engine

logger = logging.getLogger(__name__)
_threading: Any = patcher.original("threading")

_BEAT_S = 0.1
_LIMIT_S = 0.25
_STUCK_S = 10.0
_SHOWN_INTERVAL_S = 60.0
_FRAMES_COUNT = 20  # the innermost
_REMEMBERED_S = 1.0  # for who asks for the lag: they come between beats


class _Found(NamedTuple):
    """The stack that the loop had when a beat was late, which was due at ``due_at_s``."""

    due_at_s: float
    stack: str


class Watchdog:
    """Watches the loop of the thread that calls `start`, until the engine is stopped."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._due_at_s = self._late_at_s = clock()
        self._late_s = 0.0
        self._shows_at_s = clock()
        self._found: _Found | None = None
        self._is_ended = _threading.Event()
        self._loop_thread_id = 0

    def start(self) -> None:
        """Watch from now on; the thread ends soon after the engine is stopped. Raises RuntimeError if there is none."""
        self._loop_thread_id = _threading.get_ident()
        self._engine.lag_s = self.lag_s
        self._await_beat()
        _threading.Thread(target=self._watch, name="hazoom_ws watchdog", daemon=True).start()

    def lag_s(self) -> float:
        """Return by how many seconds the loop is late, or was within the last second."""
        now_s = self._clock()
        remembered_s = self._late_s if now_s - self._late_at_s < _REMEMBERED_S else 0.0
        return max(0.0, remembered_s, 0.0 if self._is_ended.is_set() else now_s - self._due_at_s)

    def _await_beat(self) -> None:
        self._due_at_s = self._clock() + _BEAT_S
        hubs.get_hub().schedule_call_global(_BEAT_S, self._beat)

    def _beat(self) -> None:
        now_s = self._clock()
        late_s = now_s - self._due_at_s
        self._engine.counts.loop_lag_s.observe(max(0.0, late_s))
        if late_s >= self._late_s or now_s - self._late_at_s >= _REMEMBERED_S:
            self._late_s, self._late_at_s = late_s, now_s
        found, self._found = self._found, None
        if self._engine.is_stopped:
            self._is_ended.set()
        else:
            self._await_beat()
        if found is not None:
            logger.warning("the event loop was blocked for %.2f s, by\n%s", now_s - found.due_at_s, found.stack)

    # In the thread

    def _watch(self) -> None:
        while True:
            due_at_s = self._due_at_s
            looks_at_s = due_at_s + _LIMIT_S
            if self._is_ended.wait(max(0.0, looks_at_s - self._clock())):
                return
            if self._clock() - looks_at_s > _LIMIT_S and self._is_ended.wait(_LIMIT_S):
                return  # it was waited for longer than that: whoever stopped the whole process has stopped the loop too
            if self._due_at_s == due_at_s and not self._wait_for_beat(due_at_s):
                return

    def _wait_for_beat(self, due_at_s: float) -> bool:
        """Note what blocks the loop, and wait until it goes on; return False if that is over."""
        is_shown = self._clock() >= self._shows_at_s
        if is_shown:
            self._shows_at_s = self._clock() + _SHOWN_INTERVAL_S
            found = _Found(due_at_s, self._stack())
            if self._due_at_s == due_at_s:
                self._found = found
        while self._due_at_s == due_at_s:
            if self._is_ended.wait(_BEAT_S):
                return False
            if is_shown and self._clock() - due_at_s > _STUCK_S:
                is_shown = False
                text = f"hazoom_ws: the event loop is blocked for more than {_STUCK_S:g} s, by\n{self._stack()}"
                os.write(2, text.encode(errors="replace"))
        return True

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread_id)
        return "".join(traceback.format_stack(frame)[-_FRAMES_COUNT:]) if frame else ""
