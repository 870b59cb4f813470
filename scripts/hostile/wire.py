"""What attackers speak: TCP lines that read while they send, and WebSockets without manners.

Everything has a moment at which it ends (`TimeIsUp`), whatever the server does. The server closing or refusing is the
`Closed` that every attack expects. Attackers come from 127.0.0.2, so that a limit per address does not meet the calm
client, which comes from 127.0.0.1.
"""

import base64
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from websockets.frames import Frame, Opcode

SERVER_ADDRESS = "127.0.0.1"
ATTACKER_ADDRESS = "127.0.0.2"
_READ_BYTES = 1 << 18
_HANDSHAKE_LIMIT_BYTES = 65_536
T = TypeVar("T")


class TimeIsUp(Exception):
    """The attack's seconds are over."""


class Closed(Exception):
    """The server has closed this connection, or refused it."""


def frame(data: bytes | str, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    """Return one masked frame."""
    return Frame(opcode, data.encode() if isinstance(data, str) else data, fin).serialize(mask=True)


def begun_frame(size_bytes: int, sent_bytes: int) -> bytes:
    """Return the first ``sent_bytes`` of a text frame that announces ``size_bytes``, its mask zero."""
    return b"\x81\xff" + struct.pack("!Q", size_bytes) + bytes(4) + b"4" * sent_bytes


def handshake(forwarded_for: str = "") -> bytes:
    """Return the request that opens a WebSocket. ``forwarded_for``: whose it is, if a proxy were to send it; "" if none."""
    key = base64.b64encode(os.urandom(16)).decode()
    told = f"X-Forwarded-For: {forwarded_for}\r\n" if forwarded_for else ""
    return (
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{told}\r\n"
    ).encode()


class Line:
    """A TCP connection that reads while it sends, so that neither side waits for the other for ever.

    ``ends_at_s`` is of the monotonic clock. ``keeps`` False throws away what is read. ``receive_buffer_bytes`` 0 leaves
    the socket's buffer as it comes. Raises `Closed` and `TimeIsUp`, as all its methods do.
    """

    def __init__(
        self,
        port: int,
        ends_at_s: float,
        *,
        source: str = ATTACKER_ADDRESS,
        keeps: bool = True,
        receive_buffer_bytes: int = 0,
    ) -> None:
        self.ends_at_s = ends_at_s
        self.keeps = keeps
        self.received = bytearray()
        self.received_bytes = 0
        self.socket = socket.socket()
        try:
            if receive_buffer_bytes:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.bind((source, 0))
            self.socket.settimeout(self._remaining_s())
            self.socket.connect((SERVER_ADDRESS, port))
            self.socket.setblocking(False)
        except TimeoutError:
            self.close()
            raise TimeIsUp from None
        except OSError as error:
            self.close()
            raise Closed(str(error)) from None

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, data: bytes) -> None:
        """Send all of ``data``; read meanwhile."""
        left = memoryview(data)
        while left:
            events = self._wait(select.POLLIN | select.POLLOUT, self._remaining_s())
            if events & ~select.POLLOUT:
                self.take()
            if events & select.POLLOUT:
                with suppress(BlockingIOError):
                    left = left[self._call(self.socket.send, left[:_READ_BYTES]) :]

    def read(self, wait_s: float) -> bool:
        """Read what comes within ``wait_s``, once; return whether anything has come."""
        return bool(self._wait(select.POLLIN, min(wait_s, self._remaining_s()))) and self.take() > 0

    def take(self, limit_bytes: int = _READ_BYTES) -> int:
        """Read what is there without waiting; return how many bytes."""
        try:
            data = self._call(self.socket.recv, limit_bytes)
        except BlockingIOError:
            return 0
        if not data:
            raise Closed("the server has closed the connection")
        self.received_bytes += len(data)
        if self.keeps:
            self.received += data
        return len(data)

    def stay(self, until_s: float) -> None:
        """Read on until that moment of the monotonic clock."""
        while (left_s := min(until_s, self.ends_at_s) - time.monotonic()) > 0:
            self.read(left_s)

    def reset(self) -> None:
        """End the connection as a crash does."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.socket.close()

    def _wait(self, events: int, wait_s: float) -> int:
        """Return which of these events have come, or an error; 0 if none within ``wait_s``."""
        poll = select.poll()  # select.select takes no descriptor above 1,023
        poll.register(self.socket, events)
        return sum(found for _, found in poll.poll(wait_s * 1000))

    def _remaining_s(self) -> float:
        left_s = self.ends_at_s - time.monotonic()
        if left_s <= 0:
            raise TimeIsUp
        return left_s

    def _call(self, function: Callable[[Any], T], argument: Any) -> T:
        try:
            return function(argument)
        except BlockingIOError:
            raise
        except OSError as error:
            raise Closed(str(error)) from None


class WebSocket(Line):
    """A line that has done the handshakes of WebSocket and Engine.IO, and if ``joins`` Socket.IO's too."""

    def __init__(
        self,
        port: int,
        ends_at_s: float,
        *,
        joins: bool = True,
        auth: str = "",
        source: str = ATTACKER_ADDRESS,
        forwarded_for: str = "",
        receive_buffer_bytes: int = 0,
    ) -> None:
        """``forwarded_for`` is as in `handshake`."""
        super().__init__(port, ends_at_s, source=source, receive_buffer_bytes=receive_buffer_bytes)
        self.connected: dict[str, str] = {}
        try:
            self.send(handshake(forwarded_for))
            while b"\r\n\r\n" not in self.received:
                self.read(self._remaining_s())
                if len(self.received) > _HANDSHAKE_LIMIT_BYTES:
                    raise Closed("an endless answer to the handshake")
            head, _, rest = bytes(self.received).partition(b"\r\n\r\n")
            if b" 101 " not in head.partition(b"\r\n")[0]:
                raise Closed(head.partition(b"\r\n")[0].decode(errors="replace"))
            self.received[:] = rest
            self.wait_for("0{")
            if joins:
                self.say(f"40{auth}")
                self.connected = json.loads(self.wait_for("40{")[2:])
        except (Closed, TimeIsUp):
            self.close()
            raise

    def say(self, text: str) -> None:
        """Send one packet."""
        self.send(frame(text))

    def texts(self) -> list[str]:
        """Take the whole texts that have come; heartbeats are answered and left out."""
        texts = [payload.decode(errors="replace") for payload in take_payloads(self.received)]
        if "2" in texts:
            self.send(frame("3"))
        return [text for text in texts if text != "2"]

    def wait_for(self, start: str) -> str:
        """Return the next text that starts so; what comes before it is dropped."""
        while True:
            for text in self.texts():
                if text.startswith(start):
                    return text
            self.read(self._remaining_s())


def take_payloads(received: bytearray) -> list[bytes]:
    """Take the payloads of the whole frames out of ``received``. Raises `Closed` at a close frame."""
    payloads, position, size = [], 0, len(received)
    while position + 2 <= size:
        head_bytes, length = 2, received[position + 1] & 0x7F
        if length >= 126:
            wide_bytes = 2 if length == 126 else 8
            head_bytes += wide_bytes
            length = int.from_bytes(received[position + 2 : position + head_bytes])
        end = position + head_bytes + length
        if size < position + head_bytes or size < end:
            break
        if received[position] & 0x0F == Opcode.CLOSE:
            raise Closed("a close frame")
        payloads.append(bytes(received[position + head_bytes : end]))
        position = end
    del received[:position]
    return payloads
