"""What the loop reads and writes: newcomers, WebSockets, connections that have heard the last words, backends.

Everything here runs in a turn of the `Loop`, or in a greenlet between two turns, and never waits.
"""

import socket
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol, cast

from hazoom_ws.transport.bounds.outbox import Outbox
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.session import SLOW_READER, EngineSession, WebSocket
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import CloseCode, FrameError, FrameReader

_FRAMES_PER_CLIENT = 16  # in one turn, so that a flood from one keeps nobody waiting
_WRITE_BYTES = 262_144
_BACKEND_READ_BYTES = 4096  # at once: about fifty tokens, after which the others have their share
_HEAD_LIMIT_BYTES = 8192
_LEAVING_S = 0.001  # of a turn


class Endpoint(Protocol):
    """A socket that the loop reads. ``is_ready``: it waits for its share of a turn."""

    connection: Any
    is_ready: bool

    def on_readable(self) -> bool:
        """Read a share; return whether there is more that needs no new bytes."""

    def on_writable(self) -> None:
        """Send what was held back."""

    def forget(self) -> None:
        """Close the socket without a word."""


class Watcher(Protocol):
    """What an endpoint asks of the loop that reads it: the `Loop`."""

    engine: Engine
    inbox: memoryview

    def clock(self) -> float: ...

    def watch(self, endpoint: Endpoint) -> None:
        """Read from an endpoint from now on."""

    def unwatch(self, endpoint: Endpoint) -> None:
        """Read from it no more; it is forgotten."""

    def want_to_write(self, endpoint: Endpoint, *, wanted: bool) -> None:
        """Start or stop to be told that an endpoint can take more."""

    def linger(self, endpoint: Endpoint) -> None:
        """Read over what a client still sends, so that the last words to it are not lost to a reset."""

    def welcome(self, newcomer: "Newcomer", head: bytes) -> None:
        """Answer the handshake of a WebSocket, or hand over what is none."""


class _Passing:
    """An endpoint that is no WebSocket: not yet, or no longer."""

    __slots__ = ("connection", "is_ready", "loop")

    def __init__(self, loop: Watcher, connection: Any) -> None:
        self.loop = loop
        self.connection = connection
        self.is_ready = False

    def on_writable(self) -> None:
        """Nothing is ever held back for it."""

    def cut_off(self, _why: str) -> None:
        """Go, see `Holder`."""
        self.forget()

    def forget(self) -> None:
        if self.connection.fileno() >= 0:  # else a sweep has been here since its last bytes came
            self.loop.unwatch(cast(Endpoint, self))
            self.connection.close()


