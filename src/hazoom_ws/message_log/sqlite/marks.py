"""Up to where numbers in the order of messages may have been given, kept in a log's file.

Most numbers are given to what is not kept, such as tokens: nothing in the file tells how many there were. So it has a mark
that is always well above all of them, and a process that begins with a file goes on above it, whatever the clock says. The
mark moves on in large steps, with what is written anyway.
"""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from hazoom_ws.message_log.sqlite.damage import FILE_ERRORS, Damage, checked_seq

_STEP = 10_000_000  # ten seconds, if numbers are taken for microseconds: so far each start may go ahead of the clock
MARGIN = _STEP // 2  # more than is given while a mark is on its way into the file


class Mark:
    """The mark of one file, in the table ``places``. What it does raises `sqlite3.Error`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read the mark: 0 if there is none, as in a file of an earlier version, or if it is damaged."""
        self._connection = connection
        connection.execute("CREATE TABLE IF NOT EXISTS places (id INTEGER PRIMARY KEY, mark INTEGER NOT NULL)")
        self.seq = 0
        with suppress(Damage):
            self.seq = _read(connection)

    def is_near(self, seq: int) -> bool:
        """Return whether it is time to move the mark on."""
        return seq + MARGIN > self.seq

    def move_on(self, seq: int) -> None:
        """Put the mark well above ``seq``, if it is not there."""
        if self.is_near(seq):
            self._connection.execute("INSERT OR REPLACE INTO places VALUES (1, ?)", (seq + _STEP,))
            self.seq = seq + _STEP


def last_given(path: Path) -> int:
    """Return above which number to go on after a damaged file, as far as that can be read; 0 if not."""
    found = 0
    with suppress(*FILE_ERRORS), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        for read in (_read, _read_last):
            with suppress(*FILE_ERRORS, Damage):
                found = max(found, read(connection))
    return found


def _read(connection: sqlite3.Connection) -> int:
    return checked_seq(connection.execute("SELECT max(mark) FROM places").fetchone()[0])


def _read_last(connection: sqlite3.Connection) -> int:
    seq = checked_seq(connection.execute("SELECT max(seq) FROM messages").fetchone()[0])
    return seq + _STEP if seq else 0
