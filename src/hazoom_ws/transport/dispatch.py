"""The way of a packet from the engine to its namespace, and of the answer back.

Does what python-socketio does with a CONNECT to one of our namespaces, and with its events, in fewer steps: it asks for no
handlers of single events and logs no packets. Everything else goes the library's way: other namespaces than ours, which an
application may add.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from socketio import packet
from socketio.exceptions import ConnectionRefusedError as RefusedError

from hazoom_ws.transport.engine import Engine, text_message_frame
from hazoom_ws.transport.fan_out import Client, FanOut
from hazoom_ws.transport.packet import Packet, encoded
from hazoom_ws.transport.session import MalformedPacket, Session

_NO_ENVIRON: dict[str, Any] = {}  # shared by all sessions
_RESERVED_EVENTS = frozenset({"connect", "disconnect"})  # the library's; the reference server takes them from no client


class Dispatcher:
    """The engine's message handler for a `socketio.Server`.

    A namespace with a method ``admit(client, auth, accept)`` is ours. That lets a client in by calling ``accept(**said)``,
    which returns a function of one argument that answers the client; or it raises `RefusedError`.
    """

    def __init__(
        self,
        server: Any,
        engine: Engine,
        fan_out: FanOut,
        *,
        reply: Callable[[Callable[[Any], None], Any], None] = lambda send, argument: send(argument),
        environ: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """``reply(send, argument)`` calls ``send`` with what a handler returned, now or when it may be told.

        ``environ``: what others' handlers find in their WSGI environment where the client's request says nothing.
        """
        self._server = server
        self._engine = engine
        self._fan_out = fan_out
        self._reply = reply
        self._environ = environ
        self._namespaces: dict[str, Any] = server.namespace_handlers
        self._ours: dict[str, Any] = {}  # of those that anybody has been in
        self._namespaces_count = 0  # when it was found out whether there are others
        self._has_others = False
        self._connect_elsewhere = server._handle_connect
        server._handle_connect = self.connect  # for clients that do not come through `take`, as test clients do

    def open(self, eio_sid: str, environ: Mapping[str, Any]) -> None:
        """Note a new session, and what its request said if there is anybody who may ask for that: it takes memory."""
        kept = _NO_ENVIRON
        if len(self._namespaces) != self._namespaces_count:
            self._namespaces_count = len(self._namespaces)
            self._has_others = not all(hasattr(namespace, "admit") for namespace in self._namespaces.values())
        if self._has_others or self._server.handlers:
            said = {name: value for name, value in environ.items() if isinstance(value, str)}  # no sockets, no streams
            kept = {**self._environ, **said}
        self._server._handle_eio_connect(eio_sid, kept)

    def take(self, eio_sid: str, data: str | bytes) -> None:
        """Act on one Socket.IO packet. Raises `MalformedPacket`."""
        received = Packet(encoded_packet=data)
        if received.packet_type == packet.CONNECT:
            self.connect(eio_sid, received.namespace, received.data)
            return
        if received.packet_type != packet.EVENT:
            self._server._handle_eio_message(eio_sid, data)
            return
        client = self._fan_out.client_of(eio_sid, received.namespace or "/")
        if client is None or not client.is_connected:
            return  # it has left, or has not been let in
        event = received.data[0]
        namespace = self._ours.get(client.namespace)
        if namespace is None:
            if event in _RESERVED_EVENTS or event.problem is not None:
                raise MalformedPacket(f"event {event:.64} cannot be like that")
            self._server._handle_eio_message(eio_sid, data)
            return
        reply = namespace.trigger_event(event, client.sid, *received.data[1:])
        if received.id is not None:
            self._reply(partial(self._acknowledge, client, received.namespace, received.id), reply)

    def connect(self, eio_sid: str, namespace: str | None, auth: object) -> None:
        """Let a client into a namespace, or refuse it."""
        name = namespace or "/"
        handler: Any = self._namespaces.get(name)
        admit: Any = getattr(handler, "admit", None)
        if admit is None and not self._server.environ.get(eio_sid):
            # It was opened when there were only ours: a handler that was added since could not ask who it is.
            self._server._send_packet(eio_sid, Packet(packet.CONNECT_ERROR, "Unable to connect", name))
            return
        client = None if admit is None else self._fan_out.register(eio_sid, name)
        if client is None:
            self._connect_elsewhere(eio_sid, namespace, auth)  # or it is here already, which is refused there
            return
        self._ours[name] = handler
        try:
            admit(client, auth or None, partial(self._accept, client))
        except RefusedError as refusal:
            self._server._send_packet(eio_sid, Packet(packet.CONNECT_ERROR, refusal.error_args, name))
            self._fan_out.disconnect(client.sid, name)
        if isinstance(client.recipient, Session) and not client.recipient.is_open:
            # It was closed in the middle, maybe before it could be known that it had come.
            self._server._handle_disconnect(eio_sid, name, self._engine.reason.TRANSPORT_CLOSE)

    def _accept(self, client: Client, **said: Any) -> Callable[[Any], None]:
        """Let a client in; what is returned answers its CONNECT with its sid and what else is ``said``."""
        self._fan_out.connect(client.sid, client.namespace)
        answer = text_message_frame(encoded(packet.CONNECT, client.namespace, None, {"sid": client.sid, **said}))
        return lambda _: self._engine.outlet.push(client.recipient, answer)

    def _acknowledge(self, client: Client, namespace: str | None, identifier: int, argument: Any) -> None:
        answer = encoded(packet.ACK, namespace, identifier, [] if argument is None else [argument])
        self._engine.outlet.push(client.recipient, text_message_frame(answer))
