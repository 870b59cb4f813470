"""Group commit: what many turns have said is written as one batch, and what became true since waits for it.

Where threads take turns, a turn ends by writing its messages. Greenlets must not wait for a disk: what their turns have
said is written when all that has arrived was handled, at once if nothing has to be waited for, else by a worker while they
go on; everything that became true since waits for its end, acknowledgements included. What the log could not keep is
revoked: it is shown to nobody, and its sender is refused.
"""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import Batch, MessageLog

logger = logging.getLogger(__name__)

_RETRY_INTERVAL_S = 1.0  # after which a log that could not be written is tried again
_WAIT_FOR_MORE_S = 0.1  # with what is not pressing
_QUIET_S = 0.01  # without a batch, after which the log is tidied
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
        let_out: Callable[[deque[Any]], None],
        *,
        start_task: Callable[..., Any],
        sleep: Callable[[float], Any],
        worker: Any,
    ) -> None:
        """``let_out(effects)`` empties the queue. ``lock`` and ``worker`` are as in `Delivery`."""
        self.effects: deque[Any] = deque()
        self.revoked: dict[int, None] = {}
        self._log = log
        self._lock = lock
        self._let_out = let_out
        self._start_task = start_task
        self._sleep = sleep
        self._worker = worker
        self._is_busy = False  # whether a batch is being written or put in order, or soon will be
        self._is_in_thread = False  # whether a thread does that now
        self._is_waited_for = False  # the batch that a thread writes
        self._is_at_checkpoint = False
        self._is_waiting_for_quiet = self._is_waiting_for_more = False
        self._batches_count = 0
        self._is_mending = False

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
            self._is_busy = True
            self._worker.soon(self._go_on)
        elif has_said_more and not self._is_waiting_for_more:
            self._is_waiting_for_more = True
            self._worker.later(_WAIT_FOR_MORE_S, self._write_the_rest)
        if not self.is_holding:
            self._let_out(self.effects)
        if len(self.revoked) > _REVOKED_COUNT and not self._is_waited_for and not self.effects:
            for seq in list(self.revoked)[:-_REVOKED_COUNT]:
                del self.revoked[seq]
        if has_said_more and self._worker is None:
            self._put_in_order()
        if self._log.problem is not None and not self._is_mending:
            self._is_mending = True
            self._start_task(self._reopen_log)

    def settle(self) -> None:
        """Write what is left, within this call: the process is about to end. A thread that writes is waited for a while."""
        for _ in range(_SETTLE_TRIES):
            if not self._is_in_thread:
                self._write_all()
                return
            self._sleep(_SETTLE_INTERVAL_S)

    def _write_all(self) -> None:
        """Write batch after batch, within the turn."""
        log = self._log
        try:
            while log.is_dirty:
                batch = log.take_batch()
                try:
                    log.write(batch)
                except LogUnavailable:
                    self._revoke(batch)
        finally:
            self._is_busy = False

    def _put_in_order(self) -> None:
        """Do a share of what can wait, within the turn, when what it let out is on its way."""
        if self._log.is_untidy:
            self._log.tidy()
        if self._log.is_checkpoint_due:
            self._log.checkpoint()

    def _go_on(self) -> None:
        """Write what there is, at once if nothing has to be waited for; then wait for more, or for quiet."""
        log = self._log
        if log.problem is not None:
            self._revoke(log.take_batch())  # it came while the log was thought to be well
        if log.is_dirty:
            is_waited_for = log.is_pressing
            batch = log.take_batch()
            self._batches_count += 1
            if self._is_at_checkpoint or not log.write_at_once(batch):
                self._write(batch, is_waited_for=is_waited_for)
                return
            self._start_checkpoint()
        self._is_busy = False
        if not self._is_waiting_for_quiet and log.is_untidy:
            self._wait_for_quiet()
        self.end_turn()

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
        held: deque[Any] = deque()
        if is_waited_for:
            self._is_waited_for = True
            held, self.effects = self.effects, held
        self._is_in_thread = True
        self._worker.submit(partial(self._written, batch, held), self._log.write, batch)

    def _written(self, batch: Batch, held: deque[Any], error: Exception | None) -> None:
        self._is_in_thread = False
        if error is not None:
            if not isinstance(error, LogUnavailable):
                logger.error("a batch was not written", exc_info=error)
            self._revoke(batch)
            if self._is_waited_for and self._log.problem is not None:
                held.extend(self.effects)
                self.effects.clear()
        self._start_checkpoint()
        if self._is_waited_for:
            self._let_out(held)
            self._is_waited_for = False
            if not self.is_holding:
                self._let_out(self.effects)
        if error is not None and self._log.problem is None:
            self._worker.later(_RETRY_INTERVAL_S, self._go_on)  # it may fail again at once
        else:
            self._worker.soon(self._go_on)

    def _start_checkpoint(self) -> None:
        if self._log.is_checkpoint_due and not self._is_at_checkpoint:
            self._is_at_checkpoint = True
            self._worker.submit(self._checkpointed, self._log.checkpoint)

    def _checkpointed(self, error: Exception | None) -> None:
        self._is_at_checkpoint = False
        if error is not None:
            logger.error("there was no checkpoint", exc_info=error)

    def _wait_for_quiet(self, delay_s: float = _QUIET_S) -> None:
        self._is_waiting_for_quiet = True
        self._worker.later(delay_s, partial(self._tidy_if_quiet, self._batches_count))

    def _tidy_if_quiet(self, batches_count: int) -> None:
        """Have the log tidied unless something was written meanwhile: then there is too much to do for that."""
        self._is_waiting_for_quiet = False
        if not self._log.is_untidy:
            return
        if self._is_busy or self._batches_count != batches_count:
            self._wait_for_quiet()
        else:
            self._tidy()

    def _tidy(self) -> None:
        self._is_busy = self._is_in_thread = True
        self._worker.submit(self._tidied, self._log.tidy)

    def _tidied(self, error: Exception | None) -> None:
        self._is_in_thread = False
        self._start_checkpoint()
        if error is not None:
            logger.error("the log was not tidied", exc_info=error)
            self._wait_for_quiet(_RETRY_INTERVAL_S)
        elif self._log.is_untidy and not self._log.is_dirty:
            self._tidy()
            return
        self._go_on()

    def _revoke(self, batch: Batch) -> None:
        """Take back a batch that could not be kept, and if the log is unwell, what came while it was thought to be well."""
        since = [] if self._log.problem is None else [self._log.take_batch()]
        for lost in (*since, batch):  # of a session, what is newer stays
            self.revoked.update(dict.fromkeys(entry.seq for entry in lost.messages))
            self._log.forget(lost)

    def _reopen_log(self) -> None:
        logger.error("messages cannot be kept, trying again each second: %s", self._log.problem)
        while self._log.problem is not None:
            self._sleep(_RETRY_INTERVAL_S)
            if self._is_at_checkpoint or self._is_in_thread:
                continue  # it uses the file
            try:
                if self._worker is not None:
                    self._worker.run(self._log.reopen)
                else:
                    with self._lock or nullcontext():  # nobody may read while the file changes hands
                        self._log.reopen()
            except Exception:
                logger.exception("the log cannot be opened again")
        self._is_mending = False
        logger.info("messages are kept again")
        with self._lock or nullcontext():
            self.end_turn()  # there may be something to write, and to let out
