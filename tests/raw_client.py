"""A WebSocket client that breaks any rule it is told to break."""

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from servers import DEADLINE_S, Hazoom

SMALL_BUFFER_BYTES = 4096
LARGE_BUFFER_BYTES = 1_048_576


def received_until_closed(connection: socket.socket) -> list[str | int]:
    """Return the texts that still come on a WebSocket, and its close code in the end if there is one."""
    protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    while data := connection.recv(65536):
        protocol.receive_data(data)
    texts: list[str | int] = [event.data.decode() for event in protocol.events_received() if event.opcode is Opcode.TEXT]
    return [*texts, protocol.close_rcvd.code] if protocol.close_rcvd else texts


class RawClient:
    """A WebSocket without manners: sends any bytes, reads what comes."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self._texts: list[str] = []

    def send_bytes(self, data: bytes) -> None:
        self.connection.sendall(data)

    def send(self, text: str) -> None:
        self.send_bytes(frame(Opcode.TEXT, text.encode()))

    def receive(self) -> str:
        """Return the next text that is not a heartbeat. Raises EOFError or ConnectionError at the end."""
        while True:
            if self._texts:
                text = self._texts.pop(0)
                if text != "2":
                    return text
                continue
            data = self.connection.recv(65536)
            if not data:
                raise EOFError
            self._protocol.receive_data(data)
            self._texts += [
                event.data.decode() for event in self._protocol.events_received() if event.opcode is Opcode.TEXT
            ]

    def receive_event(self, name: str) -> object:
        """Return the payload of the next event of that name."""
        while True:
            text = self.receive()
            if text.startswith("42[") and (packet := json.loads(text[2:]))[0] == name:
                return packet[1]

    def receive_rest(self) -> list[tuple[str, object]]:
        """Return the events that still come until the connection ends, as (name, payload)."""
        events = []
        try:
            while True:
                text = self.receive()
                if text.startswith("42["):
                    events.append(tuple(json.loads(text[2:])))
        except (EOFError, ConnectionError):
            return events

    def read_on(self) -> None:
        """Give up a small receive buffer, with which reading crawls."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE_BUFFER_BYTES)

    def wait_until_closed(self) -> int | None:
        """Return the close code, None if the connection ended without one."""
        self.receive_rest()
        return self._protocol.close_rcvd.code if self._protocol.close_rcvd else None

    def reset(self) -> None:
        """End the connection the way a crash does, which throws away what is under way in both directions."""
        reset(self.connection)


def frame(opcode: Opcode, data: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=mask)


def handshake(extra_headers: str = "") -> bytes:
    """Return the request that opens a WebSocket; each of ``extra_headers`` ends a line."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
        "Host: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n{extra_headers}\r\n"
    ).encode()


def connect(server: Hazoom, *, stalls: bool = False) -> socket.socket:
    """Return a TCP connection, which takes little without being read if it ``stalls``."""
    connection = socket.socket()
    if stalls:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    connection.settimeout(DEADLINE_S)
    connection.connect(("127.0.0.1", server.port))
    return connection


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side ends or resets the connection."""
    data = b""
    try:
        while received := connection.recv(65536):
            data += received
    except ConnectionError:
        pass
    return data


@contextmanager
def raw_client(
    server: Hazoom,
    *,
    join: bool = True,
    user_name: str | None = None,
    extensions: str = "",
    stalls: bool = False,
) -> Iterator[RawClient]:
    with connect(server, stalls=stalls) as connection:
        connection.sendall(handshake(extensions))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"extensions" not in head.lower()
        raw = RawClient(connection)
        assert raw.receive().startswith("0{")
        if join:
            raw.send("40" if user_name is None else f"40{json.dumps({'user_name': user_name})}")
            raw.receive_event("status")
        yield raw
