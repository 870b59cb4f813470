"""Socket.IO v5 packets, read with suspicion.

What is no packet of the protocol raises `MalformedPacket`, which ends the session. What is one, but holds what ours may
not (NaN, JSON nested too deeply, too many bytes, placeholders of parts that did not come), becomes an event that carries
its `Problem`, and the door refuses it like any other. The decoder also tells the door what the library keeps from its
handlers: whether the client wants an acknowledgement, and that the event came from a client at all.

A packet is read in two steps, so that its bytes can be counted, and refused, before its JSON is parsed; between the two
its binary parts arrive, if it has any (`binary_parts`). Nothing is parsed twice, and whatever the bytes are, the time that
they take grows with their number and no faster.

Source: Socket.IO protocol revision 5, "Packet encoding".
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import msgspec
from socketio import packet

from hazoom_ws.errors import BadPayload, HazoomError, TooLarge
from hazoom_ws.transport.engineio.session import MalformedPacket
from hazoom_ws.transport.socketio.binary_parts import RECEIVED_LIMIT_COUNT, put_in_place, split

# What is wrong with an event, as the function that makes its exception. Not the exception itself: one that was raised
# holds, by its traceback, all that the functions on its way had in their hands, the client's text among that.
Problem = Callable[[], HazoomError]

# type, attachments- (of a binary type), [/namespace,], [acknowledgement id], then JSON
_HEADER = re.compile(r"(?:([0-4])|([56])(\d{1,9})-)(?:(/[^,]*)(?:,|$))?(\d{1,15})?")
_EVENT_NAME = re.compile(r'\s*\[\s*"([^"\\]{1,64})"')
_EVENT_LIMIT_BYTES = 131_072
_MAX_JSON_DEPTH = 32
# What the decoder says of JSON with a word that JSON has not, and of half a character (near the end as of a text that was
# cut off); anything else is no JSON at all.
_INVALID_CHARACTER = re.compile(r"invalid character \(byte (\d+)\)")
_NO_NUMBERS = (b"NaN", b"Infinity")
_LONE_HALF = "utf-16 surrogate pair"  # an invalid one, or the unexpected end of one: where no escape follows
_LONE_HALF_AT_END = re.compile(r"\\u[dD][89abAB]")
# A whole character of two halves, half a one, or any other escape.
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(u[dD][89a-fA-F]\w\w)|.)", re.DOTALL | re.ASCII)
_HALF_CHARS = 12  # in which the decoder has not found the other half
_NO_ACK_ID = 0
_BINARY = packet.BINARY_EVENT - packet.EVENT  # as between the two types of acknowledgements
_encode_json = msgspec.json.Encoder().encode
_UNKNOWN_NAMESPACE = "Invalid namespace"  # what the reference server says


def _finite(text: str) -> float:
    """Return a number with a fraction or an exponent. Raises ValueError for one that no float can hold."""
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is out of range")
    return number


# msgspec's own way to read a float takes 6 us for some numbers of 23 digits, Python's a quarter of one.
_decode_json = msgspec.json.Decoder(float_hook=_finite).decode


class ClientEvent(str):
    """The name of an event that a client sent, with what the door has to know about it.

    The library hands its own "connect" and "disconnect" to a namespace as plain strings; a client's event of that name
    arrives as this type, so the two cannot be confused.
    """

    __slots__ = ("problem", "wants_acknowledgement")

    has_parts: ClassVar[bool] = False
    wants_acknowledgement: bool
    problem: Problem | None

    @classmethod
    def create(cls, name: str, *, wants_acknowledgement: bool, problem: Problem | None = None) -> "ClientEvent":
        """Return the name of a client's event, with what is to be known of it. ``problem``: why it is refused."""
        event = cls(name)
        event.wants_acknowledgement = wants_acknowledgement
        event.problem = problem
        return event


class EventWithParts(ClientEvent):
    """The name of an event in whose arguments there are bytes."""

    __slots__ = ()

    has_parts = True


