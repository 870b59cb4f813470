"""One document in memory: a pycrdt `Doc`, and what is to be known about it before an update is passed on.

Nothing here waits, but merging and encoding take time with the size: about 3 ms for 1 MB. Who calls it decides where; one
thread at a time. An observed `Doc` is never freed: `close` ends that.

Source: https://docs.yjs.dev/api/document-updates.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pycrdt import Doc, Text, TransactionEvent, UndoManager, get_update, merge_updates

from hazoom_ws.live.documents.errors import MalformedUpdate

NOTHING = b"\x00\x00"  # an update that says nothing
WAITING_LIMIT_COUNT = 256  # each change tries them all again, which takes 2 us each
_DEFECTS = ("PanicException",)  # of the engine in Rust, which is no `Exception`


class Document:
    """A document. Updates that have come before what they need are remembered, and tried again."""

    def __init__(self) -> None:
        self._doc: Doc[Any] = Doc()
        changes: list[bytes] = []

        def note(event: TransactionEvent) -> None:
            changes.append(bytes(event.update))

        self._changes = changes
        self._subscription = self._doc.observe(note)  # a bound method would be kept for ever, and the document with it
        self._waiting: dict[int, bytes] = {}

    def merge(self, update: bytes) -> bool:
        """Merge an update; return whether that has changed anything. Raises `MalformedUpdate`, and then has merged none.

        False: all of it was known, or it waits for another one (`waits`, `wait`).
        """
        with _readable():
            # The engine takes a few updates that others cannot read: what it says of one itself must be readable again.
            said_again = merge_updates(update)
            if said_again != update and merge_updates(said_again) != said_again:
                raise MalformedUpdate("it changes when it is read again")
            has_changed = self._apply(update)
            if has_changed and self._waiting:
                self._try_waiting()
        return has_changed

    def waits(self, update: bytes) -> bool:
        """Return whether an update inserts what is still not here after it was merged, as it comes after something else."""
        if self._changes == [update]:
            return False  # it was merged just now, and was all news
        with _readable():
            return get_update(update, self._doc.get_state())[:1] != b"\x00"  # of so many clients there are insertions

    def wait(self, number: int, update: bytes) -> None:
        """Let an update that may wait for another one be tried again, whenever something has changed."""
        self._waiting[number] = update

    @property
    def waiting_count(self) -> int:
        """How many are tried again: at most `WAITING_LIMIT_COUNT` are to be."""
        return len(self._waiting)

    def waiting(self) -> dict[int, bytes]:
        """Return by number what is not in a `snapshot`, as it waits for another one; the others are not tried again."""
        self._waiting = {number: update for number, update in self._waiting.items() if self.waits(update)}
        return dict(self._waiting)

    def _apply(self, update: bytes) -> bool:
        self._changes.clear()
        self._doc.apply_update(update)
        return bool(self._changes)

    def _try_waiting(self) -> None:
        """Merge what waits, as often as that changes something: the engine forgets some of what has come too early."""
        has_changed = True
        while has_changed:
            has_changed = False
            for number, update in list(self._waiting.items()):
                if self._apply(update):
                    has_changed = True
                    if not self.waits(update):
                        del self._waiting[number]

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
