"""The tables ``document_updates`` and ``snapshots`` of a log's file: opaque bytes, each with a checksum.

A snapshot is in several rows, so that none is so large that handing it over holds up who waits for the interpreter.
"""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from zlib import crc32

from hazoom_ws.message_log.documents import DocumentUpdate, StoredDocument
from hazoom_ws.message_log.sqlite.damage import Damage, checked_seq
from hazoom_ws.message_log.sqlite.parts import decoded_parts
from hazoom_ws.message_log.sqlite.statements import insert_rows

logger = logging.getLogger(__name__)

_PART_BYTES = 524_288
_INSERT_UPDATES = "INSERT OR IGNORE INTO document_updates (seq, document, data, checksum)"
_INSERT_PART = "INSERT INTO snapshots (document, part, parts_count, through, data, checksum) VALUES (?, ?, ?, ?, ?, ?)"
_PARTS = "SELECT part, parts_count, through, CAST(data AS BLOB), checksum FROM snapshots WHERE document = ? ORDER BY part"
_UPDATES = "SELECT seq, CAST(data AS BLOB), checksum FROM document_updates WHERE document = ? ORDER BY seq"


def file_updates(connection: sqlite3.Connection, updates: Sequence[DocumentUpdate]) -> None:
    """Put updates in their table, within the caller's transaction."""
    rows = [(seq, document, data, _checksum(document, seq, data)) for seq, document, data in map(_fields, updates)]
    insert_rows(connection, _INSERT_UPDATES, rows)


def _fields(update: DocumentUpdate) -> tuple[int, str, bytes]:
    return update.seq, update.document, update.data


def write_snapshot(connection: sqlite3.Connection, document: str, snapshot: bytes, through: int) -> bool:
    """Replace what is filed of a document, in a transaction of its own; return whether it was done.

    It is not where something older would replace something newer.
    """
    connection.execute("BEGIN IMMEDIATE")
    [there] = connection.execute("SELECT max(through) FROM snapshots WHERE document = ?", (document,)).fetchone()
    is_newer = not isinstance(there, int) or there <= through
    if is_newer:
        connection.execute("DELETE FROM snapshots WHERE document = ?", (document,))
        view = memoryview(snapshot)
        parts = [view[start : start + _PART_BYTES] for start in range(0, len(view), _PART_BYTES)] or [view]
        for number, part in enumerate(parts):
            checksum = _checksum(document, through, part, number, len(parts))
            connection.execute(_INSERT_PART, (document, number, len(parts), through, part, checksum))
        connection.execute("DELETE FROM document_updates WHERE document = ? AND seq <= ?", (document, through))
    connection.execute("COMMIT")
    return is_newer


def read_document(connection: sqlite3.Connection, document: str) -> StoredDocument | None:
    """Return all that a file has of a document, filed or not, as it is at one moment; None if it has nothing."""
    connection.execute("BEGIN")
    try:
        snapshot, through, is_damaged = _snapshot(connection, document)
        updates: dict[int, bytes] = {}
        for seq, data, checksum in connection.execute(_UPDATES, (document,)):
            if checksum == _checksum(document, seq, data):
                updates[seq] = data
            else:
                is_damaged = True
        for update in _unfiled(connection):
            if update.document == document:
                updates[update.seq] = update.data
    finally:
        connection.execute("ROLLBACK")
    if is_damaged:
        logger.error("a part of a document in the message log is damaged; it is left out")
    elif snapshot is None and not updates:
        return None
    return StoredDocument(snapshot, through, sorted(updates.items()), is_damaged)


def newest_seq(connection: sqlite3.Connection) -> int:
    """Return the highest number in the tables, 0 if they are empty. Raises `Damage`."""
    [update_seq] = connection.execute("SELECT max(seq) FROM document_updates").fetchone()
    [through] = connection.execute("SELECT max(through) FROM snapshots").fetchone()
    return max(checked_seq(update_seq), checked_seq(through))


def _snapshot(connection: sqlite3.Connection, document: str) -> tuple[bytes | None, int, bool]:
    """Return a snapshot, None if there is none that can be read; up to where it goes, and whether it is damaged."""
    parts: list[bytes] = []
    expected: tuple[object, object] | None = None
    try:
        for number, (part, count, through, data, checksum) in enumerate(connection.execute(_PARTS, (document,))):
            expected = expected or (count, through)
            checked_seq(through)
            if (
                expected != (count, through)
                or part != number
                or checksum != _checksum(document, through, data, part, count)
            ):
                raise Damage
            parts.append(data)
        if expected is None:
            return None, 0, False
        if expected[0] != len(parts):
            raise Damage
    except (Damage, TypeError):
        return None, 0, True
    return b"".join(parts), checked_seq(expected[1]), False


def _unfiled(connection: sqlite3.Connection) -> Iterator[DocumentUpdate]:
    """Yield the updates in the tail, as far as they can be read."""
    with closing(
        connection.execute("SELECT CAST(parts AS BLOB) FROM tail WHERE parts IS NOT NULL ORDER BY number")
    ) as rows:
        for (parts,) in rows:
            yield from decoded_parts(parts).updates


def _checksum(document: str, seq: int, data: bytes | memoryview, *places: int) -> int:
    return crc32(data, crc32(f"{document}\0{seq}\0{places}".encode()))
