"""The log in one SQLite file: the embedded default.

What was appended lately is in memory as well (`MemoryLog`), where most pages are read; the file is asked for what is older
(`SqliteReader`). What changes the file is the `SqliteWriter`. A message may leave memory when it is written; until it is
filed, `Unfiled` knows where it is.

One process uses a file: a lock beside it, which the system gives back however the process ends, refuses a second one. A
file that is damaged is renamed and a new one begun; one that cannot be written makes the log refuse messages until `reopen`
succeeds.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.alone import Alone
from hazoom_ws.message_log.contract import (
    MESSAGES,
    PAGE_LIMIT_BYTES,
    Batch,
    KnownSessions,
    Page,
    SessionChange,
    StoredSession,
)
from hazoom_ws.message_log.recent_and_older import new_recent, read_page
from hazoom_ws.message_log.session_states import PendingSessions
from hazoom_ws.message_log.sqlite.damage import DAMAGED, FILE_ERRORS, GONE, LOCKED, NEWER, problem_of
from hazoom_ws.message_log.sqlite.documents import SqliteDocuments
from hazoom_ws.message_log.sqlite.file import FileWatch, lock_file, make_private, opening_problem, set_aside
from hazoom_ws.message_log.sqlite.marks import last_given
from hazoom_ws.message_log.sqlite.reader import FiledStates, SqliteReader
from hazoom_ws.message_log.sqlite.retention import Retention
from hazoom_ws.message_log.sqlite.unfiled import Unfiled
from hazoom_ws.message_log.sqlite.whole_rooms import WholeRooms
from hazoom_ws.message_log.sqlite.writer import SqliteWriter
from hazoom_ws.message_log.state_cache import STATES_SHARE, StateCache
from hazoom_ws.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


class SqliteLog(Alone):
    """Messages and sessions in the file at ``path``. Raises `SettingsError` for a file that is not for us to use."""

    def __init__(
        self,
        path: Path,
        settings: Settings,
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.problem: str | None = None
        self.path = path
        self._settings = settings
        self._wall_clock = wall_clock
        self._clock = clock
        self._watch: FileWatch | None = None  # of the file that was opened last
        self._is_lost = False  # whether that is not there any more, and no other has what it held
        self._pending: list[NewMessage] = []  # messages that are to be written
        self._sessions = PendingSessions()
        self._lock = lock_file(path)
        self._retention = Retention(settings, clock)
        self._whole_rooms = WholeRooms()
        self._start_seq = int(wall_clock() * 1e6)
        self._recent = new_recent(self._settings, self._start_seq, "")
        self._writer: SqliteWriter | None = None
        self._reader: SqliteReader | None = None
        self._unfiled = Unfiled()
        filed = FiledStates(self._check, self._open_reader)
        limit_bytes = STATES_SHARE * settings.history_limit_bytes
        self.states = StateCache(self, limit_bytes=limit_bytes, file=filed, clock=clock)
        self.documents = SqliteDocuments(path, self, self._check, self._on_problem)
        try:
            self._open()
        except SettingsError:
            self.close()
            raise

    @property
    def last_seq(self) -> int:
        return self._recent.last_seq

    @property
    def messages_total(self) -> int:
        return self._recent.messages_total

    @property
    def is_dirty(self) -> bool:
        if self.problem is not None:
            return False
        is_mark_near = self._writer is not None and self._writer.mark.is_near(self._recent.last_seq)
        is_dirty = bool(self._pending or self._sessions.is_dirty or is_mark_near or self.states.pending)
        # Snapshots are written after a batch, as all that can wait is.
        return is_dirty or bool(self.documents.pending) or self.documents.has_new_snapshots

    @property
    def is_pressing(self) -> bool:
        # While the log is unwell there is nothing to wait for, but messages that came a moment before are to be refused.
        is_saving = self._sessions.pressing and self.problem is None
        return bool(self._pending or self.states.pending or self.documents.pending or is_saving)

    def append(self, **fields: Any) -> NewMessage:
        """Take the fields of `MessageLog.append`."""
        if self.problem is not None:
            raise LogUnavailable(self.problem)
        entry = self._recent.append(**fields)
        self._pending.append(entry)
        return entry

    def next_offset(self) -> int:
        return self._recent.next_offset()

    def find_resent(
        self, room: str, user: str, client_id: str | UnsetType, sender: str | UnsetType = UNSET
    ) -> NewMessage | None:
        if client_id is UNSET:
            return None
        entry = self._recent.find_resent(room, user, client_id, sender)
        if entry is not None:
            return entry
        return self._open_reader().find_resent(room, user, client_id, sender, self._unfiled)

    def read(
        self,
        room: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
        newest: bool,
        limit_bytes: int = PAGE_LIMIT_BYTES,
        event_name: str | None = MESSAGES,
    ) -> Page:
        taken, more = read_page(
            self._recent,
            room,
            after=after,
            before=before,
            limit=limit,
            newest=newest,
            limit_bytes=limit_bytes,
            event_name=event_name,
            older=partial(self._older, room, event_name),
        )
        return Page(taken, more, after is not None and self._has_gap(room, after))

    def _older(self, room: str, event_name: str | None, after: int, before: int, newest: bool) -> Iterator[NewMessage]:
        """Yield what is in the file only, from either end; nothing is asked for before the first."""
        edge = self._recent.complete_from(room)
        if self._whole_rooms.is_whole(room, event_name, edge):
            return
        is_empty = True
        for entry in self._open_reader().read(room, after, before, self._unfiled, event_name, newest=newest):
            is_empty = False
            yield entry
        if is_empty and after == 0 and before > edge:
            self._whole_rooms.add(room, event_name, edge)

    def _open_reader(self) -> SqliteReader:
        """Return the reader; this turn knows then what a thread has filed."""
        if self._reader is None:
            raise LogUnavailable(self.problem or "closed")
        self._learn()
        return self._reader

    def _learn(self) -> None:
        """Let this turn know what a thread has filed."""
        writer = self._writer
        if writer is None:
            return
        if writer.filed_seq != self._unfiled.filed_seq:
            self._unfiled.file(writer.filed_seq)
        self.states.settle(writer.written_seq, writer.filed_number)

    def _has_gap(self, room: str, after: int) -> bool:
        if after > self.last_seq or 0 < after < self._start_seq:
            return True
        # Most have been away for minutes, and what is trimmed is older than days: then no room has to be looked for.
        return after < self._retention.trimmed_seq and after < self._open_reader().trimmed_seq(room)

    def save_session(self, key: str, session: StoredSession | None, *, can_wait: bool = False) -> None:
        self._sessions.add(key, session, can_wait=can_wait)

    def change_session(self, key: str, change: SessionChange, *, can_wait: bool = False) -> None:
        self._sessions.add(key, change, can_wait=can_wait)

    def restore_from(self, known: KnownSessions) -> None:
        self._sessions.restore_from(known)

    def press(self) -> None:
        self._sessions.press()

    def sessions(self) -> Iterator[tuple[str, StoredSession]]:
        if self._reader is None:
            return
        damaged: list[str] = []
        with suppress(LogUnavailable):
            yield from self._reader.sessions(damaged)
        if damaged:
            logger.error("%d sessions in the message log are damaged; their clients begin anew", len(damaged))
            for key in damaged:
                self.save_session(key, None, can_wait=True)

    def pop_batch(self) -> Batch:
        if not (self._pending or self._sessions.pressing or self.states.pending or self.documents.pending):
            self.press()
        self._learn()
        messages, self._pending = self._pending, []
        sessions, changes = self._sessions.pop()
        states, updates = self.states.pop(), self.documents.pop()
        firsts = [entries[0].seq for entries in (messages, states, updates) if entries]
        number = min(firsts) if firsts else self._recent.next_offset()
        return Batch(messages, sessions, changes, number, self._recent.senders_of(messages), states, updates)

    def write(self, batch: Batch) -> None:
        if self._writer is None:
            raise LogUnavailable(self.problem or "closed")
        self.look()
        self._check()
        try:
            self._writer.write(batch)
        except FILE_ERRORS as error:
            self.problem = problem_of(error)
            raise LogUnavailable(self.problem) from error
        self._recent.droppable_seq = self._writer.written_seq

    def write_at_once(self, batch: Batch) -> bool:
        self.look()
        if self._writer is None or self.problem is not None or not self._writer.write_at_once(batch):
            return False
        self._recent.droppable_seq = self._writer.written_seq
        return True

    def look(self) -> None:
        if self.problem is None and self._watch is not None and self._watch.look():
            self.problem = GONE

    @property
    def is_untidy(self) -> bool:
        return self.problem is None and self._writer is not None and self._writer.is_untidy

    def tidy(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.tidy()
        except FILE_ERRORS as error:
            self.problem = problem_of(error)

    @property
    def is_checkpoint_due(self) -> bool:
        return self.problem is None and self._writer is not None and self._writer.is_checkpoint_due

    def checkpoint(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.checkpoint()
        except FILE_ERRORS as error:
            logger.warning("there was no checkpoint: %s", problem_of(error))  # if it is not well, the next batch says so

    def _check(self) -> None:
        if self.problem is not None:
            raise LogUnavailable(self.problem)

    def forget(self, batch: Batch) -> None:
        self._recent.forget(batch)
        self.states.forget(batch.state_changes)
        self._sessions.put_back(chain(batch.sessions.items(), batch.changes.items()))

    # The file

    def reopen(self) -> None:
        try:
            self._open()
        except SettingsError:
            self.problem = NEWER  # it was put here meanwhile

    def _open(self) -> None:
        """Open the file, or a new one. Raises `SettingsError` for one that is left alone."""
        problem = self.problem
        is_first = self._watch is None
        self._is_lost |= problem == DAMAGED or (self._watch is not None and self._watch.has_changed())
        self._disconnect()
        try:
            if self._watch is not None:
                self._watch.put_remains_aside()
            cannot_lock = self._lock.renew()
            if cannot_lock or problem != DAMAGED:
                problem = cannot_lock or self._try_to_connect()
            if problem == DAMAGED:
                self._disconnect()
                if is_first:
                    self._recent = new_recent(self._settings, max(self._recent.last_seq, last_given(self.path)), "")
                self._is_lost = True
                set_aside(self.path)
                problem = self._try_to_connect()
        except OSError as error:
            problem = f"{DAMAGED} and cannot be renamed: {error.strerror or type(error).__name__}"
        if problem is not None:
            self._disconnect()
        self.problem = problem

    def _try_to_connect(self) -> str | None:
        """Open the file and return what is wrong with it, None if nothing is. Raises `SettingsError` only."""
        try:
            self._connect()
        except SettingsError:
            raise
        except Exception as error:
            self._disconnect()
            problem = opening_problem(error, self.path)
            if not isinstance(error, (*FILE_ERRORS, OSError)) and problem not in (DAMAGED, self.problem):
                logger.exception("the message log was not opened")  # a defect of ours, not of the file: said once
            return problem
        return None

    def _connect(self) -> None:
        make_private(self.path)
        writer = self._writer = SqliteWriter(
            self.path,
            self._settings,
            self._retention,
            self.documents.snapshots,
            start_seq=self._recent.last_seq,
            epoch=self._recent.epoch,
            wall_clock=self._wall_clock,
        )
        self._start_seq = writer.start_seq
        self._whole_rooms.clear()
        if writer.filed_seq > self._recent.last_seq or writer.epoch != self._recent.epoch:
            recent = new_recent(self._settings, max(writer.last_seq, self._recent.last_seq), writer.epoch)
            recent.messages_total = self._recent.messages_total
            self._recent = recent
        writer.mark.move_on(self._recent.last_seq)
        if self._is_lost:
            self._restore(writer)
        self._recent.droppable_seq = writer.written_seq
        self._unfiled = Unfiled()
        self._unfiled.file(writer.filed_seq)
        self._recent.on_drop = self._unfiled.add
        self.states.start_anew()
        self._reader = SqliteReader(self.path, writer.epoch, writer.start_seq, self._on_problem)
        self._watch = FileWatch(self.path, self._clock)

    def _restore(self, writer: SqliteWriter) -> None:
        """Put into the file what another one held, as far as memory has it.

        That is: neither states that were not used lately nor what they were set with, and no documents (`Documents`).
        """
        pending = {entry.seq for entry in self._pending}
        held = [entry for entry in self._recent.newer_than(writer.written_seq) if entry.seq not in pending]
        writer.restore(held, self._recent.senders_of(held), self.states.kept_values())
        self._sessions.lose()
        self.documents.losses_count += 1
        self._is_lost = False
        if held:
            logger.error("the message log's file was lost; the %d messages that memory has are in a file again", len(held))

    def _on_problem(self, problem: str) -> None:
        """Note what hinders reading: the file is opened anew for it, or a new one begun, as when it cannot be written.

        Who holds the file for a moment is no reason to refuse what is only to be written.
        """
        if self._watch is not None and self._watch.has_changed():
            problem = GONE
        if problem != LOCKED:
            self.problem = self.problem or problem

    def _disconnect(self) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    def close(self) -> None:
        self._disconnect()
        self.problem = "closed"
        self._lock.close()
