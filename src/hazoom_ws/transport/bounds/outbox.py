"""The outbox: what one connection has not been able to take yet, with a bottom.

What it is
    Whole frames in order, for a connection whose reader is slow. One that keeps up never has any: its frames go from the
    turn to the socket.

What is promised
    In order, and nothing in the middle is left out: a client gets all that it was to get up to some frame, but for what
    may be lost, or it is closed and comes back for the rest (`chat.recovery`).
    Nobody else waits for a slow reader, and what all of them hold together is bounded: each by ``outbox_limit_bytes``, all
    by ``outbox_total_limit_bytes``, in which everybody has a share of 16 KB that is not taken for the others' sake.

What gives way, in this order
    1. Tokens of one answer that wait together become one frame: they take the space of their text.
    2. A `DroppableFrame` goes: typing, presence, statistics, whose next one says the same better.
    3. A `PatientFrame` may be over the bound, within reason: the size of an answer is bounded elsewhere.
    4. The connection is closed, in the way that makes its client come back. The outbox says so (`Outbox.add` returns
       False), and its owner does it: a client that reads on within two seconds hears why.

Not thread-safe: whoever writes the connection's frames owns it.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

import msgspec

# What each connection may hold even when all together are over their bound: who keeps up is not to blame for the others.
_SHARE_BYTES = 16_384
_SHARES_AT_LEAST = 16  # in a bound that is small
_JOINED_FROM_BYTES = 4096  # below that a reader is hardly slow, and gets each token by itself
_PATIENCE = 16  # bounds' worth of patient frames, and not more
_WRITE_BYTES = 262_144  # by one call
_LOOSE_COUNT = 256  # pieces of text, before they become one


class DroppableFrame(bytes):
    """A frame that may be lost when its reader is slow: typing, presence, statistics."""

    __slots__ = ()


class PatientFrame(bytes):
    """A frame whose size others bound, an answer of the AI: a reader is not called slow for it, within reason.

    ``stream``: the namespace and request of an answer, whose tokens are joined to none before this.
    """

    stream: tuple[str, str] | None = None


class Piece(Protocol):
    """A struct that is an event with one of many pieces of a text, which can be one piece where they wait together."""

    token: str
    index: int
    request_id: str


FrameOf = Callable[[str, Any, bytes], bytes]


class TokenFrame(bytes):
    """A frame with one token: those of one stream that wait together become one frame.

    ``source``: the function that made it, and its namespace, event and offset.
    """

    source: tuple[FrameOf, str, Piece, bytes]

    @classmethod
    def of(cls, frame_of: FrameOf, namespace: str, event: Piece, offset: bytes) -> "TokenFrame":
        """Return the frame that ``frame_of(namespace, event, offset)`` makes, such that it can be joined."""
        framed = cls(frame_of(namespace, event, offset))
        framed.source = (frame_of, namespace, event, offset)
        return framed


class _Run:
    """Tokens of one stream that wait together, in the place of the first."""

    __slots__ = ("_first", "_offset", "_texts", "next_index", "size_bytes", "stream")

    def __init__(self, stream: tuple[str, str], first: TokenFrame) -> None:
        _, _, event, self._offset = first.source
        self.stream = stream
        self._first = first
        self._texts = [event.token]
        self.next_index = event.index + 1
        self.size_bytes = len(first)

    def add(self, framed: TokenFrame, *, is_last: bool) -> int:
        """Take one more token and return by how many bytes that grows. ``is_last``: no other frame came in between.

        Else the offset stays, so that it claims nothing that is sent after this: after a drop tokens may come twice then.
        """
        _, _, event, offset = framed.source
        text = event.token
        self._texts.append(text)
        if len(self._texts) > _LOOSE_COUNT:
            self._texts = ["".join(self._texts)]
        self.next_index += 1
        if is_last:
            self._offset = offset
        grown_bytes = len(text.encode())
        self.size_bytes += grown_bytes
        return grown_bytes

    def framed(self) -> bytes:
        frame_of, namespace, event, _ = self._first.source
        if self.next_index == event.index + 1:
            return self._first
        return frame_of(namespace, msgspec.structs.replace(cast(Any, event), token="".join(self._texts)), self._offset)


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

    __slots__ = ("_frames", "_limit_bytes", "_patient_bytes", "_runs", "_total", "size_bytes")

    def __init__(self, limit_bytes: int, total: OutboxTotal) -> None:
        self._frames: deque[bytes | _Run] = deque()
        self._runs: dict[tuple[str, str], _Run] = {}  # the last one of each stream, by namespace and request
        self._limit_bytes = limit_bytes
        self._total = total
        self.size_bytes = self._patient_bytes = 0

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
        if type(framed) is TokenFrame:
            self._add_token(framed)
        else:
            self._frames.append(framed)
            self._grow(len(framed))
            if type(framed) is PatientFrame:
                self._patient_bytes += len(framed)
                if framed.stream is not None:
                    self._runs.pop(framed.stream, None)
        return True

    def put_back(self, taken: bytes, sent: int) -> None:
        """Put what was not sent of ``taken`` to the front, whatever the bound: half a frame cannot be dropped."""
        rest = taken[sent:]
        if type(taken) is PatientFrame:
            rest = PatientFrame(rest)
            self._patient_bytes += len(rest)
        self._frames.appendleft(rest)
        self._grow(len(rest))

    def pop(self, limit_bytes: int) -> bytes:
        """Remove and return frames from the front: as many as fit into ``limit_bytes``, but at least one."""
        taken = [self._pop_first()]
        size_bytes = len(taken[0])
        while self._frames and size_bytes + _size_bytes(self._frames[0]) <= limit_bytes:
            taken.append(self._pop_first())
            size_bytes += len(taken[-1])
        if len(taken) == 1:
            return taken[0]
        joined = b"".join(taken)
        return PatientFrame(joined) if any(type(framed) is PatientFrame for framed in taken) else joined

    def put_last(self, framed: bytes) -> None:
        """Append the last frame, whatever the bound."""
        self._frames.append(framed)
        self._grow(len(framed))

    def keep_first(self) -> None:
        """Forget all but what leaves next, which may have begun to leave."""
        first = self._pop_first() if self._frames else b""
        self.clear()
        if first:
            self.put_back(first, 0)

    def send_by(self, send: Callable[[bytes], int]) -> bool:
        """Send frames by a socket's ``send``, which does not block, until it takes no more; return whether all have left.

        Raises what it raises beside BlockingIOError.
        """
        while self._frames:
            data = self.pop(_WRITE_BYTES)
            try:
                sent = send(data)
            except BlockingIOError:
                sent = 0
            if sent != len(data):
                self.put_back(data, sent)
                return False
        return True

    def pop_all(self) -> list[bytes]:
        """Remove and return all frames."""
        return [self._pop_first() for _ in range(len(self._frames))]

    def clear(self) -> None:
        """Forget all that waits: nobody will take it."""
        self._frames.clear()
        self._runs.clear()
        self._patient_bytes = 0
        self._grow(-self.size_bytes)

    def _add_token(self, framed: TokenFrame) -> None:
        _, namespace, event, _ = framed.source
        stream = (namespace, event.request_id)
        run = self._runs.get(stream)
        if run is not None and run.next_index == event.index and self.size_bytes >= _JOINED_FROM_BYTES:
            self._grow(run.add(framed, is_last=self._frames[-1] is run))
            return
        self._runs[stream] = run = _Run(stream, framed)
        self._frames.append(run)
        self._grow(run.size_bytes)

    def _pop_first(self) -> bytes:
        first = self._frames.popleft()
        self._grow(-_size_bytes(first))
        if type(first) is PatientFrame:
            self._patient_bytes -= len(first)
        if not isinstance(first, _Run):
            return first
        if self._runs.get(first.stream) is first:
            del self._runs[first.stream]
        return first.framed()

    def _is_full(self) -> bool:
        total = self._total
        patience_bytes = min(self._patient_bytes, _PATIENCE * self._limit_bytes)
        return self.size_bytes - patience_bytes >= self._limit_bytes or (
            total.size_bytes >= total.limit_bytes and self.size_bytes >= total.share_bytes
        )

    def _drop_droppable(self) -> None:
        kept = deque(framed for framed in self._frames if type(framed) is not DroppableFrame)
        self._grow(sum(map(_size_bytes, kept)) - self.size_bytes)
        self._frames = kept

    def _grow(self, by_bytes: int) -> None:
        self.size_bytes += by_bytes
        self._total.size_bytes += by_bytes


def _size_bytes(waiting: bytes | _Run) -> int:
    return waiting.size_bytes if isinstance(waiting, _Run) else len(waiting)
