"""One process asks another one something and waits for the answer, which may take that one a while.

What is asked and answered are bytes; what is in them is for who uses this. Both are published, and nothing is promised of
what is published. So who waits hears soon that no answer will come, if that is so:

- That process hears nothing: Redis is asked that every second while somebody waits. By that a process that was killed is
  known to be gone at once.
- It has ended, or its lease has (`processes`).
- It, or this one, may have missed something while Redis was away: then that is all that is known.
- The time that the caller gives is over.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from itertools import count
from typing import Any, NamedTuple

import msgspec

from hazoom_ws.cluster.news import News
from hazoom_ws.cluster.processes import Processes, RunBeside
from hazoom_ws.message_log.peers import Heard, Peers

logger = logging.getLogger(__name__)

ASKED, ANSWERED = b"q", b"i"
_LOOK_INTERVAL_S = 1.0
# Over these a question is refused, at either end.
_LIMIT_COUNT, _QUEUED_LIMIT_BYTES, _ANSWERING_LIMIT_BYTES = 10_000, 16_777_216, 33_554_432


class _Asked(msgspec.Struct, array_like=True):
    """``number``: the answer has it too; 0 if none is wanted."""

    number: int
    question: bytes


class _Answered(msgspec.Struct, array_like=True):
    """``answer``: None if there is none."""

    number: int
    answer: bytes | None


class _Waiting(NamedTuple):
    process: str
    answer: "Future[bytes]"


_pack = msgspec.msgpack.Encoder().encode
_unpack_asked = msgspec.msgpack.Decoder(_Asked).decode
_unpack_answered = msgspec.msgpack.Decoder(_Answered).decode


class Questions:
    """Asks, and answers what is asked: ``on_asked(question)`` returns that; it is called beside turns and may wait."""

    def __init__(
        self,
        peers: Peers,
        news: News,
        processes: Processes,
        *,
        turn: Callable[[], AbstractContextManager[Any]],
        start_task: Callable[..., object],
        run_beside: RunBeside,
    ) -> None:
        """``start_task(function, *arguments)`` runs it, and raises RuntimeError if it cannot."""
        self.on_asked: Callable[[bytes], bytes] = lambda _: b""
        self._peers = peers
        self._processes = processes
        self._turn = turn
        self._start_task = start_task
        self._run_beside = run_beside
        self._numbers = count(1)
        self._waiting: dict[int, _Waiting] = {}  # changed within turns
        self._answering_count = self._answering_bytes = 0
        self._looked_at_s = 0.0
        self._is_looking = False
        news.on |= {ASKED: self._heard_question, ANSWERED: self._heard_answer}
        processes.on_ended.append(self._lose_gone)
        processes.on_back.append(self._lose_answers)
        peers.on_back.append(self._lose_answers)

    def __len__(self) -> int:
        """Return how many are asked or answered just now."""
        return len(self._waiting) + self._answering_count

    def has(self, process: str) -> bool:
        """Return whether there is another process of that name. May be called from anywhere."""
        return process in self._processes.known and process != self._peers.name

    def ask(self, process: str, question: bytes, limit_s: float) -> bytes:
        """Return what a process answers, and wait for that so long. Beside turns.

        Raises LookupError if there is no such process any more, OSError if it cannot be asked or has not answered; it
        may have heard the question all the same.
        """
        answer: Future[bytes] = Future()
        with self._turn():
            problem = self._peers.problem
            if problem is None and (len(self._waiting) >= _LIMIT_COUNT or self._is_full(len(question))):
                problem = "too much is asked already"
            if problem is not None:
                raise ConnectionError(problem)
            number = next(self._numbers)
            self._waiting[number] = _Waiting(process, answer)
            self._publish(process, _Asked(number, question))
        try:
            return answer.result(limit_s)
        finally:
            with self._turn():
                self._waiting.pop(number, None)

    def tell(self, process: str, question: bytes) -> None:
        """Ask, and wait for no answer: the question is lost where `ask` raises OSError. Beside turns."""
        with self._turn():
            if not self._is_full(len(question)):
                self._publish(process, _Asked(0, question))

    def sweep(self, now_s: float) -> None:
        """Look whether those who are waited for hear, if it is time for that. Not within a turn."""
        if self._waiting and not self._is_looking and now_s - self._looked_at_s >= _LOOK_INTERVAL_S:
            self._is_looking, self._looked_at_s = True, now_s
            processes = {waiting.process for waiting in self._waiting.copy().values()}
            try:
                self._run_beside(lambda: self._peers.deaf(processes), self._looked)
            except RuntimeError:  # no thread can be started; the next look may have one
                self._is_looking = False
                raise

    def _looked(self, deaf: set[str] | None, _error: BaseException | None) -> None:
        self._is_looking = False
        for process in deaf or ():
            self._lose_gone(process)

    def close(self) -> None:
        """Wait for no answer: nothing is published any more. Beside turns."""
        with self._turn():
            self._lose_answers()

    def _publish(self, process: str, what: _Asked | _Answered) -> None:
        kind = ASKED if isinstance(what, _Asked) else ANSWERED
        self._peers.publish(f"process:{process}", kind, _pack(what))

    def _is_full(self, more_bytes: int) -> bool:
        return self._peers.queued_bytes + more_bytes > _QUEUED_LIMIT_BYTES

    # Within turns: what is heard

    def _heard_answer(self, heard: Heard) -> None:
        answered = _unpack_answered(heard.data)
        waiting = self._waiting.get(answered.number)
        if waiting is None or waiting.process != heard.process:
            return  # it came too late
        if answered.answer is None:
            self._fail(answered.number, ConnectionError("it has too much to answer"))
        elif not waiting.answer.done():
            waiting.answer.set_result(answered.answer)

    def _heard_question(self, heard: Heard) -> None:
        asked = _unpack_asked(heard.data)
        size_bytes = len(asked.question)
        self._answering_count += 1
        self._answering_bytes += size_bytes
        if self._answering_count > _LIMIT_COUNT or self._answering_bytes > _ANSWERING_LIMIT_BYTES:
            self._say(heard.process, asked, None)
            return
        try:
            self._start_task(self._answer, heard.process, asked)
        except RuntimeError as error:  # a thread each, where there is no loop
            logger.warning("a question of process %s was not answered: %s", heard.process, error)
            self._say(heard.process, asked, None)

    def _answer(self, process: str, asked: _Asked) -> None:
        """Answer, in a task."""
        answer = None
        try:
            answer = self.on_asked(asked.question)
        except Exception:
            logger.exception("a question of process %s was not answered", process)
        with self._turn():
            self._say(process, asked, answer)

    def _say(self, process: str, asked: _Asked, answer: bytes | None) -> None:
        """Be done with a question, and let who has asked have the answer, if one is wanted."""
        self._answering_count -= 1
        self._answering_bytes -= len(asked.question)
        if asked.number:
            is_full = answer is None or self._is_full(len(answer))
            self._publish(process, _Answered(asked.number, None if is_full else answer))

    def _fail(self, number: int, error: Exception) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_exception(error)

    def _lose_gone(self, process: str) -> None:
        """Wait no more for a process that is gone."""
        for number, waiting in self._waiting.items():
            if waiting.process == process:
                self._fail(number, LookupError(process))

    def _lose_answers(self, process: str | None = None) -> None:
        """Wait no more for what a process, or any, may have missed, or may have answered."""
        for number, waiting in self._waiting.items():
            if process in (None, waiting.process):
                self._fail(number, ConnectionError("Redis was away"))
