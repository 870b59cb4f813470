"""Polls that come to another process than has their session: that one answers them, as if they had come to it.

Of several processes behind one address a proxy or the system chooses one for each request. A WebSocket is one request. A
client that polls makes many, and there is no answer in Engine.IO that would make it go on by a WebSocket instead: after any
error it begins anew, and would do so for ever. So its request is asked of the process that the id of its session names
(`requests.id_prefix`), and what that answers is answered here. It costs both processes, and what carries it between them;
who runs the server is told once.

The page's origin is judged where the request comes in, everything else where the session is: its address and user are those
of its handshake, so nothing of the headers is passed on. A WebSocket that is to take over a session elsewhere is refused:
its client goes on polling.

Called beside turns, by what serves requests, by the tasks that answer those of others, and at the end.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

import msgspec

from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.polling import serve_session
from hazoom_ws.transport.engineio.requests import BAD_REQUEST, UNKNOWN_SESSION, Refused
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import frame

logger = logging.getLogger(__name__)

NOT_REACHED = (3, "Session not reached")
_NOOP = b"6"
_NOOP_FRAME = frame(frames.TEXT, _NOOP)
_END = "end"  # instead of a method: the poll that waits is to be answered


class Others(Protocol):
    """The other processes, each by its name."""

    def has(self, process: str) -> bool:
        """Return whether another one of that name lives, as far as this one knows; it costs nothing to ask that."""

    def ask(self, process: str, question: bytes, limit_s: float) -> bytes:
        """Return what a process answers, and wait for that so long. Raises LookupError if there is no such process any
        more, OSError if it cannot be asked, or has not answered.
        """

    def tell(self, process: str, question: bytes) -> None:
        """Ask, and wait for no answer."""


class _Question(msgspec.Struct, array_like=True):
    """A request. ``body`` is None if it cannot be what a client sends."""

    method: str
    sid: str
    body: bytes | None = b""


class _Answer(msgspec.Struct, array_like=True):
    """What is to be answered; ``error`` is that of `Refused`."""

    body: bytes
    status: int = HTTPStatus.OK
    error: tuple[int, str] | None = None


_pack = msgspec.msgpack.Encoder().encode
_unpack_question = msgspec.msgpack.Decoder(_Question).decode
_unpack_answer = msgspec.msgpack.Decoder(_Answer).decode


class Elsewhere:
    """Has requests answered elsewhere, and answers those of others."""

    def __init__(self, engine: Engine, others: Others) -> None:
        self.has = others.has
        self._engine = engine
        self._others = others
        self._polls: dict[str, str] = {}  # that wait elsewhere: the process of each, by session
        self._has_ended = False
        self._has_warned = False

    def serve(self, process: str, method: str, sid: str, read_body: Callable[[], bytes]) -> bytes:
        """Return what the process that has a session answers to a request. Raises `Refused`."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "a client that polls has its session at another process, which answers it by way of Redis from now on: such"
                " a request takes five times the work. Let the proxy send an address to the same process (nginx: hash"
                ' $remote_addr), or clients use transports: ["websocket"]'
            )
        if method == "GET":
            return self._poll(process, sid)
        if method != "POST":
            raise Refused(BAD_REQUEST)
        try:
            body = read_body()
        except Refused:
            self._others.tell(process, _pack(_Question(method, sid, None)))
            raise
        return self._ask(process, _Question(method, sid, body))

    def _poll(self, process: str, sid: str) -> bytes:
        if self._has_ended:
            return _NOOP  # it polls again, and the next request is for another process
        self._polls[sid] = process
        try:
            return self._ask(process, _Question("GET", sid))
        finally:
            self._polls.pop(sid, None)  # a client that sends two at once is refused, and both end

    def _ask(self, process: str, question: _Question) -> bytes:
        # A poll is answered with a heartbeat at the latest, and the client waits for no longer than this.
        limit_s = self._engine.ping_interval + self._engine.ping_timeout
        try:
            answer = _unpack_answer(self._others.ask(process, _pack(question), limit_s))
        except LookupError:
            raise Refused(UNKNOWN_SESSION) from None
        except OSError:
            raise Refused(NOT_REACHED, HTTPStatus.SERVICE_UNAVAILABLE) from None
        if answer.error is not None:
            raise Refused(answer.error, HTTPStatus(answer.status))
        return answer.body

    def answer(self, question: bytes) -> bytes:
        """Return what is to be answered to the question of another process; a poll waits."""
        asked = _unpack_question(question)
        session = self._engine.sessions.get(asked.sid)
        if asked.method == _END:
            if session is not None and session.websocket is None:
                session.send_frame(_NOOP_FRAME)
            return b""

        def read_body() -> bytes:
            if asked.body is None:
                raise Refused(BAD_REQUEST)
            return asked.body

        try:
            query = {"transport": "polling", "sid": asked.sid}
            return _pack(_Answer(serve_session(self._engine, asked.method, query, read_body)))
        except Refused as refusal:
            return _pack(_Answer(b"", refusal.status, refusal.error))

    def end(self) -> None:
        """Let polls wait elsewhere no more: this process ends, and who has sent them goes on by way of another one."""
        self._has_ended = True
        for sid, process in list(self._polls.items()):
            self._others.tell(process, _pack(_Question(_END, sid)))
