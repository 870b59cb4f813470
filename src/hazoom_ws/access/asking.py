"""Asks another server over HTTP, beside turns, for what decides who may come in: bounded in time, size and number.

It follows no redirect, sends no cookies but those given, and uses neither a proxy nor passwords of the environment. What is
too slow is given up when the time is over, whatever it drips meanwhile; its task ends by itself.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from hazoom_ws.deadlines import Deadlines

TIMEOUT_S = 5.0
_ANSWER_LIMIT_BYTES = 262_144
_AT_ONCE_LIMIT_COUNT = 200
_WAITING_LIMIT_COUNT = 10_000
_PIECE_BYTES = 16_384


class AskingFailed(Exception):
    """There is no answer; the text says why, and no secret."""


class Question(NamedTuple):
    """What is asked, and of which URL."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


class Answer(NamedTuple):
    """What was answered."""

    status: int
    body: bytes


Done = Callable[[Answer | AskingFailed], None]


class _Asked:
    """A question on its way."""

    __slots__ = ("done", "question")

    def __init__(self, question: Question, done: Done) -> None:
        self.question = question
        self.done = done


class Asking:
    """The questions of one application. Called within turns, and calls back in one."""

    def __init__(
        self,
        run_beside: Callable[[Callable[[], Any], Callable[[Any, BaseException | None], None]], None],
        *,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``run_beside(function, done)`` calls a function that may wait, then ``done(result, error)`` in a turn.

        ``wake`` is called when `run_due` has something to do later. ``clock`` is monotonic, in seconds.
        """
        self._run_beside = run_beside
        self._wake = wake
        self._clock = clock
        self._running: Deadlines[_Asked] = Deadlines(TIMEOUT_S)
        self._tasks_count = 0
        self._waiting: Deadlines[_Asked] = Deadlines(TIMEOUT_S)

    def ask(self, question: Question, done: Done) -> None:
        """Ask, and call ``done`` within `TIMEOUT_S`, also if it has to wait for others first."""
        if len(self._waiting) >= _WAITING_LIMIT_COUNT:
            done(AskingFailed(f"more than {_WAITING_LIMIT_COUNT:,} questions wait"))
            return
        self._waiting.start(_Asked(question, done), self._clock())
        self._wake()
        self._go_on()

    def run_due(self) -> float | None:
        """Give up what takes too long; return the seconds until the next time."""
        now_s = self._clock()
        for deadlines in (self._running, self._waiting):
            for asked, _ in list(deadlines.pop_due(now_s)):
                asked.done(AskingFailed(f"no answer within {TIMEOUT_S:g} s"))
        due_in_s = [self._running.next_due_in_s(now_s), self._waiting.next_due_in_s(now_s)]
        return min((in_s for in_s in due_in_s if in_s is not None), default=None)

    def _go_on(self) -> None:
        while self._waiting and self._tasks_count < _AT_ONCE_LIMIT_COUNT:
            asked = self._waiting.pop_first()
            self._running.start(asked, self._clock())
            self._tasks_count += 1

            def end(answer: Any, error: BaseException | None, asked: _Asked = asked) -> None:
                self._tasks_count -= 1
                try:
                    if self._running.stop(asked):
                        asked.done(answer if error is None else AskingFailed(f"{type(error).__name__}"))
                finally:
                    self._go_on()

            self._run_beside(partial(fetched, asked.question), end)


def fetched(question: Question) -> Answer | AskingFailed:
    """Ask at once, which waits: what drips is read for as long as `TIMEOUT_S`, each piece of it for as long at most."""
    # What is imported here has to be patched for eventlet first, in a process that is.
    import requests

    ends_at_s = time.monotonic() + TIMEOUT_S
    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.request(
                question.method,
                question.url,
                headers=dict(question.headers),
                data=question.body,
                timeout=TIMEOUT_S,
                allow_redirects=False,
                stream=True,
            )
            body = bytearray()
            while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
                body += piece
                if len(body) > _ANSWER_LIMIT_BYTES:
                    return AskingFailed(f"an answer of more than {_ANSWER_LIMIT_BYTES:,} bytes")
                if time.monotonic() > ends_at_s:
                    return AskingFailed(f"no answer within {TIMEOUT_S:g} s")
        except (requests.RequestException, OSError, ValueError) as error:
            return AskingFailed(type(error).__name__)
        return Answer(response.status_code, bytes(body))
