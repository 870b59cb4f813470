"""What an application sends that is not kept, by its features and by ``emit``, to clients of other processes."""

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from hazoom_ws.access.shares import Shares
from hazoom_ws.chat.effects import Broadcast, Effect, Push
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import User
from hazoom_ws.cluster.news import News
from hazoom_ws.cluster.processes import EVERYBODY
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.message_log.peers import Heard, Peers

BROADCAST, PUSHED, EMITTED = b"v", b"p", b"x"


class Emit(msgspec.Struct, array_like=True):
    """An event that an application has emitted. ``to``: rooms and sids, None for everybody; ``skipped``: sids."""

    event: str
    arguments: bytes  # JSON, a list
    namespace: str
    to: list[str] | None
    skipped: list[str]


class _Sent(msgspec.Struct, array_like=True):
    """An event of a feature, to a user's connections, or to a room. ``user_id`` is "" then."""

    user_id: str
    event: str
    data: bytes  # JSON


_pack = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode
_unpack_sent = msgspec.msgpack.Decoder(_Sent).decode
_unpack_emit = msgspec.msgpack.Decoder(Emit).decode


class ApplicationElsewhere:
    """Tells other processes, and sends what they tell. Called within turns."""

    def __init__(
        self,
        peers: Peers,
        news: News,
        hub: Hub,
        users: Shares,
        *,
        decode: Callable[[str, bytes], ServerEvent | None],
        emit_here: Callable[[str, list[Any], str, list[str] | None, list[str]], None],
    ) -> None:
        """``decode(name, json)`` returns an event that a feature declares, None if none does.

        ``emit_here`` is `FromApplication.emit_here`.
        """
        self._peers = peers
        self._hub = hub
        self._deliver: Callable[[Effect], None] = hub.deliver
        self._users = users
        self._decode = decode
        self._emit_here = emit_here
        news.on |= {BROADCAST: self._heard_broadcast, PUSHED: self._heard_push, EMITTED: self._heard_emit}

    def broadcast(self, room: str, event: ServerEvent) -> None:
        """Send an event to who is in a room at other processes."""
        self._peers.publish(f"room:{room}", BROADCAST, _pack(_Sent("", event.event, _encode_json(event))))

    def push_user(self, user: User, event: ServerEvent) -> int:
        """Send an event to a user's connections at other processes; return how many there are."""
        self._peers.publish(EVERYBODY, PUSHED, _pack(_Sent(user.id, event.event, _encode_json(event))))
        return self._users.elsewhere_count(user.id)

    def emit(
        self, event: str, arguments: Collection[Any], namespace: str, to: Collection[str] | None, skipped: Collection[str]
    ) -> None:
        """Do the same as `FromApplication.emit` at other processes."""
        emit = Emit(event, _encode_json(list(arguments)), namespace, None if to is None else list(to), list(skipped))
        self._peers.publish(EVERYBODY, EMITTED, _pack(emit))

    def _heard_broadcast(self, heard: Heard) -> None:
        sent = _unpack_sent(heard.data)
        event = self._decode(sent.event, sent.data)
        if event is not None:
            self._deliver(Broadcast(heard.channel.removeprefix("room:"), event))

    def _heard_push(self, heard: Heard) -> None:
        sent = _unpack_sent(heard.data)
        connections = self._hub.connections_of(User(sent.user_id, ""))
        event = self._decode(sent.event, sent.data) if connections else None
        if event is not None:
            for connection in connections:
                self._deliver(Push(connection, event))

    def _heard_emit(self, heard: Heard) -> None:
        emit = _unpack_emit(heard.data)
        self._emit_here(emit.event, msgspec.json.decode(emit.arguments), emit.namespace, emit.to, emit.skipped)
