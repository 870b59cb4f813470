"""Flask-SocketIO's test client (``socketio.test_client(app)``): it comes without a session, and wants packets, not frames.

It calls python-socketio's server as an Engine.IO server would, and puts two of its own methods in the place of how packets
leave. `test_a_test_client_calls_what_we_answer_for_it` in tests/unit/test_library_facts.py notices when that moves.
"""

from collections.abc import Callable
from typing import Any

from engineio import packet

from hazoom_ws.transport.engineio.pending import EMPTY, Pending
from hazoom_ws.transport.engineio.session import Recipient
from hazoom_ws.transport.socketio.dispatch import Dispatcher
from hazoom_ws.transport.socketio.fan_out import FanOut
from hazoom_ws.transport.websocket import frames


class _Recipient:
    """A test client as `FanOut` sends to it."""

    backlog_bytes = 0

    def __init__(self, server: Any, eio_sid: str) -> None:
        self._server = server
        self._eio_sid = eio_sid
        self.pending: Pending = EMPTY

    def send_frame(self, framed: bytes) -> None:
        for message in frames.opened_all(framed):
            data = message.data[1:] if isinstance(message.data, str) else message.data
            self._server._send_eio_packet(self._eio_sid, packet.Packet(packet.MESSAGE, data))


class TestClients:
    """Lets the test clients of one application in, beside the sessions of its engine."""

    __test__ = False  # which pytest would take for tests

    def __init__(self, server: Any, fan_out: FanOut, dispatcher: Dispatcher) -> None:
        self._server = server
        self._dispatcher = dispatcher
        self._library_open = server._handle_eio_connect
        server._handle_eio_connect = self._open
        server._handle_eio_message = dispatcher.receive
        fan_out.find_stranger = finder(server)

    def _open(self, eio_sid: str, environ: dict[str, Any]) -> None:
        self._dispatcher.begin(eio_sid, environ)
        self._library_open(eio_sid, environ)  # which keeps all that a handler may ask of Flask's request


def finder(server: Any) -> Callable[[str], Recipient | None]:
    """Return how `FanOut` finds the test clients of a server."""
    return lambda eio_sid: _Recipient(server, eio_sid) if eio_sid in server.environ else None