class Newcomer(_Passing):
    """A connection that has not said yet what it wants."""

    __slots__ = ("address",)

    def __init__(self, loop: Watcher, connection: Any, address: Any) -> None:
        super().__init__(loop, connection)
        self.address = address

    def on_readable(self) -> bool:
        try:
            head = self.connection.recv(_HEAD_LIMIT_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            head = b""
        if head:
            self.loop.welcome(self, head)
        else:
            self.forget()
        return False

    def say_last(self, data: bytes) -> None:
        """Send an answer and end."""
        try:
            self.connection.send(data)
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            self.forget()
        else:
            self.loop.linger(self)


class Lingerer(_Passing):
    """A connection that has heard our last words."""

    __slots__ = ()

    def on_readable(self) -> bool:
        try:
            if self.connection.recv_into(self.loop.inbox):
                return False
        except BlockingIOError:
            return False
        except OSError:
            pass
        self.forget()
        return False


class BackendStream:
    """A connection to a backend, of which the loop only reads."""

    __slots__ = ("_is_watched", "_on_data", "connection", "is_ready", "loop")

    def __init__(self, loop: Watcher, connection: Any, on_data: Callable[[bytes], None]) -> None:
        self.loop = loop
        self.connection = connection
        self.is_ready = False
        self._on_data = on_data
        self._is_watched = True

    def pause(self) -> None:
        """Read no more until `resume`."""
        if self._is_watched:
            self._is_watched = False
            self.loop.unwatch(self)

    def resume(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self.loop.watch(self)

    def on_readable(self) -> bool:
        if not self._is_watched:
            return False
        try:
            data = self.connection.recv(_BACKEND_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.pause()
        self._on_data(data)
        return len(data) == _BACKEND_READ_BYTES

    def on_writable(self) -> None:
        """Nothing is ever sent here."""

    def forget(self) -> None:
        """Its owner closes it."""
        self.pause()


class LoopWebSocket(WebSocket):
    """A WebSocket in the loop. ``outbox`` is None as long as its client takes everything at once."""

    __slots__ = ("_reader", "connection", "is_closed", "is_ready", "loop", "outbox")
    engine: Engine

    def __init__(self, loop: Watcher, connection: Any, session: EngineSession) -> None:
        super().__init__(loop.engine, session)
        self.loop = loop
        self.connection = connection
        self.outbox: Outbox | None = None
        self.is_ready = False
        self.is_closed = False
        self._reader: FrameReader | None = None  # as long as it holds something

    def on_readable(self) -> bool:
        if self.is_closed:
            return False
        reader = self._reader
        if reader is None or not reader.has_frame:
            try:
                size_bytes = self.connection.recv_into(self.loop.inbox)
            except BlockingIOError:
                return False
            except OSError:
                size_bytes = 0
            if not size_bytes:
                self.forget()
                self.loop.leaving.add(self)
                return False
            data = bytes(self.loop.inbox[:size_bytes])
            if reader is None:
                limit_bytes = self.engine.max_http_buffer_size
                text = frames.only_text(data, limit_bytes)
                if text is not None and self.session.websocket is self:
                    self.engine.receive(self.session, text)
                    return False
                reader = self._reader = FrameReader(limit_bytes)
            reader.feed(data)
        try:
            for _ in range(_FRAMES_PER_CLIENT):
                message = reader.next_message()
                if message is not None:
                    if message.opcode < frames.CLOSE:
                        self.engine.unfinished.release(self)  # what is still here is another message's
                    self.handle_message(message)
                if not reader.has_frame or self.is_closed:
                    self._keep(reader)
                    return False
        except FrameError as error:
            self.fail(error)
        return reader.has_frame and not self.is_closed

    def _keep(self, reader: FrameReader) -> None:
        """Keep the reader until the rest of a message comes, if there is one."""
        if reader.is_between_messages:
            self._reader = None
            self.engine.unfinished.release(self)
        elif not self.is_closed:
            self.engine.unfinished.hold(self, reader.held_bytes, self.loop.clock())

    def hold(self, framed: Iterable[bytes], sent: int) -> None:
        """Keep those frames for later, without the ``sent`` bytes that have left."""
        if self.outbox is None:
            self.outbox = self.engine.new_outbox()
            self.loop.want_to_write(self, wanted=True)
        for one in framed:
            if sent >= len(one):
                sent -= len(one)
            elif sent:
                self.outbox.put_back(one, sent)
                sent = 0
            elif not self.outbox.add(one):
                self._is_too_slow()
                return

    def send_frame(self, framed: bytes) -> None:
        """Send at once, ahead of what is pending in the loop; this is how what was kept while polling gets here."""
        if self.is_closed:
            return
        if self.outbox is not None:
            if not self.outbox.add(framed):
                self._is_too_slow()
            return
        try:
            sent = self.connection.send(framed)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # reading finds it out
        if sent != len(framed):
            self.hold([framed], sent)

    @property
    def backlog_bytes(self) -> int:
        return 0 if self.outbox is None else self.outbox.size_bytes

    def on_writable(self) -> None:
        outbox = self.outbox
        if outbox is None or self.is_closed:
            return
        try:
            while outbox:
                data = outbox.pop(_WRITE_BYTES)
                sent = self.connection.send(data)
                if sent != len(data):
                    outbox.put_back(data, sent)
                    return
        except BlockingIOError:
            outbox.put_back(data, 0)
            return
        except OSError:
            self.forget()
            self.lost(self.engine.reason.TRANSPORT_ERROR)
            return
        self.outbox = None
        self.loop.want_to_write(self, wanted=False)

    def close(self, code: CloseCode) -> None:
        if self.is_closed:
            return
        if self.session.websocket is self:
            pending, self.session.pending = self.session.pending, ()
            for framed in pending:
                self.send_frame(framed)
        if self.is_closed:
            return
        if self.outbox is not None:
            self.forget()  # its client reads nothing, last words included
            return
        self.is_closed = True
        try:
            self.connection.send(frames.close_frame(code))
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            self.is_closed = False
            self.forget()
        else:
            self.loop.linger(self)

    def forget(self) -> None:
        """Close the connection without a word."""
        if self.is_closed:
            return
        self.is_closed = True
        if self.session.websocket is self:
            self.session.pending = ()
        if self.outbox is not None:
            self.outbox.clear()
            self.outbox = None
        self.loop.unwatch(self)
        self.connection.close()

    def _is_too_slow(self) -> None:
        """Close without a word: nothing more fits, and a client whose connection just ends comes back."""
        self.forget()
        self.lost(SLOW_READER)


class Leaving:
    """WebSockets whose clients have ended them, a few of which are ended in each turn.

    To leave all rooms takes longer than most events: where hundreds go at once, nobody else waits for all of them.
    """

    __slots__ = ("_carriers", "_clock")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._carriers: deque[LoopWebSocket] = deque()
        self._clock = clock

    def __bool__(self) -> bool:
        return bool(self._carriers)

    def add(self, websocket: LoopWebSocket) -> None:
        """Let one go soon; its connection is closed already."""
        self._carriers.append(websocket)

    def end_some(self) -> None:
        """End as many as a turn has time for, and at least one if there is any."""
        if not self._carriers:
            return
        ends_at_s = self._clock() + _LEAVING_S
        while self._carriers:
            websocket = self._carriers.popleft()
            websocket.lost(websocket.engine.reason.TRANSPORT_CLOSE)
            if self._clock() > ends_at_s:
                return


def flush(sessions: Iterable[EngineSession], broken: list[LoopWebSocket]) -> None:
    """Send each session what is pending for it, with one system call, and collect those whose connection is gone."""
    joined: Collection[bytes] | None = None  # the frames of the one before, who often gets the same
    data = b""
    for session in sessions:
        pending = session.pending
        if not pending:
            continue
        websocket: Any = session.websocket
        if websocket is None or websocket.outbox is not None:
            session.pending = ()
            for framed in pending:
                session.send_frame(framed)
            continue
        if pending is not joined:
            joined = pending
            data = b"".join(pending)
        session.pending = ()
        try:
            sent = websocket.connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            broken.append(websocket)
            continue
        if sent != len(data):
            websocket.hold(pending, sent)
