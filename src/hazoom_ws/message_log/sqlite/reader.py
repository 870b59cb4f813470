"""What is read of a log's file, within turns: by a connection of its own, which no writer keeps waiting."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import ResentKey, StoredSession, only, resent_key
from hazoom_ws.message_log.sqlite.damage import FILE_ERRORS, problem_of
from hazoom_ws.message_log.sqlite.file import open_file
from hazoom_ws.message_log.sqlite.session_table import stored_sessions
from hazoom_ws.message_log.sqlite.state_table import find_resent, load_room
from hazoom_ws.message_log.sqlite.tail import TailReader
from hazoom_ws.message_log.sqlite.unfiled import Unfiled
from hazoom_ws.message_log.state_cache import LoadedRoom

logger = logging.getLogger(__name__)

_SELECT = (
    "SELECT seq, room, user, message, timestamp, client_id, kind, request_id, finish_reason, code, event, user_id"
    " FROM messages"
)
_SELECT_SEQ = "SELECT seq FROM messages"
_DAMAGED_TOLD = 100


class SqliteReader:
    """The file at ``path``; ``epoch`` begins the ids in it, ``start_seq`` is the number before its first.

    Everything but opening raises `LogUnavailable`. ``on_problem`` is told what hinders reading. A row that cannot be read
    is left out instead.
    """

    def __init__(self, path: Path, epoch: str, start_seq: int, on_problem: Callable[[str], None]) -> None:
        self._epoch = epoch
        self._start_seq = start_seq
        self._on_problem = on_problem
        self._damaged_seqs: set[int] = set()  # that were told already
        self._connection = open_file(path)
        self._tail = TailReader(self._connection)
        try:
            self._connection.execute("PRAGMA query_only = ON")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the connection to the file back."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def read(
        self, room: str, after: int, before: int, unfiled: Unfiled, event_name: str | None, *, newest: bool
    ) -> Iterator[NewMessage]:
        """Yield a room's messages with ``after < seq < before`` that have left memory, from either end.

        ``event_name`` is that of `MessageLog.read`.

        A thread may file meanwhile. What is filed above what this turn knows of is left out there, and found by its number.
        """
        order = "DESC" if newest else "ASC"
        parameters: tuple[Any, ...] = (room, after, min(before, unfiled.filed_seq + 1))
        kind = "" if event_name is None else "AND event = ? " if event_name else "AND event IS NULL "
        condition = f"room = ? AND seq > ? AND seq < ? AND message IS NOT NULL {kind}ORDER BY seq {order}"
        filed = self._select(condition, (*parameters, event_name) if event_name else parameters)
        seqs = unfiled.seqs_of(room, after, before, newest=newest)
        written: Iterator[NewMessage]
        written = (entry for seq in seqs if (entry := self._written(seq)) is not None and entry.room == room)
        if event_name is not None:
            written = only(written, event_name)
        yield from chain(written, filed) if newest else chain(filed, written)

    def find_resent(
        self, room: str, user: str, client_id: str, sender: str | UnsetType, unfiled: Unfiled
    ) -> NewMessage | None:
        """Return a message that has left memory by who sent it; it has no text if that is gone."""
        key = resent_key(room, user, client_id, sender)
        seq = unfiled.find(key)
        if seq is not None:
            entry = self._in_tail(seq, key)
            if entry is not None:
                return entry
        if sender is UNSET:
            found = self._select("client_id = ? AND user = ? AND room = ? AND sender IS NULL", (client_id, user, room))
        else:
            found = self._select("client_id = ? AND sender = ? AND room = ?", (client_id, sender, room))
        return next(found, None)

    def _in_tail(self, seq: int, key: ResentKey) -> NewMessage | None:
        """Return the message with this ``seq`` if it is not filed and has this key."""
        try:
            return self._tail.find(seq, key)
        except FILE_ERRORS as error:
            raise self._unavailable(error) from error

    def _written(self, seq: int) -> NewMessage | None:
        """Return the message with this ``seq``, be it filed or not; None if its text is gone."""
        try:
            entry = self._tail.find(seq)
        except FILE_ERRORS as error:
            raise self._unavailable(error) from error
        if entry is None:  # a thread has filed it meanwhile
            entry = next(self._select("seq = ? AND message IS NOT NULL", (seq,)), None)
        return entry

    def trimmed_seq(self, room: str) -> int:
        """Return the newest ``seq`` of a room that is gone for good, 0 if nothing is."""
        try:
            row = self._connection.execute("SELECT seq FROM trimmed WHERE room = ?", (room,)).fetchone()
        except FILE_ERRORS as error:
            raise self._unavailable(error) from error
        return 0 if row is None else int(row[0])

    def load_room(self, room: str) -> LoadedRoom:
        """Return a room's state as it is in the table."""
        try:
            return load_room(self._connection, room, self._start_seq)
        except FILE_ERRORS as error:
            raise self._unavailable(error) from error

    def find_resent_state(self, room: str, user: str, client_id: str, sender: str | UnsetType) -> int | None:
        """Return the ``seq`` of a change of state in the table by who set it."""
        try:
            return find_resent(self._connection, room, user, client_id, sender)
        except FILE_ERRORS as error:
            raise self._unavailable(error) from error

    def sessions(self, damaged: list[str]) -> Iterator[tuple[str, StoredSession]]:
        """Yield the sessions that can be read; the keys of others are put into ``damaged``."""
        try:
            yield from stored_sessions(self._connection, damaged)
        except FILE_ERRORS as error:
            raise self._unavailable(error) from error

    def _select(self, condition: str, parameters: tuple[Any, ...]) -> Iterator[NewMessage]:
        seen: set[int] = set()
        try:
            try:
                rows = self._connection.execute(f"{_SELECT} WHERE {condition}", parameters)
                with closing(rows):
                    for row in rows:
                        seen.add(row[0])
                        entry = self._entry_of(row)
                        if entry is not None:
                            yield entry
            except sqlite3.OperationalError as error:
                if _is_of_sqlite(error):
                    raise
                yield from self._select_one_by_one(condition, parameters, seen)
        except FILE_ERRORS as error:
            raise self._unavailable(error) from error

    def _select_one_by_one(self, condition: str, parameters: tuple[Any, ...], seen: set[int]) -> Iterator[NewMessage]:
        """Yield the rest of a selection that has come upon a text that is not UTF-8: that row ends it otherwise."""
        seqs = self._connection.execute(f"{_SELECT_SEQ} WHERE {condition}", parameters).fetchall()
        for (seq,) in seqs:
            if seq in seen:
                continue
            try:
                row = self._connection.execute(f"{_SELECT} WHERE seq = ?", (seq,)).fetchone()
            except sqlite3.OperationalError as error:
                if _is_of_sqlite(error):
                    raise
                self._leave_out(seq)
                continue
            entry = None if row is None else self._entry_of(row)
            if entry is not None:
                yield entry

    def _entry_of(self, row: tuple[Any, ...]) -> NewMessage | None:
        """Return a row as a message, None if it is none."""
        seq, room, user, message, timestamp, client_id, kind, request_id, finish_reason, code, event_name, user_id = row
        optional = (message, client_id, kind, request_id, finish_reason, code, event_name, user_id)
        texts = (room, user, *(text or "" for text in optional))
        if {type(text) for text in texts} != {str} or type(timestamp) is not float:
            self._leave_out(seq)
            return None
        return NewMessage(
            user=user,
            message=message or "",
            timestamp=timestamp,
            room=room,
            id=f"{self._epoch}-{seq}",
            seq=seq,
            client_id=UNSET if client_id is None else client_id,
            kind=UNSET if kind is None else kind,
            request_id=UNSET if request_id is None else request_id,
            finish_reason=UNSET if finish_reason is None else finish_reason,
            code=UNSET if code is None else code,
            event_name=UNSET if event_name is None else event_name,
            user_id=UNSET if user_id is None else user_id,
        )

    def _leave_out(self, seq: int) -> None:
        if seq not in self._damaged_seqs and len(self._damaged_seqs) < _DAMAGED_TOLD:
            self._damaged_seqs.add(seq)
            logger.error("message %d in the log is damaged; it is left out", seq)

    def _unavailable(self, error: Exception) -> LogUnavailable:
        problem = problem_of(error)
        self._on_problem(problem)
        return LogUnavailable(problem)


class FiledStates:
    """The states of rooms in a file, for a `StateCache`: ``check()`` and ``open_reader()`` raise `LogUnavailable`."""

    def __init__(self, check: Callable[[], None], open_reader: Callable[[], SqliteReader]) -> None:
        self.check = check
        self._open_reader = open_reader

    def load(self, room: str) -> LoadedRoom:
        return self._open_reader().load_room(room)

    def find_resent(self, room: str, user: str, client_id: str, sender: str | UnsetType) -> int | None:
        return self._open_reader().find_resent_state(room, user, client_id, sender)


def _is_of_sqlite(error: sqlite3.Error) -> bool:
    """Return whether SQLite said that, and not Python's module, which could not decode a text."""
    return getattr(error, "sqlite_errorcode", None) is not None
