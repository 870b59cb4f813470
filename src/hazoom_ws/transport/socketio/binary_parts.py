"""Binary parts: bytes that travel beside the JSON of a packet, each in the place of a placeholder there.

`45<count>-<namespace>,<id>[...]` is an event with parts and `46...` an acknowledgement; in its JSON stands
`{"_placeholder":true,"num":0}` where the first part belongs. The parts follow as binary messages of Engine.IO: nothing of
Socket.IO's may come between.

What is sent is never searched for bytes in depth: the type of an event says that it has parts, or they are arguments
themselves. What comes is searched once, if its header says that there are some.

Source: Socket.IO protocol revision 5, "Packet encoding".
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from hazoom_ws.deadlines import Deadlines
from hazoom_ws.transport.bounds.unfinished import Unfinished
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.session import MalformedPacket

RECEIVED_LIMIT_COUNT = 2  # what Excalidraw sends; who needs more sends more events
SENT_LIMIT_COUNT = 10  # the official parser closes the connection at the eleventh
TIMEOUT_S = 10.0
_KEY = "_placeholder"


def placeholder(number: int) -> msgspec.Raw:
    """Return the JSON that stands for a part; the first is number 0."""
    return msgspec.Raw(b'{"_placeholder":true,"num":%d}' % number)


def split(arguments: Sequence[Any]) -> tuple[list[Any], tuple[bytes, ...]]:
    """Return arguments with placeholders for those that are bytes, and these. Raises ValueError for too many.

    Within an argument nothing is looked for.
    """
    parts: list[bytes] = []
    split_up = list(arguments)
    for position, argument in enumerate(split_up):
        if isinstance(argument, bytes | bytearray | memoryview):
            split_up[position] = placeholder(len(parts))
            parts.append(bytes(argument))
    return split_up, checked(tuple(parts))


def checked(parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return parts that can be sent together. Raises ValueError for too many."""
    if len(parts) > SENT_LIMIT_COUNT:
        raise ValueError(f"{len(parts)} binary parts in one event, the limit is {SENT_LIMIT_COUNT}")
    return parts


def put_in_place(data: list[Any], parts: Sequence[bytes]) -> bool:
    """Put parts in the place of their placeholders; return False if there is not exactly one for each of them.

    Changes ``data``, and leaves it half done if it returns False.
    """
    left = dict(enumerate(parts))
    for container, key, found in _placeholders(data):
        number = found.get("num")
        if len(found) != 2 or found[_KEY] is not True or type(number) is not int or number not in left:
            return False
        container[key] = left.pop(number)
    return not left


def _placeholders(data: list[Any]) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Yield the objects that look like placeholders, each with where it stands: a list or an object, and its key there."""
    containers: list[Any] = [data]
    while containers:
        container = containers.pop()
        for key, value in container.items() if type(container) is dict else enumerate(container):
            if type(value) is dict and _KEY in value:
                yield container, key, value
            elif type(value) is dict or type(value) is list:
                containers.append(value)


class Incomplete:
    """A packet whose header has come, and its parts as they come. ``body``: its JSON, which nobody has parsed yet."""

    __slots__ = ("_engine", "body", "eio_sid", "limit_bytes", "packet", "parts", "size_bytes")

    def __init__(self, engine: Engine, eio_sid: str, packet: Any, body: str, *, size_bytes: int, limit_bytes: int) -> None:
        """``size_bytes``: of the header with its JSON, in UTF-8; ``limit_bytes`` bounds that and all parts together."""
        self._engine = engine
        self.eio_sid = eio_sid
        self.packet = packet
        self.body = body
        self.parts: list[bytes] = []
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes

    @property
    def held_bytes(self) -> int:
        """How much memory it may take: where one character needs it, each has four bytes."""
        return self.size_bytes if self.body.isascii() else self.size_bytes + 4 * len(self.body)

    def cut_off(self, why: str) -> None:
        """End the session, see `hazoom_ws.transport.bounds.unfinished.Holder`."""
        self._engine.end(self.eio_sid, MalformedPacket(why))


class IncompletePackets:
    """The packets of one application that are not whole, one of a session at the most: ``by_session``."""

    def __init__(self, engine: Engine) -> None:
        self.by_session: dict[str, Incomplete] = {}
        self._engine = engine
        self._unfinished: Unfinished = engine.unfinished
        self._due: Deadlines[str] = Deadlines(TIMEOUT_S)
        engine.sweeps.append(self._sweep)

    def begin(self, eio_sid: str, packet: Any, body: str, size_bytes: int, limit_bytes: int) -> None:
        """Wait for the parts of a packet, which has at least one. ``limit_bytes`` 0: a message's limit.

        A higher one holds for what a WebSocket brings.
        """
        engine = self._engine
        ordinary_bytes = engine.max_http_buffer_size
        if limit_bytes <= ordinary_bytes or not engine.limit_messages(eio_sid, limit_bytes):
            limit_bytes = ordinary_bytes
        now_s = engine.clock()
        incomplete = Incomplete(engine, eio_sid, packet, body, size_bytes=size_bytes, limit_bytes=limit_bytes)
        with engine.lock:
            self.by_session[eio_sid] = incomplete
            self._due.start(eio_sid, now_s)
        self._unfinished.hold(incomplete, incomplete.held_bytes, now_s)

    def add(self, eio_sid: str, data: str | bytes) -> Incomplete | None:
        """Take the next message of a session; return its packet if that is whole now. Raises `MalformedPacket`."""
        incomplete = self.by_session.get(eio_sid)
        if incomplete is None:
            raise MalformedPacket("a binary part belongs to nothing")
        if isinstance(data, str):
            raise MalformedPacket("a packet came before the binary parts of the one before it")
        incomplete.size_bytes += len(data)
        if incomplete.size_bytes > incomplete.limit_bytes:
            raise MalformedPacket("its binary parts are too large", f"the limit is {incomplete.limit_bytes} bytes")
        incomplete.parts.append(data)
        if len(incomplete.parts) == incomplete.packet.part_count:
            self.drop(eio_sid)
            return incomplete
        self._unfinished.hold(incomplete, incomplete.held_bytes, self._engine.clock())
        return None

    def drop(self, eio_sid: str) -> None:
        """Wait for nothing more of a session; that there was nothing is no error."""
        with self._engine.lock:
            incomplete = self.by_session.pop(eio_sid, None)
            self._due.stop(eio_sid)
        if incomplete is not None:
            self._unfinished.release(incomplete)
            if incomplete.limit_bytes != self._engine.max_http_buffer_size:
                self._engine.limit_messages(eio_sid, self._engine.max_http_buffer_size)

    def _sweep(self, now_s: float) -> None:
        """End those whose parts do not come.

        One that may be large, and is just coming, has the time that `Unfinished` gives to any message.
        """
        engine = self._engine
        with engine.lock:
            due = [self.by_session[eio_sid] for eio_sid, _ in self._due.pop_due(now_s)]
        for incomplete in due:
            eio_sid = incomplete.eio_sid
            if incomplete.limit_bytes == engine.max_http_buffer_size or not engine.is_receiving(eio_sid):
                self.drop(eio_sid)
                engine.end(eio_sid, MalformedPacket("its binary parts did not come in time"))
