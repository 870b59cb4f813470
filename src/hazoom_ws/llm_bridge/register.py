"""Which answers of the AI there are: by id, by user, by room; and for how long those that have ended. Pure bookkeeping."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection

from msgspec import UNSET

from hazoom_ws.chat.presence import User
from hazoom_ws.deadlines import Deadlines
from hazoom_ws.llm_bridge.answer import Answer
from hazoom_ws.settings import Settings


class Register:
    """The answers that run, wait, or have ended and can be resumed; of the latter the oldest go for want of space."""

    def __init__(self, settings: Settings) -> None:
        self.on_forgotten: Callable[[Answer], object] = lambda _: None  # told which can be resumed no more
        self._limit_bytes = settings.llm_resume_limit_bytes
        self._by_id: dict[str, Answer] = {}
        self._by_user: defaultdict[str, dict[Answer, None]] = defaultdict(dict)  # private ones
        self._by_room: defaultdict[str, dict[Answer, None]] = defaultdict(dict)
        self._kept: Deadlines[Answer] = Deadlines(settings.llm_resume_window_s)
        self._kept_bytes = 0

    def get(self, request_id: str) -> Answer | None:
        """Return the answer with this id, None if there is none (any more)."""
        return self._by_id.get(request_id)

    def of_user(self, user: User) -> Collection[Answer]:
        """Return a user's private answers."""
        return self._by_user.get(user.id, {})

    def all(self) -> list[Answer]:
        """Return all answers."""
        return list(self._by_id.values())

    def rooms(self) -> list[str]:
        """Return the rooms that answers are shared with. In any thread."""
        return list(self._by_room)

    def asked_by(self, user: User) -> list[Answer]:
        """Return all answers that a user has asked for, those of rooms too."""
        return [answer for answer in self._by_id.values() if answer.user == user]

    @property
    def has_shared(self) -> bool:
        """Whether there is an answer in any room."""
        return bool(self._by_room)

    def of_room(self, room: str) -> Collection[Answer]:
        """Return the answers that are shared with a room."""
        return self._by_room.get(room, {})

    def add(self, answer: Answer) -> None:
        """Note an answer that has not ended."""
        self._by_id[answer.prompt.request_id] = answer
        self._index_of(answer)[answer] = None

    def keep(self, answer: Answer, now_s: float) -> None:
        """Note that an answer has ended."""
        self._kept.start(answer, now_s)
        self._kept_bytes += answer.size_bytes
        while self._kept_bytes > self._limit_bytes and len(self._kept) > 1:
            self._forget(next(self._kept.pop_due(math.inf))[0])

    def forget_due(self, now_s: float) -> None:
        """Forget the answers that ended too long ago."""
        for answer, _ in self._kept.pop_due(now_s):
            self._forget(answer)

    def next_due_at_s(self) -> float | None:
        """Return when the next one is forgotten, by the clock in seconds; None if none is to be."""
        return self._kept.next_due_at_s()

    def drop(self, answer: Answer) -> None:
        """Forget one that has not ended."""
        self._remove(answer)

    def _forget(self, answer: Answer) -> None:
        self._kept_bytes -= answer.size_bytes
        self._remove(answer)
        self.on_forgotten(answer)

    def _remove(self, answer: Answer) -> None:
        del self._by_id[answer.prompt.request_id]
        index = self._index_of(answer)
        del index[answer]
        if not index:
            if answer.room is UNSET:
                del self._by_user[answer.user.id]
            else:
                del self._by_room[answer.room]

    def _index_of(self, answer: Answer) -> dict[Answer, None]:
        return self._by_user[answer.user.id] if answer.room is UNSET else self._by_room[answer.room]
