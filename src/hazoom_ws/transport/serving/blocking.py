"""WebSockets where there is no event loop of ours: Windows, macOS, ``--async-mode threading``, other WSGI servers.

A connection blocks in the thread or greenlet of its WSGI request, which reads it; a second one writes. The same protocol
as in the loop, slower: for a few hundred clients.
"""

import logging
import socket
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.requests import BAD_REQUEST, Refused
from hazoom_ws.transport.engineio.session import SLOW_READER, EngineSession, WebSocket
from hazoom_ws.transport.websocket.frames import CLOSE, CloseCode, FrameError, FrameReader, close_frame

NO_SOCKET = "a WebSocket is refused: this WSGI server gives no sockets away, and its clients can only poll"
_READ_BYTES = 65536
_WRITE_BYTES = 65536
_FRAMES_PER_TURN = 16
# How soon who waits for a client that does nothing finds out that the session has ended meanwhile.
_WAIT_S = 2.0
_LINGER_S = 2.0


def carry(engine: Engine, session: EngineSession | None, answer: bytes, environ: dict[str, Any]) -> Collection[bytes]:
    """Accept a WebSocket that came through WSGI with ``answer`` and serve it, for ``session`` or a new one.

    Returns when it has ended, or at once if the engine has a loop, which adopts the socket. Raises `Refused` on a
    WSGI server that does not give its socket away, and what the server expects after a WebSocket, instead of an answer:
    StopIteration for gunicorn's, ConnectionError for werkzeug's.
    """
    from_gunicorn = environ.get("gunicorn.socket")
    # Of gunicorn's socket python-engineio makes one that looks like eventlet's.
    from_eventlet = environ.get("eventlet.input") if from_gunicorn is None else None
    connection = from_eventlet.get_socket() if from_eventlet else environ.get("werkzeug.socket", from_gunicorn)
    if connection is None:
        engine.refusals.note(NO_SOCKET, level=logging.WARNING)
        raise Refused(BAD_REQUEST)
    if engine.loop is not None:
        connection.settimeout(None)
        engine.loop.adopt(connection, session, answer, environ)
    elif session is None:
        session = engine.open(environ)
        session.websocket = websocket = BlockingWebSocket(engine, session, connection)
        if not session.is_open:
            websocket.close(CloseCode.GOING_AWAY)  # it was closed before it had a WebSocket
        engine.send_open_packet(session)
        websocket.serve(answer)
    else:
        websocket = BlockingWebSocket(engine, session, connection)
        if not engine.start_upgrade(websocket):
            websocket.close(CloseCode.POLICY_VIOLATION)  # another WebSocket has it, or tries to
        websocket.serve(answer)
    if from_eventlet:
        from eventlet.wsgi import WSGI_LOCAL  # not an import at the top: this module serves without eventlet too

        WSGI_LOCAL.already_handled = True
        return []
    if from_gunicorn is not None:
        raise StopIteration  # it closes the connection, and logs nothing
    raise ConnectionError("the WebSocket has ended")


