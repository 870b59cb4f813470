"""What reading and writing a WebSocket message costs, and an open connection: ``python scripts/bench/framing.py``.

Compares `transport.websocket.frames` with the two libraries that do the same without I/O, in one process and without
sockets: a client's masked text message of 200 bytes comes in, one of 200 bytes goes out. Times are medians of rounds that
take turns, and belong to the machine; the ratios travel. Memory is what `tracemalloc` counts for a connection that has
been used once. `wsproto` comes with what Flask-SocketIO depends on, and is used by nothing of ours.
"""

import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

from hazoom_ws.transport.websocket import frames

_TEXT = "x" * 200
_MASK = b"\x01\x02\x03\x04"
_LIMIT_BYTES = 1_000_000
_ROUNDS = 15
_MESSAGES_PER_ROUND = 2000
_CONNECTIONS = 1000


class Library(NamedTuple):
    """``open`` returns the server's side of a connection; ``exchange`` feeds it a message and returns one to send."""

    name: str
    open: Callable[[], Any]
    exchange: Callable[[Any, bytes], bytes]


def hazoom() -> Library:
    def exchange(reader: frames.FrameReader, data: bytes) -> bytes:
        reader.feed(data)
        message = reader.next_message()
        assert message is not None
        assert message.data == _TEXT
        return frames.frame(frames.TEXT, _TEXT.encode())

    return Library("hazoom_ws", lambda: frames.FrameReader(_LIMIT_BYTES), exchange)


def websockets() -> Library:
    from websockets.protocol import Protocol, Side, State

    def exchange(protocol: Any, data: bytes) -> bytes:
        protocol.receive_data(data)
        (event,) = protocol.events_received()
        assert event.data.decode() == _TEXT
        protocol.send_text(_TEXT.encode())
        return b"".join(protocol.data_to_send())

    return Library("websockets", lambda: Protocol(Side.SERVER, state=State.OPEN, max_size=_LIMIT_BYTES), exchange)


def wsproto() -> Library:
    from wsproto.connection import Connection, ConnectionType
    from wsproto.events import TextMessage

    def exchange(connection: Any, data: bytes) -> bytes:
        connection.receive_data(data)
        (event,) = connection.events()
        assert event.data == _TEXT
        sent: bytes = connection.send(TextMessage(_TEXT))
        return sent

    return Library("wsproto", lambda: Connection(ConnectionType.SERVER), exchange)


def incoming() -> bytes:
    """Return a client's message as it comes."""
    head = bytearray(frames.frame(frames.TEXT, _TEXT.encode())[: -len(_TEXT)])
    head[1] |= 0x80
    return bytes(head) + _MASK + bytes(byte ^ _MASK[position % 4] for position, byte in enumerate(_TEXT.encode()))


def microseconds_per_message(libraries: list[Library]) -> list[float]:
    """Return for each library the median time of one message in and one out."""
    data = incoming()
    connections = [library.open() for library in libraries]
    rounds: list[list[float]] = [[] for _ in libraries]
    for _ in range(_ROUNDS):
        for library, connection, times in zip(libraries, connections, rounds, strict=True):
            exchange = library.exchange
            started_at_s = time.perf_counter()
            for _ in range(_MESSAGES_PER_ROUND):
                exchange(connection, data)
            times.append((time.perf_counter() - started_at_s) / _MESSAGES_PER_ROUND * 1e6)
    return [statistics.median(times) for times in rounds]


def kilobytes_per_connection(library: Library) -> float:
    """Return the memory of an open connection that has exchanged one message."""
    data = incoming()
    library.exchange(library.open(), data)  # what is made once for all
    connections: list[Any] = [None] * _CONNECTIONS
    tracemalloc.start()
    try:
        before_bytes = tracemalloc.get_traced_memory()[0]
        for number in range(_CONNECTIONS):
            connections[number] = library.open()
            library.exchange(connections[number], data)
        return (tracemalloc.get_traced_memory()[0] - before_bytes) / _CONNECTIONS / 1000
    finally:
        tracemalloc.stop()


def main() -> None:
    libraries = []
    for of_library in (hazoom, websockets, wsproto):
        try:
            libraries.append(of_library())
        except ImportError:
            print(f"{of_library.__name__}: not installed")
    print(f"{'':12}{'us per message in and out':>27}{'KB per open connection':>25}")
    for library, us in zip(libraries, microseconds_per_message(libraries), strict=True):
        print(f"{library.name:12}{us:27.1f}{kilobytes_per_connection(library):25.1f}")


if __name__ == "__main__":
    main()
