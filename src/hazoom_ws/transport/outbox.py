"""What one connection has not been able to take yet, with a bottom.

A connection that keeps up never needs one. Holds whole frames in order; over a bound, what may be lost goes first, and
when that is not enough the caller closes the connection in the way that makes its client come back. Not thread-safe.
"""

from collections import deque

# What each connection may hold even when all together are over their bound: who keeps up is not to blame for the others.
_SHARE_BYTES = 16_384
_SHARES_AT_LEAST = 16  # in a bound that is small


class DroppableFrame(bytes):
    """A frame that may be lost when its reader is slow: typing, presence, statistics."""

    __slots__ = ()


class OutboxTotal:
    """The bytes in all outboxes of a process, and their bound. Those that hold less than ``share_bytes`` may exceed it."""

    __slots__ = ("limit_bytes", "share_bytes", "size_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.share_bytes = min(_SHARE_BYTES, limit_bytes // _SHARES_AT_LEAST)
        self.size_bytes = 0


class Outbox:
    """The unsent frames of one connection: it takes them until they are ``limit_bytes``.

    The last one may go over: a message that is larger than the bound must be able to pass at all.
    """

    __slots__ = ("_frames", "_limit_bytes", "_total", "size_bytes")

    def __init__(self, limit_bytes: int, total: OutboxTotal) -> None:
        self._frames: deque[bytes] = deque()
        self._limit_bytes = limit_bytes
        self._total = total
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._frames)

    def add(self, framed: bytes) -> bool:
        """Append a frame, unless it is a droppable one over the bound; return False if the reader is too slow for it."""
        if self._is_full():
            if type(framed) is DroppableFrame:
                return True
            self._drop_droppable()
            if self._is_full():
                return False
        self._frames.append(framed)
        self._grow(len(framed))
        return True

    def put_back(self, rest: bytes) -> None:
        """Put what was taken and not sent to the front, whatever the bound: half a frame cannot be dropped."""
        self._frames.appendleft(rest)
        self._grow(len(rest))

    def take(self, limit_bytes: int) -> bytes:
        """Remove and return frames from the front: as many as fit into ``limit_bytes``, but at least one."""
        taken = [self._frames.popleft()]
        size_bytes = len(taken[0])
        while self._frames and size_bytes + len(self._frames[0]) <= limit_bytes:
            taken.append(self._frames.popleft())
            size_bytes += len(taken[-1])
        self._grow(-size_bytes)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def take_frames(self) -> list[bytes]:
        """Remove and return all frames."""
        frames = list(self._frames)
        self.clear()
        return frames

    def clear(self) -> None:
        self._frames.clear()
        self._grow(-self.size_bytes)

    def _is_full(self) -> bool:
        total = self._total
        return self.size_bytes >= self._limit_bytes or (
            total.size_bytes >= total.limit_bytes and self.size_bytes >= total.share_bytes
        )

    def _drop_droppable(self) -> None:
        kept = deque(framed for framed in self._frames if type(framed) is not DroppableFrame)
        self._grow(sum(map(len, kept)) - self.size_bytes)
        self._frames = kept

    def _grow(self, by_bytes: int) -> None:
        self.size_bytes += by_bytes
        self._total.size_bytes += by_bytes
