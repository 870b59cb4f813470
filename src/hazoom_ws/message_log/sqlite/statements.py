"""Many rows by few statements."""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from hazoom_ws.message_log.sqlite.file import ROWS_PER_STATEMENT


def insert_rows(
    connection: sqlite3.Connection, insert: str, rows: Sequence[Sequence[Any]], *, on_conflict: str = ""
) -> None:
    """Insert rows of one width. ``insert`` is the statement before its word VALUES, ``on_conflict`` what follows them."""
    if not rows:
        return
    row = f"({', '.join('?' * len(rows[0]))})"
    for start, count in _shares(len(rows)):
        values = list(chain.from_iterable(rows[start : start + count]))
        connection.execute(f"{insert} VALUES {', '.join([row] * count)} {on_conflict}", values)


def _shares(rows_count: int) -> Iterator[tuple[int, int]]:
    """Yield which rows one statement inserts: from where, and how many, always a power of two.

    SQLite keeps what it has compiled: a statement for each number of rows would take 20 MB.
    """
    start, count = 0, ROWS_PER_STATEMENT
    while start < rows_count:
        while count > rows_count - start:
            count //= 2
        yield start, count
        start += count
