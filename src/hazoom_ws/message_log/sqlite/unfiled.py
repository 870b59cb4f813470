"""Which messages have left memory before they were filed: where nothing else says in which batch a room's messages are.

Under a load that never pauses messages are written much faster than they are filed, and what is written need not stay in
memory: 30 to 50 bytes do for a message. Rooms and ids are known by their hashes here, which nobody outside can foresee; who
finds a message compares what it reads.

Changed within turns only.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from msgspec import UNSET, UnsetType

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import ResentKey, resent_key

_PART_BITS = 14
_PART_PLACES = 1 << _PART_BITS
_SLOTS = 2 * _PART_PLACES  # so that there is always a free one, and mostly at once
_FEW = 2048


class _Offsets:
    """Where in a part is what has some hash: a dict of few, and of many a table, which takes a quarter of that."""

    __slots__ = ("_few", "_hashes", "_offsets")

    def __init__(self) -> None:
        self._few: dict[int, int] | None = {}
        self._hashes: array[int] = array("q")
        self._offsets: array[int] = array("H")

    def get(self, key: int) -> int | None:
        """Return what was put last under a key. Zero is none: it marks a free slot."""
        if self._few is not None:
            return self._few.get(key)
        hashes = self._hashes
        slot = key % _SLOTS
        while there := hashes[slot]:
            if there == key:
                return self._offsets[slot]
            slot = (slot + 1) % _SLOTS
        return None

    def put(self, key: int, offset: int) -> None:
        """Keep an offset; of a part there are so many at most."""
        if self._few is not None:
            self._few[key] = offset
            if len(self._few) > _FEW:
                few, self._few = self._few, None
                self._hashes, self._offsets = array("q", bytes(8 * _SLOTS)), array("H", bytes(2 * _SLOTS))
                for each, offset_of_it in few.items():
                    self.put(each, offset_of_it)
            return
        hashes = self._hashes
        slot = key % _SLOTS
        while (there := hashes[slot]) and there != key:
            slot = (slot + 1) % _SLOTS
        hashes[slot] = key
        self._offsets[slot] = offset


class _Part:
    """The messages of 16,384 numbers, which are forgotten together. Rooms that have one here are ``single``, others not."""

    __slots__ = ("client_ids", "rooms", "single")

    def __init__(self) -> None:
        self.single = _Offsets()
        self.rooms: dict[int, array[int]] = {}  # by the room's hash: the offsets of its messages, ascending
        self.client_ids = _Offsets()

    def add_first(self, room: int, offset: int) -> None:
        """Add a message of a room of which there are none yet, or a single one."""
        first = self.single.get(room)
        if first is None:
            self.single.put(room, offset)
        else:
            self.rooms[room] = array("H", (first, offset))

    def offsets_of(self, room: int) -> "array[int]":
        offsets = self.rooms.get(room)
        if offsets is not None:
            return offsets
        first = self.single.get(room)
        return array("H") if first is None else array("H", (first,))


class Unfiled:
    """``filed_seq``: up to here everything is filed, and nothing is known here."""

    def __init__(self) -> None:
        self.filed_seq = 0
        self._parts: dict[int, _Part] = {}

    def add(self, entry: NewMessage, sender: str | UnsetType = UNSET) -> None:
        """Remember a message that leaves memory: of its room the oldest one."""
        seq = entry.seq
        if seq <= self.filed_seq:
            return
        number = seq >> _PART_BITS
        part = self._parts.get(number)
        if part is None:
            part = self._parts[number] = _Part()
        offset = seq % _PART_PLACES
        key = _hash(entry.room)
        offsets = part.rooms.get(key)
        if offsets is None:
            part.add_first(key, offset)
        else:
            offsets.append(offset)
        if entry.client_id is not UNSET:
            part.client_ids.put(_hash(resent_key(entry.room, entry.user, entry.client_id, sender)), offset)

    def file(self, filed_seq: int) -> None:
        """Forget what is filed by now."""
        self.filed_seq = filed_seq
        for number in [number for number in self._parts if (number + 1) << _PART_BITS <= filed_seq]:
            del self._parts[number]

    def seqs_of(self, room: str, after: int, before: int, *, newest: bool) -> Iterator[int]:
        """Yield the numbers of a room's messages with ``after < seq < before``, from either end."""
        after = max(after, self.filed_seq)
        key = _hash(room)
        for number in sorted(self._parts, reverse=newest):
            base = number << _PART_BITS
            offsets = self._parts[number].offsets_of(key)
            found = offsets[bisect_right(offsets, after - base) : bisect_left(offsets, before - base)]
            yield from (base + offset for offset in (reversed(found) if newest else found))

    def find(self, key: ResentKey) -> int | None:
        """Return the number of a message by its `resent_key`, None if it is not known here."""
        if self._parts:
            hashed = _hash(key)
            for number, part in self._parts.items():
                offset = part.client_ids.get(hashed)
                if offset is not None and (number << _PART_BITS) + offset > self.filed_seq:
                    return (number << _PART_BITS) + offset
        return None


def _hash(value: str | ResentKey) -> int:
    """Return a hash that is not zero."""
    return hash(value) or 1
