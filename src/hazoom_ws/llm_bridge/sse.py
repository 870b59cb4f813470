"""Server-Sent Events: bytes in, events out, no I/O.

Source: WHATWG HTML, section 9.2 "Server-sent events", "Interpreting an event stream". The fields ``id`` and ``retry`` serve
reconnection, which a POST has not, and are read over.
"""

import re

from msgspec import Struct

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SseEvent(Struct, frozen=True):
    """``event`` is "message" where the stream names none; ``data`` has its lines joined by a line feed."""

    event: str
    data: str


class SseTooLarge(ValueError):
    """One event is longer than the limit."""


class SseDecoder:
    """Turn a stream into events. The same bytes give the same events however they are cut."""

    def __init__(self, *, event_limit_bytes: int) -> None:
        self._event_limit_bytes = event_limit_bytes
        self._partial_line = bytearray()
        self._ended_with_cr = False
        self._is_first_line = True
        self._event = ""
        self._data: list[str] = []
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Return the events that ``chunk`` completes. Raises `SseTooLarge`; the decoder is of no use after that.

        An event that the stream's end cuts off is dropped, as the specification asks.
        """
        if self._ended_with_cr and chunk:
            self._ended_with_cr = False
            chunk = chunk.removeprefix(b"\n")  # the second half of a CRLF whose first half ended the line already
        if not chunk:
            return []
        self._ended_with_cr = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(chunk) if b"\r" in chunk else chunk.split(b"\n")  # the usual one is quicker
        if lines and self._partial_line:
            lines[0] = bytes(self._partial_line) + lines[0]
            self._partial_line.clear()
        events: list[SseEvent] = []
        for line in lines:
            if self._is_first_line:
                self._is_first_line = False
                line = line.removeprefix(_BYTE_ORDER_MARK)  # noqa: PLW2901
            if not line:
                if self._data:
                    events.append(SseEvent(self._event or "message", "\n".join(self._data)))
                    self._data = []
                self._event = ""
                self._size_bytes = 0
                continue
            self._check_size(len(line))
            self._size_bytes += len(line)
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
            elif name == b"event":
                self._event = value.removeprefix(b" ").decode("utf-8", "replace")
        self._partial_line += rest
        self._check_size(len(self._partial_line))
        return events

    def _check_size(self, more_bytes: int) -> None:
        if self._size_bytes + more_bytes > self._event_limit_bytes:
            raise SseTooLarge(f"an event is longer than {self._event_limit_bytes} bytes")
