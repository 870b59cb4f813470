"""Polls that come to another process than has their session: that one answers them, as if they had come to it.

Of several processes behind one address a proxy or the system chooses one for each request. A WebSocket is one request. A
client that polls makes many, and there is no answer in Engine.IO that would make it go on by a WebSocket instead: after any
error it begins anew, and would do so for ever. So its request is asked of the process that the id of its session names
(`requests.id_prefix`), and what that answers is answered here. It costs both processes, and what carries it between them;
who runs the server is told once.

The page's origin is judged where the request comes in, everything else where the session is: its address and user are those
of its handshake, so nothing of the headers is passed on. A WebSocket that is to take over a session elsewhere is refused:
its client goes on polling.

What names the process is no secret, so anybody can make up an id. So it is asked first, with a few bytes, whether a session
is there, unless that was so lately; who names one that is not is counted like a handshake. Rejected: ids that are signed,
which any process could check. Those of sessions that have ended would still be good, so that would have to be asked all the
same. And only one body of a session is on its way at a time, each for as long as its bytes may take: what carries them
carries what everybody says, too.

Called beside turns, by what serves requests, by the tasks that answer those of others, and at the end.
"""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from hazoom_ws.deadlines import Deadlines
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.polling import find_polling, serve_session
from hazoom_ws.transport.engineio.requests import BAD_REQUEST, UNKNOWN_SESSION, Refused, too_many
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import frame

logger = logging.getLogger(__name__)

NOT_REACHED = (3, "Session not reached")
_NOOP = b"6"
_NOOP_FRAME = frame(frames.TEXT, _NOOP)
_END = "end"  # instead of a method: the poll that waits is to be answered
_IS_THERE = "is there"  # instead of a method: is there such a session?
_KNOWN_LIMIT_COUNT = 10_000  # sessions that are not asked for again
# Of one session's bodies: eight times what its events may have, and a longest one takes two seconds.
_BODIES_BYTES_PER_S = 524_288
_ENDED_PAUSE_S = 0.25  # a client polls again at once, and may come here again for as long as it can


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

    def __init__(
        self,
        engine: Engine,
        others: Others,
        *,
        wait_s: Callable[[Mapping[str, Any]], float],
        note_unknown: Callable[[Mapping[str, Any]], object],
    ) -> None:
        """``note_unknown(environ)`` counts a request for a session that is not there; ``wait_s(environ)`` returns in how
        many seconds one like this may come, 0 if it may now.
        """
        self.has = others.has
        self._engine = engine
        self._others = others
        self._wait_s = wait_s
        self._note_unknown = note_unknown
        # A poll is answered with a heartbeat at the latest, and the client waits for no longer than this.
        self._limit_s = engine.ping_interval + engine.ping_timeout
        self._known: Deadlines[str] = Deadlines(self._limit_s)  # sessions that were there lately
        self._posting: set[str] = set()  # sessions of which a POST is served
        self._polls: dict[str, str] = {}  # that wait elsewhere: the process of each, by session
        self._has_ended = False
        self._has_warned = False

    def serve(self, process: str, environ: Mapping[str, Any], sid: str, read_body: Callable[[], bytes]) -> bytes:
        """Return what the process that has a session answers to a request. Raises `Refused`."""
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "POST"):
            raise Refused(BAD_REQUEST)
        known_until_s = self._known.due_at_s(sid)
        if known_until_s is None or known_until_s <= self._engine.clock():
            self._look_for(process, environ, sid)
        return self._poll(process, sid) if method == "GET" else self._post(process, sid, read_body)

    def _look_for(self, process: str, environ: Mapping[str, Any], sid: str) -> None:
        """Ask whether a process has a session. Raises `Refused`."""
        retry_after_s = self._wait_s(environ)
        if retry_after_s:
            raise too_many(retry_after_s)
        try:
            self._ask(process, _Question(_IS_THERE, sid))
        except Refused as refusal:
            if refusal.error != NOT_REACHED:
                self._note_unknown(environ)
            raise
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "a client that polls has its session at another process, which answers it by way of Redis from now on: such"
                " a request takes five times the work. Let the proxy send an address to the same process (nginx: hash"
                ' $remote_addr), or clients use transports: ["websocket"]'
            )

    def _poll(self, process: str, sid: str) -> bytes:
        self._polls[sid] = process
        try:
            if self._has_ended:
                self._engine.sleep(_ENDED_PAUSE_S)
                return _NOOP  # it polls again, and the next request is for another process
            return self._ask(process, _Question("GET", sid))
        finally:
            self._polls.pop(sid, None)  # a client that sends two at once is refused, and both end

    def _post(self, process: str, sid: str, read_body: Callable[[], bytes]) -> bytes:
        with self._engine.lock:
            is_alone = sid not in self._posting
            self._posting.add(sid)
        if not is_alone:
            self._end_session(process, sid)
            raise Refused(BAD_REQUEST)
        try:
            try:
                body = read_body()
            except Refused:
                self._end_session(process, sid)
                raise
            ends_at_s = self._engine.clock() + len(body) / _BODIES_BYTES_PER_S
            try:
                return self._ask(process, _Question("POST", sid, body))
            finally:
                left_s = ends_at_s - self._engine.clock()
                if left_s > 0:
                    self._engine.sleep(left_s)
        finally:
            self._posting.discard(sid)

    def _end_session(self, process: str, sid: str) -> None:
        """Have a session end whose client broke the protocol."""
        with self._engine.lock:
            self._known.stop(sid)
        self._others.tell(process, _pack(_Question("POST", sid, None)))

    def _ask(self, process: str, question: _Question) -> bytes:
        try:
            answer = _unpack_answer(self._others.ask(process, _pack(question), self._limit_s))
        except LookupError:
            answer = _Answer(b"", HTTPStatus.BAD_REQUEST, UNKNOWN_SESSION)
        except OSError:
            raise Refused(NOT_REACHED, HTTPStatus.SERVICE_UNAVAILABLE) from None
        now_s = self._engine.clock()
        with self._engine.lock:
            for _ in self._known.pop_due(now_s):
                pass
            if answer.error is not None:
                self._known.stop(question.sid)
                raise Refused(answer.error, HTTPStatus(answer.status))
            self._known.start(question.sid, now_s)
            if len(self._known) > _KNOWN_LIMIT_COUNT:
                self._known.pop_first()
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
            if asked.method == _IS_THERE:
                if self._engine.parting.find(asked.sid) is None:
                    find_polling(self._engine, query)
                return _pack(_Answer(b""))
            return _pack(_Answer(serve_session(self._engine, asked.method, query, read_body)))
        except Refused as refusal:
            return _pack(_Answer(b"", refusal.status, refusal.error))

    def end(self) -> None:
        """Let polls wait elsewhere no more: this process ends, and who has sent them goes on by way of another one."""
        self._has_ended = True
        for sid, process in list(self._polls.items()):
            self._others.tell(process, _pack(_Question(_END, sid)))
