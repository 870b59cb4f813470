"""Updates of documents that wait for their batch, and snapshots that wait for who writes them: for all stores but memory.

What turns do and what threads do meet in the queue of snapshots, each of whose steps is one of the interpreter's.
"""

from collections.abc import Callable

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.documents import PENDING_LIMIT_BYTES, DocumentUpdate
from hazoom_ws.message_log.state_cache import Numbers

_QUEUED_LIMIT_BYTES = 67_108_864


class QueuedSnapshots:
    """Snapshots that are to be written, one for each document. Turns put them here, a thread takes them."""

    def __init__(self) -> None:
        self._queued: dict[str, tuple[bytes, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._queued)

    @property
    def is_too_much(self) -> bool:
        """Whether some have to be written before anything else is."""
        return (
            bool(self._queued) and sum(len(snapshot) for snapshot, _ in list(self._queued.values())) > _QUEUED_LIMIT_BYTES
        )

    def put(self, document: str, snapshot: bytes, through: int) -> None:
        """Queue a snapshot instead of an older one."""
        there = self._queued.get(document)
        if there is None or there[1] <= through:
            self._queued[document] = (snapshot, through)

    def first(self) -> tuple[str, bytes, int] | None:
        """Return what is to be written next: document, snapshot and number. It stays here until it is `done`."""
        for document, (snapshot, through) in list(self._queued.items())[:1]:
            return document, snapshot, through
        return None

    def clear(self) -> None:
        """Forget all. In any thread."""
        self._queued.clear()

    def done(self, document: str, snapshot: bytes) -> None:
        """Forget a snapshot that is written, but not another that has come instead."""
        there = self._queued.pop(document, None)
        if there is not None and there[0] is not snapshot:
            self._queued.setdefault(document, there)


class PendingDocuments:
    """What `Documents` promises but for reading. ``pending``: updates that are to be written."""

    def __init__(self, numbers: Numbers, check: Callable[[], None]) -> None:
        """``check()`` raises `LogUnavailable` if nothing can be kept or read at the moment. Also for threads."""
        self.losses_count = 0
        self.said_total = 0
        self.snapshots = QueuedSnapshots()
        self.has_new_snapshots = False  # since updates were last taken
        self._numbers = numbers
        self._check = check
        self.pending: list[DocumentUpdate] = []
        self._pending_bytes = 0

    def add_update(self, document: str, update: bytes) -> DocumentUpdate:
        self._check()
        if self._pending_bytes + len(update) > PENDING_LIMIT_BYTES:
            raise LogUnavailable("too much is waiting to be written")
        self.pending.append(DocumentUpdate(self._numbers.next_offset(), document, update))
        self._pending_bytes += len(update)
        self.said_total += 1
        return self.pending[-1]

    def save_snapshot(self, document: str, snapshot: bytes, through: int) -> None:
        self.snapshots.put(document, snapshot, through)
        self.has_new_snapshots = True

    def pop(self) -> list[DocumentUpdate]:
        """Take out the updates that are to be written."""
        pending, self.pending, self._pending_bytes = self.pending, [], 0
        self.has_new_snapshots = False
        return pending
