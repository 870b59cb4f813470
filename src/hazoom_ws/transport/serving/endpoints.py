"""What the loop reads and writes: newcomers, WebSockets, connections that have heard the last words, backends.

Everything here runs in a turn of the `Loop`, or in a greenlet between two turns, and never waits.
"""

import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

from hazoom_ws.transport.bounds.outbox import Outbox
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.session import WebSocket

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
    leaving: "Leaving"

    def clock(self) -> float: ...

    def watch(self, endpoint: Endpoint) -> None:
        """Read from an endpoint from now on."""

    def unwatch(self, endpoint: Endpoint) -> None:
        """Read from it no more; it is forgotten."""

    def want_to_write(self, endpoint: Endpoint, *, wanted: bool) -> None:
        """Start or stop to be told that an endpoint can take more."""

    def linger(self, endpoint: Endpoint, outbox: Outbox | None = None) -> None:
        """Let a client hear the last words: send ``outbox``, and read over what still comes, lest that be a reset."""

    def take_in(self, connection: Any, address: Any) -> "Newcomer | None":
        """Read from a new connection from now on; close it and return None if there are too many."""

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
    """A connection that has heard our last words, or is still to read them: what is in ``outbox``, if that is not None."""

    __slots__ = ("_outbox",)

    def __init__(self, loop: Watcher, connection: Any, outbox: Outbox | None) -> None:
        super().__init__(loop, connection)
        self._outbox = outbox

    def on_writable(self) -> None:
        outbox = self._outbox
        if outbox is None or self.connection.fileno() < 0:
            return
        try:
            if outbox.send_by(self.connection.send):
                self._outbox = None
                self.loop.want_to_write(self, wanted=False)
                self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            self.forget()

    def forget(self) -> None:
        if self._outbox is not None:
            self._outbox.clear()
            self._outbox = None
        super().forget()

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


class Leaving:
    """WebSockets whose clients have ended them, a few of which are ended in each turn.

    To leave all rooms takes longer than most events: where hundreds go at once, nobody else waits for all of them.
    """

    __slots__ = ("_clock", "_websockets")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._websockets: deque[WebSocket] = deque()
        self._clock = clock

    def __bool__(self) -> bool:
        return bool(self._websockets)

    def add(self, websocket: WebSocket) -> None:
        """Let one go soon; its connection is closed already."""
        self._websockets.append(websocket)

    def end_some(self) -> None:
        """End as many as a turn has time for, and at least one if there is any."""
        if not self._websockets:
            return
        ends_at_s = self._clock() + _LEAVING_S
        while self._websockets:
            websocket = self._websockets.popleft()
            websocket.lost(websocket.engine.reason.TRANSPORT_CLOSE)
            if self._clock() > ends_at_s:
                return
