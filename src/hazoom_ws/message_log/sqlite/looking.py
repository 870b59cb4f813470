"""What can be said of a log's file without opening it as one: nothing here makes, changes or locks a file.

The numbers stand in the head of the file. Source: https://www.sqlite.org/fileformat.html, "The Database Header".
"""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from msgspec import Struct

from hazoom_ws.message_log.sqlite.migrations import MIGRATIONS

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_USER_VERSION = slice(60, 64)
_WAL_HEAD_BYTES, _FRAME_HEAD_BYTES = 32, 24
_FRAMES_LIMIT_COUNT = 100_000  # far more than there are between two checkpoints
NEWEST_VERSION = len(MIGRATIONS)


class FileReport(Struct, frozen=True):
    """``size_bytes``: with what SQLite keeps beside it, None where there is no file. ``is_in_use``: a server has it.

    ``version``: of its schema, 0 while that is not written, None where the file cannot be one of ours.
    """

    size_bytes: int | None
    version: int | None
    is_in_use: bool


def look_at(path: Path) -> FileReport:
    """Return what is known of a file. Raises OSError where it may not be read."""
    try:
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        return FileReport(None, 0, _is_locked(path))
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if header and not (len(header) == _HEADER_BYTES and header.startswith(_MAGIC)):
        version = None
    else:
        version = _version_beside(path) or int.from_bytes(header[_USER_VERSION], "big")
    for suffix in ("-wal", "-shm"):
        with suppress(OSError):
            size_bytes += Path(f"{path}{suffix}").stat().st_size
    return FileReport(size_bytes, version, _is_locked(path))


def _version_beside(path: Path) -> int:
    """Return the version in what SQLite keeps beside a file until it has written it there, 0 if that says nothing.

    Source: the same, "The Write-Ahead Log": a head, then frames, each a head and a page; page 1 begins with the header.
    """
    version = 0
    try:
        with Path(f"{path}-wal").open("rb") as file:
            page_bytes = int.from_bytes(file.read(_WAL_HEAD_BYTES)[8:12], "big")
            for _ in range(_FRAMES_LIMIT_COUNT):
                head = file.read(_FRAME_HEAD_BYTES)
                if len(head) < _FRAME_HEAD_BYTES:
                    break
                is_first_page = int.from_bytes(head[:4], "big") == 1
                if is_first_page:
                    version = int.from_bytes(file.read(_HEADER_BYTES)[_USER_VERSION], "big")
                file.seek(page_bytes - _HEADER_BYTES * is_first_page, 1)
    except OSError:
        return 0
    return version


def _is_locked(path: Path) -> bool:
    """Return whether a server holds the lock that belongs to a file."""
    lock = Path(f"{path.resolve()}.lock")
    if not lock.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{lock.as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
            connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    except sqlite3.Error:
        return False
    return False