class Packet(packet.Packet):  # type: ignore[misc]
    """A `socketio.packet.Packet` for ``serializer=``: the wire format is the standard one. See
    `limited_packet_type`.
    """

    event_limit_bytes = _EVENT_LIMIT_BYTES

    data: Any = None
    id: int | None = None
    namespace: str | None = None
    packet_type: int = packet.EVENT

    part_count: int | None = None  # of a packet that came with a type for parts
    parts: Sequence[bytes] = ()  # those that it came with, before `read_body`
    attachment_count = 0
    uses_binary_events = False  # spares a walk through every payload

    def __init__(  # noqa: PLR0917 - as the library calls it
        self,
        packet_type: int = packet.EVENT,
        data: Any = None,
        namespace: str | None = None,
        id: int | None = None,  # noqa: A002 - the library's name
        binary: bool | None = None,  # noqa: ARG002
        encoded_packet: object = None,
    ) -> None:
        """Make a packet to send, or read ``encoded_packet``. Does without the stock one's bookkeeping for binary parts.

        Of what is sent, whole arguments of an event or an acknowledgement can be bytes; within them nothing is looked for.
        """
        if encoded_packet is not None:
            self.decode(encoded_packet)
            return
        if data is None and packet_type == packet.EVENT:
            return  # it is to be read
        self.packet_type = packet_type
        self.data = data
        self.namespace = namespace
        self.id = id

    def encode(self) -> str | list[str | bytes]:
        """Return the packet's text, with parts as a list of that and them. Raises what encoding it raises."""
        data = self.data
        if self.packet_type == packet.CONNECT_ERROR and isinstance(data, str):
            data = {"message": _UNKNOWN_NAMESPACE}  # the library says this bare, and in words of its own
        elif self.packet_type in (packet.EVENT, packet.ACK):
            data, parts = split(data)
            if parts:
                return [encoded(self.packet_type, self.namespace, self.id, data, len(parts)).decode(), *parts]
        return encoded(self.packet_type, self.namespace, self.id, data).decode()

    def decode(self, encoded_packet: object) -> int:
        """Fill in this packet, unless it has parts; return how many. Raises `MalformedPacket`."""
        body = self.read_header(encoded_packet)
        if not self.part_count:
            self.read_body(body)
        return self.part_count or 0

    def read_header(self, encoded_packet: object) -> str:
        """Fill in all but ``data`` of a new packet, and return the text of that. Raises `MalformedPacket`.

        A packet with parts gets the type of one without, and ``part_count``.
        """
        if not isinstance(encoded_packet, str):
            raise MalformedPacket("it has no Socket.IO header")
        if encoded_packet.startswith('2["'):  # most of what clients send
            return encoded_packet[1:]
        header = _HEADER.match(encoded_packet)
        if header is None:
            raise MalformedPacket("it has no Socket.IO header")
        packet_type, binary_type, part_count, namespace, identifier = header.groups()
        if packet_type:
            self.packet_type = int(packet_type)
        else:
            self.packet_type = packet.EVENT if binary_type == "5" else packet.ACK
            self.part_count = int(part_count)
            if self.part_count > RECEIVED_LIMIT_COUNT:
                raise MalformedPacket("it has too many binary parts", f"the limit is {RECEIVED_LIMIT_COUNT}")
        self.namespace = namespace.partition("?")[0] if namespace else None
        self.id = int(identifier) if identifier else None
        return header.string[header.end() :]

    def read_body(self, text: str) -> None:
        """Fill in ``data``, what `read_header` has returned, with the ``parts``. Raises `MalformedPacket`."""
        # Four bytes a character is the most that UTF-8 needs: most packets are never measured.
        if len(text) * 4 > self.event_limit_bytes and (size_bytes := _payload_bytes(text)) > self.event_limit_bytes:
            self.refuse(text, partial(TooLarge, "payload", self.event_limit_bytes, size_bytes))
            return
        data = _loads(text) if text else None
        if type(data) is partial:
            self.refuse(text, data)
        elif self.part_count is not None and not self._take_parts(data):
            self.refuse(text, _WRONG_PLACEHOLDERS)
        elif self.packet_type == packet.EVENT:
            self._read_event(data)
        else:
            is_valid = {
                packet.CONNECT: True,  # the door refuses an auth that is no object, in words
                packet.DISCONNECT: data is None,
                packet.ACK: isinstance(data, list) and self.id is not None,
            }
            if not is_valid.get(self.packet_type, False):
                raise MalformedPacket("its type cannot be like that", f"type {self.packet_type}")
            self.data = data

    def refuse(self, text: str, problem: Problem) -> None:
        """Let this packet be what is refused for ``problem``; ``text`` is as in `read_body`, and not parsed."""
        if self.packet_type == packet.CONNECT:
            self.data = problem  # where the client's auth would be
        elif self.packet_type == packet.EVENT:
            name = _EVENT_NAME.match(text)
            self._refuse(name[1] if name else "", problem)
        elif self.packet_type == packet.ACK:
            self.id, self.data = _NO_ACK_ID, []  # which is ignored
        elif self.packet_type != packet.DISCONNECT:
            raise MalformedPacket("its type cannot be like that", f"type {self.packet_type}")

    def _read_event(self, data: object) -> None:
        if not isinstance(data, list) or not data or type(data[0]) is bytes:
            raise MalformedPacket("its event is no array that starts with a name")
        name = data[0] if isinstance(data[0], str) else repr(data[0])[:64]
        event = data[0] = ClientEvent(name) if not self.part_count else EventWithParts(name)
        event.wants_acknowledgement, event.problem = self.id is not None, None
        self.data = data

    def _take_parts(self, data: object) -> bool:
        """Put the parts into ``data``; return False if its placeholders are not theirs. Raises `MalformedPacket`."""
        if not isinstance(data, list) or put_in_place(data, self.parts):
            return True
        if not self.part_count:
            raise MalformedPacket("it has placeholders and no binary parts")
        return False

    def _refuse(self, name: str, problem: Problem) -> None:
        self.packet_type = packet.EVENT
        self.data = [ClientEvent.create(name, wants_acknowledgement=self.id is not None, problem=problem)]


