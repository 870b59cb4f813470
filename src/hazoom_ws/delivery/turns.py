"""Turns: what a turn is, who may call it from where, and what it promises.

What it is
    The unit in which the state of an application changes: one event of a client, one bite of an answer's tokens, one
    expiry, one call of the application's own. In it the hub decides what is now true, the log is told what to keep, and
    what is to be sent is queued as effects. Nothing is sent before the turn ends.

Who may call it from where
    Anybody: ``with delivery.turn():`` around all that reads or changes the hub, the log, or who is connected. Where threads
    take turns, any of them may, and a lock makes them wait for each other. Where greenlets do, there is one thread, and no
    lock: a greenlet gives way only where it waits, so nothing in a turn may wait, neither for a socket nor for a disk, and
    other threads may take no turns at all.

    A turn within a turn is allowed: it is entered at once, and at its end what was queued by then is sent. Within sending,
    its effects queue behind those that are being sent. That happens when sending finds a peer dead: our own disconnect
    handling runs in the middle of a broadcast.

What it promises
    Alone: nobody else changes anything between its beginning and its end.
    In order: what became true first is sent first, to everybody, whichever turn it was.
    Kept: what it has said is in the log before anybody hears of it, or is refused (`group_commit`).
    Sent whatever happens: a turn that raises has changed the state as far as it got, so what it queued is sent all the
    same; an effect that cannot be sent is logged and holds back no other.
    A reply is the last to leave: who is told that something is done has got what was broadcast before that.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self

from hazoom_ws.delivery.commit_beside_turns import CommitBesideTurns, Worker
from hazoom_ws.delivery.commit_in_turns import CommitInTurns
from hazoom_ws.delivery.effects import Later, Queued, Reply
from hazoom_ws.delivery.group_commit import GroupCommit, Sleep, StartTask
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.histograms import Histogram
from hazoom_ws.message_log.contract import REVOKED, MessageLog

logger = logging.getLogger(__name__)


class Turns(ABC):
    """Runs turns, and sends their effects with ``_send``, which whoever inherits this defines."""

    def __init__(
        self,
        log: MessageLog,
        lock: "threading.RLock | None",
        *,
        start_task: StartTask,
        sleep: Sleep,
        worker: Worker | None,
    ) -> None:
        """``lock`` is a reentrant one where threads take turns, ``worker`` the one that writes where greenlets do.

        ``start_task(function)`` runs it beside turns, ``sleep`` takes seconds.
        """
        self.tell: Callable[[Any], object] = lambda _: None  # queues what another process has said
        self.is_sending = False  # what calls us in a turn meanwhile was called by that
        self._lock = lock
        self._is_shared = log.peers is not None
        self._commit: GroupCommit
        if worker is None:
            self._commit = CommitInTurns(log, lock, self._send_all, start_task=start_task, sleep=sleep, tell=self._tell)
        else:
            self._commit = CommitBesideTurns(
                log, self._send_all, start_task=start_task, sleep=sleep, worker=worker, tell=self._tell
            )

    @property
    def commit_s(self) -> Histogram:
        """How long it took to keep each batch that is kept, from when it was to be written."""
        return self._commit.commit_s

    @property
    def revoked_count(self) -> int:
        """Batches that could not be kept."""
        return self._commit.revoked.count

    def turn(self) -> Self:
        """Run the body of a ``with`` alone, then send what it queued, also if it raised: its state has changed."""
        return self

    def __enter__(self) -> None:
        if self._lock is not None:
            self._lock.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._commit.end_turn()
        finally:
            if self._lock is not None:
                self._lock.__exit__(kind, error, traceback)

    def add(self, effect: Queued) -> None:
        """Queue ``effect`` until the turn ends. Call it within a turn."""
        self._commit.effects.append(effect)

    def add_when_kept(self, effect: Queued) -> None:
        """Queue ``effect`` until all is kept that was said so far, or could not be. Call it within a turn."""
        self._commit.hold(effect)

    def when_kept(self, call: Callable[[], None]) -> None:
        """Call when all that was said so far has its number: at once, but where other processes may say something."""
        if self._is_shared:
            self._commit.hold(Later(lambda _: call()))
        else:
            call()

    def hear(self) -> None:
        """Let what other processes have said be true, and send it, in a turn of its own."""
        with self.turn():
            self._commit.hear()

    def _tell(self, entry: Any) -> None:
        self.tell(entry)

    def reply(self, send: Callable[[Any], None], reply: Reply) -> None:
        """Call ``send`` with an acknowledgement's argument, after what was queued before it. Call it after the turn."""
        if self._lock is None and self._commit.is_holding and (callable(reply) or not self._is_shared):
            self._commit.hold(Later(send, reply))
        else:
            send(argument_of(reply))

    def unrevoked(self) -> Callable[[], bool]:
        """Return a function that says whether all has been kept since that was to be when this was called."""
        count = self._commit.revoked.count
        return lambda: self._commit.revoked.count == count

    def look_at_log(self, _now_s: float) -> None:
        """Miss what keeps the log while nobody says anything. Whoever is in a turn in another thread is not waited for."""
        if self._lock is not None and not self._lock.acquire(blocking=False):
            return  # the next look is soon, and whoever writes looks too
        try:
            self._commit.look()
        finally:
            if self._lock is not None:
                self._lock.release()

    def settle(self) -> None:
        """Keep what is not kept yet: the process is about to end. Waits, 5 s at most. Call it outside turns."""
        with self._lock or nullcontext():
            self._commit.settle()

    def close_log(self) -> None:
        """Keep what is not kept yet, then give the log's file back: nothing can be kept from now on.

        Waits, 10 s at most. Call it outside turns; calling it again does nothing.
        """
        with self._lock or nullcontext():
            self._commit.close()

    @abstractmethod
    def _send(self, effect: Queued) -> None:
        """Send one effect. What it raises is logged."""

    def _send_all(self, effects: deque[Queued]) -> None:
        """Empty the queue, unless that is going on: then it will be."""
        if self.is_sending or not effects:
            return
        self.is_sending = True
        try:
            while effects:
                effect = effects.popleft()
                try:
                    self._send(effect)
                except Exception:
                    logger.exception("%s was not sent", type(effect).__name__)
        finally:
            self.is_sending = False


def argument_of(reply: Reply) -> dict[str, Any] | None:
    """Return an acknowledgement's argument, when what it acknowledges is kept or revoked."""
    if reply is None:
        return None
    argument = reply() if callable(reply) else reply
    if type(argument.get("messages")) is list:
        return argument | {"messages": kept_of(argument["messages"])}
    return argument


def kept_of(messages: list[NewMessage]) -> list[NewMessage]:
    """Return those that could be kept."""
    return [entry for entry in messages if type(entry) is not NewMessage or entry.seq != REVOKED]
