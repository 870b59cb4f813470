"""Users of rooms who have dropped and are waited for, so that nobody hears of a reload. Pure bookkeeping.

Nothing but its absence holds a room that everybody has dropped out of: so the names of rooms have a bound too, in memory.
"""

import math
from collections.abc import Iterator
from itertools import islice

from hazoom_ws.chat.presence import User
from hazoom_ws.deadlines import Deadlines

LIMIT_COUNT = 12_000  # over it the first are not waited for any longer
LIMIT_BYTES = LIMIT_COUNT * 128  # of names: the longest that are ASCII, or those of 16 letters beyond it
_WIDE_BYTES = 8  # of a character beyond ASCII, at most: the name keeps its UTF-8 once it was sent


class Absences:
    """Who is away from which room, in the order in which they went."""

    def __init__(self, period_s: float) -> None:
        self._deadlines: Deadlines[tuple[str, User]] = Deadlines(period_s)
        self._names_bytes = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def start(self, room: str, user: User, now_s: float) -> None:
        """Wait for a user who is not waited for in this room. `take_excess` has to be asked then."""
        self._deadlines.start((room, user), now_s)
        self._names_bytes += _name_bytes(room)

    def stop(self, room: str, user: User) -> bool:
        """Wait for a user no more; return whether it was waited for."""
        was_away = self._deadlines.stop((room, user))
        if was_away:
            self._names_bytes -= _name_bytes(room)
        return was_away

    def has(self, room: str, user: User) -> bool:
        """Return whether a user is waited for."""
        return self._deadlines.due_at_s((room, user)) is not None

    def take_excess(self) -> Iterator[tuple[str, User]]:
        """Forget and yield the first ones, as long as they are too many."""
        while len(self) > LIMIT_COUNT or self._names_bytes > LIMIT_BYTES:
            yield next(self._take(math.inf))

    def pop_due(self, now_s: float, limit_count: int) -> Iterator[tuple[str, User]]:
        """Forget and yield up to so many whose time is over."""
        yield from islice(self._take(now_s), limit_count)

    def next_due_at_s(self) -> float | None:
        """Return when the first of them is over, by the clock in seconds; None if nobody is absent."""
        return self._deadlines.next_due_at_s()

    def _take(self, now_s: float) -> Iterator[tuple[str, User]]:
        for (room, user), _ in self._deadlines.pop_due(now_s):
            self._names_bytes -= _name_bytes(room)
            yield room, user


def _name_bytes(room: str) -> int:
    return len(room) * (1 if room.isascii() else _WIDE_BYTES)
