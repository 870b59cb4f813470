"""States of sessions, whole or as changes: how they follow each other, and which are still to be written.

A session of many rooms with long names takes a quarter of a megabyte, and joining one of them six hundred bytes: so what is
written of a large one is what has changed. Changes are put together where they meet: in a batch, in the file, at loading.
"""

from collections.abc import Iterable, Iterator

from msgspec import UNSET
from msgspec.structs import replace

from hazoom_ws.message_log.contract import KnownSessions, SessionChange, SessionState, StoredSession

_PLACES_AT_ONCE = 2000  # sessions, rooms and answers that are saved anew at once: about a megabyte at most


def applied(session: StoredSession, changes: Iterable[SessionChange]) -> StoredSession:
    """Return a session after changes, which take the time that they are large."""
    rooms = dict.fromkeys(session.rooms)
    ends_at, answers, died_answers = session.ends_at, session.answers, session.died_answers
    for change in changes:
        for room in change.left:
            rooms.pop(room, None)
        rooms.update(dict.fromkeys(change.joined))
        ends_at = ends_at if change.ends_at is UNSET else change.ends_at
        answers = answers if change.answers is UNSET else change.answers
        died_answers = died_answers if change.died_answers is UNSET else change.died_answers
    return replace(session, rooms=list(rooms), ends_at=ends_at, answers=answers, died_answers=died_answers)


def followed(older: SessionState, newer: SessionState) -> SessionState:
    """Return what ``older`` is after ``newer``: as whole as either is. A session that has ended does not change."""
    if not isinstance(newer, SessionChange):
        return newer
    if older is None:
        return None
    if isinstance(older, StoredSession):
        return applied(older, [newer])
    has_left = set(newer.left)
    return SessionChange(
        left=list(dict.fromkeys([*older.left, *newer.left])),
        joined=list(dict.fromkeys([*(room for room in older.joined if room not in has_left), *newer.joined])),
        ends_at=older.ends_at if newer.ends_at is UNSET else newer.ends_at,
        answers=older.answers if newer.answers is UNSET else newer.answers,
        died_answers=older.died_answers if newer.died_answers is UNSET else newer.died_answers,
    )


def change_between(before: StoredSession, after: StoredSession) -> SessionChange | None:
    """Return what leads from one state of a session to a later one; None if it has to be told whole."""
    is_there, was_there = set(after.rooms), set(before.rooms)
    change = SessionChange(
        left=[room for room in before.rooms if room not in is_there],
        joined=[room for room in after.rooms if room not in was_there],
        ends_at=UNSET if after.ends_at == before.ends_at else after.ends_at,
        answers=UNSET if after.answers == before.answers else after.answers,
        died_answers=UNSET if after.died_answers == before.died_answers else after.died_answers,
    )
    return change if applied(before, [change]) == after else None


class PendingSessions:
    """States that are to be written, by key: those that are `pressing`, and those that may wait for more.

    When what was written is lost, all that are known are to be written again: a share each time that the rest is pressed.
    """

    def __init__(self) -> None:
        self.pressing: dict[str, SessionState] = {}
        self.waiting: dict[str, SessionState] = {}  # none of them is pressing too
        self._known: KnownSessions | None = None
        self._is_lost = False
        self._left: Iterator[tuple[str, StoredSession]] | None = None  # of those that are known

    @property
    def is_dirty(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.pressing or self.waiting) or self._is_lost or self._left is not None

    def restore_from(self, known: KnownSessions) -> None:
        """Ask ``known`` when they are lost from now on."""
        self._known = known

    def lose(self) -> None:
        """Note that nothing is written any more of what was. Also for threads beside the turns."""
        self._is_lost = self._known is not None

    def add(self, key: str, state: SessionState, *, can_wait: bool) -> None:
        """Add what comes after all that is here of a session."""
        if key in self.waiting:
            state = followed(self.waiting.pop(key), state)
        elif key in self.pressing:
            state, can_wait = followed(self.pressing[key], state), False
        (self.waiting if can_wait else self.pressing)[key] = state

    def press(self) -> None:
        """Let nothing wait any more, but for what is saved anew."""
        self.pressing.update(self.waiting)
        self.waiting.clear()
        if self._is_lost and self._known is not None:
            self._is_lost, self._left = False, self._known()
        if self._left is not None:
            self._press_share(self._left)

    def _press_share(self, known: Iterator[tuple[str, StoredSession]]) -> None:
        places_count = 0
        for key, session in known:
            self.pressing[key] = session  # what was to be written of it is in it
            places_count += 1 + len(session.rooms) + len(session.answers) + len(session.died_answers)
            if places_count >= _PLACES_AT_ONCE:
                return
        self._left = None

    def pop(self) -> tuple[dict[str, StoredSession | None], dict[str, SessionChange]]:
        """Take out what is pressing: whole states, and changes."""
        sessions: dict[str, StoredSession | None] = {}
        changes: dict[str, SessionChange] = {}
        for key, state in self.pressing.items():
            if isinstance(state, SessionChange):
                changes[key] = state
            else:
                sessions[key] = state
        self.pressing.clear()
        return sessions, changes

    def put_back(self, states: Iterable[tuple[str, SessionState]]) -> None:
        """Put back what comes before all that is here of its session."""
        for key, state in states:
            if key in self.pressing:
                self.pressing[key] = followed(state, self.pressing[key])
            else:
                self.waiting[key] = followed(state, self.waiting[key]) if key in self.waiting else state
