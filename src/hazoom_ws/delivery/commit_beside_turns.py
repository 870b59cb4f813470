"""Group commit where greenlets take turns, in one thread: a worker writes while turns go on.

What turns have said is written when all that has arrived was handled, so that one batch has it all: at once, within that
moment, if nothing has to be waited for (`MessageLog.write_at_once`), else by one of the worker's threads. When it is quiet
a thread tidies the log (`calm`). `group_commit` says what is promised, `mending` what becomes of a log that is unwell.

States, and what each waits for
    IDLE      a turn that says something
    QUEUED    the moment when all that has arrived was handled; it has been asked for
    WRITING   a thread that writes a batch; what became true up to it is held, unless the batch can wait
    TIDYING   a thread that tidies
    RETRYING  a second to pass after a failure
    CLOSED    nothing any more

Moves
    IDLE     -> QUEUED    a turn has said something pressing, or what could wait has waited long enough
             -> TIDYING   it is calm
    QUEUED   -> IDLE      all is written at once, or there was nothing
             -> WRITING   something has to be waited for
             -> RETRYING  a step has failed
    WRITING  -> QUEUED    the batch is kept, or the log is unwell, which revokes it
             -> RETRYING  the batch is revoked, and the log well; or a step has failed
    TIDYING  -> TIDYING   there is more to tidy, and nothing to write
             -> IDLE      that is all; what was said meanwhile is written at once
             -> WRITING   what was said meanwhile has to be waited for
             -> RETRYING  a step has failed
    RETRYING -> QUEUED    the second has passed
    any      -> CLOSED    the log is closed

A move is made by a step: a function that does one thing, sees to it that the next one comes, and returns the state in
which that is waited for. Whatever it raises, what is held goes back into the queue, a batch that is not known to be kept is
revoked, and the state is RETRYING. Beside the states there are two alarms, for what can wait and for calm, and a
checkpoint, which a thread makes beside whatever the other one does.

All of it is called in the one thread: within turns, or by the worker between turns. Nothing but `settle` and `close` waits.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from enum import StrEnum, auto
from functools import partial
from typing import Any, Protocol

from hazoom_ws.delivery.calm import LOOK_INTERVAL_S, Calm
from hazoom_ws.delivery.group_commit import Revocations, SendAll, Shared, Sleep, StartTask, new_commit_s, write_all
from hazoom_ws.delivery.mending import RETRY_INTERVAL_S, Mending
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import Batch, MessageLog
from hazoom_ws.states import IllegalMove, moved

logger = logging.getLogger(__name__)

_WAIT_FOR_MORE_S = 0.1  # with what is not pressing
_SETTLE_TRIES, _SETTLE_INTERVAL_S = 500, 0.01


class State(StrEnum):
    """What is waited for; see the module."""

    IDLE = auto()
    QUEUED = auto()
    WRITING = auto()
    TIDYING = auto()
    RETRYING = auto()
    CLOSED = auto()


IDLE, QUEUED, WRITING, TIDYING, RETRYING, CLOSED = State
MOVES: Mapping[State, tuple[State, ...]] = {
    IDLE: (QUEUED, TIDYING, CLOSED),
    QUEUED: (IDLE, WRITING, RETRYING, CLOSED),
    WRITING: (QUEUED, RETRYING, CLOSED),
    TIDYING: (TIDYING, IDLE, WRITING, RETRYING, CLOSED),
    RETRYING: (QUEUED, CLOSED),
    CLOSED: (),
}


class Worker(Protocol):
    """What calls back between turns, and calls what may block in threads: `transport.serving.offload.Worker`."""

    def soon(self, callback: Callable[[], object], /) -> None:
        """Call back when all that has arrived by now was handled."""

    def later(self, delay_s: float, callback: Callable[[], object], /) -> None:
        """Call back after so many seconds."""

    def submit(self, done: Callable[[Exception | None], object], function: Callable[..., object], /, *args: Any) -> None:
        """Call ``function`` in a thread, then ``done`` with what it raised."""

    def run(self, function: Callable[..., object], /, *args: Any) -> None:
        """Call ``function`` in a thread; only the calling greenlet waits. Raises what it raises."""


class CommitBesideTurns:
    """A `GroupCommit` that writes beside turns; ``state`` is what it waits for."""

    def __init__(
        self,
        log: MessageLog,
        send_all: SendAll,
        *,
        start_task: StartTask,
        sleep: Sleep,
        worker: Worker,
        tell: Callable[[Any], None] = lambda _: None,
    ) -> None:
        """``send_all(effects)`` empties the queue. ``sleep`` takes seconds, and lets others run.

        ``tell`` as in `Shared`.
        """
        self.state = IDLE
        self.effects: deque[Any] = deque()
        self.revoked = Revocations(log)
        self.commit_s = new_commit_s()
        self._started_s = 0.0  # when the batch was popped that is written
        self._log = log
        self._send_all = send_all
        self._sleep = sleep
        self._worker = worker
        self._shared = Shared(log, tell) if log.peers is not None else None
        self._unwritten: Batch | None = None  # was popped, and is neither known to be kept nor revoked
        self._held: deque[Any] | None = None  # what waits for the batch that a thread writes; None: nothing has to
        self._calm = Calm()
        self._more_alarm = Alarm(worker, self._on_more)
        self._calm_alarm = Alarm(worker, self._on_calm)
        self._checkpoints = Checkpoints(log, worker)
        self._mending = Mending(
            log,
            nullcontext(),
            reopen=partial(worker.run, log.reopen),
            is_in_use=lambda: self._is_in_thread,
            on_well=self.end_turn,
            start_task=start_task,
            sleep=sleep,
        )

    @property
    def is_holding(self) -> bool:
        return self._held is not None or self._log.is_pressing

    @property
    def _is_in_thread(self) -> bool:
        return self.state is WRITING or self.state is TIDYING or self._checkpoints.is_running

    def end_turn(self) -> None:
        log, shared = self._log, self._shared
        if shared is not None:
            shared.part(self.effects)
        if self.state is IDLE and log.is_dirty:
            if log.is_pressing:
                self._worker.soon(self._go_on)
                self._become(QUEUED)
            else:
                self._more_alarm.set(_WAIT_FOR_MORE_S)
        if shared is not None or (self._held is None and not log.is_pressing):
            self._send_all(self.effects)
        if log.problem is not None:
            self._mending.begin()

    def hold(self, effect: Any) -> None:
        if self._shared is None or not self.is_holding:
            self.effects.append(effect)
        elif self._log.is_pressing or self._held is None:
            self._shared.waiting.append(effect)
        else:
            self._held.append(effect)

    def hear(self) -> None:
        if self._shared is not None:
            self._shared.hear(self.effects)

    def look(self) -> None:
        """Miss what keeps the log, as a turn that writes does."""
        self._log.look()
        self.end_turn()

    def settle(self) -> None:
        """See `GroupCommit`. The state stays: whoever is called back later finds nothing to do."""
        for _ in range(_SETTLE_TRIES):
            if self.state not in (WRITING, TIDYING):
                write_all(self._log, self.revoked, self.commit_s, self._hear_before)
                self._release()
                return
            self._sleep(_SETTLE_INTERVAL_S)

    def close(self) -> None:
        if self._mending.is_closed:
            return
        self._mending.close()
        self.settle()
        for _ in range(_SETTLE_TRIES):
            if not (self._is_in_thread or self._mending.is_reopening):
                break
            self._sleep(_SETTLE_INTERVAL_S)
        self._become(CLOSED)
        self._take_back()
        if self._log.is_pressing:  # it came while a thread was waited for
            self.revoked.revoke(self._log.pop_batch())
        self._log.close()
        self._send_all(self.effects)

    # The way from one state to the next

    def _become(self, state: State) -> None:
        self.state = moved(MOVES, self.state, state)

    def _step(self, step: Callable[[], State]) -> None:
        """Take a step; if it fails, give up what it held, and go on in a while."""
        try:
            state = step()
        except Exception:
            logger.exception("the log was not written; that goes on in %d s", RETRY_INTERVAL_S)
            self._become(self._retry_later())
            self._take_back()
            return
        self._become(state)
        if state is IDLE:
            self.end_turn()

    def _is_awaited(self, *states: State) -> bool:
        """Return whether to go on: not if it is closed. Raises `IllegalMove` if what has come is not what is waited for."""
        if self.state is CLOSED:
            return False
        if self.state not in states:
            raise IllegalMove(self.state, states[0])
        return True

    def _take_back(self) -> None:
        """Put what is held back into the queue, and revoke the batch that is not known to be kept."""
        self._release()
        self._revoke_unwritten()

    def _release(self) -> None:
        held, self._held = self._held, None
        if held:
            self.effects.extendleft(reversed(held))
        if self._shared is not None and not self._log.is_pressing:
            self.effects.extend(self._shared.waiting)
            self._shared.waiting.clear()

    def _hear_before(self) -> None:
        """Send what others have said before what waits."""
        if self._shared is not None:
            self._shared.hear(self.effects, is_before_kept=True)
            self._send_all(self.effects)

    def _revoke_unwritten(self) -> None:
        batch, self._unwritten = self._unwritten, None
        if batch is not None:
            self.revoked.revoke(batch)

    # What is waited for has come

    def _go_on(self) -> None:
        if self._is_awaited(QUEUED, RETRYING):
            if self.state is RETRYING:
                self._become(QUEUED)
            self._step(self._write)

    def _on_written(self, error: Exception | None) -> None:
        if self._is_awaited(WRITING):
            self._step(partial(self._follow_written, error))

    def _on_tidied(self, error: Exception | None) -> None:
        if self._is_awaited(TIDYING):
            self._step(partial(self._follow_tidied, error))

    def _on_more(self) -> None:
        """Write what had time to wait for more, or have it written with the next batch."""
        if self.state is not IDLE:
            self._log.press()
        elif self._log.is_dirty:
            self._become(QUEUED)
            self._step(self._write)

    def _on_calm(self) -> None:
        """Have the log tidied, unless there is too much to do for that."""
        if self.state is CLOSED or not self._log.is_untidy:
            return
        if self._calm.look() and self.state is IDLE:
            self._become(TIDYING)
            self._step(self._tidy)
        else:
            self._calm_alarm.set(LOOK_INTERVAL_S)

    # Steps

    def _write(self) -> State:
        """Write what there is, at once if nothing has to be waited for."""
        log = self._log
        if log.problem is not None:
            self.revoked.revoke(log.pop_batch())  # it came while the log was thought to be well
            self._release()
        if log.is_dirty:
            is_waited_for = log.is_pressing
            batch = self._unwritten = log.pop_batch()
            self._started_s = time.monotonic()
            self._calm.note(batch.things_count)
            if self._checkpoints.is_running or not log.write_at_once(batch):
                if is_waited_for and self._shared is not None:
                    self._held, self._shared.waiting = self._shared.waiting, deque()
                elif is_waited_for:
                    self._held, self.effects = self.effects, deque()
                self._worker.submit(self._on_written, log.write, batch)
                return WRITING
            self._note_written()
            self._checkpoints.start_if_due()
        if not self._calm_alarm.is_set and log.is_untidy:
            self._calm.begin()
            self._calm_alarm.set(LOOK_INTERVAL_S)
        return IDLE

    def _note_written(self) -> None:
        batch, self._unwritten = self._unwritten, None
        if batch is not None:
            self._log.note_kept(batch)
            self._hear_before()
        self.commit_s.observe(time.monotonic() - self._started_s)

    def _follow_written(self, error: Exception | None) -> State:
        """Send what waited for a batch that a thread has written, or revoke it."""
        if error is None:
            self._note_written()
        else:
            if not isinstance(error, LogUnavailable):
                logger.error("a batch was not written", exc_info=error)
            self._revoke_unwritten()  # and if the log is unwell, all that came since: then nothing is pressing below
        self._checkpoints.start_if_due()
        if self._held is not None:
            self._send_all(self._held)  # what becomes true meanwhile is queued behind it
            self._release()
            if not self._log.is_pressing:
                self._send_all(self.effects)
        if error is not None and self._log.problem is None:
            return self._retry_later()  # it may fail again at once
        self._worker.soon(self._go_on)
        return QUEUED

    def _tidy(self) -> State:
        """Have a thread do a share of what can wait."""
        self._worker.submit(self._on_tidied, self._log.tidy)
        return TIDYING

    def _follow_tidied(self, error: Exception | None) -> State:
        """Tidy more, if nobody waits for anything; else write."""
        self._checkpoints.start_if_due()
        if error is not None:
            logger.error("the log was not tidied", exc_info=error)
            self._calm.begin()
            self._calm_alarm.set(RETRY_INTERVAL_S)
        elif self._log.is_untidy and not self._log.is_dirty:
            return self._tidy()
        return self._write()

    def _retry_later(self) -> State:
        self._worker.later(RETRY_INTERVAL_S, self._go_on)
        return RETRYING


class Alarm:
    """Rings once, a while after it was set. ``is_set``: it has not rung since."""

    def __init__(self, worker: Worker, on_ring: Callable[[], None]) -> None:
        self.is_set = False
        self._worker = worker
        self._on_ring = on_ring

    def set(self, delay_s: float) -> None:
        """Ring in so many seconds, unless it is set already: then it rings when it was to."""
        if not self.is_set:
            self._worker.later(delay_s, self._ring)
            self.is_set = True

    def _ring(self) -> None:
        self.is_set = False
        self._on_ring()


class Checkpoints:
    """Has a thread make them, one at a time. ``is_running``: one is being made, and batches are not written at once."""

    def __init__(self, log: MessageLog, worker: Worker) -> None:
        self.is_running = False
        self._log = log
        self._worker = worker

    def start_if_due(self) -> None:
        """Start one if the log says that it is time for it, and none is running."""
        if self._log.is_checkpoint_due and not self.is_running:
            self._worker.submit(self._on_made, self._log.checkpoint)
            self.is_running = True

    def _on_made(self, error: Exception | None) -> None:
        self.is_running = False
        if error is not None:
            logger.error("there was no checkpoint", exc_info=error)
