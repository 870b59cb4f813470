"""What one room has relayed: what has not left yet, and the newest value of each key. Pure bookkeeping.

Every item is a change and has its number. What waits is in the order of changes, and so are the newest values: whoever has
got everything up to some change is told what is newer by walking the values from there. So nobody has a queue, and a
reader that is slow costs one number.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from msgspec import UNSET, Raw, UnsetType

from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.errors import NoRoomForKeys
from hazoom_ws.events.live import RelayItem
from hazoom_ws.live.relayed_data import NOTHING

KEYS_LIMIT_COUNT = 64  # of one client in one room
KEYS_LIMIT_BYTES = 131_072  # of their values: who comes gets them all
ROOM_LIMIT_BYTES = 1_048_576  # of the values of all clients
LOOSE_LIMIT_COUNT = 256  # items without a key that wait, of a room
LOOSE_LIMIT_BYTES = 262_144
CHUNK_BYTES = 262_144  # of what leaves at once
NEVER = -1  # the change up to which somebody knows who knows nothing
_GONE_LIMIT_COUNT = 1024  # keys that are gone, and of which somebody who is slow has not heard
_ITEM_BYTES = 100  # of an item beside its texts


class Elsewhere(NamedTuple):
    """A client of another process. ``client``: the public id of its connection."""

    process: str
    client: str
    user: User


Speaker = Connection | Elsewhere
Key = tuple[Speaker, str, str]  # who, channel, key


class Change:
    """An item and its number. ``is_gone``: its key is there no more."""

    __slots__ = ("connection", "is_gone", "item", "number", "size_bytes")

    def __init__(self, number: int, connection: Speaker, item: RelayItem, *, is_gone: bool) -> None:
        self.number = number
        self.connection = connection
        self.item = item
        self.is_gone = is_gone
        key_chars = 0 if item.key is UNSET else len(item.key)
        self.size_bytes = len(memoryview(item.data)) + len(item.channel) + key_chars + len(item.user) + _ITEM_BYTES


class Holding:
    """The keys of one client in one room, and the bytes of their values."""

    __slots__ = ("keys", "size_bytes")

    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}
        self.size_bytes = 0


class RelayRoom:
    """One room. ``behind``: who is slow, with the change up to which it knows everything; the others know up to ``sent``.

    ``dropped_count``: items without a key that had to go since `take`.
    """

    __slots__ = (
        "_changes_count",
        "_gone",
        "_holdings",
        "_loose",
        "_loose_bytes",
        "_newest",
        "_waiting",
        "behind",
        "dropped_count",
        "name",
        "sent",
        "size_bytes",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.behind: dict[Connection, int] = {}
        self.sent = 0
        self.dropped_count = 0
        self.size_bytes = 0  # of the newest values
        self._changes_count = 0
        self._waiting: dict[Key | int, Change] = {}
        self._newest: dict[Key, Change] = {}  # those that are gone as well, while somebody has to hear of it
        self._gone: dict[Key, None] = {}
        self._holdings: dict[Speaker, Holding] = {}
        self._loose: deque[Change] = deque()
        self._loose_bytes = 0

    @property
    def is_waiting(self) -> bool:
        """Whether anything has not left yet."""
        return bool(self._waiting or self.dropped_count)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held here."""
        return not (self._waiting or self._newest or self.behind or self.dropped_count)

    @property
    def has_values(self) -> bool:
        return bool(self._holdings)

    # What comes

    def put(self, connection: Speaker, channel: str, key: str | UnsetType, data: Raw | bytes) -> None:
        """Let an item wait; with a key in the place of the one before. Raises `NoRoomForKeys`."""
        item = RelayItem(user=connection.user.name, client=connection.client, channel=channel, key=key, data=data)
        if key is UNSET:
            self._put_loose(connection, item)
            return
        place = (connection, channel, key)
        holding = self._holdings.get(connection)
        is_there = holding is not None and place in holding.keys
        if data is NOTHING:
            if is_there:
                self._remove(place)
            return
        change = Change(self._changes_count + 1, connection, item, is_gone=False)
        before = self._newest[place] if is_there else None
        grown_bytes = change.size_bytes - (before.size_bytes if before else 0)
        if holding is None:
            holding = Holding()
        if not is_there and len(holding.keys) >= KEYS_LIMIT_COUNT:
            raise NoRoomForKeys("you have", KEYS_LIMIT_COUNT, "keys")
        if holding.size_bytes + grown_bytes > KEYS_LIMIT_BYTES:
            raise NoRoomForKeys("your keys have", KEYS_LIMIT_BYTES, "bytes")
        if self.size_bytes + grown_bytes > ROOM_LIMIT_BYTES:
            raise NoRoomForKeys("the keys of all have", ROOM_LIMIT_BYTES, "bytes")
        self._holdings[connection] = holding
        holding.keys[place] = None
        holding.size_bytes += grown_bytes
        self.size_bytes += grown_bytes
        self._gone.pop(place, None)
        self._note(place, change)

    def remove_all(self, connection: Speaker) -> None:
        """Take the keys away of a client that goes, and forget what it has not been told."""
        if isinstance(connection, Connection):
            self.behind.pop(connection, None)
        holding = self._holdings.get(connection)
        for place in list(holding.keys) if holding else ():
            self._remove(place)

    def values_of(self, is_meant: Callable[[Speaker], bool]) -> dict[Key, Change]:
        """Return the newest values of some who speak here."""
        return {
            place: self._newest[place]
            for speaker, holding in self._holdings.items()
            if is_meant(speaker)
            for place in holding.keys
        }

    def _remove(self, place: Key) -> None:
        connection, channel, key = place
        holding = self._holdings[connection]
        size_bytes = self._newest[place].size_bytes
        del holding.keys[place]
        holding.size_bytes -= size_bytes
        self.size_bytes -= size_bytes
        if not holding.keys:
            del self._holdings[connection]
        item = RelayItem(user=connection.user.name, client=connection.client, channel=channel, key=key, data=NOTHING)
        self._gone[place] = None
        self._note(place, Change(self._changes_count + 1, connection, item, is_gone=True))

    def _note(self, place: Key, change: Change) -> None:
        self._changes_count += 1
        self._newest.pop(place, None)  # so that it comes to the end
        self._newest[place] = change
        self._waiting.pop(place, None)
        self._waiting[place] = change

    def _put_loose(self, connection: Speaker, item: RelayItem) -> None:
        self._changes_count += 1
        change = Change(self._changes_count, connection, item, is_gone=False)
        self._waiting[change.number] = change
        self._loose.append(change)
        self._loose_bytes += change.size_bytes
        while len(self._loose) > LOOSE_LIMIT_COUNT or self._loose_bytes > LOOSE_LIMIT_BYTES:
            del self._waiting[self._pop_loose().number]
            self.dropped_count += 1

    def _pop_loose(self) -> Change:
        oldest = self._loose.popleft()
        self._loose_bytes -= oldest.size_bytes
        return oldest

    # What leaves

    def take(self) -> list[Change]:
        """Remove and return what waits, in order: as much as may leave at once. ``dropped_count`` begins anew."""
        self.dropped_count = 0
        taken = _chunk(self._waiting.values())
        if len(taken) == len(self._waiting):
            self._waiting.clear()
            self._loose.clear()
            self._loose_bytes = 0
        else:
            for change in taken:
                if change.item.key is UNSET:
                    del self._waiting[self._pop_loose().number]
                else:
                    del self._waiting[change.connection, change.item.channel, change.item.key]
        if taken:
            self.sent = taken[-1].number
        return taken

    def newer_than(self, known: int) -> tuple[list[Change], int]:
        """Return the newest values of what has changed after ``known``, as many as may leave at once, in order.

        And up to which change that is all: `sent` or more if nothing is left out.
        """
        newer = []
        for change in reversed(self._newest.values()):
            if change.number <= known:
                break
            if known != NEVER or not change.is_gone:
                newer.append(change)
        chunk = _chunk(reversed(newer))
        return chunk, max(self._changes_count, 0) if len(chunk) == len(newer) else chunk[-1].number

    def forget_gone(self) -> None:
        """Forget the keys that are gone, when everybody has heard of it, or if they are too many: call it after `take`.

        In that case who is behind knows nothing.
        """
        if not self._gone or (self.behind and len(self._gone) <= _GONE_LIMIT_COUNT):
            return
        self.behind = dict.fromkeys(self.behind, NEVER)
        for place in [place for place in self._gone if self._newest[place].number <= self.sent]:
            del self._gone[place], self._newest[place]


def _chunk(changes: Iterable[Change]) -> list[Change]:
    """Return the first ones, of `CHUNK_BYTES` or one that is larger."""
    return list(_first(changes))


def _first(changes: Iterable[Change]) -> Iterator[Change]:
    left_bytes = CHUNK_BYTES
    for change in changes:
        left_bytes -= change.size_bytes
        if left_bytes < 0:
            return
        yield change
