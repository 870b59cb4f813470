"""What a message log promises of documents: opaque updates, and snapshots that replace them. `contract` says the rest.

A document is a name, a snapshot or none, and the updates since. What they mean is known to who merges them; merging one
twice has to be harmless, and so has their order, as with Yjs. A document that nothing was added to does not exist.

Crashes. An update is kept with its batch, like a message: it may be shown to nobody before `MessageLog.write` has kept it.
If that fails, `MessageLog.forget` drops it: it is in no later `Documents.read`. Who holds a document in memory that it was
merged into has to read it anew (`REVOKED` tells).

Snapshots are no promise but a saving: one that is not written, because the process dies before, loses nothing. It and the
deletion of what it replaces are one transaction.

Lost files. When a log's file is lost and a new one begins, the documents of the old one are gone but for what is in
somebody's memory: the log itself holds none. ``losses_count`` has grown then, and who holds documents saves a snapshot of
each.

In memory alone (``memory://``) documents are bounded by their bytes together: the one that was written least lately goes
first, and as a whole, until what was written last is alone. Nobody is told: who has it open saves it whole with the next
snapshot.
"""

from typing import NamedTuple, Protocol

from msgspec import Struct

PENDING_LIMIT_BYTES = 268_435_456  # of updates that wait to be written: a row of SQLite has room for four times that


class DocumentUpdate(Struct, frozen=True, array_like=True, tag=2, gc=False):
    """An update, with its number in the order of messages, or `REVOKED`."""

    seq: int
    document: str
    data: bytes


class StoredDocument(NamedTuple):
    """What is kept of a document: merge the snapshot, if there is one, then the updates.

    ``through``: up to this number updates are in the snapshot, 0 without one. ``updates``: number and bytes, ascending;
    some may be in the snapshot too. ``is_damaged``: a part of it could not be read and is left out; it was logged. Clients
    that still have it bring it again when they synchronize.
    """

    snapshot: bytes | None
    through: int
    updates: list[tuple[int, bytes]]
    is_damaged: bool = False

    @property
    def updates_bytes(self) -> int:
        """How much there is that the next snapshot can replace."""
        return sum(len(data) for _, data in self.updates)


class Documents(Protocol):
    """The documents of a log; see the module."""

    @property
    def losses_count(self) -> int:
        """How often what was kept was lost since the process started; see the module."""

    def add_update(self, document: str, update: bytes) -> DocumentUpdate:
        """Keep an update with the next batch, which is pressing; return it with its number. Called within a turn.

        The bytes are not copied, so they must not change. Raises `LogUnavailable`, also while 256 MB wait to be written.
        """

    def read(self, document: str) -> StoredDocument | None:
        """Return all of a document that is kept by now; None if there is nothing. Raises `LogUnavailable`.

        May block, for as long as a document of 32 MB takes: call it beside turns, in any thread, several at a time.
        Whatever is written, filed or replaced by a snapshot meanwhile: each update that was kept before the call is in it.
        One that was added and is not kept yet may be missing: who opens a document merges what was added since it began to
        read as well, and does not let go of one before all that it added to it is kept or forgotten.
        """

    def save_snapshot(self, document: str, snapshot: bytes, through: int) -> None:
        """Let a snapshot replace all of a document up to the number ``through``. Called within a turn; returns at once.

        The snapshot has to hold the earlier one and all updates up to there. It is written beside turns, when it is calm or
        too much has gathered; of two for one document that wait, the newer one is. One with a lower number than the stored
        snapshot has replaces nothing. The bytes must not change.
        """
