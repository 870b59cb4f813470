"""Messages on their way into the table ``messages`` of a log's file."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.sqlite.file import ROWS_PER_STATEMENT
from hazoom_ws.message_log.sqlite.statements import insert_rows

_INSERT = (
    "INSERT OR IGNORE INTO messages (seq, room, user, message, timestamp, client_id, kind, request_id, finish_reason, code)"
)
# A column more takes a tenth more, and most messages need no sender and are no events of features.
_INSERT_MORE = _INSERT.replace("code", "code, event, sender")


def file_messages(connection: sqlite3.Connection, messages: Sequence[NewMessage], senders: Mapping[int, str]) -> None:
    """Put messages in their table, within the caller's transaction; ``senders`` by seq, as `Batch` has them."""
    for start in range(0, len(messages), ROWS_PER_STATEMENT):
        part = messages[start : start + ROWS_PER_STATEMENT]
        rows = [_row_of(entry) for entry in part]
        names = [None if entry.event_name is UNSET else entry.event_name for entry in part]
        if not senders and names.count(None) == len(names):
            insert_rows(connection, _INSERT, rows)
        else:
            more = [(*row, name, senders.get(row[0])) for row, name in zip(rows, names, strict=True)]
            insert_rows(connection, _INSERT_MORE, more)


def _row_of(entry: NewMessage) -> tuple[Any, ...]:
    """Return a message as its table has it, but for which event it is, and who sent it."""
    return (
        entry.seq,
        entry.room,
        entry.user,
        entry.message,
        entry.timestamp,
        None if entry.client_id is UNSET else entry.client_id,
        None if entry.kind is UNSET else entry.kind,
        None if entry.request_id is UNSET else entry.request_id,
        None if entry.finish_reason is UNSET else entry.finish_reason,
        None if entry.code is UNSET else entry.code,
    )
