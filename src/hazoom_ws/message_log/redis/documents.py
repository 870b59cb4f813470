"""The documents of a log in Redis: how one is read."""

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

    def read(self, document: str) -> StoredDocument | None:
        return self._read(document)
