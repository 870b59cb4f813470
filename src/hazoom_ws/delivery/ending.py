"""How an application ends calmly: what happens in which order, and in how much time.

    1. Nothing new: handshakes and questions to the AI are refused, and who asks hears that it is shutting down.
    2. Answers that run may end, while there is time. What is not done then is handed on: the log has who waits for it,
       and the next process tells them, when they come back, that it was lost and may be asked again.
    3. Every client hears ``bye``, with a moment of its own to come back, and is closed in the way that makes it do that: a
       batch in each turn, and behind all that was said to it before.
    4. What was said is kept, and the last words have a moment to arrive.

All of it takes ``grace_s`` at most. Called beside turns by whoever ends the process (`cli`, gunicorn's watch, `close`), in
a task that may wait. Nothing here knows of sockets.
"""

import logging
import random
from collections.abc import Callable, Iterable

from hazoom_ws.chat.effects import Close
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.delivery.group_commit import Sleep
from hazoom_ws.events.connecting import Bye

logger = logging.getLogger(__name__)

REASON = "shutting_down"
_BATCH_COUNT = 64  # sessions that are closed in one turn: to leave all rooms takes a while
_LOOK_INTERVAL_S = 0.02
_CLOSING_S = 2.0  # of the grace, for what comes after the answers; half of a short one
_LAST_WORDS_S = 1.0
_UPGRADES_S = 0.5
_EXIT_S = 0.5  # for the end of the process itself
_RESTART_MS = 1000  # which a server needs to start
_SPREAD_MS = 2  # for each client: to connect and join takes less
_SPREAD_LIMIT_MS = 10_000


class Ending:
    """The end of one application. ``is_begun``: it takes nothing new any more."""

    def __init__(
        self,
        delivery: Delivery,
        *,
        refuse_new: Iterable[Callable[[], object]],
        sessions: Callable[[], list[str]],
        hear_no_more: Callable[[str], object],
        answers_count: Callable[[], int],
        is_upgrading: Callable[[], bool],
        end_elsewhere: Callable[[], object],
        is_all_heard: Callable[[], bool],
        grace_s: float,
        clock: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        """``refuse_new``: what has handshakes and questions refused. ``sessions()``: the ids of all that are open.

        ``hear_no_more(id)``: what a session still sends is not acted on. ``answers_count()``: answers that run or wait.
        ``is_upgrading()``: some session changes its transport just now, and could not hear what is said to it.
        ``end_elsewhere()``: what waits for other processes waits no more. ``is_all_heard()``: no last words are on their
        way any more.
        """
        self.is_begun = False
        self._delivery = delivery
        self._refuse_new = refuse_new
        self._sessions = sessions
        self._hear_no_more = hear_no_more
        self._answers_count = answers_count
        self._is_upgrading = is_upgrading
        self._end_elsewhere = end_elsewhere
        self._is_all_heard = is_all_heard
        self._grace_s = grace_s
        self._clock = clock
        self._sleep = sleep

    def begin(self) -> None:
        """Take nothing new from now on."""
        self.is_begun = True
        for refuse in self._refuse_new:
            refuse()

    def run(self) -> None:
        """End, within ``grace_s``: all that is left to do then is to end the process."""
        grace_s = self._grace_s - min(_EXIT_S, self._grace_s / 8)
        ends_at_s = self._clock() + grace_s
        self.begin()
        closes_at_s = ends_at_s - min(_CLOSING_S, grace_s / 2)
        if not self._wait(lambda: not self._answers_count(), closes_at_s):
            logger.warning("%d answers of the AI are handed on: who asked may ask again", self._answers_count())
        last_words_at_s = ends_at_s - min(_LAST_WORDS_S, grace_s / 4)
        self.let_go(last_words_at_s)
        self._delivery.settle()
        self._wait(self._is_all_heard, min(ends_at_s, self._clock() + _LAST_WORDS_S))

    def let_go_now(self) -> None:
        """Take nothing new and say goodbye, for an application that ends before its process does."""
        self.begin()
        self.let_go(self._clock() + _LAST_WORDS_S)

    def let_go(self, until_s: float) -> None:
        """Say goodbye to everybody and close their connections; who is not closed by ``until_s`` is left over."""
        self._wait(lambda: not self._is_upgrading(), min(until_s, self._clock() + _UPGRADES_S))
        sessions = self._sessions()
        for first in range(0, len(sessions), _BATCH_COUNT):
            with self._delivery.turn():
                for place, session_id in enumerate(sessions[first : first + _BATCH_COUNT], first):
                    bye = Bye(reason=REASON, reconnect=True, retry_after_ms=retry_after_ms(place, len(sessions)))
                    self._hear_no_more(session_id)
                    self._delivery.add(Close(session_id, bye))
            self._sleep(0)
            if self._clock() > until_s:
                break
        self._end_elsewhere()
        self._wait(lambda: not self._sessions(), until_s)  # for what is still to be kept before they go

    def _wait(self, is_done: Callable[[], bool], until_s: float) -> bool:
        """Wait until something is done, or that moment has come; return whether it is done."""
        while not is_done():
            if self._clock() >= until_s:
                return False
            self._sleep(_LOOK_INTERVAL_S)
        return True


def retry_after_ms(place: int, count: int) -> int:
    """Return when the client at a place, of so many from 0 on, is to come back: each has a part of the time for itself.

    It is a second from now at the earliest, and 2 ms for each client after that at the latest, 10 s if there are many.
    """
    spread_ms = min(_SPREAD_LIMIT_MS, _SPREAD_MS * count)
    return _RESTART_MS + int((place + random.random()) * spread_ms / count)  # noqa: S311 - nobody gains by guessing it
