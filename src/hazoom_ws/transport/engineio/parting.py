"""Sessions that were closed, and whose clients are still to hear the last words.

Of one that polls, the next poll gets them, another one the end: a client is without a poll for a moment after each answer,
and would hear of the close by an error. The official one acts on an end before it acts on what came in the same answer: so
that has one of its own, unless the client is about to change to a WebSocket: then it polls no more, and does not hear that
the WebSocket has been closed. Called by the `Engine` and by polls, from any thread.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from hazoom_ws.deadlines import Deadlines
from hazoom_ws.transport.engineio.pending import EMPTY
from hazoom_ws.transport.engineio.session import SLOW_READER, EngineSession

_PERIOD_S = 5.0  # a client that is there polls at once


class Parting:
    """The closed sessions that poll and still have something to say, each for five seconds.

    ``busy``: what else may be on its way, WebSockets in threads and answers over HTTP; ``counts``: of the rest.
    """

    def __init__(self, clock: Callable[[], float], lock: AbstractContextManager[Any], goodbye: str) -> None:
        """``goodbye``: the reason for which the server closes a session that is well."""
        self.last_words: Callable[[str], Iterable[bytes]] = lambda _sid: ()  # what a slow reader still hears, by its id
        self._goodbye = goodbye
        self._clock = clock
        self._lock = lock
        self._by_id: dict[str, EngineSession] = {}
        self._until: Deadlines[EngineSession] = Deadlines(_PERIOD_S)
        self.busy: set[object] = set()
        self.counts: list[Callable[[], int]] = [self.__len__, self.busy.__len__]

    def is_over(self) -> bool:
        """Return whether no last words are on their way any more."""
        return not any(count() for count in self.counts)

    def __len__(self) -> int:
        return len(self._by_id)

    def begin(self, session: EngineSession, reason: str) -> None:
        """Keep what the client of a session that is being closed is to hear, if anything. It polls.

        That is what it was to be sent, where the server says goodbye; of a slow reader `last_words` instead; of others
        nothing: they have gone.
        """
        assert session.outbox is not None
        if reason != self._goodbye:
            session.outbox.clear()
            session.pending = tuple(self.last_words(session.id)) if reason == SLOW_READER else EMPTY
        pending, session.pending = session.pending, EMPTY
        if not all(session.outbox.add(framed) for framed in pending):
            session.outbox.clear()  # it reads too slowly, last words included
        session.is_changing = session.candidate is not None and session.candidate.has_probed
        if session.outbox:
            with self._lock:
                self._by_id[session.id] = session
                self._until.start(session, self._clock())

    def find(self, sid: str) -> EngineSession | None:
        """Return the session of that id, None if there is none."""
        return self._by_id.get(sid)

    def end(self, session: EngineSession) -> None:
        """Keep a session no more: its client has heard the end."""
        with self._lock:
            if self._until.stop(session):
                del self._by_id[session.id]

    def sweep(self, now_s: float) -> None:
        """Forget those whose clients have not come."""
        with self._lock:
            gone = [session for session, _ in self._until.pop_due(now_s)]
            for session in gone:
                del self._by_id[session.id]
        for session in gone:
            assert session.changed is not None
            assert session.outbox is not None
            with session.changed:
                session.outbox.clear()
