"""How a document is read, changed and kept: what is promised of that is said in `documents`. Called within turns."""

import logging
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple, Protocol

from hazoom_ws.errors import HazoomError, LogUnavailable, TooLarge
from hazoom_ws.live.documents.document import NOTHING, WAITING_LIMIT_BYTES, WAITING_LIMIT_COUNT, Document
from hazoom_ws.live.documents.errors import MalformedUpdate
from hazoom_ws.live.documents.open_document import OpenDocument, State
from hazoom_ws.message_log.contract import REVOKED
from hazoom_ws.message_log.documents import Documents as Store
from hazoom_ws.message_log.documents import DocumentUpdate, StoredDocument

logger = logging.getLogger(__name__)

SYNC_UPDATE = "sync-update"
_HEAVY_BYTES = 262_144  # takes a thread: it may be a millisecond
_HEAVY_UPDATE_BYTES = 32_768  # the same, to merge: it may be 8,000 insertions
_READING_LIMIT_COUNT, _TO_READ_LIMIT_COUNT = 1, 500
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


class _Merged(NamedTuple):
    """What became of an update: the ``changes``, and whether something of it ``waits`` for what has not come."""

    changes: list[bytes]
    are_its_own: bool  # none of them has waited for it
    waits: bool


Opened = OpenDocument[Any]
RunBeside = Callable[[Callable[[], Any], Callable[[Any, BaseException | None], None]], None]


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
    ) -> None:
        """``on_malformed(peer, opened, why)`` is called for what a client has sent and cannot be read.

        ``on_closed(opened)`` is called for a document that is let go. The rest is as in `Documents`.
        """
        self.open: dict[str, Opened] = {}
        self._store = store
        self._losses_count = store.losses_count
        self.updates_total = 0  # that were given to the store
        self._queue = queue
        self._send_all = send_all
        self._run_beside = run_beside
        self._document_limit_bytes = document_limit_bytes
        self._on_malformed = on_malformed
        self._on_closed = on_closed
        self._settling: dict[str, Opened] = {}  # are closed, and something of them is not known to be kept
        self._to_read: deque[Opened] = deque()
        self._reading_count = 0

    # Opening and closing

    def opened(self, name: str) -> Opened:
        """Return the document of a name, which is read if it was not open; a closed one if too many are to be read."""
        opened = self.open.get(name)
        if opened is None:
            opened = self.open[name] = OpenDocument(name)
            if name not in self._settling:
                self._read(opened)
        return opened

    def save_lost(self) -> None:
        """Keep all that is open again, if the file that had it was lost; to be called now and then."""
        if self._losses_count != self._store.losses_count:
            self._losses_count = self._store.losses_count
            for opened in list(self.open.values()):
                opened.do(partial(self._compact, opened))

    def close(self, opened: Opened) -> None:
        """Let go of a document; who has it open comes back to what is kept of it."""
        if not opened.is_open:
            return
        opened.close()
        del self.open[opened.name]
        if opened.unkept_count:
            self._settling[opened.name] = opened
        self._on_closed(opened)
        for peer in opened.peers:
            self._queue(peer.close)

    def _read(self, opened: Opened) -> None:
        """Have a document read, when its turn comes: what is written for others shares the threads.

        If too many wait it is closed at once.
        """
        if len(self._to_read) >= _TO_READ_LIMIT_COUNT:
            self.close(opened)
            return
        self._to_read.append(opened)
        self._read_next()

    def _read_next(self) -> None:
        while self._to_read and self._reading_count < _READING_LIMIT_COUNT:
            opened = self._to_read.popleft()
            if opened.is_open:
                self._reading_count += 1
                self._run_beside(partial(_load, self._store, opened.name), partial(self._on_loaded, opened))

    def _on_loaded(
        self, opened: Opened, loaded: tuple[Document, StoredDocument | None] | None, error: BaseException | None
    ) -> None:
        self._reading_count -= 1
        self._read_next()
        if not opened.is_open:
            return
        if loaded is None:
            if not isinstance(error, LogUnavailable):
                logger.error("document %.64r was not read", opened.name, exc_info=error)
            self.close(opened)
            return
        opened.document.close()
        opened.document, stored = loaded
        if stored is not None:
            opened.snapshot_bytes = len(stored.snapshot or b"")
            opened.tail_bytes = stored.updates_bytes
            opened.last_seq = stored.updates[-1][0] if stored.updates else stored.through
        opened.become(State.READY)
        opened.go_on()
        self._compact_if_due(opened)

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
            partial(_merge, opened.document, update),
            partial(self._keep_merged, opened, peer, update),
            peer,
            size_bytes=_HEAVY_BYTES if len(update) >= _HEAVY_UPDATE_BYTES else 0,
        )

    def _keep_merged(self, opened: Opened, peer: Peer, update: bytes, merged: _Merged) -> None:
        """Keep what an update has changed, and the update itself if it waits for another one; else nothing was new."""
        for change in merged.changes:
            self.keep(opened, change, peer if merged.are_its_own else None)
        if not merged.waits:
            return
        waiting = opened.document.waiting()
        if len(waiting) >= WAITING_LIMIT_COUNT or sum(map(len, waiting.values())) + len(update) > WAITING_LIMIT_BYTES:
            why = f"more than {WAITING_LIMIT_COUNT} updates or {WAITING_LIMIT_BYTES:,} bytes wait for what has not come"
            self._on_malformed(peer, opened, why)
            self.close(opened)  # the engine has it too; who comes back says all that is missing
        elif (entry := self._add(opened, update)) is not None:
            opened.document.wait(entry.seq, update)
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
        opened.last_seq = entry.seq
        others = [peer for peer in opened.peers if peer is not speaker]
        if others and update is not None:
            self._send_all(others, SYNC_UPDATE, update)
        self._compact_if_due(opened)

    def _settle(self, closed: Opened) -> None:
        """Read a document again, if somebody waits for that, when all that it had said before is kept or not."""
        if closed.unkept_count == 0 and self._settling.get(closed.name) is closed:
            del self._settling[closed.name]
            successor = self.open.get(closed.name)
            if successor is not None:
                self._read(successor)

    # Compaction

    def _compact_if_due(self, opened: Opened) -> None:
        if opened.state is not State.READY or opened.unkept_count or opened.jobs:
            return  # it is asked again after the next update
        if opened.tail_bytes > max(_COMPACTED_FROM_BYTES, opened.snapshot_bytes):
            opened.do(partial(self._compact, opened))

    def _compact(self, opened: Opened) -> None:
        """Let a snapshot replace what is kept of a document, but for what waits for something."""
        waiting = opened.document.waiting()
        then = partial(self._save, opened, min(waiting, default=opened.last_seq + 1) - 1, sum(map(len, waiting.values())))
        self._use(opened, opened.document.snapshot, then, size_bytes=opened.size_bytes)

    def _save(self, opened: Opened, through: int, waiting_bytes: int, snapshot: bytes) -> None:
        self._store.save_snapshot(opened.name, snapshot, through)
        opened.snapshot_bytes = len(snapshot)
        opened.tail_bytes = waiting_bytes

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


def _merge(document: Document, update: bytes) -> _Merged:
    had_waiting = bool(document.waiting())
    changes = document.merge(update)
    if changes == [update]:  # as most do
        return _Merged(changes, are_its_own=True, waits=False)
    return _Merged(changes, are_its_own=not had_waiting, waits=document.waits(update))


def _load(store: Store, name: str) -> tuple[Document, StoredDocument | None]:
    """Read a document and merge what is kept of it; called beside turns."""
    stored = store.read(name)
    document = Document()
    if stored is None:
        return document, None
    if stored.snapshot is not None:
        _merge_kept(document, name, stored.snapshot)
    for number, update in stored.updates:
        _merge_kept(document, name, update)
        if document.waits(update):
            document.wait(number, update)
    return document, stored


def _merge_kept(document: Document, name: str, update: bytes) -> None:
    try:
        document.merge(update)
    except MalformedUpdate as error:
        logger.error("a part of document %.64r cannot be read and is left out: %s", name, error)
