"""What is read of a log's file, within turns: by a connection of its own, which no writer keeps waiting."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import UNSET

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import StoredSession
from hazoom_ws.message_log.database_file import open_file
from hazoom_ws.message_log.session_table import stored_sessions
from hazoom_ws.message_log.tail import TailReader
from hazoom_ws.message_log.unfiled import Unfiled
from hazoom_ws.schemas import NewMessage

_SELECT = "SELECT seq, room, user, message, timestamp, client_id, kind, request_id, finish_reason, code FROM messages"


class SqliteReader:
    """The file at ``path``; ``epoch`` begins the ids in it. Everything but opening raises `LogUnavailable`."""

    def __init__(self, path: Path, epoch: str) -> None:
        self._epoch = epoch
        self._connection = open_file(path)
        self._tail = TailReader(self._connection)
        try:
            self._connection.execute("PRAGMA query_only = ON")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()

    def read(self, room: str, after: int, before: int, unfiled: Unfiled, *, newest: bool) -> Iterator[NewMessage]:
        """Yield a room's messages with ``after < seq < before`` that have left memory, from either end.

        A thread may file meanwhile. What is filed above what this turn knows of is left out there, and found by its place.
        """
        order = "DESC" if newest else "ASC"
        condition = f"room = ? AND seq > ? AND seq < ? AND message IS NOT NULL ORDER BY seq {order}"
        filed = self._select(condition, (room, after, min(before, unfiled.filed_seq + 1)))
        seqs = unfiled.seqs_of(room, after, before, newest=newest)
        written = (entry for seq in seqs if (entry := self._written(seq)) is not None and entry.room == room)
        yield from chain(written, filed) if newest else chain(filed, written)

    def find_resent(self, room: str, user: str, client_id: str, unfiled: Unfiled) -> NewMessage | None:
        """Return a message that has left memory by who sent it; it has no text if that is gone."""
        seq = unfiled.find(room, user, client_id)
        if seq is not None:
            entry = self._written(seq)
            if entry is not None and (entry.room, entry.user, entry.client_id) == (room, user, client_id):
                return entry
        return next(self._select("client_id = ? AND user = ? AND room = ?", (client_id, user, room)), None)

    def _written(self, seq: int) -> NewMessage | None:
        """Return the message with this ``seq``, be it filed or not; None if its text is gone."""
        try:
            entry = self._tail.find(seq)
        except sqlite3.Error as error:
            raise LogUnavailable(str(error)) from error
        if entry is None:  # a thread has filed it meanwhile
            entry = next(self._select("seq = ? AND message IS NOT NULL", (seq,)), None)
        return entry

    def trimmed_seq(self, room: str) -> int:
        """Return the newest ``seq`` of a room that is gone for good, 0 if nothing is."""
        try:
            row = self._connection.execute("SELECT seq FROM trimmed WHERE room = ?", (room,)).fetchone()
        except sqlite3.Error as error:
            raise LogUnavailable(str(error)) from error
        return 0 if row is None else int(row[0])

    def sessions(self) -> Iterator[tuple[str, StoredSession]]:
        try:
            yield from stored_sessions(self._connection)
        except sqlite3.Error as error:
            raise LogUnavailable(str(error)) from error

    def _select(self, condition: str, parameters: tuple[Any, ...]) -> Iterator[NewMessage]:
        try:
            rows = self._connection.execute(f"{_SELECT} WHERE {condition}", parameters)
            with closing(rows):
                for seq, room, user, message, timestamp, client_id, kind, request_id, finish_reason, code in rows:
                    yield NewMessage(
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
                    )
        except sqlite3.Error as error:
            raise LogUnavailable(str(error)) from error
