"""Group commit where threads take turns: a turn ends by writing what it has said, and sends when that is kept.

It has no states of its own: the lock keeps others out until a turn has ended, and then all that was said is kept or
revoked. What can wait, filing and checkpoints, is done when the turn's effects are on their way. `group_commit` says what
is promised, `mending` what becomes of a log that is unwell.
"""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from hazoom_ws.delivery.group_commit import Revocations, SendAll, Shared, Sleep, StartTask, new_commit_s, write_all
from hazoom_ws.delivery.mending import Mending
from hazoom_ws.message_log.contract import MessageLog

logger = logging.getLogger(__name__)


class CommitInTurns:
    """A `GroupCommit` that writes within turns."""

    def __init__(
        self,
        log: MessageLog,
        lock: AbstractContextManager[Any] | None,
        send_all: SendAll,
        *,
        start_task: StartTask,
        sleep: Sleep,
        tell: Callable[[Any], None] = lambda _: None,
    ) -> None:
        """``send_all(effects)`` empties the queue. ``lock`` is what a turn holds; None where nobody else runs meanwhile.

        ``tell`` as in `Shared`.
        """
        self.effects: deque[Any] = deque()
        self.revoked = Revocations(log)
        self.commit_s = new_commit_s()
        self._log = log
        self._send_all = send_all
        self._shared = Shared(log, tell) if log.peers is not None else None
        self._mending = Mending(
            log,
            lock or nullcontext(),
            reopen=log.reopen,  # with the lock: nobody may read while the file changes hands
            is_in_use=lambda: False,
            on_well=self.end_turn,
            start_task=start_task,
            sleep=sleep,
        )

    @property
    def is_holding(self) -> bool:
        return self._log.is_pressing

    def end_turn(self) -> None:
        log, shared = self._log, self._shared
        if shared is not None:
            shared.part(self.effects)
            self._send_all(self.effects)
        has_said_more = log.is_dirty
        if has_said_more:
            self._write_all()
        elif log.is_pressing:
            self.revoked.revoke(log.pop_batch())  # it was said before the turn found the log unwell
        if shared is not None:
            self.effects.extend(shared.waiting)
            shared.waiting.clear()
        self._send_all(self.effects)
        if has_said_more:
            self._put_in_order()
        if log.problem is not None:
            self._mending.begin()

    def _write_all(self) -> None:
        write_all(self._log, self.revoked, self.commit_s, self._hear_before)

    def _hear_before(self) -> None:
        """Send what others have said before a batch that was kept, then what has waited for that."""
        if self._shared is not None:
            waiting, self._shared.waiting = self._shared.waiting, deque()
            self._shared.hear(self.effects, is_before_kept=True)
            self._send_all(self.effects)
            self.effects.extend(waiting)
            self._send_all(self.effects)

    def hold(self, effect: Any) -> None:
        self.effects.append(effect)

    def hear(self) -> None:
        if self._shared is not None:
            self._shared.hear(self.effects)

    def look(self) -> None:
        """Miss what keeps the log, as a turn that writes does."""
        self._log.look()
        self.end_turn()

    def settle(self) -> None:
        self._write_all()

    def close(self) -> None:
        if self._mending.is_closed:
            return
        self._mending.close()
        self.settle()
        self._log.close()
        self._send_all(self.effects)

    def _put_in_order(self) -> None:
        """Do a share of what can wait."""
        try:
            if self._log.is_untidy:
                self._log.tidy()
            if self._log.is_checkpoint_due:
                self._log.checkpoint()
        except Exception:
            logger.exception("the log was not put in order")
