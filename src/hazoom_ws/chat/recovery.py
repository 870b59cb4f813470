"""Recovery: who may come back after a drop, and as what (`replay`: what such a client has missed).

What it is
    A recoverable session is what a connection was: its user, its rooms, its conversation with the AI, the answers that it
    waits for. Its ``pid`` is a secret that only its client has; one connection at a time holds it, and who comes back
    with it ends the one that still did. It knows nothing of how either travels (Socket.IO, "connection state recovery").

What is promised
    A client that drops, whatever the reason, may come back for ``recovery_window_s`` as who and where it was, and is told
    what it missed: once, and in order, from the log. So there is no buffer of events that could run over.
    It may come back to another process too, that was started with the same file: sessions are kept beside the messages,
    and whoever was connected when a process died counts as having left then.
    Who says goodbye (Socket.IO's DISCONNECT) does not come back. A connection that is closed without it has dropped.

What it costs
    What is kept is what has changed: a session of few rooms is saved whole, a large one by its changes until those are as
    large. Who is in no room yet may wait to be kept, and so may the moment of leaving; entering a room may not.
    All that are away hold ``limit_bytes`` together: over it those who left first may not come back. Sessions of very many
    rooms have a share of it, so that a stranger's take nobody else's way back.

Who calls it from where
    The hub, within turns. Nothing here waits; the clock is an argument.
"""

import math
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count, islice

import msgspec

from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.chat.recoverable_session import (
    RARE_SHARE,
    RecoverableSession,
    bytes_held,
    key_of,
    newest,
    state_of,
    state_of_answer,
)
from hazoom_ws.deadlines import Deadlines
from hazoom_ws.message_log.contract import MessageLog, SessionChange, StoredSession
from hazoom_ws.message_log.session_states import change_between

AWAY_LIMIT_COUNT = 100_000  # clients that may still come back; over it the one that left first may not
_SECRET_BYTES = 18
_FEW_ROOMS = 3  # which take less than this:
_LARGE_BYTES = 2048  # from here on a session costs more to save than finding out what has changed
_NO_CHANGE = SessionChange()
_ANSWER_PREFIX = "answer "  # of the key under which one of a room is kept; those of sessions begin with a digit


