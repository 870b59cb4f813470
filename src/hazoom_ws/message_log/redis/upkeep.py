"""What can wait, beside turns: snapshots of documents, and what is forgotten. One share at a time.

A room that grows over its bounds is trimmed as it is written to (`scripts.WRITE`). The rest is here: what is too old, in
rooms where nobody says anything; rooms over bounds that were lowered; deleted keys of states.
"""

import time
from collections import Counter
from collections.abc import Callable

from hazoom_ws.message_log.contract import Batch
from hazoom_ws.message_log.pending_documents import QueuedSnapshots
from hazoom_ws.message_log.redis.store import Store, Trimmed
from hazoom_ws.message_log.time_of_day import TimeOfDay
from hazoom_ws.settings import Settings

INTERVAL_S = 30.0
_DELETED_COUNT = 250  # keys that are deleted in a room before the oldest are looked for
_ROOMS_COUNT = 1000  # with deletions that are counted


class Upkeep:
    """What is to be done for one log. `note` and `run` are called by the thread that writes; `is_due` by turns."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        snapshots: QueuedSnapshots,
        *,
        wall_clock: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._age_limit_s = settings.history_age_limit_s
        self._snapshots = snapshots
        self._wall_clock = wall_clock
        self._clock = clock
        self._time_of_day = TimeOfDay(clock)
        self._looked_at_s = -INTERVAL_S
        self._has_aged = False  # more than were deleted at once
        self._rooms_cursor: int | None = 0  # of those that are checked after the start; None: all are
        self._deleted_counts: Counter[str] = Counter()
        self._deleted_in: set[str] = set()

    def note(self, batch: Batch) -> None:
        """Note what a batch has deleted of states."""
        for change in batch.state_changes:
            count = sum(value is None for value in change.values.values())
            if count:
                self._deleted_counts[change.room] += count
                if self._deleted_counts[change.room] >= _DELETED_COUNT or len(self._deleted_counts) > _ROOMS_COUNT:
                    self._deleted_in.add(change.room)
                    del self._deleted_counts[change.room]

    def forget_deleted_in(self, room: str) -> None:
        """Look for deleted keys of a room that can be forgotten. In any thread."""
        self._deleted_in.add(room)

    @property
    def is_due(self) -> bool:
        """Whether `run` has something to do."""
        is_aging = self._has_aged or self._clock() - self._looked_at_s >= INTERVAL_S
        return is_aging or bool(self._snapshots) or bool(self._deleted_in) or self._rooms_cursor is not None

    def run(self) -> Trimmed:
        """Do a share; return which rooms were trimmed. Raises `LogUnavailable`."""
        trimmed: Trimmed = []
        queued = self._snapshots.first()
        if queued is not None:
            self._store.write_snapshot(*queued)
            self._snapshots.done(queued[0], queued[1])
        for room in list(self._deleted_in)[:1]:
            self._store.forget_deleted(room)
            self._deleted_in.discard(room)
        if self._rooms_cursor is not None:
            cursor, rooms = self._store.some_rooms(self._rooms_cursor)
            trimmed += self._store.trim_rooms(rooms)
            self._rooms_cursor = cursor or None
        if self._has_aged or self._clock() - self._looked_at_s >= INTERVAL_S:
            self._looked_at_s = self._clock()
            self._has_aged = False
            now_s = self._wall_clock()
            if self._time_of_day.is_trusted(now_s):
                aged, self._has_aged = self._store.trim_aged(now_s - self._age_limit_s)
                trimmed += aged
        return trimmed
