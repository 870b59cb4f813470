"""The table ``state`` of a log's file: of each key of each room the newest value, and of deleted ones that they were.

What was set with a ``client_id`` is in ``state_resent``, without its values. ``state_trimmed`` has up to which change of a
room it is not known any more what was deleted; under the name "", which no room has, of all rooms.
"""

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from zlib import crc32

from msgspec import UNSET, UnsetType

from hazoom_ws.message_log.room_state import DELETED_KEPT_COUNT, StateChange, StateValue
from hazoom_ws.message_log.sqlite.damage import Damage, checked_seq
from hazoom_ws.message_log.sqlite.statements import insert_rows
from hazoom_ws.message_log.state_cache import LoadedRoom

logger = logging.getLogger(__name__)

DELETED_KEPT_S = 86_400.0  # longer than anybody may be away and recover
_SLACK_COUNT = 250  # deleted keys: trimming many at a time goes faster
_LOOKED_AT_ONCE = 1000
_INSERT = "INSERT INTO state (room, key, value, seq, user, timestamp, checksum)"
_INSTEAD = """
    ON CONFLICT (room, key) DO UPDATE SET value = excluded.value, seq = excluded.seq, user = excluded.user,
    timestamp = excluded.timestamp, checksum = excluded.checksum
"""
_IF_NEWER = f"{_INSTEAD} WHERE excluded.seq > seq"
_INSERT_RESENT = "INSERT OR IGNORE INTO state_resent (seq, room, user, client_id, sender, timestamp)"
_FIND = "SELECT seq FROM state_resent WHERE client_id = ? AND room = ? AND"
_LOAD = "SELECT CAST(key AS BLOB), CAST(value AS BLOB), seq, CAST(user AS BLOB), checksum FROM state WHERE room = ?"
_TRIM = "INSERT INTO state_trimmed VALUES (?, ?) ON CONFLICT (room) DO UPDATE SET seq = max(seq, excluded.seq)"
_COUNT_DELETED = "SELECT count(*) FROM state WHERE room = ? AND value IS NULL"
_NEWEST_FORGOTTEN = "SELECT seq FROM state WHERE room = ? AND value IS NULL ORDER BY seq DESC LIMIT 1 OFFSET ?"
_FORGET = """
    DELETE FROM state WHERE id IN (
        SELECT id FROM state WHERE room = ? AND value IS NULL ORDER BY seq DESC LIMIT -1 OFFSET ?
    )
"""
_ALL_ROOMS = ""

Row = tuple[str, str, bytes | None, int, str, float, int]


def file_changes(connection: sqlite3.Connection, changes: Sequence[StateChange]) -> None:
    """Put changes in their tables, each of which follows those that are there, within the caller's transaction."""
    newest: dict[tuple[str, str], Row] = {}
    rooms_to_trim: set[str] = set()
    for change in changes:
        for key, value in change.values.items():
            entry = StateValue(value, change.seq, change.user)
            newest[change.room, key] = _row_of(change.room, key, entry, change.timestamp)
            if value is None:
                rooms_to_trim.add(change.room)
    # Over what is there, whatever number that has: it is older, unless it is damaged.
    insert_rows(connection, _INSERT, list(newest.values()), on_conflict=_INSTEAD)
    resent = [
        (change.seq, change.room, change.user, change.client_id, change.sender, change.timestamp)
        for change in changes
        if change.client_id is not None
    ]
    insert_rows(connection, _INSERT_RESENT, resent)
    for room in rooms_to_trim:
        _trim_room(connection, room)


def restore_values(connection: sqlite3.Connection, values: Iterable[tuple[str, str, StateValue]], timestamp: float) -> None:
    """Put values that another file had into the table, but over no newer ones: room, key and value of each."""
    connection.execute("BEGIN IMMEDIATE")
    for room, key, entry in values:
        connection.execute(f"{_INSERT} VALUES (?, ?, ?, ?, ?, ?, ?) {_IF_NEWER}", _row_of(room, key, entry, timestamp))
    connection.execute("COMMIT")


