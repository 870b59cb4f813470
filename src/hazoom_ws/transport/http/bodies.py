"""The body of a request, for every HTTP server here: read by the application, or read over within bounds.

Takes the place of the servers' own, which read over a body that nobody wants without end, and without letting others have
a turn. Blocks where the file under it does. Source: RFC 9112, sections 6.3 and 7.1.
"""

import io
import re
from collections.abc import Callable
from typing import Any

# So much of a body that nobody wants is read over, so that the connection can serve the next request.
UNREAD_LIMIT_BYTES = 65_536
_TURN_BYTES = 65_536  # after which others have theirs
_CHUNK_LINE_LIMIT_BYTES = 4096
_TRAILERS_LIMIT_BYTES = 16_384
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


class Body(io.RawIOBase):
    """The bytes of one body, as a raw stream: ``wsgi.input`` is an `io.BufferedReader` over it.

    A body that is malformed or cut off raises OSError. ``is_begun``: somebody reads it; ``is_whole``: the last byte of it
    has been read.
    """

    def __init__(
        self,
        file: Any,
        size_bytes: int | None,
        *,
        give_way: Callable[[], object],
        on_whole: Callable[[], object],
        before: Callable[[], object] | None = None,
    ) -> None:
        """``file`` is a buffered one; ``size_bytes``: None for the chunked coding.

        ``give_way()`` is called every 64 KB, ``on_whole()`` once, and ``before()`` before the first byte is read: the
        client may wait for a word.
        """
        super().__init__()
        self._file = file
        self._is_chunked = size_bytes is None
        self._left = size_bytes or 0  # of the body, or of its chunk
        self._is_within_chunk = False
        self._give_way = give_way
        self._on_whole = on_whole
        self._before = before
        self._taken_bytes = 0  # of the connection, lines between chunks included
        self._turn_ends_at_bytes = _TURN_BYTES
        self.is_whole = False
        self.is_begun = False
        if size_bytes == 0:
            self._end()

    def readable(self) -> bool:
        """Return True, as `io.RawIOBase` asks."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read at least a byte, 0 at the end."""
        if not self.is_begun and not self.is_whole:
            self.is_begun = True
            if self._before is not None:
                before, self._before = self._before, None
                before()
        while self._is_chunked and not self._left and not self.is_whole:
            self._next_chunk()
        if self.is_whole or not len(buffer):
            return 0
        part = memoryview(buffer)[: min(self._left, _TURN_BYTES)]
        size_bytes = self._file.readinto1(part)
        if not size_bytes:
            raise ConnectionError("the connection ended within a body")
        self._left -= size_bytes
        if not self._left and not self._is_chunked:
            self._end()
        self._count(size_bytes)
        return int(size_bytes)

    def is_short(self) -> bool:
        """Read over the rest if that is little; return whether all has been read, so that a request may follow."""
        rest = memoryview(bytearray(16_384))
        limit_bytes = self._taken_bytes + UNREAD_LIMIT_BYTES
        while not self.is_whole:
            if self._before is not None or self._taken_bytes > limit_bytes or self._left > UNREAD_LIMIT_BYTES:
                return False
            self.readinto(rest)
        return True

    def _next_chunk(self) -> None:
        if self._is_within_chunk and self._line() != b"\r\n":
            raise ConnectionError("a chunk is longer than it says")
        parts = _CHUNK_LINE.fullmatch(self._line())
        if parts is None:
            raise ConnectionError("a chunk has no size")
        self._left = int(parts[1], 16)
        self._is_within_chunk = True
        if not self._left:
            trailers_bytes = 0
            while (line := self._line()) != b"\r\n":
                trailers_bytes += len(line)
                if trailers_bytes > _TRAILERS_LIMIT_BYTES:
                    raise ConnectionError("the trailers are too long")
            self._end()

    def _line(self) -> bytes:
        line: bytes = self._file.readline(_CHUNK_LINE_LIMIT_BYTES)
        if not line.endswith(b"\n"):
            raise ConnectionError("a line of a chunked body is too long, or the connection ended")
        self._count(len(line))
        return line

    def _count(self, size_bytes: int) -> None:
        self._taken_bytes += size_bytes
        if self._taken_bytes >= self._turn_ends_at_bytes:
            self._turn_ends_at_bytes = self._taken_bytes + _TURN_BYTES
            self._give_way()

    def _end(self) -> None:
        self.is_whole = True
        self._on_whole()
