"""What a log's file forgets, and when: by age, and by count and bytes per room. Called where the file is written."""

import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from heapq import nlargest
from operator import itemgetter

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import size_bytes
from hazoom_ws.message_log.sqlite.damage import checked_seq
from hazoom_ws.message_log.sqlite.state_table import trim_aged
from hazoom_ws.message_log.time_of_day import TimeOfDay
from hazoom_ws.settings import Settings

INTERVAL_S = 30.0
_RESENT_WITHIN_S = 86_400.0
_LOOKED_AT_ONCE = 1000
_CHECKED_AT_ONCE_S = 0.02  # others wait for the file
# A room is looked through when it has grown by this part of what it may hold: that stays a small share of the work.
_GROWTH = 0.05
_GROWING_ROOMS, _GROWING_ROOMS_KEPT = 20_000, 1000
# Names of rooms are bytes here: of a damaged one they may be no text, and nothing else is to fail for that.
# Of a text SQLite counts the characters, and those only up to the first NUL.
_OVER_THE_BOUNDS = """
    SELECT max(seq) FROM (
        SELECT seq, row_number() OVER newest AS count, sum(length(CAST(message AS BLOB)) + 500) OVER newest AS size
        FROM messages WHERE room = CAST(? AS TEXT) AND message IS NOT NULL WINDOW newest AS (ORDER BY seq DESC)
    ) WHERE count > 1 AND (count > ? OR size > ?)
"""
_OLDEST = "SELECT seq, CAST(room AS BLOB), CAST(timestamp AS REAL) FROM messages ORDER BY seq LIMIT ?"
_NEXT_ROOM = "SELECT CAST(min(room) AS BLOB) FROM messages WHERE room > CAST(? AS TEXT)"


class Retention:
    """Trims the table ``messages``; the table ``trimmed`` has up to which seq of each room, ``trimmed_seq`` the highest."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` tells how much time passes, whatever time it is."""
        self.trimmed_seq = 0
        self._clock = clock
        self._time_of_day = TimeOfDay(clock)
        # Bounds may have been lowered, and what a room has grown by is known since the start only: so each is looked
        # through once, in the order of names. None: all are.
        self._checked_up_to: bytes | None = None
        self._settings = settings
        # Of each room since it was last looked through, as a part of its bound. By the room's hash, which takes less than
        # its name may; those that are to be looked through by name.
        self._growth: defaultdict[int, float] = defaultdict(float)
        self._grown: set[str] = set()
        self._last_s = -INTERVAL_S

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what was trimmed before."""
        self.trimmed_seq = checked_seq(connection.execute("SELECT max(seq) FROM trimmed").fetchone()[0])
        has_messages = connection.execute("SELECT 1 FROM messages LIMIT 1").fetchone() is not None
        self._checked_up_to = b"" if has_messages else None

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

    @property
    def is_due(self) -> bool:
        """Whether it is time to `trim`."""
        return self._checked_up_to is not None or self._clock() - self._last_s >= INTERVAL_S

    def trim(self, writer: sqlite3.Connection, now_s: float) -> None:
        """Delete what is over a bound, in transactions of its own."""
        is_trusted = self._time_of_day.is_trusted(now_s)
        resent_after_s = now_s - min(_RESENT_WITHIN_S, self._settings.history_age_limit_s) if is_trusted else 0.0
        if self._checked_up_to is not None:
            self._check(writer, resent_after_s)
        if self._clock() - self._last_s < INTERVAL_S:
            return
        self._last_s = self._clock()
        while self._grown:
            self._trim_room(writer, self._grown.pop().encode(), resent_after_s)
        if is_trusted:
            self._trim_aged(writer, now_s, resent_after_s)
            trim_aged(writer, now_s, resent_after_s)

    def _check(self, writer: sqlite3.Connection, resent_after_s: float) -> None:
        """Look through the next rooms that have not been looked through since the start."""
        ends_at_s = self._clock() + _CHECKED_AT_ONCE_S
        while self._checked_up_to is not None and self._clock() <= ends_at_s:
            [room] = writer.execute(_NEXT_ROOM, (self._checked_up_to,)).fetchone()
            if room is not None:
                self._trim_room(writer, room, resent_after_s)
            self._checked_up_to = room

    def _trim_room(self, writer: sqlite3.Connection, room: bytes, resent_after_s: float) -> None:
        bounds = (room, self._settings.history_room_limit_count, self._settings.history_room_limit_bytes)
        [up_to_seq] = writer.execute(_OVER_THE_BOUNDS, bounds).fetchone()
        if up_to_seq is not None:
            self._drop(writer, room, up_to_seq, resent_after_s)

    def _trim_aged(self, writer: sqlite3.Connection, now_s: float, resent_after_s: float) -> None:
        oldest_s = now_s - self._settings.history_age_limit_s
        first_seq = None
        while True:
            rows = writer.execute(_OLDEST, (_LOOKED_AT_ONCE,)).fetchall()
            aged = {room: seq for seq, room, timestamp in rows if timestamp < oldest_s}
            for room, seq in aged.items():
                self._drop(writer, room, seq, resent_after_s)
            if not aged or rows[-1][2] >= oldest_s or rows[0][0] == first_seq:  # one that is damaged may stay
                return
            first_seq = rows[0][0]

    def _drop(self, writer: sqlite3.Connection, room: bytes, up_to_seq: int, resent_after_s: float) -> None:
        """Delete a room's messages up to one; of those that may still be resent, the newer ones, the number stays."""
        self.trimmed_seq = max(self.trimmed_seq, up_to_seq)  # before, so that nobody misses it afterwards
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(
            "DELETE FROM messages WHERE room = CAST(? AS TEXT) AND seq <= ? AND (client_id IS NULL OR timestamp < ?)",
            (room, up_to_seq, resent_after_s),
        )
        writer.execute("UPDATE messages SET message = NULL WHERE room = CAST(? AS TEXT) AND seq <= ?", (room, up_to_seq))
        writer.execute("INSERT OR REPLACE INTO trimmed VALUES (CAST(? AS TEXT), ?)", (room, up_to_seq))
        writer.execute("COMMIT")