def load_room(connection: sqlite3.Connection, room: str, start_seq: int) -> LoadedRoom:
    """Return the state of a room in a file that began after ``start_seq``. What cannot be read is left out, and logged."""
    found: list[tuple[str, StateValue]] = []
    damaged_count = 0
    for key, value, seq, user, checksum in connection.execute(_LOAD, (room,)):
        try:
            name, entry = key.decode(), StateValue(value, checked_seq(seq), user.decode())
            if checksum != _checksum(room, name, entry):
                raise Damage
        except (Damage, UnicodeDecodeError):
            damaged_count += 1
        else:
            found.append((name, entry))
    if damaged_count:
        logger.error("%d values in the state of a room are damaged; they are left out", damaged_count)
    found.sort(key=lambda item: item[1].seq)
    rows = connection.execute("SELECT seq FROM state_trimmed WHERE room IN (?, ?)", (room, _ALL_ROOMS)).fetchall()
    forgotten_seq = start_seq
    for (seq,) in rows:
        with suppress(Damage):
            forgotten_seq = max(forgotten_seq, checked_seq(seq))
    return LoadedRoom(dict(found), forgotten_seq)


def find_resent(
    connection: sqlite3.Connection, room: str, user: str, client_id: str, sender: str | UnsetType
) -> int | None:
    """Return the ``seq`` of a change in the table, None if there is none."""
    if sender is UNSET:
        row = connection.execute(f"{_FIND} user = ? AND sender IS NULL", (client_id, room, user)).fetchone()
    else:
        row = connection.execute(f"{_FIND} sender = ?", (client_id, room, sender)).fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else None


def trim_aged(connection: sqlite3.Connection, now_s: float, resent_after_s: float) -> None:
    """Forget what was deleted more than 24 h ago, and what cannot be resent any more, in a transaction of its own."""
    connection.execute("BEGIN IMMEDIATE")
    aged = "FROM state WHERE value IS NULL AND timestamp < ?"
    [newest_seq] = connection.execute(f"SELECT max(seq) {aged}", (now_s - DELETED_KEPT_S,)).fetchone()
    if newest_seq is not None:
        connection.execute(f"DELETE {aged}", (now_s - DELETED_KEPT_S,))
        connection.execute(_TRIM, (_ALL_ROOMS, newest_seq))
        connection.execute("DELETE FROM state_trimmed WHERE room <> ? AND seq <= ?", (_ALL_ROOMS, newest_seq))
    while True:
        rows = connection.execute(
            "SELECT seq, timestamp FROM state_resent ORDER BY seq LIMIT ?", (_LOOKED_AT_ONCE,)
        ).fetchall()
        aged_seqs = [seq for seq, timestamp in rows if not isinstance(timestamp, float) or timestamp < resent_after_s]
        if not aged_seqs:
            break
        connection.executemany("DELETE FROM state_resent WHERE seq = ?", [(seq,) for seq in aged_seqs])
    connection.execute("COMMIT")


def newest_seq(connection: sqlite3.Connection) -> int:
    """Return the highest number in the table, which is looked through for that; 0 if it is empty. Raises `Damage`."""
    return checked_seq(connection.execute("SELECT max(seq) FROM state").fetchone()[0])


def _trim_room(connection: sqlite3.Connection, room: str) -> None:
    [count] = connection.execute(_COUNT_DELETED, (room,)).fetchone()
    if count <= DELETED_KEPT_COUNT + _SLACK_COUNT:
        return
    [up_to_seq] = connection.execute(_NEWEST_FORGOTTEN, (room, DELETED_KEPT_COUNT)).fetchone()
    connection.execute(_FORGET, (room, DELETED_KEPT_COUNT))
    connection.execute(_TRIM, (room, up_to_seq))


def _row_of(room: str, key: str, entry: StateValue, timestamp: float) -> Row:
    """Return a value as its table has it."""
    value, seq, user = entry
    return room, key, value, seq, user, timestamp, _checksum(room, key, entry)


def _checksum(room: str, key: str, entry: StateValue) -> int:
    names = f"{room}\0{key}\0{entry.user}\0{entry.seq}\0{entry.value is None}"
    return crc32(entry.value or b"", crc32(names.encode()))
