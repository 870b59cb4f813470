"""The log in one SQLite file: the embedded default.

What was appended lately is in memory as well (`MemoryLog`), where most pages are read; the file is asked for what is older,
through a connection of its own that no writer keeps waiting (write-ahead log). Only `write`, `tidy`, `checkpoint` and
`reopen` change the file.

A batch is one row at the end of the table ``tail``, a JSON array: with many rooms, keeping an index by room current costs
several times what the messages do. What is there is in memory too, and moves to the table ``messages`` many at a time, when
there is nothing to write or when it has become too much.

One process uses a file: a lock beside it, which the system gives back however the process ends, refuses a second one. A
file that is damaged is renamed and a new one begun; one that cannot be written makes the log refuse messages until `reopen`
succeeds.

Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous.
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import Batch, Page, StoredSession, take_page
from hazoom_ws.message_log.database_file import is_damage, lock_file, set_aside
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.message_log.migrations import migrate
from hazoom_ws.message_log.retention import Retention
from hazoom_ws.schemas import NewMessage
from hazoom_ws.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

_SELECT = "SELECT seq, room, user, message, timestamp, client_id, kind, request_id FROM messages"
_INSERT = "INSERT OR IGNORE INTO messages (seq, room, user, message, timestamp, client_id, kind, request_id) VALUES "
_ROWS_PER_STATEMENT = 256  # each statement gives way to the loop once, and takes its turn back once
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
_FILED_AT_ONCE_COUNT = 512  # what comes meanwhile waits
_FILED_AT_ONCE_BYTES = 262_144
_TAIL_LIMIT_COUNT = 100_000
_TAIL_LIMIT_BYTES = 67_108_864
# So much of the write-ahead log goes into the file at once, for which the disk is waited: beside what is written, and when
# that has outrun it, before more is written.
_CHECKPOINT_BYTES = 4_194_304
_CHECKPOINT_AT_LAST_PAGES = 16_000
_WRITER_CACHE_KB = 16_384  # holds the pages that moving a full tail changes, each of which then changes once
_BUSY_TIMEOUT_S = 5.0  # a backup or a curious shell may hold the file for a moment
_RECENT_ROOM_COUNT = 1000
_decode_messages = msgspec.json.Decoder(list[NewMessage]).decode


class SqliteLog:
    """Messages and sessions in the file at ``path``. Raises `SettingsError` for a file that is not for us to use."""

    def __init__(self, path: Path, settings: Settings, *, wall_clock: Callable[[], float] = time.time) -> None:
        self.problem: str | None = None
        self._path = path
        self._settings = settings
        self._wall_clock = wall_clock
        self._pending = Batch([], {})
        self._lock = lock_file(path)
        self._retention = Retention(settings)
        self._tail: deque[tuple[list[NewMessage], int]] = deque()  # what the table holds: batches, and the bytes of each
        self._tail_count = self._tail_bytes = 0
        self._written_bytes = 0  # since the last checkpoint
        self._sessions: dict[str, StoredSession] = {}
        self._start_seq = int(wall_clock() * 1e6)
        self._recent = self._new_recent(self._start_seq, "")
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._checkpointer: sqlite3.Connection | None = None
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
        return self.problem is None and bool(self._pending.messages or self._pending.sessions)

    @property
    def holds_messages(self) -> bool:
        return bool(self._pending.messages)

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

    def read(self, room: str, *, after: int | None = None, before: int | None = None, limit: int, newest: bool) -> Page:
        gap = after is not None and self._has_gap(room, after)
        if after is None or after > self.last_seq:
            after, newest = 0, newest or after is not None
        edge = self._recent.complete_from(room)
        recent = self._recent.range(room, max(after, edge), before)
        older_before = edge + 1 if before is None else min(before, edge + 1)
        is_all_recent = after >= older_before - 1
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
        taken, more = take_page(chain(reversed(recent), older) if newest else chain(older, recent), limit)
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

    def save_session(self, key: str, session: StoredSession | None) -> None:
        self._pending.sessions[key] = session

    def sessions(self) -> Mapping[str, StoredSession]:
        return self._sessions

    def take_batch(self) -> Batch:
        batch, self._pending = self._pending, Batch([], {})
        return batch

    def write(self, batch: Batch) -> None:
        writer = self._writer
        if writer is None:
            raise LogUnavailable(self.problem or "closed")
        messages = msgspec.json.encode(batch.messages).decode()
        try:
            if batch.messages and not batch.sessions:
                self._insert(writer, batch, messages)  # one statement is a transaction
            else:
                writer.execute("BEGIN IMMEDIATE")
                self._insert(writer, batch, messages)
                writer.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            self.problem = str(error)
            raise LogUnavailable(self.problem) from error
        if batch.messages:
            self._add_to_tail(batch.messages, len(messages))
        if self._tail_count >= _TAIL_LIMIT_COUNT or self._tail_bytes >= _TAIL_LIMIT_BYTES:
            self.tidy()

    @property
    def is_checkpoint_due(self) -> bool:
        return self.problem is None and self._written_bytes >= _CHECKPOINT_BYTES

    def checkpoint(self) -> None:
        checkpointer = self._checkpointer
        self._written_bytes = 0
        if checkpointer is not None:
            try:
                checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error as error:
                logger.warning("there was no checkpoint: %s", error)  # whether the file is well, the next batch finds out

    @property
    def is_untidy(self) -> bool:
        is_trimming_due = self._retention.is_due(self._wall_clock())
        is_filing_due = self._tail_count >= _FILED_AT_ONCE_COUNT or self._tail_bytes >= _FILED_AT_ONCE_BYTES
        return self.problem is None and (is_trimming_due or is_filing_due)

    def tidy(self) -> None:
        writer = self._writer
        if writer is None:
            return
        try:
            self._file(writer, _FILED_AT_ONCE_COUNT, _FILED_AT_ONCE_BYTES)
            if self._retention.is_due(now_s := self._wall_clock()):
                self._retention.trim(writer, now_s)
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            self.problem = str(error)

    @staticmethod
    def _insert(writer: sqlite3.Connection, batch: Batch, messages: str) -> None:
        if batch.messages:
            writer.execute("INSERT INTO tail VALUES (?, ?)", (batch.messages[0].seq, messages))
        if not batch.sessions:
            return
        ended = [(key,) for key, session in batch.sessions.items() if session is None]
        writer.executemany("DELETE FROM sessions WHERE key = ?", ended)
        kept = [(key, msgspec.json.encode(session)) for key, session in batch.sessions.items() if session is not None]
        writer.executemany("INSERT OR REPLACE INTO sessions VALUES (?, ?)", kept)

    def forget(self, batch: Batch) -> None:
        self._recent.forget(batch)
        for key, session in batch.sessions.items():
            self._pending.sessions.setdefault(key, session)

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
        writer = self._writer = self._open_connection()
        writer.execute("PRAGMA journal_mode = WAL")
        # Either way a batch survives the end of the process. FULL waits for the disk with each, and survives power loss.
        writer.execute(f"PRAGMA synchronous = {'FULL' if self._settings.log_fsync == 'full' else 'NORMAL'}")
        writer.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_AT_LAST_PAGES}")
        writer.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KB}")
        migrate(writer, start_seq=self._recent.last_seq)
        writer.execute("BEGIN IMMEDIATE")  # whether it can be written at all
        writer.execute("UPDATE about SET epoch = epoch")
        writer.execute("COMMIT")
        self._tail.clear()
        self._tail_count = self._tail_bytes = 0
        for (messages,) in writer.execute("SELECT messages FROM tail ORDER BY seq").fetchall():
            self._add_to_tail(_decode_messages(messages), len(messages))
        self._file(writer, self._tail_count, self._tail_bytes)
        epoch, self._start_seq = writer.execute("SELECT epoch, start_seq FROM about").fetchone()
        newest = writer.execute("SELECT max(seq) FROM messages").fetchone()[0] or 0
        self._retention.load(writer)
        if self._reader is None and not self._recent.messages_total:
            self._sessions = {
                key: msgspec.json.decode(session, type=StoredSession)
                for key, session in writer.execute("SELECT key, session FROM sessions")
            }
        if newest > self._recent.last_seq or epoch != self._recent.epoch:
            recent = self._new_recent(max(newest, self._recent.last_seq), epoch)
            recent.messages_total = self._recent.messages_total
            recent.droppable_seq = newest
            self._recent = recent
        self._checkpointer = self._open_connection()
        self._reader = self._open_connection()
        self._reader.execute("PRAGMA query_only = ON")

    def _add_to_tail(self, messages: list[NewMessage], size_bytes: int) -> None:
        self._tail.append((messages, size_bytes))
        self._tail_count += len(messages)
        self._tail_bytes += size_bytes
        self._written_bytes += size_bytes

    def _file(self, writer: sqlite3.Connection, limit_count: int, limit_bytes: int) -> None:
        """File the oldest batches of the tail until that reaches a limit; from then on memory may drop them."""
        filed: list[NewMessage] = []
        batches = 0
        last_seq = size_bytes = 0
        for messages, batch_bytes in self._tail:
            filed += messages
            batches += 1
            last_seq = messages[0].seq
            size_bytes += batch_bytes
            if len(filed) >= limit_count or size_bytes >= limit_bytes:
                break
        if not filed:
            return
        writer.execute("BEGIN IMMEDIATE")
        for start in range(0, len(filed), _ROWS_PER_STATEMENT):
            entries = filed[start : start + _ROWS_PER_STATEMENT]
            writer.execute(_INSERT + ", ".join([_ROW] * len(entries)), list(chain.from_iterable(map(_row_of, entries))))
        writer.execute("DELETE FROM tail WHERE seq <= ?", (last_seq,))
        writer.execute("COMMIT")
        for _ in range(batches):
            self._tail.popleft()
        self._tail_count -= len(filed)
        self._tail_bytes -= size_bytes
        self._written_bytes += size_bytes
        self._retention.note(filed)
        self._recent.droppable_seq = filed[-1].seq

    def _open_connection(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self._path,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_ROWS_PER_STATEMENT,
        )

    def _disconnect(self) -> None:
        for connection in (self._checkpointer, self._reader, self._writer):
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()
        self._checkpointer = self._reader = self._writer = None

    def close(self) -> None:
        self._disconnect()
        self.problem = "closed"
        self._lock.close()


def _row_of(entry: NewMessage) -> tuple[Any, ...]:
    """Return a message as the table ``messages`` has it."""
    return (
        entry.seq,
        entry.room,
        entry.user,
        entry.message,
        entry.timestamp,
        None if entry.client_id is UNSET else entry.client_id,
        None if entry.kind is UNSET else entry.kind,
        None if entry.request_id is UNSET else entry.request_id,
    )
