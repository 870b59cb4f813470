"""The chunked transfer coding: bytes in, content out, no I/O.

Source: RFC 9112, section 7.1. Chunk extensions and trailers are read over.
"""

_LINE_LIMIT_BYTES = 4096
_TRAILERS_LIMIT_BYTES = 16_384
_SIZE_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_SIZE_LIMIT_DIGITS = 15
_LINE_END = b"\r\n"


class MalformedChunk(ValueError):
    """What came is not in this coding; the decoder is of no use after that."""


class ChunkDecoder:
    """Turn a chunked body into its content. ``is_whole``: its last byte has come."""

    __slots__ = ("_left", "_rest", "_trailers_bytes", "is_whole")

    def __init__(self) -> None:
        self.is_whole = False
        self._rest = b""  # the beginning of a line
        self._left = 0  # of a chunk that has begun, with the line end behind it
        self._trailers_bytes = -1  # not there yet

    def feed(self, data: bytes) -> bytes:
        """Return the content that ``data`` completes. Raises `MalformedChunk`."""
        if self._rest:
            data = self._rest + data
        position = 0
        content: list[bytes] = []
        while not self.is_whole:
            if self._left > len(_LINE_END):
                piece = data[position : position + self._left - len(_LINE_END)]
                if not piece:
                    break
                content.append(piece)
                position += len(piece)
                self._left -= len(piece)
                continue
            line_end = data.find(_LINE_END, position, position + _LINE_LIMIT_BYTES)
            if line_end < 0:
                if len(data) - position >= _LINE_LIMIT_BYTES:
                    raise MalformedChunk("a line is too long")
                break
            self._read_line(data[position:line_end])
            position = line_end + len(_LINE_END)
        self._rest = data[position:]
        return content[0] if len(content) == 1 else b"".join(content)

    def _read_line(self, line: bytes) -> None:
        if self._left:
            if line:
                raise MalformedChunk("a chunk is longer than it says")
            self._left = 0
        elif self._trailers_bytes >= 0:
            self._trailers_bytes += len(line)
            if self._trailers_bytes > _TRAILERS_LIMIT_BYTES:
                raise MalformedChunk("the trailers are too long")
            self.is_whole = not line
        else:
            digits = line.partition(b";")[0].rstrip(b" \t")
            if not digits or len(digits) > _SIZE_LIMIT_DIGITS or not _SIZE_DIGITS.issuperset(digits):
                raise MalformedChunk("a chunk has no size")
            size_bytes = int(digits, 16)
            if size_bytes:
                self._left = size_bytes + len(_LINE_END)
            else:
                self._trailers_bytes = 0
