"""Who is in which Socket.IO room, and how an event gets to all of them.

A `socketio.Manager` whose every operation costs what the client's own rooms cost, however many rooms and clients there
are, and whose broadcast is encoded and framed once: each recipient gets the same bytes. An event for a namespace or a room
without members costs nothing.

The stock manager walks all rooms of a namespace when a client leaves, and keeps a two-way dictionary for each room.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from typing import Any

import socketio
from socketio import packet

from hazoom_ws.transport.bounds.outbox import DroppableFrame
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.python_engineio_overrides import message_frame, text_message_frame
from hazoom_ws.transport.engineio.session import Recipient
from hazoom_ws.transport.socketio.event_frames import Event, framed_event, header_of_bytes
from hazoom_ws.transport.socketio.packet import encoded
from hazoom_ws.transport.websocket import frames

Rooms = str | list[str] | tuple[str, ...] | None  # None: the whole namespace


class Client:
    """One namespace of one connection. Until its connect handler accepts it, it is only in rooms that the handler chose."""

    __slots__ = ("eio_sid", "is_connected", "namespace", "recipient", "rooms", "sid")

    def __init__(self, sid: str, eio_sid: str, namespace: str, recipient: Recipient) -> None:
        self.sid = sid
        self.eio_sid = eio_sid
        self.namespace = namespace
        self.recipient = recipient
        self.rooms: dict[str, None] = {}
        self.is_connected = False


class FanOut(socketio.Manager):  # type: ignore[misc]
    """The ``client_manager`` of a `socketio.Server` with our `Engine` below. The server's threads take turns."""

    callbacks: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.rooms: dict[str, dict[str, dict[str, Recipient]]] = {}  # [namespace][room][sid]
        self._clients: dict[str, Client] = {}  # [sid]
        # Who is no session of the engine's, by the id that it says: nobody, unless somebody else lets them in.
        self.find_stranger: Callable[[str], Recipient | None] = lambda _: None
        self.on_entered: Callable[[str, str], None] | None = None  # told the session and the namespace of who was let in
        self._by_session: dict[str, dict[str, Client]] = {}  # [eio_sid][namespace]
        self._namespaces: Counter[str] = Counter()  # clients in each that has any
        self.deliveries_total = 0  # events to clients, each recipient counted; added to once for each event

    @cached_property
    def _engine(self) -> Engine:
        engine: Engine = self.server.eio
        return engine

    # Coming and going

    def get_namespaces(self) -> Collection[str]:
        return self._namespaces.keys()

    def recipient_of(self, eio_sid: str) -> Recipient | None:
        """Return to whom what is for a session is sent, None if it has ended."""
        return self._engine.sessions.get(eio_sid) or self.find_stranger(eio_sid)

    def register(self, eio_sid: str, namespace: str) -> Client | None:
        """Return a new client that is still to be accepted, None if it is here already."""
        engine = self._engine
        recipient = self.recipient_of(eio_sid)
        if recipient is None:
            return None  # it has ended meanwhile
        with engine.lock:  # clients come and go outside of turns
            clients = self._by_session.setdefault(eio_sid, {})
            if namespace in clients:
                return None
            sid = engine.generate_id()
            client = clients[namespace] = self._clients[sid] = Client(sid, eio_sid, namespace, recipient)
            self._namespaces[namespace] += 1
        return client

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        client = self.register(eio_sid, namespace)
        return None if client is None else client.sid

    def connect(self, sid: str, namespace: str) -> str:
        client = self._clients[sid]
        client.is_connected = True
        self._engine.joined(client.eio_sid)
        if self.on_entered is not None:
            self.on_entered(client.eio_sid, namespace)
        return sid

    def is_connected(self, sid: str, namespace: str) -> bool:
        client = self._clients.get(sid)
        return client is not None and client.is_connected and client.namespace == namespace

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        client = self._clients.get(sid)
        return client is not None and not client.is_connected

    def client_of(self, eio_sid: str, namespace: str) -> Client | None:
        """Return what a session is in a namespace, None if it is not there."""
        clients = self._by_session.get(eio_sid)
        return clients.get(namespace) if clients else None

    def namespaces_of(self, eio_sid: str) -> list[str]:
        """Return the namespaces in which a session has a client."""
        return list(self._by_session.get(eio_sid, ()))

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        client = self.client_of(eio_sid, namespace)
        return None if client is None else client.sid

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        client = self._clients.get(sid)
        return None if client is None else client.eio_sid

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Mark a client as leaving; its disconnect handler may still ask who it was."""
        client = self._clients.get(sid)
        if client is None:
            return None
        client.is_connected = False
        return client.eio_sid

    def disconnect(self, sid: str, namespace: str, **_: Any) -> None:
        with self._engine.lock:
            client = self._clients.pop(sid, None)
            if client is None:
                return
            for room in list(client.rooms):
                self._leave(client, room)
            self.callbacks.pop(sid, None)
            self._namespaces[client.namespace] -= 1
            if not self._namespaces[client.namespace]:
                del self._namespaces[client.namespace]
            clients = self._by_session[client.eio_sid]
            del clients[client.namespace]
            if not clients:
                del self._by_session[client.eio_sid]
        if not clients:
            self._engine.unjoined(client.eio_sid)

    def close(self, eio_sid: str) -> None:
        """Close a session, such that its client would come back."""
        self._engine.disconnect(eio_sid)

    def send_away(self, eio_sid: str) -> None:
        """Close a session, such that its client stays away: it is told so for each of its namespaces."""
        recipient = self.recipient_of(eio_sid)
        if recipient is not None:
            for namespace in self.namespaces_of(eio_sid):
                self._engine.outlet.push(recipient, text_message_frame(encoded(packet.DISCONNECT, namespace, None, None)))
            self._engine.disconnect(eio_sid)

    # Rooms

    def enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        """Add a client to a room. Raises ValueError for one that is not here."""
        client = self._clients.get(sid)
        if client is None or client.namespace != namespace:
            raise ValueError("sid is not connected to requested namespace")
        with self._engine.lock:
            client.rooms[room] = None
            self.rooms.setdefault(namespace, {}).setdefault(room, {})[sid] = client.recipient

    def leave_room(self, sid: str, namespace: str, room: str) -> None:
        client = self._clients.get(sid)
        with self._engine.lock:
            if client is not None and room in client.rooms:
                self._leave(client, room)

    def close_room(self, room: str, namespace: str) -> None:
        with self._engine.lock:
            for sid in list(self.rooms.get(namespace, {}).get(room, ())):
                self._leave(self._clients[sid], room)

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        client = self._clients.get(sid)
        return [] if client is None else [sid, *client.rooms]

    def get_participants(self, namespace: str, room: str | None) -> Iterator[tuple[str, str]]:
        """Yield (sid, eio_sid) of a room, of the one client that ``room`` names, or of the whole namespace."""
        for sid in list(self._recipients(namespace, room)):
            yield sid, self._clients[sid].eio_sid

    # Sending

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Rooms = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Rooms = None,
        only: Collection[str] | None = None,
        **_: Any,
    ) -> None:
        """Send an event to one client, a room, or a namespace, as `socketio.Server.emit` documents it.

        ``only``: to none but these sids, which are to be in there too.
        """
        room = to or room
        recipients = self._recipients(namespace, room)
        if skip_sid and recipients:
            skipped = {skip_sid} if isinstance(skip_sid, str) else skip_sid
            recipients = {sid: recipient for sid, recipient in list(recipients.items()) if sid not in skipped}
        if only is not None:
            recipients = {sid: recipient for sid, recipient in list(recipients.items()) if sid in only}
        if not recipients:
            return
        arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        if callback:  # each recipient's packet has an acknowledgement id of its own
            for sid, recipient in list(recipients.items()):
                identifier = self._generate_ack_id(sid, callback)
                self.deliveries_total += 1
                self._engine.outlet.push(recipient, self.frame_of(namespace, [event, *arguments], identifier))
            return
        self._broadcast(recipients.values(), self.frame_of(namespace, [event, *arguments]))

    def frame_of(self, namespace: str, data: list[Any], identifier: int | None = None) -> bytes:
        """Return the frame of an event, with those of its arguments that are bytes. Raises what encoding it raises."""
        return message_frame(self.server.packet_class(packet.EVENT, namespace=namespace, data=data, id=identifier).encode())

    def send(
        self,
        event: Event,
        namespace: str,
        to: str | tuple[str, ...],
        skip_sids: Collection[str | None] = (),
        *,
        offset: bytes = b"",
    ) -> None:
        """Send one of our events to a room, to several rooms or to one client, as `emit` does and quicker.

        ``offset``, if there is one, goes along as one more argument, where a client that can recover looks for it.
        """
        if isinstance(to, str):
            client = self._clients.get(to)
            if client is not None:
                if client.namespace == namespace:
                    self.deliveries_total += 1
                    self._engine.outlet.push(client.recipient, framed_event(namespace, event, offset))
                return
            to = (to,)
        rooms = self.rooms.get(namespace)
        if rooms is None:
            return
        framed = None
        for room in to:
            recipients = rooms.get(room)
            if skip_sids and recipients:
                recipients = {sid: recipient for sid, recipient in list(recipients.items()) if sid not in skip_sids}
            if recipients:
                framed = framed or framed_event(namespace, event, offset)
                self._broadcast(recipients.values(), framed)

    def send_bytes(self, clients: Iterable[Client], event: str, argument: bytes) -> None:
        """Send an event whose one argument is bytes to clients, be their namespaces called alike or not."""
        by_namespace: dict[str, list[Recipient]] = {}
        for client in clients:
            if client.is_connected:
                by_namespace.setdefault(client.namespace, []).append(client.recipient)
        for namespace, recipients in by_namespace.items():
            framed = header_of_bytes(namespace, event) + frames.frame(frames.BINARY, argument)
            self._broadcast(recipients, framed)

    def send_arguments(self, clients: Collection[Client], event: str, *arguments: Any, is_droppable: bool = False) -> None:
        """Send an event with any arguments, of which whole ones may be bytes, to clients of one namespace.

        ``is_droppable``: it may be lost where its reader is slow.
        """
        namespace = next(iter(clients)).namespace
        framed = self.frame_of(namespace, [event, *arguments])
        if is_droppable:
            framed = DroppableFrame(framed)
        self._broadcast([client.recipient for client in clients if client.is_connected], framed)

    def _broadcast(self, recipients: Collection[Recipient], framed: bytes) -> None:
        self.deliveries_total += len(recipients)
        self._engine.outlet.broadcast(recipients, framed)

    def has_taken_all(self, eio_sid: str) -> bool:
        """Return whether nothing waits to be sent to a session."""
        session = self._engine.sessions.get(eio_sid)
        return session is None or not (session.pending or session.backlog_bytes)

    def backlog_bytes(self, eio_sid: str) -> int:
        """Return the bytes that wait for a session, 0 if it has ended."""
        session = self._engine.sessions.get(eio_sid)
        return 0 if session is None else session.backlog_bytes

    def slow_in(self, namespace: str, room: str, limit_bytes: int) -> list[str]:
        """Return the sids of those in a room for whom as much as ``limit_bytes`` waits."""
        recipients = self.rooms.get(namespace, {}).get(room)
        if not recipients:
            return []
        return [sid for sid, recipient in list(recipients.items()) if recipient.backlog_bytes >= limit_bytes]

    def backlogs(self, namespace: str, to: str) -> Iterator[int]:
        """Yield the bytes that wait for each recipient of what is sent ``to`` a room or a client."""
        for recipient in list(self._recipients(namespace, to).values()):
            yield recipient.backlog_bytes

    def _recipients(self, namespace: str, room: Rooms) -> dict[str, Recipient]:
        if isinstance(room, list | tuple):
            return {sid: recipient for one in room for sid, recipient in list(self._recipients(namespace, one).items())}
        if room is None:
            return {
                client.sid: client.recipient
                for client in list(self._clients.values())
                if client.namespace == namespace and client.is_connected
            }
        client = self._clients.get(room)
        if client is not None and client.namespace == namespace:
            return {room: client.recipient}
        rooms = self.rooms.get(namespace)
        return rooms.get(room, {}) if rooms else {}

    def _leave(self, client: Client, room: str) -> None:
        del client.rooms[room]
        rooms = self.rooms[client.namespace]
        del rooms[room][client.sid]
        if not rooms[room]:
            del rooms[room]
            if not rooms:
                del self.rooms[client.namespace]
