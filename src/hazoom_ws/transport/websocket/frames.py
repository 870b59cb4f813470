"""WebSocket frames: bytes in, messages out, and the other way round; no I/O.

Source: RFC 6455, sections 5 (framing, masking, fragmentation, control frames) and 7.4 (close codes). A server's side only:
what comes in is masked, what goes out is not, and no extension is ever negotiated.

Why not the ``Protocol`` of `websockets` or of `wsproto`, which decide the same without I/O: it costs 5.6 us and 17 us for a
200-byte message in and out, and 1.5 KB and 1.7 KB for each connection that is open; this costs 1.7 us and 0.1 KB
(``python scripts/bench/framing.py``). The masking itself is `websockets`' own C function.
"""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct

import msgspec
from websockets.frames import apply_mask  # type: ignore[attr-defined]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_FIN = 0x80
_RESERVED_BITS = 0x70
_MASKED = 0x80
_WHOLE_TEXT = _FIN | TEXT
_CONTROL_LIMIT_BYTES = 125
_UINT16 = Struct("!H")
_UINT64 = Struct("!Q")
_HEADER = Struct("!BB")
_HEADER_16 = Struct("!BBH")
_HEADER_64 = Struct("!BBQ")
_FRAGMENTS_AT_ONCE = 16
# Codes that an endpoint may send: those of the RFC and its registry, and the ranges for libraries and applications.
_SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class CloseCode(IntEnum):
    """RFC 6455, section 7.4.1: the codes that this server sends."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009


class FrameError(Exception):
    """The peer broke the protocol; ``code`` is what to close the connection with."""

    def __init__(self, code: CloseCode, problem: str) -> None:
        super().__init__(problem)
        self.code = code


class Message(msgspec.Struct, frozen=True):
    """A whole message, or a control frame. ``data`` is str if ``opcode`` is TEXT, else bytes."""

    opcode: int
    data: str | bytes


def frame(opcode: int, payload: bytes) -> bytes:
    """Return one unmasked, final frame."""
    size_bytes = len(payload)
    if size_bytes < 126:
        return _HEADER.pack(_FIN | opcode, size_bytes) + payload
    if size_bytes < 65536:
        return _HEADER_16.pack(_FIN | opcode, 126, size_bytes) + payload
    return _HEADER_64.pack(_FIN | opcode, 127, size_bytes) + payload


def close_frame(code: CloseCode) -> bytes:
    """Return a close frame with ``code`` and no reason: the reason is for our log."""
    return frame(CLOSE, _UINT16.pack(code))


def opened(framed: bytes) -> Message:
    """Return what `frame` was given, with text as str."""
    size = framed[1]
    payload = framed[2 if size < 126 else 4 if size == 126 else 10 :]
    opcode = framed[0] & 0x0F
    return Message(opcode, payload.decode() if opcode == TEXT else payload)


def opened_all(framed: bytes) -> Iterator[Message]:
    """Yield what `frame` was given, of one frame or of several that were joined."""
    start = 0
    while start < len(framed):
        size_bytes, payload_start = framed[start + 1], start + 2
        if size_bytes == 126:
            size_bytes, payload_start = _UINT16.unpack_from(framed, payload_start)[0], payload_start + 2
        elif size_bytes == 127:
            size_bytes, payload_start = _UINT64.unpack_from(framed, payload_start)[0], payload_start + 8
        opcode, payload = framed[start] & 0x0F, framed[payload_start : payload_start + size_bytes]
        yield Message(opcode, payload.decode() if opcode == TEXT else payload)
        start = payload_start + size_bytes


def only_text(data: bytes, limit_bytes: int) -> str | None:
    """Return the text if ``data`` is one whole frame of text, of less than 64 KB, as it nearly always is.

    None for anything else, which is for a `FrameReader`. To be called between messages only.
    """
    size_bytes = len(data)
    if size_bytes < 6 or data[0] != _WHOLE_TEXT:
        return None
    announced, start = data[1] - _MASKED, 6
    if announced == 126:
        announced, start = _UINT16.unpack_from(data, 2)[0], 8
    elif announced == 127:
        return None
    if announced != size_bytes - start or announced > limit_bytes:
        return None
    try:
        return apply_mask(data[start:], data[start - 4 : start]).decode()
    except UnicodeDecodeError:
        return None


class FrameReader:
    """Turn the bytes of one client into messages. The same bytes give the same messages however they are cut.

    `feed` what arrived, then call `next_message` as long as it `has_frame`. Not thread-safe.
    """

    __slots__ = ("_buffer", "_fragments", "_missing_bytes", "_opcode", "_position", "has_frame", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        """``limit_bytes`` bounds a whole message, over all its fragments; it may be changed between two messages."""
        self.limit_bytes = limit_bytes
        self.has_frame = False  # whether there may be a whole frame that `next_message` has not been asked for
        self._buffer: bytes | bytearray = b""
        self._position = 0  # of the next frame in the buffer
        self._missing_bytes = 0  # before the next frame can be read, as far as that is known
        self._fragments: bytearray | None = None
        self._opcode = CONTINUATION  # of the message that the fragments belong to

    @property
    def is_between_messages(self) -> bool:
        """Whether all that was fed has been read, so that another reader may go on."""
        return not self._buffer and self._fragments is None

    @property
    def held_bytes(self) -> int:
        """What is kept because it is not whole, or has not been asked for."""
        return len(self._buffer) + (0 if self._fragments is None else len(self._fragments))

    def feed(self, data: bytes) -> None:
        """Take bytes that have arrived; `has_frame` then says whether a whole frame is there."""
        if not self._buffer:
            self._buffer = data
        else:
            # What came in pieces is collected in a bytearray: bytes would be copied whole with each of them.
            if not isinstance(self._buffer, bytearray):
                self._buffer = bytearray(self._buffer[self._position :])
                self._position = 0
            self._buffer += data
        self._missing_bytes -= len(data)
        self.has_frame = self._missing_bytes <= 0

    def next_message(self) -> Message | None:  # noqa: PLR0911, PLR0912 - a place for each way to have too few bytes
        """Return the next whole message or control frame. Raises `FrameError`.

        None if more bytes are needed, or after some fragments, of which there may be many that hold nothing: `has_frame`
        tells.
        """
        for _ in range(_FRAGMENTS_AT_ONCE):
            if not self.has_frame:
                return None
            buffer, position = self._buffer, self._position
            available_bytes = len(buffer) - position
            if available_bytes < 2:
                self._wait_for(2)
                return None
            first, second = buffer[position], buffer[position + 1]
            size_bytes = second & 0x7F
            # What nearly every frame is, a whole short text, is known by its first two bytes to be right.
            if first != _WHOLE_TEXT or second < _MASKED or self._fragments is not None:
                self._check_header(first, second, first & 0x0F, size_bytes)
            start = position + 2
            if size_bytes >= 126:
                field = _UINT16 if size_bytes == 126 else _UINT64
                start += field.size
                if len(buffer) < start:
                    self._wait_for(start - position)
                    return None
                size_bytes = field.unpack_from(buffer, position + 2)[0]
            if size_bytes > self.limit_bytes or self._fragments is not None:
                self._check_size(first & 0x0F, size_bytes)
            payload_start = start + 4
            end = payload_start + size_bytes
            if len(buffer) < end:
                self._wait_for(end - position)
                return None
            payload = apply_mask(buffer[payload_start:end], buffer[start:payload_start])
            if end == len(buffer):
                self._buffer, self._position, self.has_frame = b"", 0, False
            else:
                self._position = end
            opcode = first & 0x0F
            if opcode >= CLOSE:
                return self._control(opcode, payload)
            if first & _FIN and self._fragments is None:
                return self._message(opcode, payload)
            message = self._defragment(opcode, payload, is_final=bool(first & _FIN))
            if message is not None:
                return message
        return None

    def _wait_for(self, frame_bytes: int) -> None:
        """Remember that the frame at hand has at least ``frame_bytes``, and forget the frames before it."""
        if self._position:
            self._buffer = self._buffer[self._position :]
            self._position = 0
        self._missing_bytes = frame_bytes - len(self._buffer)
        self.has_frame = False

    def _check_header(self, first: int, second: int, opcode: int, size_bytes: int) -> None:
        if first & _RESERVED_BITS:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a reserved bit is set")
        if not second & _MASKED:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a frame is not masked")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise FrameError(CloseCode.PROTOCOL_ERROR, f"opcode {opcode} does not exist")
            if size_bytes > _CONTROL_LIMIT_BYTES:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a control frame is longer than 125 bytes")
            if not first & _FIN:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a control frame is fragmented")
        elif opcode > BINARY:
            raise FrameError(CloseCode.PROTOCOL_ERROR, f"opcode {opcode} does not exist")
        elif opcode == CONTINUATION and self._fragments is None:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a continuation continues nothing")
        elif opcode != CONTINUATION and self._fragments is not None:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a message starts within another")

    def _check_size(self, opcode: int, size_bytes: int) -> None:
        """Refuse a message by the length it announces, before its bytes are here."""
        collected_bytes = len(self._fragments) if self._fragments is not None and opcode < CLOSE else 0
        if collected_bytes + size_bytes > self.limit_bytes:
            raise FrameError(CloseCode.TOO_BIG, f"a message is longer than {self.limit_bytes} bytes")

    def _defragment(self, opcode: int, payload: bytes, *, is_final: bool) -> Message | None:
        if self._fragments is None:
            self._fragments = bytearray()
            self._opcode = opcode
        self._fragments += payload
        if not is_final:
            return None
        whole, self._fragments = bytes(self._fragments), None
        return self._message(self._opcode, whole)

    @staticmethod
    def _message(opcode: int, payload: bytes) -> Message:
        if opcode == BINARY:
            return Message(BINARY, payload)
        try:
            return Message(TEXT, payload.decode())
        except UnicodeDecodeError:
            raise FrameError(CloseCode.INVALID_DATA, "a text is not UTF-8") from None

    @staticmethod
    def _control(opcode: int, payload: bytes) -> Message:
        if opcode == CLOSE and payload:
            code = _UINT16.unpack_from(payload)[0] if len(payload) >= 2 else 0
            if code not in _SENDABLE_CODES and not 3000 <= code <= 4999:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a close frame has no valid code")
            try:
                payload[2:].decode()
            except UnicodeDecodeError:
                raise FrameError(CloseCode.INVALID_DATA, "the reason of a close frame is not UTF-8") from None
        return Message(opcode, payload)
