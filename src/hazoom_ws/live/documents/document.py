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
_DEFECTS = ("PanicException",)  # of the engine in Rust, which is no `Exception`


class Document:
    """A document. ``waiting``: by number the updates that are kept and wait for others, without which they mean nothing."""

    def __init__(self) -> None:
        self._doc: Doc[Any] = Doc()
        changes: list[bytes] = []

        def note(event: TransactionEvent) -> None:
            changes.append(bytes(event.update))

        self._changes = changes
        self._subscription = self._doc.observe(note)  # a bound method would be kept for ever, and the document with it
        self.waiting: dict[int, bytes] = {}

    def merge(self, update: bytes) -> bool:
        """Merge an update; return whether that has changed anything. Raises `MalformedUpdate`, and then has merged none.

        False: all of it was known, or it `waits` for another.
        """
        with _readable():
            # The engine takes a few updates that others cannot read: what it says of one itself must be readable again.
            if merge_updates(merge_updates(update)) != merge_updates(update):
                raise MalformedUpdate("it changes when it is read again")
            self._changes.clear()
            self._doc.apply_update(update)
        return bool(self._changes)

    def waits(self, update: bytes) -> bool:
        """Return whether an update waits for another one: it inserts what is still not here after it was merged."""
        with _readable():
            return get_update(update, self._doc.get_state())[:1] != b"\x00"  # of so many clients there are insertions

    def forget_merged(self) -> None:
        """Forget of what was `waiting` that which has been merged by now."""
        self.waiting = {number: update for number, update in self.waiting.items() if self.waits(update)}

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

    def text(self, name: str) -> Text:
        """Return the shared text of a name. Raises `MalformedUpdate` if the name is that of something else."""
        with _readable():
            text: Text = self._doc.get(name, type=Text)
        return text

    @contextmanager
    def writing(self, origin: object = None) -> Iterator[list[bytes]]:
        """Let the block change the document; the list has the updates that this has made, afterwards."""
        self._changes.clear()
        updates: list[bytes] = []
        with self._doc.transaction(origin=origin):
            yield updates
        updates += self._changes

    def undo_manager(self, text: Text, origin: object) -> UndoManager:
        """Return what undoes all that is written to ``text`` with that origin."""
        manager = UndoManager(scopes=[text], capture_timeout_millis=2**31)
        manager.include_origin(origin)
        return manager

    def undo(self, manager: UndoManager) -> list[bytes]:
        """Undo what a manager has seen; return the updates of that."""
        self._changes.clear()
        while manager.can_undo():
            manager.undo()
        return list(self._changes)

    def close(self) -> None:
        """Let the memory go."""
        self._doc.unobserve(self._subscription)


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
