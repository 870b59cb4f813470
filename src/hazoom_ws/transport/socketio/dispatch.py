"""The way of a packet from the engine to its namespace, and of the answer back.

Does what python-socketio does with a CONNECT to one of our namespaces, with its events, and when a client leaves, in fewer
steps: it asks for no handlers of single events and logs no packets. Namespaces and handlers that an application adds are
served the library's way, but that an exception of theirs is logged and harms nobody else.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from socketio import packet
from socketio.exceptions import ConnectionRefusedError as RefusedError

from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.python_engineio_overrides import message_frame, text_message_frame
from hazoom_ws.transport.engineio.session import MalformedPacket
from hazoom_ws.transport.socketio.binary_parts import IncompletePackets, split
from hazoom_ws.transport.socketio.fan_out import Client, FanOut
from hazoom_ws.transport.socketio.packet import ClientEvent, Packet, Problem, encoded, utf8_bytes
from hazoom_ws.transport.socketio.python_socketio_overrides import Library

logger = logging.getLogger(__name__)

_NO_ENVIRON: dict[str, Any] = {}  # shared by all sessions
_UNABLE = "Unable to connect"  # which `Packet` says in the words of the reference server
_RESERVED_EVENTS = frozenset({"connect", "disconnect"})  # those that the library itself tells a namespace


class Deferred:
    """What a handler of ours returns whose answer comes later: ``start(send)`` goes on, and has ``send`` called with it."""

    __slots__ = ("start",)

    def __init__(self, start: Callable[[Callable[[Any], None]], None]) -> None:
        self.start = start


class Account(Protocol):
    """What counts for one session until it ends, whatever namespaces it enters and leaves."""

    is_limited: bool  # else nothing has to be charged

    def charge(self, size_bytes: int, *, is_connect: bool, has_own_rate: bool) -> Problem | None:
        """Count a packet that has come, a CONNECT or another; return why it is refused if that is too much.

        ``has_own_rate``: who handles its event counts it too.
        """


class Dispatcher:
    """The engine's handler of sessions and messages, for a `socketio.Server` that has no namespaces yet.

    A namespace with a method ``accept_client(client, account, auth, accept)`` is ours. That lets a client in by calling
    ``accept(**said)``, which returns a function of one argument that answers the client; or it raises `RefusedError`.
    """

    def __init__(
        self,
        server: Any,
        engine: Engine,
        fan_out: FanOut,
        *,
        reply: Callable[[Callable[[Any], None], Any], None],
        environ: Mapping[str, Any],
        open_account: Callable[[str, Mapping[str, Any]], Account],
        close_account: Callable[[str, str], None],
        admit: Callable[[Any, object, Callable[[Any], None]], None],
        admits_in_turns: bool,
        paced: Mapping[str, tuple[str, ...]],
    ) -> None:
        """``reply(send, argument)`` calls ``send`` with what a handler returned, now or when it may be told.

        ``environ``: what others' handlers find in their WSGI environment where the client's request says nothing.
        ``open_account`` makes the account of a new session from its id and its request, in the keys of WSGI;
        ``close_account`` is told that it has ended, and why. ``admit(account, auth, then)`` calls ``then``, now or later in
        a turn, with what refuses a client (the argument of a CONNECT_ERROR), or None; ``auth`` is a `Problem` where it
        cannot be what it is. ``admits_in_turns``: it always does so within one, in which nothing of others may run.
        ``paced``: by namespace the names of events that have rates of their own.
        """
        self._engine = engine
        self._fan_out = fan_out
        self._reply = reply
        self._environ = environ
        self._open_account = open_account
        self._close_account = close_account
        self._admit = admit
        self._admits_in_turns = admits_in_turns
        self._accounts: dict[str, Account] = {}
        # As the official clients write them; written otherwise they count like any other event.
        self._paced = {name: tuple(f'["{event}",' for event in events) for name, events in paced.items()}
        self._incomplete_packets = IncompletePackets(engine)
        self._incomplete = self._incomplete_packets.by_session
        self._packet_type: type[Packet] = server.packet_class
        self._library = Library(
            server,
            close=self.close,
            leave=self.leave,
            disconnect=self.disconnect,
        )
        self._ours = self._library.namespaces.ours
        self._find_ours = self._library.namespaces.find_ours
        engine.on("connect", self.open)
        engine.on("message", self.receive)
        engine.on("disconnect", self.close)

    # A session

    def open(self, eio_sid: str, environ: Mapping[str, Any]) -> None:
        """Note a new session, and what its request said if there is anybody who may ask for that: it takes memory."""
        kept = _NO_ENVIRON
        if self._library.has_others:
            texts = {name: value for name, value in environ.items() if isinstance(value, str)}  # no sockets, no streams
            kept = {**self._environ, **texts}
        self.begin(eio_sid, environ)
        self._library.open(eio_sid, kept)

    def begin(self, eio_sid: str, environ: Mapping[str, Any]) -> None:
        """Open the account of a session, unless it has one."""
        if eio_sid not in self._accounts:
            self._accounts[eio_sid] = self._open_account(eio_sid, environ)

    def close(self, eio_sid: str, reason: str) -> None:
        """Dismiss the client of a session that has ended from all its namespaces."""
        environ = self._library.environ.get(eio_sid, _NO_ENVIRON)
        self._incomplete_packets.drop(eio_sid)
        for name in self._fan_out.namespaces_of(eio_sid):
            self.leave(eio_sid, name, reason)
        self._library.environ.pop(eio_sid, None)
        self._accounts.pop(eio_sid, None)
        self._close_account(eio_sid, reason)
        environ.pop("werkzeug.request", None)  # it refers back: parted, both are freed at once

    def receive(self, eio_sid: str, data: str | bytes) -> None:
        """Act on one Socket.IO packet, or on the last part of one. Raises `MalformedPacket`."""
        account = self._accounts.get(eio_sid)
        if account is None:
            return  # it has ended
        if eio_sid in self._incomplete or not isinstance(data, str):
            whole = self._incomplete_packets.add(eio_sid, data)
            if whole is not None:
                whole.packet.parts = whole.parts
                self._handle(eio_sid, account, whole.packet, whole.body, whole.size_bytes)
            return
        received = self._packet_type()
        body = received.read_header(data)
        size_bytes = utf8_bytes(data) if account.is_limited or received.part_count else 0
        if received.part_count:
            protocol = self._protocol_of(eio_sid, received.namespace)
            limit_bytes = 0 if protocol is None else protocol.part_limit_bytes
            self._incomplete_packets.begin(eio_sid, received, body, size_bytes, limit_bytes)
        else:
            self._handle(eio_sid, account, received, body, size_bytes)

    def _handle(self, eio_sid: str, account: Account, received: Packet, body: str, size_bytes: int) -> None:
        """Act on a packet of so many bytes that has all its parts, and of which ``body`` is to be read."""
        problem = None
        is_uncounted = received.part_count and self._protocol_of(eio_sid, received.namespace) is not None
        if account.is_limited and not is_uncounted:
            problem = account.charge(
                size_bytes,
                is_connect=received.packet_type == packet.CONNECT,
                has_own_rate=body.startswith(self._paced.get(received.namespace or "/", ())),
            )
        if problem is None:
            received.read_body(body)
        else:
            received.refuse(body, problem)
        if received.packet_type != packet.EVENT:
            self._handle_other(eio_sid, account, received)
            return
        client = self._fan_out.client_of(eio_sid, received.namespace or "/")
        if client is None or not client.is_connected:
            return  # it has left, or has not been let in
        event = received.data[0]
        handler = self._find_ours(client.namespace)
        if handler is None:
            self._tell_others(client, event, received)
            return
        reply = handler.trigger_event(event, client.sid, *received.data[1:])
        if received.id is not None:
            acknowledge = self._acknowledge if client.namespace in self._ours else self._acknowledge_with
            send = partial(acknowledge, client, received.namespace, received.id)
            if type(reply) is Deferred:
                reply.start(send)
            else:
                self._reply(send, reply)

    def serve_protocols(self, by_name: Mapping[str, Any], by_prefix: Mapping[str, Any]) -> None:
        """Let namespaces be handled as other projects' protocols say: those of a name, or whose names begin with something.

        A handler is like a namespace of ours, but that acknowledgements are lists of arguments. It has a
        ``part_limit_bytes``: of a packet with its binary parts, from a WebSocket. Such a packet counts for no rate, which
        is for the handler to bound; all else does.
        """
        self._library.namespaces.protocols.update(by_name)
        self._library.namespaces.protocols_by_prefix.update(by_prefix)

    def _protocol_of(self, eio_sid: str, name: str | None) -> Any:
        """Return what handles a protocol's namespace that a session has a client in, None for any other one."""
        if name is None or name in self._ours or self._fan_out.client_of(eio_sid, name) is None:
            return None
        return self._find_ours(name)

    def _handle_other(self, eio_sid: str, account: Account, received: Packet) -> None:
        """Act on a packet that is no event."""
        if received.packet_type == packet.CONNECT:
            name, auth = received.namespace or "/", received.data
            self._admit(account, auth, partial(self._connect_if_admitted, eio_sid, name, account, auth))
        elif received.packet_type == packet.ACK:
            self._handle_acknowledgement(eio_sid, received)
        else:
            self.leave(eio_sid, received.namespace, self._engine.reason.CLIENT_DISCONNECT)

    def _handle_acknowledgement(self, eio_sid: str, received: Packet) -> None:
        """Call back whom an application wanted to be called: we ask clients for no acknowledgement."""
        if not received.id:
            return  # under which the library keeps its count
        try:
            self._library.handle_acknowledgement(eio_sid, received.namespace, received.id, received.data)
        except Exception:
            logger.exception("an acknowledgement in the namespace %s failed", received.namespace)

    def _tell_others(self, client: Client, event: ClientEvent, received: Packet) -> None:
        """Have an event handled in a namespace that is not ours. Raises `MalformedPacket`."""
        if event.problem is not None:
            raise MalformedPacket("its event may not be like that", str(event.problem()))
        if event in _RESERVED_EVENTS:
            raise MalformedPacket("no client may send an event of that name", event)  # the reference server says so too
        try:
            self._library.handle_event(client.eio_sid, received.namespace, received.id, received.data)
        except Exception:
            logger.exception("event %.64r of the namespace %s failed", str(event), client.namespace)

    # Coming and going

    def _connect_if_admitted(self, eio_sid: str, name: str, account: Account, auth: object, refusal: Any) -> None:
        if self._accounts.get(eio_sid) is not account:
            return  # it has ended meanwhile
        if refusal is not None:
            self._refuse(eio_sid, name, refusal)
        elif self._admits_in_turns and self._find_ours(name) is None:
            self._library.start_task(self._connect, eio_sid, name, account, auth)  # a handler of others may wait
        else:
            self._connect(eio_sid, name, account, auth)

    def _connect(self, eio_sid: str, name: str, account: Account, auth: object) -> None:
        """Let a client into a namespace, or refuse it."""
        environ = self._library.environ.get(eio_sid, _NO_ENVIRON)
        self._connect_to(eio_sid, name, account, auth)
        if self._fan_out.recipient_of(eio_sid) is None:
            # It was closed in the middle, maybe before it could be known that it had come.
            self._library.environ[eio_sid] = environ
            self.close(eio_sid, self._engine.reason.TRANSPORT_CLOSE)

    def _connect_to(self, eio_sid: str, name: str, account: Account, auth: object) -> None:
        ours = self._find_ours(name)
        if ours is not None:
            self._accept_ours(ours, eio_sid, name, account, auth)
        elif not self._library.environ.get(eio_sid):
            # There is none, or the first was added when the session was there: its handler could not ask whose it is.
            self._refuse(eio_sid, name, _UNABLE)
        else:
            self._connect_elsewhere(eio_sid, name, auth)

    def _accept_ours(self, ours: Any, eio_sid: str, name: str, account: Account, auth: object) -> None:
        client = self._fan_out.register(eio_sid, name)
        if client is None:
            self._refuse(eio_sid, name, _UNABLE)  # it is here already
            return
        try:
            ours.accept_client(client, account, auth or None, partial(self._accept, client))
        except RefusedError as refusal:
            self._refuse(eio_sid, name, refusal.error_args)
        finally:
            if not client.is_connected:
                self._fan_out.disconnect(client.sid, name)

    def _connect_elsewhere(self, eio_sid: str, name: str, auth: object) -> None:
        """Let a client into a namespace that is not ours, if its handler does."""
        try:
            self._library.connect(eio_sid, name, auth)
        except Exception:
            logger.exception("who connects to the namespace %s is refused", name)
            client = self._fan_out.client_of(eio_sid, name)
            if client is not None:
                self._refuse(eio_sid, name, RefusedError().error_args)
                self._fan_out.disconnect(client.sid, name)

    def _refuse(self, eio_sid: str, name: str, why: Any) -> None:
        self._library.send(eio_sid, Packet(packet.CONNECT_ERROR, why, name))

    def leave(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        """Dismiss a client from a namespace that it is in: whatever a handler raises, it is gone then."""
        name = namespace or "/"
        client = self._fan_out.client_of(eio_sid, name)
        with self._engine.lock:
            if client is None or not client.is_connected:
                return
            client.is_connected = False  # its handler may still ask who it was
        ours = self._find_ours(name)
        reason = reason or self._engine.reason.CLIENT_DISCONNECT
        try:
            if ours is not None:
                ours.trigger_event("disconnect", client.sid, reason)
            else:
                self._library.tell_left(name, client.sid, reason)
        except Exception:
            logger.exception("a client has left the namespace %s, whose handler failed", name)
        self._fan_out.disconnect(client.sid, name)

    def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:  # noqa: ARG002
        """Disconnect a client from a namespace, as `socketio.Server.disconnect` documents it."""
        name = namespace or "/"
        eio_sid = self._fan_out.eio_sid_from_sid(sid, name)
        if eio_sid is not None and self._fan_out.is_connected(sid, name):
            self._library.send(eio_sid, Packet(packet.DISCONNECT, namespace=name))
            self.leave(eio_sid, name, self._engine.reason.SERVER_DISCONNECT)

    def _accept(self, client: Client, **said: Any) -> Callable[[Any], None]:
        """Let a client in; what is returned answers its CONNECT with its sid and what else is ``said``."""
        self._fan_out.connect(client.sid, client.namespace)
        answer = text_message_frame(encoded(packet.CONNECT, client.namespace, None, {"sid": client.sid, **said}))
        return lambda _: self._engine.outlet.push(client.recipient, answer)

    def _acknowledge(self, client: Client, namespace: str | None, identifier: int, argument: Any) -> None:
        self._acknowledge_with(client, namespace, identifier, [] if argument is None else [argument])

    def _acknowledge_with(self, client: Client, namespace: str | None, identifier: int, arguments: list[Any]) -> None:
        arguments, parts = split(arguments)
        answer = text_message_frame(encoded(packet.ACK, namespace, identifier, arguments, len(parts)))
        self._engine.outlet.push(client.recipient, answer + message_frame(list(parts)) if parts else answer)