class RecoverableSessions:
    """The sessions of all connections, and of those that have dropped for up to ``window_s``; 0 means none at all."""

    def __init__(self, window_s: float, log: MessageLog, wall_now_s: float, now_s: float, *, limit_bytes: int) -> None:
        """Take over what an earlier process left in ``log``: who was connected when it died has dropped now.

        ``limit_bytes``: what sessions whose clients are away may hold together.
        """
        self._window_s = window_s
        self._log = log
        self._by_key: dict[str, RecoverableSession] = {}
        self._away: Deadlines[RecoverableSession] = Deadlines(window_s)
        self._away_bytes = 0
        self._rare: Deadlines[RecoverableSession] = Deadlines(window_s)  # those of them that are
        self._rare_bytes = 0
        self._away_counts: Counter[str] = Counter()  # by user
        self._limit_bytes = limit_bytes
        self._evicted: list[User] = []
        self._forgotten: dict[User, float] = {}  # and when, where other processes may have sessions of theirs
        self._numbers = count(int(wall_now_s * 1000))
        self._shared_answers: dict[str, str] = {}  # those of rooms that have not ended, the room of each by id
        died: defaultdict[str, dict[str, str]] = defaultdict(dict)  # with the earlier process, by room
        left_at: list[tuple[float, str, int]] = []
        for key, stored in log.sessions():
            for request_id, room in stored.answers.items():
                if room:
                    died[room][request_id] = room
            held_bytes = bytes_held(stored.rooms, stored.answers, stored.died_answers)
            left_at.append((math.inf if stored.ends_at is None else stored.ends_at, key, held_bytes))
        # Those of all rooms that ended with the earlier process, the room of each by id.
        self.died_answers = {request_id: room for by_id in died.values() for request_id, room in by_id.items()}
        taken_over = set(newest(left_at, limit_bytes))
        for key, stored in log.sessions():
            is_over = stored.ends_at is not None and stored.ends_at <= wall_now_s
            if window_s == 0 or is_over or key not in taken_over:
                log.save_session(key, None)
                continue
            # All who were in a room wait for the end of the answers there, as who asked does.
            died_answers = stored.died_answers | stored.answers
            for room in stored.rooms:
                died_answers |= died.get(room, {})
            self._adopt(key, stored, {}, died_answers, wall_now_s=wall_now_s, now_s=now_s)
        log.restore_from(self._states)

    def adopt(self, key: str, stored: StoredSession, *, wall_now_s: float, now_s: float) -> None:
        """Have a session of another process from now on, whose client is away, or has come here."""
        forgotten_at_s = self._forgotten.get(User(stored.user_id, stored.user_name))
        if forgotten_at_s is not None and stored.opened_at_s <= forgotten_at_s:
            self._log.save_session(key, None)
        elif self._window_s and key not in self._by_key:
            self._adopt(key, stored, stored.answers, stored.died_answers, wall_now_s=wall_now_s, now_s=now_s)

    def _adopt(
        self,
        key: str,
        stored: StoredSession,
        answers: dict[str, str],
        died_answers: dict[str, str],
        *,
        wall_now_s: float,
        now_s: float,
    ) -> None:
        """Wait for the client of a session; ``answers``: those of its answers that go on."""
        user = User(stored.user_id, stored.user_name)
        session = RecoverableSession(
            key, user, stored.conversation_id, stored.since, stored.rooms, died_answers=died_answers
        )
        session.answers = dict(answers)
        session.opened_at_s = stored.opened_at_s
        self._by_key[key] = session
        if died_answers:
            self._store(session, wall_now_s + self._window_s)
        session.ends_at = wall_now_s + self._window_s
        self._begin_to_wait(session, now_s)

    def claim(self, pid: str, opened_at_s: float, *, wall_now_s: float, now_s: float) -> None:
        """Have the session of a pid that another process has. Raises `NotLoaded`, see `MessageLog.claim_session`."""
        take = partial(self.adopt, wall_now_s=wall_now_s, now_s=now_s)
        self._log.claim_session(key_of(pid), opened_at_s, take)

    def hand_over(self, key: str) -> RecoverableSession | None:
        """Forget a session that another process has now, and return it."""
        session = self._by_key.pop(key, None)
        if session is not None and session.connection is None:
            self._no_longer_waits(session)
        return session

    def start(self, connection: Connection, guest_key: str = "", *, opened_at_s: float = 0.0) -> None:
        """Give a new connection a session and its pid, which ends in a guest's key.

        ``opened_at_s``: when it was opened, by the wall clock.
        """
        if self._window_s == 0:
            return
        connection.pid = f"{next(self._numbers):011x}{secrets.token_urlsafe(_SECRET_BYTES)}{guest_key}"
        key = connection.recovery_key = key_of(connection.pid)
        session = RecoverableSession(
            key, connection.user, connection.conversation_id, self._log.last_seq, [], died_answers={}
        )
        session.connection, session.opened_at_s = connection, opened_at_s
        connection.answers, connection.died_answers = session.answers, session.died_answers
        self._by_key[key] = session

    def since(self, connection: Connection) -> int:
        """Return the newest message when the session of a connection began."""
        session = self._of(connection)
        return self._log.last_seq if session is None else session.since

    def find(self, pid: str) -> RecoverableSession | None:
        """Return the session that a pid is the secret of, whether a connection holds it or not."""
        return self._by_key.get(key_of(pid))

    def resume(self, session: RecoverableSession, pid: str, connection: Connection, *, opened_at_s: float = 0.0) -> None:
        """Let a new connection hold a session; ``opened_at_s`` as of `start`."""
        connection.pid, connection.recovery_key = pid, session.key
        session.unpack()
        connection.answers, connection.died_answers = session.answers, session.died_answers
        session.connection, session.opened_at_s = connection, opened_at_s
        if self._away.stop(session):
            self._no_longer_waits(session)

    def is_awaited(self, user: User) -> bool:
        """Return whether a client of a user is away and may come back."""
        return user.id in self._away_counts

    def save(self, connection: Connection) -> None:
        """Keep which rooms a connection is in, if the log does not know."""
        session = self._of(connection)
        if session is None:
            return
        rooms = list(connection.rooms)
        if session.is_kept and session.ends_at is None and session.rooms == rooms:
            return
        # Who is in no room yet misses nothing if the process dies before it is kept.
        can_wait = not session.rooms and not rooms
        session.rooms = rooms
        self._store(session, None, can_wait=can_wait)

    def save_answers(self, connection: Connection) -> None:
        """Keep which requests of a connection have not ended, be it still there or away."""
        session = self._by_key.get(connection.recovery_key)
        if session is not None and session.answers is connection.answers:
            self._store(session, session.ends_at)

    def save_shared_answer(self, request_id: str, room: str) -> None:
        """Keep that an answer in a room has not ended, whoever asked: it belongs to nobody's session."""
        self._shared_answers[request_id] = room
        self._log.save_session(_ANSWER_PREFIX + request_id, state_of_answer(request_id, room))

    def forget_shared_answer(self, request_id: str) -> None:
        """Note that it has ended, and is kept."""
        self._shared_answers.pop(request_id, None)
        self._log.save_session(_ANSWER_PREFIX + request_id, None)

    def opened(self) -> list[tuple[str, float]]:
        """Return the keys of all sessions, and when the connection of each was opened, by the wall clock."""
        return [(session.key, session.opened_at_s) for session in self._by_key.values()]

    def save_again(self, key: str) -> None:
        """Keep a session as it is, whatever the log has of it."""
        session = self._by_key.get(key)
        if session is not None:
            session.kept = None  # so that it is saved whole
            self._store(session, session.ends_at)

    def drop(self, connection: Connection, *, may_return: bool, wall_now_s: float, now_s: float) -> bool:
        """Note that a connection has ended, before it leaves its rooms; return whether its user may come back."""
        session = self._of(connection)
        if session is None:
            return False
        session.connection = None
        if not may_return:
            self._end(session)
            return False
        # If the process dies before that is kept, whoever was connected may come back too.
        self._store(session, wall_now_s + self._window_s, can_wait=True)
        self._begin_to_wait(session, now_s)
        return True

    def _begin_to_wait(self, session: RecoverableSession, now_s: float) -> None:
        """Let a session wait for its client, and those which have waited for longest no more, if they are too many."""
        session.held_bytes = bytes_held(session.rooms, session.answers, session.died_answers)
        session.pack()
        self._away_bytes += session.held_bytes
        self._away_counts[session.user.id] += 1
        self._away.start(session, now_s)
        if session.is_rare:
            self._rare_bytes += session.held_bytes
            self._rare.start(session, now_s)
        while self._rare_bytes > self._limit_bytes // RARE_SHARE and len(self._rare) > 1:
            self._evict_first_of(self._rare)
        while self._away and (len(self._away) > AWAY_LIMIT_COUNT or self._away_bytes > self._limit_bytes):
            self._evict_first_of(self._away)

    def _evict_first_of(self, waiting: Deadlines[RecoverableSession]) -> None:
        first, _ = next(waiting.pop_due(math.inf))
        self._no_longer_waits(first)
        self._end(first)
        self._evicted.append(first.user)

    def _no_longer_waits(self, session: RecoverableSession) -> None:
        self._away.stop(session)
        self._away_bytes -= session.held_bytes
        if session.is_rare:
            self._rare.stop(session)
            self._rare_bytes -= session.held_bytes
        self._away_counts[session.user.id] -= 1
        if not self._away_counts[session.user.id]:
            del self._away_counts[session.user.id]

    def forget(self, user: User, wall_now_s: float) -> None:
        """End all sessions of a user whose clients are away; what other processes have of them counts no more either."""
        self._forgotten = {one: at_s for one, at_s in self._forgotten.items() if at_s > wall_now_s - self._window_s}
        if self._log.peers is not None:
            self._forgotten[user] = wall_now_s
        if user.id in self._away_counts:
            for session in [one for one in self._by_key.values() if one.user == user and one.connection is None]:
                self._no_longer_waits(session)
                self._end(session)

    def expire(self, now_s: float, limit_count: int) -> Iterable[User]:
        """End up to so many sessions whose clients were away for too long; yield the users of all that have ended."""
        evicted, self._evicted = self._evicted, []
        yield from evicted
        for session, _ in islice(self._away.pop_due(now_s), limit_count):
            self._no_longer_waits(session)
            self._end(session)
            yield session.user

    def next_due_at_s(self) -> float | None:
        """Return when the first session ends for good, by the clock in seconds; None if none waits."""
        return self._away.next_due_at_s()

    def _of(self, connection: Connection) -> RecoverableSession | None:
        session = self._by_key.get(connection.recovery_key)
        return session if session is not None and session.connection is connection else None

    def _store(self, session: RecoverableSession, ends_at: float | None, *, can_wait: bool = False) -> None:
        if session.packed_rooms is not None:
            session.unpack()
            self._store(session, ends_at, can_wait=can_wait)
            session.pack()
            return
        session.ends_at = ends_at
        stored = state_of(session, session.rooms)
        if session.kept is not None:
            change = change_between(session.kept, stored)
            session.changes_bytes += len(msgspec.json.encode(change))
            if change is not None and session.changes_bytes < session.whole_bytes:
                session.kept = stored
                if change != _NO_CHANGE:
                    self._log.change_session(session.key, change, can_wait=can_wait)
                return
        session.is_kept = True
        session.whole_bytes = session.changes_bytes = 0
        if len(stored.rooms) > _FEW_ROOMS or stored.answers or stored.died_answers:  # most are never measured
            session.whole_bytes = len(msgspec.json.encode((stored.rooms, stored.answers, stored.died_answers)))
        session.kept = stored if session.whole_bytes >= _LARGE_BYTES else None
        self._log.save_session(session.key, stored, can_wait=can_wait)

    def _states(self) -> Iterator[tuple[str, StoredSession]]:
        """Yield what the log is to have, by key; of each session as it is when it is asked for."""
        for key in list(self._by_key):
            session = self._by_key.get(key)
            # What an earlier process has left is kept too, and its clients are away.
            if session is not None and (session.is_kept or session.connection is None):
                yield key, state_of(session, session.unpacked_rooms())
        for request_id in list(self._shared_answers):
            if request_id in self._shared_answers:
                yield _ANSWER_PREFIX + request_id, state_of_answer(request_id, self._shared_answers[request_id])

    def _end(self, session: RecoverableSession) -> None:
        del self._by_key[session.key]
        self._log.save_session(session.key, None, can_wait=True)
