"""The documents of a log in Redis: how one is read, and which snapshots are not to be written.

A snapshot says up to which number it has everything. A Redis that dies may lose what it had acknowledged last, and give
numbers again that are not above those; other processes may have used them for what the snapshot does not have. So what was
made before a connection to Redis ended is not written after it. Snapshots are made again when the document was read anew.
"""

from collections.abc import Callable

from hazoom_ws.message_log.documents import StoredDocument
from hazoom_ws.message_log.pending_documents import PendingDocuments
from hazoom_ws.message_log.state_cache import Numbers


class RedisDocuments(PendingDocuments):
    """What `Documents` promises, in Redis."""

    def __init__(self, read: Callable[[str], StoredDocument | None], numbers: Numbers, check: Callable[[], None]) -> None:
        """``read(document)`` asks Redis; ``check()`` raises `LogUnavailable` while it is away. In any thread."""
        super().__init__(numbers, check)
        self._read = read
        self._is_out_of_touch = False

    def read(self, document: str) -> StoredDocument | None:
        return self._read(document)

    def save_snapshot(self, document: str, snapshot: bytes, through: int) -> None:
        if not self._is_out_of_touch:
            super().save_snapshot(document, snapshot, through)

    def lose_touch(self) -> None:
        """Forget the snapshots that were to be written, and take no new ones before `go_on`. Beside turns."""
        self._is_out_of_touch = True
        self.snapshots.clear()

    def go_on(self) -> None:
        """Take snapshots again: turns know that something may have been missed. Within a turn."""
        self._is_out_of_touch = False
