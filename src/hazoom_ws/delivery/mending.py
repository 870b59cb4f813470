"""Mends a log that is unwell: one task, which tries soon and then each second to open it again, until it is well or closed.

``problem`` of the log says that it is unwell; whoever ends a turn looks at it and calls `Mending.begin`.

    WELL       there is no task
    MENDING    the task waits for its next try
    REOPENING  the log's file changes hands: nobody else may use it
    CLOSING    the same, and there is no next try
    CLOSED     it is not mended any more

    WELL      -> MENDING    a turn has ended with a log that is unwell
              -> CLOSED     the log is closed
    MENDING   -> REOPENING  a moment has passed, then a second, and no thread uses the file
              -> WELL       the log is well again, or there could be no task
              -> CLOSED     the log is closed
    REOPENING -> MENDING    the try has ended, well or not
              -> CLOSING    the log is closed meanwhile
    CLOSING   -> CLOSED     the try has ended

All moves are made within turns: where threads take them, the lock is held, and so REOPENING is seen by nobody else.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum, auto
from typing import Any

from hazoom_ws.delivery.group_commit import Sleep, StartTask
from hazoom_ws.message_log.contract import MessageLog
from hazoom_ws.states import moved

logger = logging.getLogger(__name__)

RETRY_INTERVAL_S = 1.0  # after which a log that could not be written is tried again
_FIRST_RETRY_S = 0.05  # a connection that was cut is no outage of a second


class Health(StrEnum):
    """How a log is, as far as mending goes; see the module."""

    WELL = auto()
    MENDING = auto()
    REOPENING = auto()
    CLOSING = auto()
    CLOSED = auto()


MOVES: Mapping[Health, tuple[Health, ...]] = {
    Health.WELL: (Health.MENDING, Health.CLOSED),
    Health.MENDING: (Health.REOPENING, Health.WELL, Health.CLOSED),
    Health.REOPENING: (Health.MENDING, Health.CLOSING),
    Health.CLOSING: (Health.CLOSED,),
    Health.CLOSED: (),
}


class Mending:
    """Mends one log; ``health`` is its state. Call all of it within turns."""

    def __init__(
        self,
        log: MessageLog,
        lock: AbstractContextManager[Any],
        *,
        reopen: Callable[[], None],
        is_in_use: Callable[[], bool],
        on_well: Callable[[], None],
        start_task: StartTask,
        sleep: Sleep,
    ) -> None:
        """``lock`` is what a turn holds. ``reopen()`` opens the log again, unless ``is_in_use()``: a thread has its file.

        ``on_well()`` is called within a turn when the log is well again. ``sleep`` takes seconds.
        """
        self.health = Health.WELL
        self._log = log
        self._lock = lock
        self._reopen = reopen
        self._is_in_use = is_in_use
        self._on_well = on_well
        self._start_task = start_task
        self._sleep = sleep

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self.health in (Health.CLOSING, Health.CLOSED)

    @property
    def is_reopening(self) -> bool:
        """Whether the log's file changes hands at the moment."""
        return self.health in (Health.REOPENING, Health.CLOSING)

    def begin(self) -> None:
        """Start the task, unless there is one or the log is closed. Raises what starting a task raises."""
        if self.health is not Health.WELL:
            return
        self._become(Health.MENDING)
        try:
            self._start_task(self._run)
        except BaseException:  # such as: no thread can be started
            self._become(Health.WELL)
            raise

    def close(self) -> None:
        """Try no more; a try that goes on is to be waited for (`is_reopening`)."""
        if not self.is_closed:
            self._become(Health.CLOSING if self.health is Health.REOPENING else Health.CLOSED)

    def _become(self, health: Health) -> None:
        self.health = moved(MOVES, self.health, health)

    def _run(self) -> None:
        logger.error("messages cannot be kept, trying again each second: %s", self._log.problem)
        interval_s = _FIRST_RETRY_S
        while self._log.problem is not None:
            self._sleep(interval_s)
            interval_s = RETRY_INTERVAL_S
            with self._lock:
                if self.health is Health.MENDING and not self._is_in_use():
                    self._try()
                if self.is_closed:
                    return
        with self._lock:
            if self.is_closed:
                return
            self._become(Health.WELL)
            logger.info("messages are kept again")
            self._on_well()  # there may be something to write, and to send

    def _try(self) -> None:
        self._become(Health.REOPENING)
        try:
            self._reopen()
        except Exception:
            logger.exception("the log cannot be opened again")
        finally:
            self._become(Health.CLOSED if self.is_closed else Health.MENDING)
