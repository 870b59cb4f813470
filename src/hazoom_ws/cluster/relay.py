"""What is relayed, between processes: each publishes for a room what has left there in a tick, if others are in it.

So it crosses as conflated as it leaves, and a room that only this process has members of costs nothing. Who gets it relays
it as if the client were its own (`live.relay`). A process whose first user comes into a room is told the newest values by
the others (`presence`).
"""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UNSET, Raw

from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.chat.rooms import Rooms
from hazoom_ws.live.relay import Item, Relay
from hazoom_ws.live.relay_room import Change, Elsewhere
from hazoom_ws.live.relayed_data import NOTHING
from hazoom_ws.message_log.peers import Heard, Peers

RELAYED = b"r"
# Of each item the user's id and name, its client, the channel, the key if there is one, the data, None for a key that is
# gone, and whether that is a binary part and not JSON.
_Packed = tuple[str, str, str, str, str | None, bytes | None, bool]
Items = list[_Packed]


class _Tick(msgspec.Struct, array_like=True):
    dropped_count: int
    items: Items


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Tick).decode


class RelayElsewhere:
    """Tells the others what is relayed here, and relays what they tell. Called within turns."""

    def __init__(self, peers: Peers, rooms: Rooms, relay: Relay) -> None:
        self._peers = peers
        self._rooms = rooms
        self._relay = relay
        relay.on_sent = self.sent

    def sent(self, room: str, changes: list[Change], dropped_count: int) -> None:
        """Tell the others what has left for a room in a tick."""
        if not self._rooms.is_elsewhere(room):
            return
        items = list(_packed(changes))
        is_own = len(items) == len(changes)  # else some of what was dropped may be theirs
        if items or (dropped_count and is_own):
            self._peers.publish(f"room:{room}", RELAYED, _pack(_Tick(dropped_count if is_own else 0, items)))

    def heard(self, heard: Heard) -> None:
        """Relay what has left on another process, if somebody is here."""
        room = heard.channel.removeprefix("room:")
        if self._rooms.is_held(room):
            tick = _unpack(heard.data)
            self._relay.hear(room, _items(heard.process, tick.items), tick.dropped_count)

    def values_here(self, room: str) -> Items:
        """Return the newest values in a room of who is here."""
        return list(_packed(self._relay.values_here(room)))

    def replace(self, room: str, process: str, items: Items) -> None:
        """Let these be all the newest values that another process has in a room."""
        self._relay.replace(room, process, _items(process, items))

    def forget(self, room: str) -> None:
        """Know nothing more of what the others have in a room: nobody here is in it."""
        self._relay.forget_elsewhere(name=room)

    def ended(self, process: str) -> None:
        """Take away what a process had."""
        self._relay.forget_elsewhere(process=process)


def _packed(changes: Iterable[Change]) -> Iterator[_Packed]:
    """Yield what is told of changes of this process' clients."""
    for change in changes:
        speaker, item = change.connection, change.item
        if isinstance(speaker, Connection):
            key = None if item.key is UNSET else item.key
            data = None if change.is_gone else bytes(item.data)
            yield (speaker.user.id, item.user, item.client, item.channel, key, data, isinstance(item.data, bytes))


def _items(process: str, items: Items) -> Iterator[Item]:
    for user_id, user_name, client, channel, key, data, is_binary in items:
        relayed = NOTHING if data is None else data if is_binary else Raw(data)
        yield (Elsewhere(process, client, User(user_id, user_name)), channel, UNSET if key is None else key, relayed)
