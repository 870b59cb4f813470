"""One document in memory: a pycrdt `Doc`, and what is to be known about it before an update is passed on.

Nothing here waits, but merging takes time with the insertions (0.7 us each), encoding with the size (2 ms for 1 MB). Who
calls it decides where; one thread at a time. The engine holds Python's lock meanwhile, so that a thread alone does not let
others have their turn: what says much is merged in pieces. An observed `Doc` is never freed: `close` ends that.

Source: https://docs.yjs.dev/api/document-updates.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pycrdt import Doc, Text, TransactionEvent, UndoManager, get_update, merge_updates

from hazoom_ws.live.documents.errors import MalformedUpdate
from hazoom_ws.live.documents.pieces import pieces
from hazoom_ws.message_log.documents import DocumentUpdate

NOTHING = b"\x00\x00"  # an update that says nothing
# What waits, of one document: each change tries it all again, which takes 3 us for each and 1 us for each insertion.
WAITING_LIMIT_COUNT, WAITING_LIMIT_BYTES = 64, 65_536
_DEFECTS = ("PanicException",)  # of the engine in Rust, which is no `Exception`


class Document:
    """A document. Updates that have come before what they need are remembered, and tried again."""

    def __init__(self) -> None:
        self._doc: Doc[Any] = Doc()
        changes: list[bytes] = []

        def note(event: TransactionEvent) -> None:
            update = bytes(event.update)
            if update != NOTHING:
                changes.append(update)

        self._changes = changes
        self._subscription = self._doc.observe(note)  # a bound method would be kept for ever, and the document with it
        self._waiting: list[DocumentUpdate] = []

    def merge(self, update: bytes) -> list[bytes]:
        """Merge an update; return what that has changed, as updates. Raises `MalformedUpdate`, and then has merged none.

        Among them is what has waited for it. They are the engine's own words: it reads more than Yjs in a browser does,
        which an update as it came could bring to a halt. Of many insertions some may be merged and others not read.

        None: all of it was known, or it waits for another one (`waits`, `wait`).
        """
        changes: list[bytes] = []
        try:
            for piece in pieces(update):
                with _readable():
                    changes += self._apply(piece)
        except MalformedUpdate:
            # The engine may still read the whole; and if not, what was merged is not taken back.
            changes += self._merged_whole(update, is_needed=not changes)
        if changes and self._waiting:
            with _readable():
                changes += self._try_waiting()
        return changes

    def _merged_whole(self, update: bytes, *, is_needed: bool) -> list[bytes]:
        try:
            with _readable():
                return self._apply(update)
        except MalformedUpdate:
            if is_needed:
                raise
            return []

    def waits(self, update: bytes) -> bool:
        """Return whether something of an update is not here after it was merged, as it comes before what it needs.

        Be it an insertion, or the deletion of what has not been inserted: a `snapshot` has neither.
        """
        with _readable():
            state_vector = self._doc.get_state()
            left = get_update(update, state_vector)  # insertions that are not here, and all its deletions
            if left[:1] != b"\x00":  # of so many clients there are insertions
                return True
            if left == NOTHING:
                return False
            deletions = self._doc.get_update(state_vector)
            return left != deletions and merge_updates(deletions, left) != merge_updates(deletions, NOTHING)

    def wait(self, update: DocumentUpdate) -> None:
        """Let an update that waits for another one be tried again, whenever something has changed."""
        if all(update.data != other.data for other in self._waiting):
            self._waiting.append(update)

    def waiting(self) -> list[DocumentUpdate]:
        """Return what is not in a `snapshot`, as it waits for another one: with its number, which it may get later."""
        return list(self._waiting)

    def _apply(self, update: bytes) -> list[bytes]:
        self._changes.clear()
        self._doc.apply_update(update)
        return list(self._changes)

    def _try_waiting(self) -> list[bytes]:
        """Merge what waits, as often as that changes something: the engine forgets some of what has come too early."""
        changes: list[bytes] = []
        has_changed = True
        while has_changed:
            has_changed = False
            still_waiting: list[DocumentUpdate] = []
            for update in self._waiting:
                found = self._apply(update.data)
                if found:
                    has_changed = True
                    changes += found
                if self.waits(update.data):
                    still_waiting.append(update)
            self._waiting = still_waiting
        return changes

    def state_vector(self) -> bytes:
        """Return what is here, for who is to say what else there is."""
        return bytes(self._doc.get_state())

    def difference(self, state_vector: bytes) -> bytes:
        """Return as an update what is here and not there. Raises `MalformedUpdate` for what is no state vector."""
        with _readable():
            return bytes(self._doc.get_update(state_vector))

    def snapshot(self) -> bytes:
        """Return all that is here, but for what waits, as one update."""
        return bytes(self._doc.get_update())

    def pen(self, text: str, origin: str) -> "Pen":
        """Return what writes to the end of the shared text of a name. ``origin``: like no other one's."""
        return Pen(self._doc, self._changes, text, origin)

    def text(self, name: str) -> str:
        """Return what the shared text of a name says."""
        return str(self._doc.get(name, type=Text))

    def close(self) -> None:
        """Let the memory go."""
        self._doc.unobserve(self._subscription)


class Pen:
    """Writes to the end of a shared text, whatever others write there."""

    def __init__(self, doc: "Doc[Any]", changes: list[bytes], name: str, origin: str) -> None:
        self._doc = doc
        self._changes = changes
        self._text = doc.get(name, type=Text)
        self._origin = origin
        self._undo = UndoManager(scopes=[self._text], capture_timeout_millis=2**31)
        self._undo.include_origin(origin)
        # Where editors show its cursor: as Yjs says the end of a text.
        self.position: dict[str, Any] = {"type": None, "tname": name, "item": None, "assoc": 0}

    def write(self, text: str) -> list[bytes]:
        """Write, and return the updates of that."""
        self._changes.clear()
        with self._doc.transaction(origin=self._origin):
            self._text += text
        return list(self._changes)

    def undo(self) -> list[bytes]:
        """Take back all that it has written, and return the updates of that."""
        self._changes.clear()
        while self._undo.can_undo():
            self._undo.undo()
        return list(self._changes)


@contextmanager
def _readable() -> Iterator[None]:
    """Raise `MalformedUpdate` for whatever the engine raises."""
    try:
        yield
    except MalformedUpdate:
        raise
    except Exception as error:
        raise MalformedUpdate(f"{type(error).__name__}: {error}"[:200]) from None
    except BaseException as error:
        if type(error).__name__ not in _DEFECTS:
            raise
        raise MalformedUpdate("a defect in the engine") from None
