"""A WebSocket in the loop: what its client sends, and what it is sent at the end of a turn.

Everything here runs in a turn of the `Loop`, or in a greenlet between two turns, and never waits.
"""

import logging
import socket
from collections.abc import Iterable
from typing import Any

from hazoom_ws.transport.bounds.outbox import Outbox
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.pending import EMPTY, Pending
from hazoom_ws.transport.engineio.session import SLOW_READER, EngineSession, WebSocket
from hazoom_ws.transport.serving.endpoints import Watcher
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import CloseCode, FrameError, FrameReader

logger = logging.getLogger(__name__)

_FRAMES_PER_CLIENT = 16  # in one turn, so that a flood from one keeps nobody waiting


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
                limit_bytes = self.message_limit_bytes
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

    @property
    def is_receiving(self) -> bool:
        return self._reader is not None and not self._reader.is_between_messages

    def limit_messages(self, limit_bytes: int) -> None:
        self.message_limit_bytes = limit_bytes
        if self._reader is not None:
            self._reader.limit_bytes = limit_bytes

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
            if not outbox.send_by(self.connection.send):
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
            pending, self.session.pending = self.session.pending, EMPTY
            for framed in pending:
                self.send_frame(framed)
        if self.is_closed:
            return
        outbox, self.outbox = self.outbox, None
        self.is_closed = True
        if outbox is not None:
            outbox.put_last(frames.close_frame(code))
            self.loop.linger(self, outbox)
            return
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
            self.session.pending = EMPTY
        if self.outbox is not None:
            self.outbox.clear()
            self.outbox = None
        self.loop.unwatch(self)
        self.connection.close()

    def _is_too_slow(self) -> None:
        """Close: nothing more fits. What has begun to leave does, and the last words, for who reads on at once.

        Who does not finds that the connection has just ended, and comes back as well.
        """
        if self.session.websocket is self and self.outbox is not None:
            self.session.pending = EMPTY
            self.outbox.keep_first()
            for framed in self.engine.parting.last_words(self.session.id):
                self.outbox.put_last(framed)
        else:
            self.forget()
        self.lost(SLOW_READER)


def flush(sessions: Iterable[EngineSession], broken: list[LoopWebSocket]) -> None:
    """Send each session what is pending for it, with one system call, and collect those whose connection is gone.

    What fails for one keeps nothing from the others: they are in no queue any more.
    """
    joined: Pending | None = None  # the frames of the one before, who often gets the same
    data = b""
    for session in sessions:
        pending = session.pending
        if not pending:
            continue
        session.pending = EMPTY
        websocket: Any = session.websocket
        try:
            if websocket is None or websocket.outbox is not None:
                for framed in pending:
                    session.send_frame(framed)
                continue
            if pending is not joined:
                joined = pending
                data = b"".join(pending)
            try:
                sent = websocket.connection.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                broken.append(websocket)
                continue
            if sent != len(data):
                websocket.hold(pending, sent)
        except Exception:
            logger.exception("what was pending for session %s was not sent", session.id)
            if websocket is not None:
                broken.append(websocket)
