"""How a document is read, changed and kept: what is promised of that is said in `documents`. Called within turns."""

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol

from hazoom_ws.errors import HazoomError, LogUnavailable, TooLarge
from hazoom_ws.live.documents.document import NOTHING, WAITING_LIMIT_BYTES, WAITING_LIMIT_COUNT, Document
from hazoom_ws.live.documents.errors import MalformedUpdate
from hazoom_ws.live.documents.merging import Merged, bytes_of, merge, merge_kept
from hazoom_ws.live.documents.open_document import OpenDocument, State
from hazoom_ws.live.documents.others import CLOSED, OPENED, SNAPSHOT, Others
from hazoom_ws.live.documents.reading import ReadAgain, Readings, RunBeside, load, note_stored, read_again
from hazoom_ws.message_log.contract import REVOKED
from hazoom_ws.message_log.documents import Documents as Store
from hazoom_ws.message_log.documents import DocumentUpdate, StoredDocument

logger = logging.getLogger(__name__)

SYNC_UPDATE = "sync-update"
_HEAVY_BYTES = 262_144  # takes a thread: it may be a millisecond
_HEAVY_UPDATE_BYTES = 32_768  # the same, to merge: it may be 8,000 insertions
_COMPACTED_FROM_BYTES = 8192  # of updates since the snapshot; and from as much as that has


class Peer(Protocol):
    """A client that has a document open, until it leaves. Who calls this has queued what is sent to it."""

    def send(self, event: str, argument: bytes) -> None:
        """Send it an event."""

    def ask(self, event: str, argument: bytes, on_reply: Callable[[Any], None]) -> None:
        """Send it an event, and call ``on_reply`` in a turn with what it acknowledges that with."""

    def dismiss(self, error: HazoomError | None = None) -> None:
        """End its connection for good: it would do the same again. ``error``: what it is told before."""

    def close(self) -> None:
        """Close its connection in the way that makes it come back."""


Opened = OpenDocument[Any]


