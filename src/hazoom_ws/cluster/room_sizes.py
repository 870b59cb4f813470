"""Which rooms there are on other processes, and how many users are in them: for lists, which may be half a second old.

Each process that holds somebody in a room knows how many users are in it, by whichever process, and tells that when it has
changed; 0 when it holds nobody there any more. One that starts, or was away, is told all by everybody.
"""

from collections.abc import Callable

import msgspec

from hazoom_ws.chat.rooms import Rooms
from hazoom_ws.cluster.processes import EVERYBODY
from hazoom_ws.message_log.peers import Heard, Peers

SIZES = b"z"
INTERVAL_S = 0.5
LIMIT_COUNT = 20_000  # rooms of others that are listed: 128 characters each, and names are their clients' choice
_TOLD_AT_ONCE_COUNT = 1000
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[str, int]).decode


class RoomSizes:
    """Called within turns."""

    def __init__(self, peers: Peers, rooms: Rooms, *, wake: Callable[[], object], clock: Callable[[], float]) -> None:
        """``wake`` is called when `run_due` has something to do."""
        self._peers = peers
        self._rooms = rooms
        self._wake = wake
        self._clock = clock
        self._changed: dict[str, None] = {}
        self._due_at_s = clock()
        self._told: dict[str, int] = {}  # what the others know of this process' rooms
        self._elsewhere: dict[str, dict[str, int]] = {}  # by room, the size that each process has told last
        peers.on_back.append(self.tell_all)

    def changed(self, room: str) -> None:
        """Note that a room has another size."""
        self._changed[room] = None
        if len(self._changed) == 1:
            self._wake()

    def run_due(self) -> float | None:
        """Tell what has changed, if it is time; return the seconds until the next time, None if there is nothing."""
        if not self._changed:
            return None
        now_s = self._clock()
        if now_s >= self._due_at_s:
            self._due_at_s = now_s + INTERVAL_S
            changed, self._changed = self._changed, {}
            self._tell(EVERYBODY, {room: size for room in changed if (size := self._size(room)) != self._told.get(room, 0)})
            return None
        return self._due_at_s - now_s

    def tell_all(self, channel: str = EVERYBODY) -> None:
        """Tell the sizes of all rooms of this process."""
        self._tell(channel, {room: self._size(room) for room in self._rooms.names()}, is_all=True)

    def heard(self, heard: Heard) -> None:
        """Note what another process has told. An empty room name begins all that it has."""
        for room, size in _unpack(heard.data).items():
            if not room:
                self.gone(heard.process)
            else:
                self._set(room, heard.process, size)

    def gone(self, process: str) -> None:
        """Know of no rooms of a process."""
        for room in [room for room, sizes in self._elsewhere.items() if process in sizes]:
            self._set(room, process, 0)

    def _size(self, room: str) -> int:
        return self._rooms.user_count(room) if self._rooms.is_held(room) else 0

    def _tell(self, channel: str, sizes: dict[str, int], *, is_all: bool = False) -> None:
        told: list[tuple[str, int]] = [*([("", 0)] if is_all else []), *sizes.items()]
        for start in range(0, len(told), _TOLD_AT_ONCE_COUNT):
            self._peers.publish(channel, SIZES, _pack(dict(told[start : start + _TOLD_AT_ONCE_COUNT])))
        if is_all and channel == EVERYBODY:
            self._told.clear()
        for room, size in sizes.items():
            if size:
                self._told[room] = size
            else:
                self._told.pop(room, None)

    def _set(self, room: str, process: str, size: int) -> None:
        sizes = self._elsewhere.get(room)
        if sizes is None:
            if not size or len(self._elsewhere) >= LIMIT_COUNT:
                return
            sizes = self._elsewhere[room] = {}
        sizes.pop(process, None)
        if size:
            sizes[process] = size  # at the end, as it is the newest
        if not sizes:
            del self._elsewhere[room]
        self._rooms.set_size_elsewhere(room, next(reversed(sizes.values()), 0))
