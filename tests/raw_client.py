"""A WebSocket client that breaks any rule it is told to break."""

import base64
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from servers import DEADLINE_S, Hazoom


class RawClient:
    """A WebSocket without manners: sends any bytes, reads what comes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._protocol = Protocol(Side.CLIENT, state=State.OPEN)
        self._texts: list[str] = []

    def send_bytes(self, data: bytes) -> None:
        self._connection.sendall(data)

    def send(self, text: str) -> None:
        self.send_bytes(frame(Opcode.TEXT, text.encode()))

    def receive(self) -> str:
        """Return the next text that is not a heartbeat."""
        while True:
            if self._texts:
                text = self._texts.pop(0)
                if text != "2":
                    return text
                continue
            data = self._connection.recv(65536)
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
            if text.startswith("42") and (packet := json.loads(text[2:]))[0] == name:
                return packet[1]

    def wait_until_closed(self) -> int | None:
        """Return the close code, None if the connection ended without one."""
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionError):
            return self._protocol.close_rcvd.code if self._protocol.close_rcvd else None


def frame(opcode: Opcode, data: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=mask)


@contextmanager
def raw_client(server: Hazoom, *, join: bool = True, extensions: str = "") -> Iterator[RawClient]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{server.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n{extensions}\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"extensions" not in head.lower()
        raw = RawClient(connection)
        assert raw.receive().startswith("0{")
        if join:
            raw.send("40")
            raw.receive_event("status")
        yield raw
