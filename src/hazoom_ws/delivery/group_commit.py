"""Group commit: what many turns have said is kept as one batch, and what became true since waits for it.

What is promised
    Nothing is shown before it is kept. The broadcast of a message, its acknowledgement, and everything that became true
    after it leave when the batch that holds it is kept, and in the order in which they became true. So nobody has seen
    what a crash takes back, and nobody sees a reply before what it replies to.

    What could not be kept is revoked: it is shown to nobody, and its sender is refused and may try again
    (`LogUnavailable`). What became true beside it, such as somebody's arrival, goes out as it is.

    Everything that is said ends as one of the two, and soon. A log that is unwell holds nothing back: while it is mended
    (`mending`), it refuses messages at once. A defect does not end that either: whatever is raised on the way, the batch at
    hand is revoked unless it was kept, what waited for it goes out, and writing goes on.

What waits, and what does not
    A message is pressing: somebody waits for it. So is a session that somebody may come back to as soon as they are told.
    Other changes of sessions may wait a moment, which makes them fewer; nothing waits for those.

    There is one batch at a time. What is said while it is written is the next one: the slower the disk, the larger the
    batches, and the cost of waiting for it is shared by all that is in them.

Two ways
    `commit_in_turns` where threads take turns: a turn ends by writing what it has said, and the others wait for that.
    `commit_beside_turns` where greenlets do, in one thread: they must not wait for a disk, so a worker writes while turns
    go on.

Where several processes share a log
    What others have said comes before what this process says that is not kept yet, and what a turn finds in memory is what
    is kept. So only what a turn says waits, with what else that turn does (`Shared.part`): it becomes true when it is kept,
    after what others have said before it. A turn that says nothing has its effects at once. Who comes into a room or goes
    (`Enter`, `Leave`, `Greet`) does so at once in any case: what the turn has found in memory is what they get, and then
    what is kept after that.

Who calls what from where
    All of it is called within a turn, by whoever has the turn (`turns`). `GroupCommit.end_turn` never waits beside turns,
    and waits for the disk in turns; `GroupCommit.settle` and `GroupCommit.close` wait, ten seconds at most.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from hazoom_ws.chat.effects import Enter, Leave
from hazoom_ws.delivery.effects import Greet
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.histograms import Histogram
from hazoom_ws.message_log.contract import Batch, MessageLog, revoke

logger = logging.getLogger(__name__)

SendAll = Callable[[deque[Any]], None]
StartTask = Callable[[Callable[[], None]], object]
Sleep = Callable[[float], object]
AT_ONCE = (Enter, Leave, Greet)  # see the module


class GroupCommit(Protocol):
    """Keeps what turns say in one log. Each turn queues ``effects``, which leave when what came before them is kept.

    What could not be kept is marked (`REVOKED`): who sends an effect looks whether it may be shown.
    """

    effects: deque[Any]
    revoked: "Revocations"
    commit_s: Histogram  # how long it took to keep each batch that is kept

    @property
    def is_holding(self) -> bool:
        """Whether what becomes true now has to wait for something to be kept."""

    def hold(self, effect: Any) -> None:
        """Queue an effect that is sent when all that was said so far is kept, or could not be."""

    def hear(self) -> None:
        """Let what others have said be true, and send it: a turn in which nothing else is done."""

    def end_turn(self) -> None:
        """Have kept what the turn has said, and send what waits for nothing. Raises what sending or the log raises."""

    def look(self) -> None:
        """Miss what keeps the log, as a turn that writes does."""

    def settle(self) -> None:
        """Keep what is left, within this call: the process is about to end.

        A thread that writes is waited for, 5 s at most; if it takes longer, what is left is not kept.
        """

    def close(self) -> None:
        """Settle and close the log for good; then refuse what could not be kept, and send all that waits.

        A thread that still uses the log is waited for, 5 s at most. Closing again does nothing.
        """


class Shared:
    """What a commit does where several processes share the log: `waiting` is what waits for the next batch."""

    def __init__(self, log: MessageLog, tell: Callable[[Any], None]) -> None:
        """``tell(entry)`` queues what others have said."""
        self.waiting: deque[Any] = deque()
        self._log = log
        self._tell = tell
        self._said_total = log.said_total

    def part(self, effects: deque[Any], first: int = 0) -> None:
        """Let what a turn has queued wait, from the ``first`` effect on, if it has said something.

        ``effects`` keeps what does not wait.
        """
        if self._log.said_total == self._said_total:
            return
        self._said_total = self._log.said_total
        queued = [effects.pop() for _ in range(len(effects) - first)]
        for effect in reversed(queued):
            (effects if type(effect) in AT_ONCE else self.waiting).append(effect)

    def hear(self, effects: deque[Any], *, is_before_kept: bool = False) -> None:
        """Queue what others have said, see `MessageLog.news`. Who hears it may say something, which is kept first."""
        for entry in self._log.news(is_before_kept=is_before_kept):
            first = len(effects)
            self._tell(entry)
            self.part(effects, first)


class Revocations:
    """Takes back what could not be kept, and marks it. ``count``: batches so far.

    Who shows what may not be kept yet, and was said by somebody else, looks whether it has grown meanwhile.
    """

    def __init__(self, log: MessageLog) -> None:
        self.count = 0
        self._log = log

    def revoke(self, batch: Batch) -> None:
        """Take back a batch, and if the log is unwell, what came while it was thought to be well.

        Messages, changes of state and updates are gone, sessions are tried again with the next batch unless they have
        changed since. Raises what popping a batch raises; this one is revoked then too.
        """
        lost = [batch]
        try:
            if self._log.problem is not None:
                lost.insert(0, self._log.pop_batch())  # of a session, what is newer stays
        finally:
            for part in lost:
                self._take_back(part)

    def _take_back(self, batch: Batch) -> None:
        self.count += 1
        try:
            self._log.forget(batch)
        except Exception:
            logger.exception("a batch that was not written was not taken back")
        for entry in batch.entries():
            revoke(entry)


def new_commit_s() -> Histogram:
    """Return what counts how long commits take, in seconds: from what a system's cache takes to a disk that is stuck."""
    return Histogram((0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0))


def write_all(
    log: MessageLog, revoked: Revocations, commit_s: Histogram, on_kept: Callable[[], object] = lambda: None
) -> None:
    """Write batch after batch, within the turn, and revoke what cannot be kept. ``commit_s`` counts how long each took.

    ``on_kept()`` is called after each that is kept.

    After a defect it leaves off: the sessions of that batch are tried again with the next. Raises what popping a batch
    raises.
    """
    while log.is_dirty:
        batch = log.pop_batch()
        started_s = time.monotonic()
        try:
            log.write(batch)
            log.note_kept(batch)
            commit_s.observe(time.monotonic() - started_s)
            on_kept()
        except LogUnavailable:
            revoked.revoke(batch)
        except Exception:
            logger.exception("a batch was not written")
            revoked.revoke(batch)
            return
