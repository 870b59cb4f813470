"""What a log's file forgets, and when: by age, and by count and bytes per room. Called where the file is written."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from heapq import nlargest
from operator import itemgetter

from hazoom_ws.message_log.contract import size_bytes
from hazoom_ws.schemas import NewMessage
from hazoom_ws.settings import Settings

INTERVAL_S = 30.0
_RESENT_WITHIN_S = 86_400.0
_LOOKED_AT_ONCE = 1000
# A room is looked through when it has grown by this part of what it may hold: that stays a small share of the work.
_GROWTH = 0.05
_GROWING_ROOMS, _GROWING_ROOMS_KEPT = 20_000, 1000
# Of a text SQLite counts the characters, and those only up to the first NUL.
_OVER_THE_BOUNDS = """
    SELECT max(seq) FROM (
        SELECT seq, row_number() OVER newest AS count, sum(length(CAST(message AS BLOB)) + 500) OVER newest AS size
        FROM messages WHERE room = ? AND message IS NOT NULL WINDOW newest AS (ORDER BY seq DESC)
    ) WHERE count > 1 AND (count > ? OR size > ?)
"""


class Retention:
    """Trims the table ``messages``; the table ``trimmed`` has up to which seq of each room, ``trimmed_seq`` the highest."""

    def __init__(self, settings: Settings) -> None:
        self.trimmed_seq = 0
        self._settings = settings
        # Of each room since it was last looked through, as a part of its bound. By the room's hash, which takes less than
        # its name may; those that are to be looked through by name.
        self._growth: defaultdict[int, float] = defaultdict(float)
        self._grown: set[str] = set()
        self._last_s = 0.0

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what was trimmed before."""
        self.trimmed_seq = connection.execute("SELECT max(seq) FROM trimmed").fetchone()[0] or 0

    def note(self, messages: Iterable[NewMessage]) -> None:
        """Note what was filed."""
        growth = self._growth
        per_message, per_byte = 1 / self._settings.history_room_limit_count, 1 / self._settings.history_room_limit_bytes
        for entry in messages:
            key = hash(entry.room)
            growth[key] += per_message + size_bytes(entry) * per_byte
            if growth[key] >= _GROWTH:
                self._grown.add(entry.room)
                del growth[key]
        if len(growth) > _GROWING_ROOMS:
            largest = nlargest(_GROWING_ROOMS_KEPT, growth.items(), key=itemgetter(1))
            growth.clear()  # so many rooms are small ones
            growth.update(largest)

    def is_due(self, now_s: float) -> bool:
        """Return whether it is time to `trim`; the clock may have been set back."""
        return abs(now_s - self._last_s) >= INTERVAL_S

    def trim(self, writer: sqlite3.Connection, now_s: float) -> None:
        """Delete what is over a bound, in transactions of its own."""
        self._last_s = now_s
        settings = self._settings
        while self._grown:
            room = self._grown.pop()
            bounds = (room, settings.history_room_limit_count, settings.history_room_limit_bytes)
            [up_to_seq] = writer.execute(_OVER_THE_BOUNDS, bounds).fetchone()
            if up_to_seq is not None:
                self._drop(writer, room, up_to_seq, now_s)
        self._trim_aged(writer, now_s)

    def _trim_aged(self, writer: sqlite3.Connection, now_s: float) -> None:
        oldest_s = now_s - self._settings.history_age_limit_s
        while True:
            rows = writer.execute(
                "SELECT seq, room, timestamp FROM messages ORDER BY seq LIMIT ?", (_LOOKED_AT_ONCE,)
            ).fetchall()
            aged = {room: seq for seq, room, timestamp in rows if timestamp < oldest_s}
            for room, seq in aged.items():
                self._drop(writer, room, seq, now_s)
            if not aged or rows[-1][2] >= oldest_s:
                return

    def _drop(self, writer: sqlite3.Connection, room: str, up_to_seq: int, now_s: float) -> None:
        """Delete a room's messages up to one; of those that may still be resent the place stays."""
        resent_after_s = now_s - min(_RESENT_WITHIN_S, self._settings.history_age_limit_s)
        self.trimmed_seq = max(self.trimmed_seq, up_to_seq)  # before, so that nobody misses it afterwards
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(
            "DELETE FROM messages WHERE room = ? AND seq <= ? AND (client_id IS NULL OR timestamp < ?)",
            (room, up_to_seq, resent_after_s),
        )
        writer.execute("UPDATE messages SET message = NULL WHERE room = ? AND seq <= ?", (room, up_to_seq))
        writer.execute("INSERT OR REPLACE INTO trimmed VALUES (?, ?)", (room, up_to_seq))
        writer.execute("COMMIT")
