"""The documents of a log in a file: what is added waits here for its batch, and snapshots for who writes them.

What turns do and what threads do meet in three places, each of which takes one step of the interpreter: the queue of
snapshots, the file itself, and whether the log is unwell.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.documents import PENDING_LIMIT_BYTES, DocumentUpdate, StoredDocument
from hazoom_ws.message_log.sqlite.damage import DAMAGED, FILE_ERRORS, problem_of
from hazoom_ws.message_log.sqlite.document_table import read_document
from hazoom_ws.message_log.sqlite.file import open_to_read
from hazoom_ws.message_log.state_cache import Numbers

_QUEUED_LIMIT_BYTES = 67_108_864
_READ_TIMEOUT_S = 5.0  # a backup may hold the file for a moment


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

    def done(self, document: str, snapshot: bytes) -> None:
        """Forget a snapshot that is written, but not another that has come instead."""
        there = self._queued.pop(document, None)
        if there is not None and there[0] is not snapshot:
            self._queued.setdefault(document, there)


class SqliteDocuments:
    """What `Documents` promises, with the file at ``path``. ``pending``: updates that are to be written."""

    def __init__(self, path: Path, numbers: Numbers, check: Callable[[], None], on_problem: Callable[[str], None]) -> None:
        """``check()`` raises `LogUnavailable` if nothing can be kept or read at the moment. Also for threads.

        ``on_problem`` is told if a file turns out to be damaged; what else hinders one reading hinders nobody else.
        """
        self.losses_count = 0
        self.snapshots = QueuedSnapshots()
        self.has_new_snapshots = False  # since updates were last taken
        self._path = path
        self._numbers = numbers
        self._check = check
        self._on_problem = on_problem
        self.pending: list[DocumentUpdate] = []
        self._pending_bytes = 0

    def add_update(self, document: str, update: bytes) -> DocumentUpdate:
        self._check()
        if self._pending_bytes + len(update) > PENDING_LIMIT_BYTES:
            raise LogUnavailable("too much is waiting to be written")
        self.pending.append(DocumentUpdate(self._numbers.next_offset(), document, update))
        self._pending_bytes += len(update)
        return self.pending[-1]

    def read(self, document: str) -> StoredDocument | None:
        self._check()
        try:
            with closing(open_to_read(self._path, timeout_s=_READ_TIMEOUT_S)) as connection:
                return read_document(connection, document)
        except FILE_ERRORS as error:
            problem = problem_of(error)
            if problem == DAMAGED:
                self._on_problem(problem)
            raise LogUnavailable(problem) from error

    def save_snapshot(self, document: str, snapshot: bytes, through: int) -> None:
        self.snapshots.put(document, snapshot, through)
        self.has_new_snapshots = True

    def pop(self) -> list[DocumentUpdate]:
        """Take out the updates that are to be written."""
        pending, self.pending, self._pending_bytes = self.pending, [], 0
        self.has_new_snapshots = False
        return pending