class BlockingWebSocket(WebSocket):
    """One connection with a reader, which is the caller of `serve`, and a writer."""

    __slots__ = ("_changed", "_closing", "_connection", "_is_too_slow", "_is_written", "_outbox", "_reader")
    engine: Engine

    def __init__(self, engine: Engine, session: EngineSession, connection: socket.socket) -> None:
        super().__init__(engine, session)
        self._connection = connection
        self._reader = FrameReader(self.message_limit_bytes)
        self._changed = threading.Condition()
        self._outbox = engine.new_outbox()
        self._closing: bytes | None = None  # the close frame, once there is one
        self._is_too_slow = False
        self._is_written = False  # all that will be

    def serve(self, answer: bytes) -> None:
        """Send ``answer``, and carry the session until either side ends it."""
        engine = self.engine
        self._outbox.put_back(answer, 0)
        self._connection.settimeout(_WAIT_S)
        writer = engine.start_background_task(self._write)
        engine.parting.busy.add(self)
        try:
            self._read()
        finally:
            self.engine.unfinished.release(self)
            if self._is_too_slow:
                self._let_go()
            else:
                self.lost(engine.reason.TRANSPORT_CLOSE, CloseCode.NORMAL)
                self._linger()
            writer.join()
            engine.parting.busy.discard(self)
            with self._changed:
                self._outbox.clear()

    def send_frame(self, framed: bytes) -> None:
        with self._changed:
            if self._closing is not None or self._is_too_slow:
                return
            self._is_too_slow = not self._outbox.add(framed)
            self._changed.notify()
        if self._is_too_slow:
            # It is for the reader to end the session: who sends may hold a lock that the end waits for.
            self._shut(socket.SHUT_RD)  # wakes it

    def cut_off(self, _why: str) -> None:
        self._shut(socket.SHUT_RDWR)  # the reader finds out, and lets go of what it holds

    @property
    def backlog_bytes(self) -> int:
        return self._outbox.size_bytes

    @property
    def is_receiving(self) -> bool:
        return not self._reader.is_between_messages

    def limit_messages(self, limit_bytes: int) -> None:
        self.message_limit_bytes = self._reader.limit_bytes = limit_bytes

    def close(self, code: CloseCode) -> None:
        with self._changed:
            if self._closing is None:
                self._closing = close_frame(code)
            self._changed.notify()

    def _read(self) -> None:
        try:
            while self._closing is None and not self._is_too_slow:
                try:
                    data = self._connection.recv(_READ_BYTES)
                except TimeoutError:
                    continue
                if not data:
                    return
                self._reader.feed(data)
                self._handle_arrived()
        except FrameError as error:
            self.fail(error)
        except OSError:
            return

    def _handle_arrived(self) -> None:
        """Act on what has arrived, and let the others have theirs: a greenlet that never waits keeps everybody waiting."""
        while True:
            for _ in range(_FRAMES_PER_TURN):
                message = self._reader.next_message()
                if message is not None:
                    if message.opcode < CLOSE:
                        self.engine.unfinished.release(self)  # what is still here is another message's
                    self.handle_message(message)
                if not self._reader.has_frame:
                    break
                if self._closing is not None or self._is_too_slow:
                    return
            self.engine.sleep(0)
            if not self._reader.has_frame:
                if self._reader.is_between_messages:
                    self.engine.unfinished.release(self)
                else:
                    self.engine.unfinished.hold(self, self._reader.held_bytes, self.engine.clock())
                return

    def _write(self) -> None:
        try:
            while True:
                with self._changed:
                    while not self._outbox and self._closing is None:
                        self._changed.wait()
                    data = self._outbox.pop(_WRITE_BYTES) if self._outbox else None
                if data is None:
                    break
                self._send(data)
            assert self._closing is not None
            self._send(self._closing)
        except OSError:
            self._shut(socket.SHUT_RDWR)  # the reader finds out
        else:
            self._shut(socket.SHUT_WR)
        finally:
            with self._changed:
                self._is_written = True
                self._changed.notify_all()

    def _send(self, data: bytes) -> None:
        """Send all of it, however long that takes. Raises OSError, also if the session ends while the client takes none."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._connection.send(rest) :]
            except TimeoutError:
                if self._closing is not None:
                    raise

    def _let_go(self) -> None:
        """End the session of a slow reader: it has a moment to take what it has begun to, and the last words."""
        with self._changed:
            self._outbox.clear()
            for framed in self.engine.parting.last_words(self.session.id):
                self._outbox.put_last(framed)
        self.lost(SLOW_READER)
        with self._changed:
            self._changed.wait_for(lambda: self._is_written, _LINGER_S)
        self._shut(socket.SHUT_RDWR)

    def _linger(self) -> None:
        """Read over what the client still sends, so that the close frame is not lost to a reset."""
        ends_at_s = time.monotonic() + _LINGER_S
        with suppress(OSError):
            while time.monotonic() < ends_at_s and self._connection.recv(_READ_BYTES):
                self.engine.sleep(0)
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with suppress(OSError):
            self._connection.shutdown(how)
