"""Messages on their way into the table ``messages`` of a log's file."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.sqlite.file import ROWS_PER_STATEMENT
from hazoom_ws.message_log.sqlite.statements import insert_rows

_INSERT = (
    "INSERT OR IGNORE INTO messages (seq, room, user, message, timestamp, client_id, kind, request_id, finish_reason, code)"
)
# A column more takes a tenth more, and most messages need neither a sender nor an id, and are no events of features.
_INSERT_MORE = _INSERT.replace("code", "code, event, user_id, sender")


def file_messages(connection: sqlite3.Connection, messages: Sequence[NewMessage], senders: Mapping[int, str]) -> None:
    """Put messages in their table, within the caller's transaction; ``senders`` by seq, as `Batch` has them."""
    for start in range(0, len(messages), ROWS_PER_STATEMENT):
        part = messages[start : start + ROWS_PER_STATEMENT]
        rows = [_row_of(entry) for entry in part]
        extra = [(_or_none(entry.event_name), _or_none(entry.user_id)) for entry in part]
        if not senders and extra.count((None, None)) == len(extra):
            insert_rows(connection, _INSERT, rows)
        else:
            more = [(*row, *fields, senders.get(row[0])) for row, fields in zip(rows, extra, strict=True)]
            insert_rows(connection, _INSERT_MORE, more)


def _or_none(text: str | UnsetType) -> str | None:
    return None if text is UNSET else text


def _row_of(entry: NewMessage) -> tuple[Any, ...]:
    """Return a message as its table has it, but for which event it is, and who sent it."""
    return (
        entry.seq,
        entry.room,
        entry.user,
        entry.message,
        entry.timestamp,
        _or_none(entry.client_id),
        _or_none(entry.kind),
        _or_none(entry.request_id),
        _or_none(entry.finish_reason),
        _or_none(entry.code),
    )
