"""Documents in memory: what `documents` promises where nothing is kept beyond the process."""

from collections import OrderedDict
from collections.abc import Callable

from hazoom_ws.message_log.documents import DocumentUpdate, StoredDocument

_DOCUMENT_BYTES, _UPDATE_BYTES = 400, 120  # what they take beside their bytes, about


class _Document:
    """A snapshot, and the updates since. Another snapshot is another object: who reads in a thread sees one that fits."""

    __slots__ = ("size_bytes", "snapshot", "through", "updates")

    def __init__(self, snapshot: bytes | None, through: int, updates: list[tuple[int, bytes]]) -> None:
        self.snapshot = snapshot
        self.through = through
        self.updates = updates
        self.size_bytes = _DOCUMENT_BYTES + len(snapshot or b"")
        self.size_bytes += sum(_UPDATE_BYTES + len(data) for _, data in updates)


class MemoryDocuments:
    """Holds documents up to a bound, the one that was written last in any case."""

    losses_count = 0  # what leaves for want of space is not worth a snapshot of all others

    def __init__(self, next_seq: Callable[[], int], *, limit_bytes: int) -> None:
        """``next_seq()`` gives numbers in the order of messages."""
        self._next_seq = next_seq
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._documents: OrderedDict[str, _Document] = OrderedDict()  # the one that was written last is the last

    def add_update(self, document: str, update: bytes) -> DocumentUpdate:
        """See `Documents`. It is kept at once."""
        added = DocumentUpdate(self._next_seq(), document, update)
        self.keep(added)
        return added

    def keep(self, update: DocumentUpdate) -> None:
        """Add an update that has its number already."""
        document, seq, data = update.document, update.seq, update.data
        stored = self._documents.get(document)
        if stored is None:
            self._put(document, _Document(None, 0, [(seq, data)]))
            return
        stored.updates.append((seq, data))
        stored.size_bytes += _UPDATE_BYTES + len(data)
        self._held_bytes += _UPDATE_BYTES + len(data)
        self._documents.move_to_end(document)
        self._trim()

    def read(self, document: str) -> StoredDocument | None:
        """See `Documents`. In any thread: nothing is changed here."""
        stored = self._documents.get(document)
        return None if stored is None else StoredDocument(stored.snapshot, stored.through, list(stored.updates))

    def save_snapshot(self, document: str, snapshot: bytes, through: int) -> None:
        """See `Documents`. It replaces them at once."""
        earlier = self._documents.get(document)
        if earlier is not None and earlier.through > through:
            return
        updates = [] if earlier is None else [update for update in earlier.updates if update[0] > through]
        self._put(document, _Document(snapshot, through, updates))

    def _put(self, document: str, stored: _Document) -> None:
        earlier = self._documents.get(document)
        self._held_bytes += stored.size_bytes - (0 if earlier is None else earlier.size_bytes)
        self._documents[document] = stored
        self._documents.move_to_end(document)
        self._trim()

    def _trim(self) -> None:
        while self._held_bytes > self._limit_bytes and len(self._documents) > 1:
            _, stored = self._documents.popitem(last=False)
            self._held_bytes -= stored.size_bytes
