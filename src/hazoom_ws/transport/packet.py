"""Socket.IO v5 packets, read with suspicion.

What is no packet of the protocol raises `MalformedPacket`, which ends the session. What is one, but holds what ours may
not (binary parts, NaN, JSON nested too deeply), becomes an event that carries its `HazoomError`, and the door refuses it
like any other. The decoder also tells the door what the library keeps from its handlers: whether the client wants an
acknowledgement, and that the event came from a client at all.

Source: Socket.IO protocol revision 5, "Packet encoding".
"""

import json
import re
from typing import Any

import msgspec
from socketio import packet

from hazoom_ws.errors import BadPayload
from hazoom_ws.transport.session import MalformedPacket

# type, attachments- (of a binary type), [/namespace,], [acknowledgement id], then JSON
_HEADER = re.compile(r"(?:([0-4])|([56])\d{1,9}-)(?:(/[^,]*)(?:,|$))?(\d{1,15})?")
_EVENT_NAME = re.compile(r'\s*\[\s*"([^"\\]{1,64})"')
_MAX_JSON_DEPTH = 32
_NOT_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[^][{}"]+', re.DOTALL)
_CURLY_TO_SQUARE = str.maketrans("{}", "[]")
_NO_ACK_ID = 0
_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode
_UNKNOWN_NAMESPACE = "Invalid namespace"  # what the reference server says


class ClientEvent(str):
    """The name of an event that a client sent, with what the door has to know about it.

    The library hands its own "connect" and "disconnect" to a namespace as plain strings; a client's event of that name
    arrives as this type, so the two cannot be confused.
    """

    __slots__ = ("problem", "wants_acknowledgement")

    wants_acknowledgement: bool
    problem: BadPayload | None

    @classmethod
    def create(cls, name: str, *, wants_acknowledgement: bool, problem: BadPayload | None = None) -> "ClientEvent":
        event = cls(name)
        event.wants_acknowledgement = wants_acknowledgement
        event.problem = problem
        return event


class Packet(packet.Packet):  # type: ignore[misc]
    """A `socketio.packet.Packet` for ``serializer=``: the wire format is the standard one."""

    data: Any
    id: int | None
    namespace: str | None
    packet_type: int

    attachment_count = 0
    uses_binary_events = False  # nothing that we send is binary; spares a walk through every payload

    def __init__(  # noqa: PLR0917 - as the library calls it
        self,
        packet_type: int = packet.EVENT,
        data: Any = None,
        namespace: str | None = None,
        id: int | None = None,  # noqa: A002 - the library's name
        binary: bool | None = None,  # noqa: ARG002
        encoded_packet: object = None,
    ) -> None:
        """Make a packet to send, or read ``encoded_packet``. Does without the stock one's bookkeeping for binary parts."""
        if encoded_packet is not None:
            self.decode(encoded_packet)
            return
        self.packet_type = packet_type
        self.data = data
        self.namespace = namespace
        self.id = id

    def encode(self) -> str:
        data = self.data
        if self.packet_type == packet.CONNECT_ERROR and isinstance(data, str):
            data = {"message": _UNKNOWN_NAMESPACE}  # the library says this bare, and in words of its own
        return encoded(self.packet_type, self.namespace, self.id, data).decode()

    def decode(self, encoded_packet: object) -> int:
        """Fill in this packet; never ask for attachments (the return value is always 0). Raises `MalformedPacket`."""
        self.namespace = self.data = self.id = None
        if not isinstance(encoded_packet, str):
            # An attachment of an event that was refused when its header came: an acknowledgement of nothing is ignored.
            self.packet_type, self.id, self.data = packet.ACK, _NO_ACK_ID, []
            return 0
        if encoded_packet.startswith('2["'):  # most of what clients send
            self.packet_type = packet.EVENT
            self._read_data(encoded_packet[1:])
            return 0
        header = _HEADER.match(encoded_packet)
        if header is None:
            raise MalformedPacket("it has no Socket.IO header")
        packet_type, binary_type, namespace, identifier = header.groups()
        self.packet_type = int(packet_type or binary_type)
        self.namespace = namespace.partition("?")[0] if namespace else None
        self.id = int(identifier) if identifier else None
        self._read_data(header.string[header.end() :])
        return 0

    def _read_data(self, text: str) -> None:
        try:
            data = _loads(text) if text else None
        except BadPayload as problem:
            if self.packet_type == packet.CONNECT:
                self.data = problem  # where the client's auth would be
            else:
                name = _EVENT_NAME.match(text)
                self._refuse(name[1] if name else "", problem)
            return
        if self.packet_type == packet.EVENT or self.packet_type == packet.BINARY_EVENT:  # noqa: PLR1714 - it is quicker
            self._read_event(data)
            return
        is_valid = {
            packet.CONNECT: True,  # the door refuses an auth that is no object, in words
            packet.DISCONNECT: data is None,
            packet.ACK: isinstance(data, list) and self.id is not None,
        }
        if not is_valid.get(self.packet_type, False):
            raise MalformedPacket(f"a packet of type {self.packet_type} cannot be like that")
        self.data = data

    def _read_event(self, data: object) -> None:
        if not isinstance(data, list) or not data:
            raise MalformedPacket("an event must be an array that starts with its name")
        name = data[0] if isinstance(data[0], str) else repr(data[0])[:64]
        if self.packet_type == packet.BINARY_EVENT:
            self._refuse(name, BadPayload("payload", "must be JSON without binary parts"))
        else:
            data[0] = ClientEvent.create(name, wants_acknowledgement=self.id is not None)
            self.data = data

    def _refuse(self, name: str, problem: BadPayload) -> None:
        self.packet_type = packet.EVENT
        self.data = [ClientEvent.create(name, wants_acknowledgement=self.id is not None, problem=problem)]


def encoded(packet_type: int, namespace: str | None, identifier: int | None, data: Any) -> bytes:
    """Return a packet in UTF-8. ``data`` None: it has none."""
    header = f"{packet_type}{_address(namespace)}{'' if identifier is None else identifier}".encode()
    return header if data is None else header + _encode_json(data)


def _address(namespace: str | None) -> str:
    return "" if namespace is None or namespace == "/" else f"{namespace},"


def _loads(text: str) -> Any:
    """Decode JSON, refusing NaN, lone surrogates and a payload nested deeper than 32. Raises `MalformedPacket` too."""
    # One more than the payload may have: the array around an event is not the client's.
    if text.count("[") + text.count("{") > _MAX_JSON_DEPTH + 1:
        _check_depth(text, _MAX_JSON_DEPTH + (1 if text.startswith("[") else 0))
    try:
        return _decode_json(text)
    except msgspec.MsgspecError as error:
        problem = str(error)
    try:
        json.loads(text)
    except ValueError:
        raise MalformedPacket(f"it is not JSON: {problem}") from None
    # The standard library takes it, so it is JSON but for what JSON has no word for.
    raise BadPayload("payload", f"is not valid JSON: {problem}")


def _check_depth(text: str, limit: int) -> None:
    """Raise `BadPayload` if brackets nest deeper than ``limit``, by peeling them from the inside (linear per level)."""
    brackets = _NOT_BRACKETS.sub("", text).translate(_CURLY_TO_SQUARE)
    for _ in range(limit):
        brackets = brackets.replace("[]", "")
        if not brackets:
            return
    raise BadPayload("payload", f"is nested too deeply, the limit is {_MAX_JSON_DEPTH} levels")
