"""The documents of a log in Redis: how one is read."""

from collections.abc import Callable

from hazoom_ws.message_log.documents import StoredDocument
from hazoom_ws.message_log.pending_documents import PendingDocuments
from hazoom_ws.message_log.redis.store import Store
from hazoom_ws.message_log.state_cache import Numbers


class RedisDocuments(PendingDocuments):
    """What `Documents` promises, in Redis."""

    def __init__(self, store: Store, numbers: Numbers, check: Callable[[], None]) -> None:
        """``check()`` raises `LogUnavailable` if nothing can be kept or read at the moment. Also for threads."""
        super().__init__(numbers, check)
        self._store = store

    def read(self, document: str) -> StoredDocument | None:
        self._check()
        return self._store.read_document(document)
