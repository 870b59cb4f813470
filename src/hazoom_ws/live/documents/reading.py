"""How a document is read from what is kept of it: once, and again when something may have been missed. Beside turns."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from hazoom_ws.live.documents.document import Document
from hazoom_ws.live.documents.merging import merge_kept
from hazoom_ws.live.documents.open_document import OpenDocument
from hazoom_ws.live.documents.others import Others
from hazoom_ws.message_log.documents import Documents as Store
from hazoom_ws.message_log.documents import DocumentUpdate, StoredDocument

_READING_LIMIT_COUNT, _TO_READ_LIMIT_COUNT = 1, 500

Done = Callable[[Any, BaseException | None], None]
RunBeside = Callable[[Callable[[], Any], Done], None]


class Readings:
    """Documents that are read, one after the other: what is written for others shares the threads. Within turns."""

    def __init__(self, run_beside: RunBeside) -> None:
        self._run_beside = run_beside
        self._waiting: deque[tuple[OpenDocument[Any], Callable[[], Any], Done]] = deque()
        self._count = 0

    def add(self, opened: OpenDocument[Any], read: Callable[[], Any], done: Done) -> bool:
        """Have a document read when its turn comes, unless it is closed by then; return False if too many wait.

        ``done`` as in `RunBeside`; not called if it was closed meanwhile.
        """
        if len(self._waiting) >= _TO_READ_LIMIT_COUNT:
            return False
        self._waiting.append((opened, read, done))
        self._next()
        return True

    def _next(self) -> None:
        while self._waiting and self._count < _READING_LIMIT_COUNT:
            opened, read, done = self._waiting.popleft()
            if opened.is_open:
                self._count += 1
                self._run_beside(read, partial(self._on_read, opened, done))

    def _on_read(self, opened: OpenDocument[Any], done: Done, result: Any, error: BaseException | None) -> None:
        self._count -= 1
        self._next()
        if opened.is_open:
            done(result, error)


class ReadAgain(NamedTuple):
    """What was found when a document was read again: what others have kept, and what of ours is kept no more."""

    stored: StoredDocument | None
    changes: list[bytes]
    lost: bytes | None


def load(store: Store, name: str, others: Others | None) -> tuple[Document, StoredDocument | None]:
    """Read a document and merge what is kept of it, and hear of it from before that on; called beside turns."""
    if others is not None:
        others.follow(name)
    stored = store.read(name)
    document = Document()
    if stored is None:
        return document, None
    if stored.snapshot is not None:
        merge_kept(document, DocumentUpdate(stored.through, name, stored.snapshot))
    for number, update in stored.updates:
        merge_kept(document, DocumentUpdate(number, name, update))
    return document, stored


def read_again(store: Store, name: str, document: Document) -> ReadAgain:
    """Merge what is kept of a document into one that may have missed something; called beside turns."""
    kept, stored = load(store, name, None)
    try:
        changes = document.merge(kept.snapshot())
        for entry in kept.waiting():
            changes += merge_kept(document, entry)
        difference = document.difference(kept.state_vector())
        is_lost = bool(kept.merge(difference))
    finally:
        kept.close()
    return ReadAgain(stored, changes, difference if is_lost else None)


def note_stored(opened: OpenDocument[Any], stored: StoredDocument | None) -> None:
    """Note how much is kept of a document, and up to which number it is merged."""
    opened.snapshot_bytes = opened.tail_bytes = opened.last_seq = 0
    if stored is not None:
        opened.snapshot_bytes = len(stored.snapshot or b"")
        opened.tail_bytes = stored.updates_bytes
        opened.last_seq = stored.updates[-1][0] if stored.updates else stored.through
