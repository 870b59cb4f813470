"""Group commit: what many turns have said is written as one batch, and what became true since waits for it.

Where threads take turns, a turn ends by writing its messages. Greenlets must not wait for a disk: what their turns have
said is written when all that has arrived was handled, at once if nothing has to be waited for, else by a worker while they
go on; everything that became true since waits for its end, acknowledgements included. What the log could not keep is
revoked: it is shown to nobody, and its sender is refused.

A defect must not end that: whatever a step raises, what it held is revoked or let out, and the next step is taken a second
later.
"""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from hazoom_ws.delivery.calm import LOOK_INTERVAL_S, Calm
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import Batch, MessageLog

logger = logging.getLogger(__name__)

_RETRY_INTERVAL_S = 1.0  # after which a log that could not be written is tried again
_WAIT_FOR_MORE_S = 0.1  # with what is not pressing
_REVOKED_COUNT = 1000
_SETTLE_TRIES, _SETTLE_INTERVAL_S = 500, 0.01


class GroupCommit:
    """Writes one log. ``effects`` wait for the end of the turn, and for what is pressing and came before them to be kept.

    ``revoked``: the last messages that could not be kept, by seq, all that wait to be let out among them.
    """

    def __init__(
        self,
        log: MessageLog,
        lock: AbstractContextManager[Any] | None,
        send_all: Callable[[deque[Any]], None],
        *,
        start_task: Callable[..., Any],
        sleep: Callable[[float], Any],
        worker: Any,
    ) -> None:
        """``send_all(effects)`` empties the queue. ``lock`` and ``worker`` are as in `Delivery`."""
        self.effects: deque[Any] = deque()
        self.revoked: dict[int, None] = {}
        self._log = log
        self._lock = lock
        self._send_all = send_all
        self._start_task = start_task
        self._sleep = sleep
        self._worker = worker
        self._is_busy = False  # whether a batch is being written or put in order, or soon will be
        self._is_in_thread = False  # whether a thread does that now
        self._is_waited_for = False  # the batch that a thread writes
        self._unwritten: Batch | None = None  # what was taken, and is neither known to be kept nor revoked
        self._held: deque[Any] = deque()  # what waits for that
        self._is_at_checkpoint = False
        self._is_waiting_for_calm = self._is_waiting_for_more = False
        self._calm = Calm()
        self._is_mending = self._is_reopening = False
        self._is_closed = False

    @property
    def is_holding(self) -> bool:
        """Whether what becomes true now has to wait for something to be kept."""
        return self._is_waited_for or self._log.is_pressing

    def end_turn(self) -> None:
        """Have written what the turn has appended, and let out what waits for nothing."""
        has_said_more = not self._is_busy and self._log.is_dirty
        if has_said_more and self._worker is None:
            self._is_busy = True
            self._write_all()
        elif has_said_more and self._log.is_pressing:
            self._worker.soon(self._go_on)
            self._is_busy = True
        elif has_said_more and not self._is_waiting_for_more:
            self._worker.later(_WAIT_FOR_MORE_S, self._write_the_rest)
            self._is_waiting_for_more = True
        if not self.is_holding:
            self._send_all(self.effects)
        if len(self.revoked) > _REVOKED_COUNT and not self._is_waited_for and not self.effects:
            for seq in list(self.revoked)[:-_REVOKED_COUNT]:
                del self.revoked[seq]
        if has_said_more and self._worker is None:
            self._put_in_order()
        if self._log.problem is not None and not self._is_mending and not self._is_closed:
            self._is_mending = True
            try:
                self._start_task(self._reopen_log)
            except BaseException:  # such as: no thread can be started
                self._is_mending = False
                raise

    def look(self) -> None:
        """Miss what keeps the log, as a turn that writes does."""
        self._log.look()
        self.end_turn()

    def settle(self) -> None:
        """Write what is left, within this call: the process is about to end. A thread that writes is waited for a while."""
        for _ in range(_SETTLE_TRIES):
            if not self._is_in_thread:
                self._write_all()
                return
            self._sleep(_SETTLE_INTERVAL_S)

    def close(self) -> None:
        """Settle, then close the log, which is not opened again; threads that use it are waited for a while."""
        if self._is_closed:
            return
        self._is_closed = True
        self.settle()
        for _ in range(_SETTLE_TRIES):
            if not (self._is_in_thread or self._is_at_checkpoint or self._is_reopening):
                break
            self._sleep(_SETTLE_INTERVAL_S)
        self._log.close()

    def _write_all(self) -> None:
        """Write batch after batch, within the turn."""
        log = self._log
        try:
            while log.is_dirty:
                batch = log.pop_batch()
                try:
                    log.write(batch)
                except LogUnavailable:
                    self._revoke(batch)
                except Exception:
                    logger.exception("a batch was not written")
                    self._revoke(batch)
                    return  # its sessions are tried again with the next
        finally:
            self._is_busy = False

    def _put_in_order(self) -> None:
        """Do a share of what can wait, within the turn, when what it let out is on its way."""
        try:
            if self._log.is_untidy:
                self._log.tidy()
            if self._log.is_checkpoint_due:
                self._log.checkpoint()
        except Exception:
            logger.exception("the log was not put in order")

    # Steps: while it is busy, each sees to it that there is a next one

    def _step(self, step: Callable[[], bool]) -> None:
        """Take a step, which returns whether it was the last; if it fails, take back what it held, and go on in a while."""
        try:
            is_last = step()
        except Exception:
            logger.exception("the log was not written; that goes on in %d s", _RETRY_INTERVAL_S)
            self._worker.later(_RETRY_INTERVAL_S, self._go_on)
            self._is_in_thread = self._is_waited_for = False
            self.effects.extendleft(reversed(self._held))
            self._held.clear()
            self._lose_unwritten()
            return
        if is_last:
            self._is_busy = False
            self.end_turn()

    def _go_on(self) -> None:
        self._step(self._write_next)

    def _write_next(self) -> bool:
        """Write what there is, at once if nothing has to be waited for; then wait for more, or for a calm."""
        log = self._log
        if log.problem is not None:
            self._revoke(log.pop_batch())  # it came while the log was thought to be well
        if log.is_dirty:
            is_waited_for = log.is_pressing
            batch = self._unwritten = log.pop_batch()
            self._calm.note(len(batch.messages) + len(batch.sessions))
            if self._is_at_checkpoint or not log.write_at_once(batch):
                self._write(batch, is_waited_for=is_waited_for)
                return False
            self._unwritten = None
            self._start_checkpoint()
        if not self._is_waiting_for_calm and log.is_untidy:
            self._calm.begin()
            self._wait_for_calm()
        return True

    def _write_the_rest(self) -> None:
        """Write what had time to wait for more, or have it written with the next batch."""
        self._is_waiting_for_more = False
        if self._is_busy:
            self._log.press()
        elif self._log.is_dirty:
            self._is_busy = True
            self._go_on()

    def _write(self, batch: Batch, *, is_waited_for: bool) -> None:
        """Have a batch written, and if it ``is_waited_for``, let what became true with it and since wait."""
        if is_waited_for:
            self._is_waited_for = True
            self._held, self.effects = self.effects, self._held
        self._is_in_thread = True
        self._worker.submit(self._written, self._log.write, batch)

    def _written(self, error: Exception | None) -> None:
        self._is_in_thread = False
        self._step(partial(self._follow_written, error))

    def _follow_written(self, error: Exception | None) -> bool:
        """Let out what waited for a batch that a thread has written, or revoke it; then go on."""
        if error is None:
            self._unwritten = None
        else:
            if not isinstance(error, LogUnavailable):
                logger.error("a batch was not written", exc_info=error)
            self._lose_unwritten()
            if self._is_waited_for and self._log.problem is not None:
                self._held.extend(self.effects)
                self.effects.clear()
        self._start_checkpoint()
        if self._is_waited_for:
            self._send_all(self._held)
            self._is_waited_for = False
            if not self.is_holding:
                self._send_all(self.effects)
        if error is not None and self._log.problem is None:
            self._worker.later(_RETRY_INTERVAL_S, self._go_on)  # it may fail again at once
        else:
            self._worker.soon(self._go_on)
        return False

    def _start_checkpoint(self) -> None:
        if self._log.is_checkpoint_due and not self._is_at_checkpoint:
            self._worker.submit(self._checkpointed, self._log.checkpoint)
            self._is_at_checkpoint = True

    def _checkpointed(self, error: Exception | None) -> None:
        self._is_at_checkpoint = False
        if error is not None:
            logger.error("there was no checkpoint", exc_info=error)

    def _wait_for_calm(self, delay_s: float = LOOK_INTERVAL_S) -> None:
        """Look after a while whether the log can be tidied."""
        self._worker.later(delay_s, self._tidy_if_calm)
        self._is_waiting_for_calm = True

    def _tidy_if_calm(self) -> None:
        """Have the log tidied, unless there is too much to do for that."""
        self._is_waiting_for_calm = False
        if not self._log.is_untidy:
            return
        if self._calm.look() and not self._is_busy:
            self._is_busy = True
            self._step(self._tidy)
        else:
            self._wait_for_calm()

    def _tidy(self) -> bool:
        self._is_in_thread = True
        self._worker.submit(self._tidied, self._log.tidy)
        return False

    def _tidied(self, error: Exception | None) -> None:
        self._is_in_thread = False
        self._step(partial(self._follow_tidied, error))

    def _follow_tidied(self, error: Exception | None) -> bool:
        """Tidy more, if nobody waits for anything; else go on."""
        self._start_checkpoint()
        if error is not None:
            logger.error("the log was not tidied", exc_info=error)
            self._calm.begin()
            self._wait_for_calm(_RETRY_INTERVAL_S)
        elif self._log.is_untidy and not self._log.is_dirty:
            return self._tidy()
        return self._write_next()

    def _lose_unwritten(self) -> None:
        """Take back the batch that was taken to be written."""
        batch, self._unwritten = self._unwritten, None
        if batch is not None:
            self._revoke(batch)

    def _revoke(self, batch: Batch) -> None:
        """Take back a batch that could not be kept, and if the log is unwell, what came while it was thought to be well."""
        lost = [] if self._log.problem is None else [self._log.pop_batch()]
        lost.append(batch)  # of a session, what is newer stays
        self.revoked.update(dict.fromkeys(entry.seq for part in lost for entry in part.messages))
        for part in lost:
            try:
                self._log.forget(part)
            except Exception:
                logger.exception("a batch that was not written was not taken back")

    def _reopen_log(self) -> None:
        logger.error("messages cannot be kept, trying again each second: %s", self._log.problem)
        while self._log.problem is not None:
            self._sleep(_RETRY_INTERVAL_S)
            if self._is_closed:
                return
            if self._is_at_checkpoint or self._is_in_thread:
                continue  # it uses the file
            try:
                if self._worker is not None:
                    self._is_reopening = True
                    self._worker.run(self._log.reopen)
                else:
                    with self._lock or nullcontext():  # nobody may read while the file changes hands
                        if not self._is_closed:
                            self._log.reopen()
            except Exception:
                logger.exception("the log cannot be opened again")
            finally:
                self._is_reopening = False
        self._is_mending = False
        logger.info("messages are kept again")
        with self._lock or nullcontext():
            self.end_turn()  # there may be something to write, and to let out