def limited_packet_type(event_limit_bytes: int) -> type[Packet]:
    """Return a type of packets whose payloads have so many bytes of UTF-8 at most."""
    return type("Packet", (Packet,), {"event_limit_bytes": event_limit_bytes})


def utf8_bytes(text: str) -> int:
    """Return the number of bytes that a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _payload_bytes(text: str) -> int:
    """Return the size of JSON in UTF-8. An escape counts as three bytes: some clients write all but ASCII like that."""
    return utf8_bytes(text) - 3 * text.count("\\u")


def encoded(packet_type: int, namespace: str | None, identifier: int | None, data: Any, part_count: int = 0) -> bytes:
    """Return a packet in UTF-8. ``data`` None: it has none. With parts, its type becomes the one for that."""
    type_said = f"{packet_type + _BINARY}{part_count}-" if part_count else str(packet_type)
    header = f"{type_said}{_address(namespace)}{'' if identifier is None else identifier}".encode()
    return header if data is None else header + _encode_json(data)


def _address(namespace: str | None) -> str:
    return "" if namespace is None or namespace == "/" else f"{namespace},"


def _loads(text: str) -> Any:
    """Decode JSON; return a `Problem` if a payload may not be like that. Raises `MalformedPacket` for what is no JSON."""
    try:
        data = _decode_json(text)
    except RecursionError:
        return _TOO_DEEP
    except msgspec.ValidationError as error:  # a number that is too large
        return partial(BadPayload, "payload", f"is not valid JSON: {error}")
    except msgspec.DecodeError as error:
        said = str(error)
        if _LONE_HALF in said or _LONE_HALF_AT_END.search(text, max(0, len(text) - _HALF_CHARS)):
            repaired = _ESCAPE.sub(_repaired, text)
            if repaired != text:
                return _loads(repaired)
        if not _is_nearly_json(text, said):
            raise MalformedPacket("it is not JSON", said) from None
        return partial(BadPayload, "payload", f"is not valid JSON: {said}")
    # The array around an event is not the client's.
    if text.count("[") + text.count("{") > _MAX_JSON_DEPTH and _is_deeper(data, _MAX_JSON_DEPTH + isinstance(data, list)):
        return _TOO_DEEP
    return data


def read_json(text: str, limit_bytes: int) -> Any:
    """Decode JSON that came without a packet around it, by the same rules. Raises `BadPayload`, `TooLarge`."""
    if (size_bytes := _payload_bytes(text)) > limit_bytes:
        raise TooLarge("payload", limit_bytes, size_bytes)
    try:
        data = _loads(text)
    except MalformedPacket:
        raise BadPayload("payload", "is not valid JSON") from None
    if type(data) is partial:
        raise data()
    return data


_WRONG_PLACEHOLDERS = partial(BadPayload, "payload", "must have one placeholder for each binary part")
_TOO_DEEP = partial(BadPayload, "payload", f"is nested too deeply, the limit is {_MAX_JSON_DEPTH} levels")


def _repaired(escape: re.Match[str]) -> str:
    """Return an escape, or for half a character what stands for one that cannot be read."""
    return "\\ufffd" if escape[1] else escape[0]


def _is_nearly_json(text: str, said: str) -> bool:
    """Return whether all that was found wrong is what JSON has no word for: NaN and infinity."""
    invalid = _INVALID_CHARACTER.search(said)
    if invalid is None:
        return False
    position = int(invalid[1])
    return text.encode()[position : position + 8].startswith(_NO_NUMBERS)


def _is_deeper(data: Any, limit: int) -> bool:
    """Return whether what JSON says nests deeper than ``limit``, level by level."""
    level = [data] if isinstance(data, list | dict) else []
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True
