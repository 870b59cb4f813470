"""Up to where rooms were trimmed: who has seen nothing since then has a gap. What is trimmed is old, so hardly anybody has.

Called within turns, but for `Trims.note_beside`.
"""

from collections.abc import Callable

from hazoom_ws.message_log.contract import NotLoaded
from hazoom_ws.message_log.redis.store import Trimmed

_KNOWN_COUNT = 20_000


class Trims:
    """What is known of it. ``newest_seq``: up to where any room was trimmed."""

    def __init__(self, load: Callable[[str], int]) -> None:
        """``load(room)`` asks Redis, beside turns. It raises `LogUnavailable`."""
        self.newest_seq = 0
        self._load = load
        self._known: dict[str, int] = {}  # of rooms that were asked for
        self._news: Trimmed = []  # which turns do not know yet

    def note_beside(self, trimmed: Trimmed) -> None:
        """Note what the thread that writes has trimmed."""
        self._news = [*self._news, *trimmed]

    def is_gone(self, room: str, after: int) -> bool:
        """Return whether something of a room is gone that came after a ``seq``. Raises `NotLoaded`."""
        if self._news:
            news, self._news = self._news, []
            self._note(news)
        if after >= self.newest_seq:
            return False
        seq = self._known.get(room)
        if seq is None:
            raise NotLoaded(lambda: self._found(room))
        return after < seq

    def _found(self, room: str) -> Callable[[], None]:
        seq = self._load(room)
        return lambda: self._note([(room, seq)])

    def _note(self, trimmed: Trimmed) -> None:
        if len(self._known) > _KNOWN_COUNT:
            self._known.clear()
        for room, seq in trimmed:
            self._known[room] = max(seq, self._known.get(room, 0))
            self.newest_seq = max(self.newest_seq, seq)
