"""The way of an event from the engine to its namespace, and of the acknowledgement back.

Does what python-socketio does with an event of a class namespace in fewer steps: it asks for no handlers of single events
and logs no packets. Everything that is not an event goes the library's way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from socketio import packet

from hazoom_ws.transport.engine import Engine, text_message_frame
from hazoom_ws.transport.fan_out import Client, FanOut
from hazoom_ws.transport.packet import Packet, acknowledgement


class Dispatcher:
    """The engine's message handler for a `socketio.Server` whose handlers are class namespaces."""

    def __init__(
        self,
        server: Any,
        engine: Engine,
        fan_out: FanOut,
        *,
        reply: Callable[[Callable[[Any], None], Any], None] = lambda send, argument: send(argument),
        greeting: Callable[[str], dict[str, str]] = lambda _sid: {},
    ) -> None:
        """``reply(send, argument)`` calls ``send`` with what a handler returned, now or when it may be told.

        ``greeting(sid)`` is what the reply to a CONNECT says beside the sid.
        """
        self._server = server
        self._engine = engine
        self._reply = reply
        self._greeting = greeting
        self._send_packet = server._send_packet
        server._send_packet = self.send_packet
        self._client_of = fan_out.client_of
        self._namespaces: dict[str, Any] = server.namespace_handlers

    def send_packet(self, eio_sid: str, sent: Packet) -> None:
        """Send a packet of the library's, a reply to CONNECT in the order of everything else."""
        if sent.packet_type != packet.CONNECT:
            self._send_packet(eio_sid, sent)
            return
        sent.data |= self._greeting(sent.data["sid"])
        self._reply(lambda _: self._send_packet(eio_sid, sent), None)

    def take(self, eio_sid: str, data: str | bytes) -> None:
        """Act on one Socket.IO packet. Raises `MalformedPacket`."""
        received = Packet(encoded_packet=data)
        if received.packet_type != packet.EVENT:
            self._server._handle_eio_message(eio_sid, data)
            return
        client = self._client_of(eio_sid, received.namespace or "/")
        if client is None or not client.is_connected:
            return  # it has left, or has not been let in
        reply = self._namespaces[client.namespace].trigger_event(received.data[0], client.sid, *received.data[1:])
        if received.id is not None:
            self._reply(partial(self._acknowledge, client, received.namespace, received.id), reply)

    def _acknowledge(self, client: Client, namespace: str | None, identifier: int, argument: Any) -> None:
        answer = acknowledgement(namespace, identifier, [] if argument is None else [argument])
        self._engine.outlet.push(client.recipient, text_message_frame(answer))
