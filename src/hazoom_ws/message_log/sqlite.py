"""The log in one SQLite file: the embedded default.

What was appended lately is in memory as well (`MemoryLog`), where most pages are read; the file is asked for what is older,
through a connection of its own that no writer keeps waiting (write-ahead log). What changes the file is the `SqliteWriter`.

One process uses a file: a lock beside it, which the system gives back however the process ends, refuses a second one. A
file that is damaged is renamed and a new one begun; one that cannot be written makes the log refuse messages until `reopen`
succeeds.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import PAGE_LIMIT_BYTES, Batch, Page, StoredSession, take_page
from hazoom_ws.message_log.database_file import is_damage, lock_file, make_private, set_aside
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.message_log.retention import Retention
from hazoom_ws.message_log.sqlite_writer import SqliteWriter, open_file
from hazoom_ws.schemas import NewMessage
from hazoom_ws.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

_SELECT = "SELECT seq, room, user, message, timestamp, client_id, kind, request_id FROM messages"
_RECENT_ROOM_COUNT = 1000
_WHOLE_ROOMS = 100_000


class SqliteLog:
    """Messages and sessions in the file at ``path``. Raises `SettingsError` for a file that is not for us to use."""

    def __init__(self, path: Path, settings: Settings, *, wall_clock: Callable[[], float] = time.time) -> None:
        self.problem: str | None = None
        self._path = path
        self._settings = settings
        self._wall_clock = wall_clock
        self._pending = Batch([], {})
        self._waiting: dict[str, StoredSession | None] = {}  # sessions that may wait for more; none of them is pending
        self._lock = lock_file(path)
        self._retention = Retention(settings)
        self._sessions: dict[str, StoredSession] = {}
        # Of each room of which all there is was found in memory, after which seq that is: quiet rooms are joined too.
        self._whole_from: dict[str, int] = {}
        self._start_seq = int(wall_clock() * 1e6)
        self._recent = self._new_recent(self._start_seq, "")
        self._writer: SqliteWriter | None = None
        self._reader: sqlite3.Connection | None = None
        try:
            self.reopen()
        except SettingsError:
            self.close()
            raise

    def _new_recent(self, start_seq: int, epoch: str) -> MemoryLog:
        return MemoryLog(
            room_limit_count=min(_RECENT_ROOM_COUNT, self._settings.history_room_limit_count),
            room_limit_bytes=self._settings.history_room_limit_bytes,
            limit_bytes=self._settings.history_limit_bytes,
            start_seq=start_seq,
            epoch=epoch,
        )

    @property
    def last_seq(self) -> int:
        return self._recent.last_seq

    @property
    def messages_total(self) -> int:
        return self._recent.messages_total

    @property
    def is_dirty(self) -> bool:
        return self.problem is None and bool(self._pending.messages or self._pending.sessions or self._waiting)

    @property
    def is_pressing(self) -> bool:
        # While the log is unwell there is nothing to wait for, but messages that came a moment before are to be refused.
        return bool(self._pending.messages or (self._pending.sessions and self.problem is None))

    def append(
        self,
        *,
        room: str,
        user: str,
        message: str,
        timestamp: float,
        client_id: str | UnsetType = UNSET,
        kind: Literal["prompt", "assistant"] | UnsetType = UNSET,
        request_id: str | UnsetType = UNSET,
    ) -> NewMessage:
        if self.problem is not None:
            raise LogUnavailable(self.problem)
        entry = self._recent.append(
            room=room,
            user=user,
            message=message,
            timestamp=timestamp,
            client_id=client_id,
            kind=kind,
            request_id=request_id,
        )
        self._pending.messages.append(entry)
        return entry

    def take_place(self) -> int:
        return self._recent.take_place()

    def find_resent(self, room: str, user: str, client_id: str | UnsetType) -> NewMessage | None:
        if client_id is UNSET:
            return None
        entry = self._recent.find_resent(room, user, client_id)
        if entry is not None:
            return entry
        condition = "client_id = ? AND user = ? AND room = ?"
        return next(self._select(condition, (client_id, user, room), is_whole=False), None)

    def read(
        self,
        room: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
        newest: bool,
        limit_bytes: int = PAGE_LIMIT_BYTES,
    ) -> Page:
        gap = after is not None and self._has_gap(room, after)
        if after is None or after > self.last_seq:
            after, newest = 0, newest or after is not None
        edge = self._recent.complete_from(room)
        recent = self._recent.range(room, max(after, edge), before)
        older_before = edge + 1 if before is None else min(before, edge + 1)
        is_all_recent = after >= older_before - 1 or self._whole_from.get(room) == edge
        order = "DESC" if newest else "ASC"
        older = (
            ()
            if is_all_recent
            else self._select(
                f"room = ? AND seq > ? AND seq < ? AND message IS NOT NULL ORDER BY seq {order}",
                (room, after, older_before),
            )
        )
        # Neither iterator is asked for more than the page needs: most pages never ask the file.
        taken, more = take_page(chain(reversed(recent), older) if newest else chain(older, recent), limit, limit_bytes)
        if not is_all_recent and not more and after == 0 and before is None and len(taken) == len(recent):
            if len(self._whole_from) >= _WHOLE_ROOMS:
                self._whole_from.clear()
            self._whole_from[room] = edge  # the file had nothing, and gets only what is above
        if newest:
            taken.reverse()
        return Page(taken, more, gap)

    def _has_gap(self, room: str, after: int) -> bool:
        return after > self.last_seq or after < self._retention.trimmed.get(room, 0) or 0 < after < self._start_seq

    def _select(self, condition: str, parameters: tuple[Any, ...], *, is_whole: bool = True) -> Iterator[NewMessage]:
        if self._reader is None:
            raise LogUnavailable(self.problem or "closed")
        try:
            rows = self._reader.execute(f"{_SELECT} WHERE {condition}", parameters)
            with closing(rows):
                for seq, room, user, message, timestamp, client_id, kind, request_id in rows:
                    yield NewMessage(
                        user=user,
                        message=message if is_whole else message or "",
                        timestamp=timestamp,
                        room=room,
                        id=f"{self._recent.epoch}-{seq}",
                        seq=seq,
                        client_id=UNSET if client_id is None else client_id,
                        kind=UNSET if kind is None else kind,
                        request_id=UNSET if request_id is None else request_id,
                    )
        except sqlite3.Error as error:
            raise LogUnavailable(str(error)) from error

    def save_session(self, key: str, session: StoredSession | None, *, can_wait: bool = False) -> None:
        if can_wait and key not in self._pending.sessions:
            self._waiting[key] = session
        else:
            self._waiting.pop(key, None)
            self._pending.sessions[key] = session

    def press(self) -> None:
        self._pending.sessions.update(self._waiting)
        self._waiting.clear()

    def sessions(self) -> Mapping[str, StoredSession]:
        return self._sessions

    def take_batch(self) -> Batch:
        if not self._pending.messages and not self._pending.sessions:
            self.press()
        batch, self._pending = self._pending, Batch([], {})
        return batch

    def write(self, batch: Batch) -> None:
        if self._writer is None:
            raise LogUnavailable(self.problem or "closed")
        try:
            self._writer.write(batch)
        except sqlite3.Error as error:
            self.problem = str(error)
            raise LogUnavailable(self.problem) from error
        self._recent.droppable_seq = self._writer.filed_seq

    def write_at_once(self, batch: Batch) -> bool:
        return self._writer is not None and self._writer.write_at_once(batch)

    @property
    def is_untidy(self) -> bool:
        return self.problem is None and self._writer is not None and self._writer.is_untidy

    def tidy(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.tidy()
        except sqlite3.Error as error:
            self.problem = str(error)
        self._recent.droppable_seq = self._writer.filed_seq

    @property
    def is_checkpoint_due(self) -> bool:
        return self.problem is None and self._writer is not None and self._writer.is_checkpoint_due

    def checkpoint(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.checkpoint()
        except sqlite3.Error as error:
            logger.warning("there was no checkpoint: %s", error)  # whether the file is well, the next batch finds out

    def forget(self, batch: Batch) -> None:
        self._recent.forget(batch)
        for key, session in batch.sessions.items():
            if key not in self._pending.sessions:
                self._waiting.setdefault(key, session)

    # The file

    def reopen(self) -> None:
        self._disconnect()
        try:
            try:
                if self.problem is None or not is_damage(self.problem):
                    self._connect()
            except sqlite3.DatabaseError as error:
                if not is_damage(str(error)):
                    raise
                self.problem = str(error)
            if self.problem is not None and is_damage(self.problem):
                self._disconnect()
                set_aside(self._path)
                self._connect()
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            self.problem = str(error)
        else:
            self.problem = None

    def _connect(self) -> None:
        is_first = not self._recent.messages_total
        make_private(self._path)
        writer = self._writer = SqliteWriter(
            self._path,
            self._settings,
            self._retention,
            start_seq=self._recent.last_seq,
            wall_clock=self._wall_clock,
        )
        self._start_seq = writer.start_seq
        self._whole_from.clear()
        if is_first:
            self._sessions = writer.sessions()
        if writer.filed_seq > self._recent.last_seq or writer.epoch != self._recent.epoch:
            recent = self._new_recent(max(writer.filed_seq, self._recent.last_seq), writer.epoch)
            recent.messages_total = self._recent.messages_total
            self._recent = recent
        self._recent.droppable_seq = writer.filed_seq
        self._reader = open_file(self._path)
        self._reader.execute("PRAGMA query_only = ON")

    def _disconnect(self) -> None:
        if self._reader is not None:
            with suppress(sqlite3.Error):
                self._reader.close()
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    def close(self) -> None:
        self._disconnect()
        self.problem = "closed"
        self._lock.close()