class Keeping:
    """Reads, changes and keeps the documents that are open."""

    def __init__(
        self,
        store: Store,
        *,
        queue: Callable[[Callable[[], None]], None],
        send_all: Callable[[Collection[Any], str, bytes], None],
        run_beside: RunBeside,
        document_limit_bytes: int,
        on_malformed: Callable[[Any, Opened, str], None],
        on_closed: Callable[[Opened], None],
        on_unread: Callable[[Opened], None],
        others: Others | None,
    ) -> None:
        """``on_malformed(peer, opened, why)`` is called for what a client has sent and cannot be read.

        ``on_closed(opened)`` is called for a document that is let go, ``on_unread(opened)`` for one to `read` later, as
        the log is not there. The rest is as in `Documents`.
        """
        self.open: dict[str, Opened] = {}
        self.is_ending = False  # nothing is done beside turns any more
        self._store = store
        self._losses_count = store.losses_count
        self.updates_total = 0  # that were given to the store
        self._queue = queue
        self._send_all = send_all
        self._run_beside = run_beside
        self._document_limit_bytes = document_limit_bytes
        self._on_malformed = on_malformed
        self._on_closed = on_closed
        self._on_unread = on_unread
        self._others = others
        self._settling: dict[str, Opened] = {}  # are closed, and not done with: see `_settle`
        self._readings = Readings(run_beside)

    # Opening and closing

    def opened(self, name: str) -> Opened:
        """Return the document of a name, which is read if it was not open; a closed one if too many are to be read."""
        opened = self.open.get(name)
        if opened is None:
            opened = self.open[name] = OpenDocument(name)
            if name not in self._settling:
                self.read(opened)
        return opened

    def save_lost(self) -> None:
        """Keep all that is open again, if the file that had it was lost; to be called now and then."""
        if self._losses_count != self._store.losses_count:
            self._losses_count = self._store.losses_count
            for opened in list(self.open.values()):
                opened.is_unsaved = True
                self._compact_if_due(opened)

    def close(self, opened: Opened) -> None:
        """Let go of a document; who has it open comes back to what is kept of it."""
        if not opened.is_open:
            return
        opened.close()
        del self.open[opened.name]
        if opened.unkept_count or opened.is_followed:
            self._settling[opened.name] = opened
        if opened.is_followed and self._others is not None:
            self._others.tell(opened.name, CLOSED, b"")
            if not self.is_ending:
                self._run_beside(partial(self._others.unfollow, opened.name), partial(self._on_unfollowed, opened))
        self._on_closed(opened)
        for peer in opened.peers:
            self._queue(peer.close)

    def read(self, opened: Opened) -> None:
        """Have a document read, when its turn comes. If too many wait it is closed at once."""
        read: Callable[[], Any] = partial(load, self._store, opened.name, self._others)
        take: Callable[[Opened, Any], None] = self._take
        if opened.is_read:
            read, take = partial(read_again, self._store, opened.name, opened.document), self._take_again
        if self._readings.add(opened, read, partial(self._on_loaded, opened, take)):
            opened.is_followed = self._others is not None
        else:
            self.close(opened)

    def _on_loaded(
        self, opened: Opened, take: Callable[[Opened, Any], None], loaded: object, error: BaseException | None
    ) -> None:
        if loaded is None:
            if isinstance(error, LogUnavailable) and opened.is_read:
                self._on_unread(opened)  # what is in memory may be all that there is of it
                return
            if not isinstance(error, LogUnavailable):
                logger.error("document %.64r was not read", opened.name, exc_info=error)
            self.close(opened)
            return
        opened.become(State.READY)
        take(opened, loaded)
        opened.go_on()
        self._compact_if_due(opened)

    def _take(self, opened: Opened, loaded: tuple[Document, StoredDocument | None]) -> None:
        """Let a document be what was read of it."""
        opened.document.close()
        opened.document, stored = loaded
        opened.is_read = True
        note_stored(opened, stored)
        if self._others is not None:
            self._others.tell(opened.name, OPENED, opened.awareness.ours())

    def _take_again(self, opened: Opened, found: ReadAgain) -> None:
        """Show what was missed, and keep again what is kept no more: a Redis that has died may have lost the end of it."""
        note_stored(opened, found.stored)
        self._show_heard(opened, found.changes)
        if found.lost is not None:
            logger.error("Redis had lost what was last written to document %.64r; it is kept again", opened.name)
            self.keep(opened, found.lost, None)

    # What clients say: jobs, each of which has the document to itself

    def say_difference(self, opened: Opened, peer: Peer, state_vector: bytes, reply: Callable[[bytes], None]) -> None:
        """Call ``reply`` with what is here and not at a client, when that may be told."""
        if peer not in opened.peers:
            return

        def send(difference: bytes) -> None:
            if opened.is_open:  # else there may be something in it that could not be kept
                reply(difference)

        self._use(
            opened,
            partial(opened.document.difference, state_vector),
            lambda difference: self._queue(partial(send, difference)),
            peer,
            size_bytes=opened.size_bytes,
        )

    def merge(self, opened: Opened, peer: Peer, update: bytes) -> None:
        """Merge an update of a client and keep it; who would make the document too large is ended."""
        if update == NOTHING:
            return
        if opened.size_bytes + len(update) > self._document_limit_bytes:
            self._use(opened, opened.document.snapshot, partial(self._merge_if_fits, opened, peer, update))
        else:
            self._merge_now(opened, peer, update)

    def _merge_if_fits(self, opened: Opened, peer: Peer, update: bytes, snapshot: bytes) -> None:
        """Merge an update if the document is smaller than it seemed."""
        size_bytes = len(snapshot) + len(update)
        if size_bytes > self._document_limit_bytes:
            self._queue(partial(peer.dismiss, TooLarge("document", self._document_limit_bytes, size_bytes, unit="bytes")))
        else:
            self._merge_now(opened, peer, update)

    def _merge_now(self, opened: Opened, peer: Peer, update: bytes) -> None:
        self._use(
            opened,
            partial(merge, opened.document, update),
            partial(self._keep_merged, opened, peer, update),
            peer,
            size_bytes=_HEAVY_BYTES if len(update) >= _HEAVY_UPDATE_BYTES else 0,
        )

    def _keep_merged(self, opened: Opened, peer: Peer, update: bytes, merged: Merged) -> None:
        """Keep what an update has changed, and the update itself if it waits for another one; else nothing was new."""
        for change in merged.changes:
            self.keep(opened, change, peer if merged.are_its_own else None)
        if not merged.waits:
            return
        waiting = opened.document.waiting()
        if len(waiting) >= WAITING_LIMIT_COUNT or bytes_of(waiting) + len(update) > WAITING_LIMIT_BYTES:
            why = f"more than {WAITING_LIMIT_COUNT} updates or {WAITING_LIMIT_BYTES:,} bytes wait for what has not come"
            self._on_malformed(peer, opened, why)
            self.close(opened)  # the engine has it too; who comes back says all that is missing
        elif (entry := self._add(opened, update)) is not None:
            opened.document.wait(entry)
            self._queue(partial(self._show, opened, entry, None, peer))

    def keep(self, opened: Opened, update: bytes, speaker: object) -> DocumentUpdate | None:
        """Keep an update that is merged, and show it to all but the ``speaker`` when it is kept.

        Return its entry, None if nothing can be kept: the document is closed then.
        """
        entry = self._add(opened, update)
        if entry is not None:
            self._queue(partial(self._show, opened, entry, update, speaker))
        return entry

    def _add(self, opened: Opened, update: bytes) -> DocumentUpdate | None:
        if not opened.is_open:
            return None
        self.save_lost()
        try:
            entry = self._store.add_update(opened.name, update)
        except LogUnavailable:
            self.close(opened)
            return None
        self.updates_total += 1
        opened.tail_bytes += len(update)
        opened.unkept_count += 1
        return entry

    def _show(self, opened: Opened, entry: DocumentUpdate, update: bytes | None, speaker: object) -> None:
        """Send an update that is kept to the others, None for what still waits; called when it is known whether it is."""
        opened.unkept_count -= 1
        if not opened.is_open:
            self._settle(opened)
            return
        if entry.seq == REVOKED:
            self.close(opened)
            return
        opened.last_seq = max(opened.last_seq, entry.seq)
        others = [peer for peer in opened.peers if peer is not speaker]
        if others and update is not None:
            self._send_all(others, SYNC_UPDATE, update)
        self._compact_if_due(opened)

    def _settle(self, closed: Opened) -> None:
        """Read a document again, if somebody waits for that: when all that it had said before is kept or not.

        Where other processes are heard, it is not heard any more either: who hears of it anew is not to be cut off by that.
        """
        if closed.unkept_count or closed.is_followed or self._settling.get(closed.name) is not closed:
            return
        del self._settling[closed.name]
        successor = self.open.get(closed.name)
        if successor is not None:
            self.read(successor)

    def _on_unfollowed(self, closed: Opened, _: object, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, LogUnavailable):  # then nothing is heard of anything
            logger.error("document %.64r may still be heard of", closed.name, exc_info=error)
        closed.is_followed = False
        self._settle(closed)

    # What other processes have kept

    def hear(self, name: str, seq: int, update: bytes, waiting_limit_bytes: int) -> None:
        """Merge an update that another process has kept, and show it."""
        opened = self.open.get(name)
        if opened is None or not opened.is_followed:
            return
        if opened.jobs_bytes + len(update) > waiting_limit_bytes:
            self.close(opened)  # who comes back reads it
            return
        opened.do(partial(self._merge_heard, opened, DocumentUpdate(seq, name, update)), len(update))

    def _merge_heard(self, opened: Opened, entry: DocumentUpdate) -> None:
        self._use(
            opened,
            partial(merge_kept, opened.document, entry),
            partial(self._note_heard, opened, entry),
            size_bytes=_HEAVY_BYTES if len(entry.data) >= _HEAVY_UPDATE_BYTES else 0,
        )

    def _note_heard(self, opened: Opened, entry: DocumentUpdate, changes: list[bytes]) -> None:
        opened.last_seq = max(opened.last_seq, entry.seq)
        opened.tail_bytes += len(entry.data)
        self._show_heard(opened, changes)

    def _show_heard(self, opened: Opened, changes: list[bytes]) -> None:
        """Send what others have kept. With it may come what has waited for it here, and is not kept yet."""

        def send() -> None:
            if opened.is_open and opened.peers:
                for change in changes:
                    self._send_all(list(opened.peers), SYNC_UPDATE, change)

        if changes:
            self._queue(send)

    def read_again(self) -> None:
        """Read all that is open again, before anything else is done to it: something may have been missed."""
        for opened in list(self.open.values()):
            opened.do(partial(self._begin_to_read_again, opened))

    def _begin_to_read_again(self, opened: Opened) -> None:
        opened.become(State.LOADING)
        self.read(opened)

    def note_snapshot(self, opened: Opened, size_bytes: int) -> None:
        """Note that another process has written a snapshot of a document, so that this one need not."""
        opened.snapshot_bytes, opened.tail_bytes = size_bytes, 0

    # Compaction

    def _compact_if_due(self, opened: Opened) -> None:
        """Let a snapshot replace what is kept of a document, when nothing is under way that would make it untrue.

        It says up to which number it has all that is kept. So nothing that was heard may wait to be merged, and nothing may
        be merged that is not known to be kept. If it cannot be done now, it is asked again after the next update.
        """
        if opened.state is not State.READY or opened.unkept_count or opened.jobs:
            return
        if opened.is_unsaved or opened.tail_bytes > max(_COMPACTED_FROM_BYTES, opened.snapshot_bytes):
            opened.do(partial(self._compact, opened))

    def _compact(self, opened: Opened) -> None:
        """Let a snapshot replace what is kept of a document, but for what waits for something."""
        waiting = opened.document.waiting()
        through = min((entry.seq for entry in waiting), default=opened.last_seq + 1) - 1
        then = partial(self._save, opened, through, bytes_of(waiting))
        self._use(opened, opened.document.snapshot, then, size_bytes=opened.size_bytes)

    def _save(self, opened: Opened, through: int, waiting_bytes: int, snapshot: bytes) -> None:
        self._store.save_snapshot(opened.name, snapshot, through)
        opened.is_unsaved = False
        opened.snapshot_bytes = len(snapshot)
        opened.tail_bytes = waiting_bytes
        if opened.others and self._others is not None:
            self._others.tell(opened.name, SNAPSHOT, b"%d" % len(snapshot))

    # Using the document, here or in a thread

    def _use(
        self,
        opened: Opened,
        function: Callable[[], Any],
        then: Callable[[Any], None],
        peer: Peer | None = None,
        *,
        size_bytes: int = _HEAVY_BYTES,
    ) -> None:
        """Call ``function`` with the document to itself, beside turns if there is much to do, and ``then`` with the result.

        ``peer``: whose fault it is if something cannot be read.
        """
        if size_bytes >= _HEAVY_BYTES:
            opened.become(State.BUSY)
            self._run_beside(function, partial(self._on_used, opened, then, peer))
            return
        try:
            result = function()
        except MalformedUpdate as error:
            if peer is None:
                raise
            self._on_malformed(peer, opened, str(error))
            return
        then(result)

    def _on_used(
        self, opened: Opened, then: Callable[[Any], None], peer: Peer | None, result: Any, error: BaseException | None
    ) -> None:
        if not opened.is_open:
            return
        opened.become(State.READY)
        if error is None:
            then(result)
        elif isinstance(error, MalformedUpdate) and peer is not None:
            self._on_malformed(peer, opened, str(error))
        else:
            logger.error("document %.64r is closed: something could not be done to it", opened.name, exc_info=error)
            self.close(opened)
            return
        opened.go_on()
        self._compact_if_due(opened)
