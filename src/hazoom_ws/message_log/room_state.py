"""What a message log promises of the state of rooms: maps that rooms share. `contract` says the rest of its promises.

Order. A change gets its ``seq`` in the one order of all messages; several keys that are set at once share it. It is no
message: `MessageLog.read` does not show it, and it counts for none of a room's bounds.

Crashes. A change may be shown to nobody until `MessageLog.write` has kept the batch that holds it. It is kept whole, with
all else of its batch, or not at all: `MessageLog.forget` puts the earlier values back, each with its earlier ``seq``, and
the change that was returned has the ``seq`` `REVOKED`. So who tells anybody of a change, or of a state, looks when that is
sent: at the change, or by reading the state then.

What goes. Of each key there is the newest value only, in memory and in a file, until it is deleted; age and the bounds of
messages do not touch it. Of deleted keys each room remembers the last 1,000 at least, for 24 h: longer than anybody may be
away and recover. What is older than these is told by ``complete`` (`RoomState`). In memory alone (``memory://``) rooms are
bounded by their bytes together: the state of the room that was used least lately goes first, and as a whole.

Turns. All of it is called within a turn. A room that was not used lately is loaded from the file by the first call that
needs it: a few milliseconds for one of 1 MB. All but that is answered from memory, also while the log is unwell.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from msgspec import UNSET, Struct, UnsetType

DELETED_KEPT_COUNT = 1000  # keys per room
NO_CONDITIONS: Mapping[str, int] = MappingProxyType({})


class StateChange(Struct, frozen=True, array_like=True, tag=1):
    """What was set at once. ``values``: JSON text by key, None where it was deleted; a key that was not there is left out.

    ``client_id`` and ``sender`` as in `RoomStates.set`. ``timestamp``: seconds since the epoch.
    """

    seq: int
    room: str
    user: str
    timestamp: float
    values: dict[str, bytes | None]
    client_id: str | None = None
    sender: str | None = None


class StateValue(NamedTuple):
    """What a key has: JSON text, None if it was deleted; the change that set it, and the name of who did."""

    value: bytes | None
    seq: int
    user: str


class StateSize(NamedTuple):
    """How much a room's state has: keys that are there, and the bytes of these (in UTF-8) and of their values."""

    keys_count: int
    size_bytes: int


class RoomState(NamedTuple):
    """The state of a room, or what has changed in it.

    ``seq``: up to here it is; what to ask for next as ``since``. It is that of the room's newest change, or a higher one if
    what was deleted before that is forgotten.

    ``values``: by key, those that changed first come first; keys of one change follow each other, in any order, and have
    the same ``seq``.

    ``complete``: False if what was deleted after ``since`` is not known any more; then this is the whole state, and a key
    that is not in it is not there.
    """

    seq: int
    values: dict[str, StateValue]
    complete: bool


class RoomStates(Protocol):
    """The states of all rooms; see the module. Everything may raise `LogUnavailable`."""

    def set(
        self,
        room: str,
        values: Mapping[str, bytes | None],
        *,
        user: str,
        timestamp: float,
        client_id: str | UnsetType = UNSET,
        sender: str | UnsetType = UNSET,
        if_seq: Mapping[str, int] = NO_CONDITIONS,
    ) -> StateChange:
        """Set keys to values, JSON text each, or delete them (None), and return the change with its ``seq``.

        Nothing is checked here: what a key or a value may be, how much a room may have (`size`), whether it was sent before
        (`find_resent`). Deleting a key that is not there changes nothing, but for taking a number.

        ``client_id`` and ``sender`` are kept for `find_resent`, and never read back. ``if_seq``: as of `States.set`, for a
        log that others share: one of them may have set a key meanwhile, then the change is not kept.
        """

    def find_resent(self, room: str, user: str, client_id: str | UnsetType, sender: str | UnsetType = UNSET) -> int | None:
        """Return the ``seq`` of what ``sender`` set in ``room`` with this ``client_id``, None if there is nothing.

        Without a ``sender``: what was set for ``user`` without one. A file knows it for 24 h, memory of the last 20,000.
        They have nothing to do with the ``client_id`` of messages.
        """

    def get(self, room: str, key: str) -> StateValue | None:
        """Return what a key has; None if it is not there, be it deleted or not."""

    def size(self, room: str) -> StateSize:
        """Return how much a room has, without counting it."""

    def read(self, room: str, *, since: int | None = None) -> RoomState:
        """Return a room's state, or if there is a ``since`` which keys changed after it, deleted ones with the value None.

        It takes the time that its result is large. A ``since`` of 0 is who has seen nothing; one that this log has not
        reached yet, or from before it began, is none of its numbers: that is not ``complete``.
        """
