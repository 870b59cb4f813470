"""The way of a packet from the engine to its namespace, and of the answer back.

Does what python-socketio does with a CONNECT to one of our namespaces, and with its events, in fewer steps: it asks for no
handlers of single events and logs no packets. Everything else goes the library's way, another's namespaces included.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from socketio import packet
from socketio.exceptions import ConnectionRefusedError as RefusedError

from hazoom_ws.transport.engine import Engine, text_message_frame
from hazoom_ws.transport.fan_out import Client, FanOut
from hazoom_ws.transport.packet import Packet, encoded
from hazoom_ws.transport.session import Session


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
    ) -> None:
        """``reply(send, argument)`` calls ``send`` with what a handler returned, now or when it may be told."""
        self._server = server
        self._engine = engine
        self._fan_out = fan_out
        self._reply = reply
        self._namespaces: dict[str, Any] = server.namespace_handlers
        self._connect_elsewhere = server._handle_connect
        server._handle_connect = self.connect  # for clients that do not come through `take`, as test clients do

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
        handler = self._namespaces.get(client.namespace)
        if handler is None:
            self._server._handle_eio_message(eio_sid, data)
            return
        reply = handler.trigger_event(received.data[0], client.sid, *received.data[1:])
        if received.id is not None:
            self._reply(partial(self._acknowledge, client, received.namespace, received.id), reply)

    def connect(self, eio_sid: str, namespace: str | None, auth: object) -> None:
        """Let a client into a namespace, or refuse it."""
        name = namespace or "/"
        admit: Any = getattr(self._namespaces.get(name), "admit", None)
        client = None if admit is None else self._fan_out.register(eio_sid, name)
        if client is None:
            self._connect_elsewhere(eio_sid, namespace, auth)  # or it is here already, which is refused there
            return
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
