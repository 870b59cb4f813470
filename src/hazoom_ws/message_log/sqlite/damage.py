"""What is wrong with a log's file, in words of ours, and what becomes of what cannot be read in it.

What SQLite and msgspec say of a file may quote what is kept there, and the system names its path: neither is for a public
route or a log. So each kind of problem has one sentence here.
"""

import logging
import sqlite3
import time
from pathlib import Path

logger = logging.getLogger(__name__)

DAMAGED = "the file is damaged"
GONE = "the file was deleted or replaced"
LOCKED = "the file is locked by another process"
NEWER = "the file is one of a newer hazoom_ws"
NOT_OPENED = "the file cannot be opened"
READ_ONLY = "the file, or what SQLite keeps beside it, is read-only"
# Python's module also fails to decode what SQLite says of a damaged schema, which is no `sqlite3.Error`.
FILE_ERRORS = (sqlite3.Error, UnicodeError)
_OTHER = "the file cannot be used"
_SENTENCES = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk fails, or is full",
    sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: NOT_OPENED,
    sqlite3.SQLITE_PERM: "the file may not be used",
    sqlite3.SQLITE_AUTH: "the file may not be used",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
_ABOUT_CONTENTS = {
    None,  # Python's module, or ours, cannot make sense of it
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
}
_HEADER_BYTES, _WRITE_VERSION_AT, _WRITE_VERSIONS = 100, 18, (1, 2)
_SEQ_LIMIT = 2**52  # half of what clients can tell apart, and the year 2112: there has to be room above
_CHECKED_LIMIT_BYTES = 33_554_432  # takes half a second; of a larger file a start would take too long
_KEEP = """
    CREATE TABLE IF NOT EXISTS damaged (
        found_at REAL NOT NULL, number INTEGER NOT NULL, messages BLOB, sessions BLOB, changes BLOB, parts BLOB
    )
"""


class Damage(Exception):
    """What is in a file cannot be what was put there."""


def problem_of(error: BaseException, *, is_opening: bool = False) -> str:
    """Return what to say of an error. ``is_opening``: a statement that fails there finds the file not as it was left."""
    if isinstance(error, OSError):
        return f"{_OTHER}: {error.strerror or type(error).__name__}"
    code = getattr(error, "sqlite_errorcode", None)
    sentence = None if code is None else _SENTENCES.get(code & 0xFF)
    if sentence is None:
        is_about_contents = isinstance(error, (sqlite3.Error, ValueError, TypeError, LookupError))
        is_about_contents &= (code if code is None else code & 0xFF) in _ABOUT_CONTENTS
        return DAMAGED if isinstance(error, (Damage, UnicodeError)) or (is_opening and is_about_contents) else _OTHER
    return sentence


def is_header_damaged(path: Path) -> bool:
    """Return whether a file says that it is read-only, which none of ours does. To be called while nobody has it open."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return False
    return len(header) == _HEADER_BYTES and header[_WRITE_VERSION_AT] not in _WRITE_VERSIONS


def check(connection: sqlite3.Connection) -> None:
    """Look through a file that is not too large for that, and build damaged indexes anew. Raises `Damage`.

    SQLite itself notices no more than it stumbles over: a row may be missing, or be there twice, without a word.
    """
    [[pages_count]] = connection.execute("PRAGMA page_count")
    [[page_bytes]] = connection.execute("PRAGMA page_size")
    if pages_count * page_bytes > _CHECKED_LIMIT_BYTES or _is_sound(connection):
        return
    connection.execute("REINDEX")
    if not _is_sound(connection):
        raise Damage
    logger.error("an index of the message log was damaged; it was built anew, and no message is missing for that")


def _is_sound(connection: sqlite3.Connection) -> bool:
    rows = connection.execute("SELECT CAST(integrity_check AS BLOB) FROM pragma_integrity_check(1)").fetchall()
    return rows == [(b"ok",)]


def checked_seq(seq: object) -> int:
    """Return a number that a file has as a ``seq``, 0 for none. Raises `Damage`."""
    if seq is None:
        return 0
    if not isinstance(seq, int) or not 0 <= seq < _SEQ_LIMIT:
        raise Damage
    return seq


def keep_row(connection: sqlite3.Connection, number: int, *columns: object) -> None:
    """Put a row of the tail that cannot be read as a whole into a table of its own, within the caller's transaction.

    ``columns`` are its others, in their order. The table is made when it is needed first: most files never have one.
    """
    connection.execute(_KEEP)
    if not connection.execute("SELECT 1 FROM pragma_table_info('damaged') WHERE name = 'parts'").fetchall():
        connection.execute("ALTER TABLE damaged ADD COLUMN parts BLOB")  # a file of an earlier version had it
    connection.execute("INSERT INTO damaged VALUES (?, ?, ?, ?, ?, ?)", (time.time(), number, *columns))
