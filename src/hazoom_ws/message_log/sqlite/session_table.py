"""The tables ``sessions`` and ``session_changes`` of a log's file: whole states, and what has changed since in large ones.

Who saves a session sends it whole again before its changes are as large as it is, so that the second table is never larger
than the first by much.
"""

import sqlite3
from collections.abc import Iterator

import msgspec

from hazoom_ws.message_log.contract import SessionChange, SessionState, StoredSession
from hazoom_ws.message_log.session_states import applied

_decode_session = msgspec.json.Decoder(StoredSession).decode
_decode_change = msgspec.json.Decoder(SessionChange).decode


class SessionTable:
    """Puts states of sessions in their tables, in the transactions of its caller."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        # Those of which there are changes, and maybe others: most sessions never have any, and cost nothing here.
        self._changed = _changed(connection)

    def forget_orphans(self, connection: sqlite3.Connection) -> None:
        """Delete changes of what is not there: it may have been lost with a damaged file."""
        if self._changed:
            connection.execute("DELETE FROM session_changes WHERE key NOT IN (SELECT key FROM sessions)")

    def file(self, connection: sqlite3.Connection, states: dict[str, SessionState]) -> None:
        """Put states in their tables, each of which follows those that are there."""
        ended, kept, changed, unchanged = [], [], [], []
        for key, state in states.items():
            if isinstance(state, SessionChange):
                changed.append((key, msgspec.json.encode(state)))
                continue
            if key in self._changed:
                unchanged.append((key,))
            if state is None:
                ended.append((key,))
            else:
                kept.append((key, msgspec.json.encode(state)))
        if unchanged:
            connection.executemany("DELETE FROM session_changes WHERE key = ?", unchanged)
        if ended:
            connection.executemany("DELETE FROM sessions WHERE key = ?", ended)
        if kept:
            connection.executemany("INSERT OR REPLACE INTO sessions VALUES (?, ?)", kept)
        if changed:
            self._changed.update(key for key, _ in changed)
            connection.executemany("INSERT INTO session_changes (key, change) VALUES (?, ?)", changed)

    def filed(self, states: dict[str, SessionState]) -> None:
        """Note that what was filed is kept."""
        if self._changed:
            self._changed.difference_update(key for key, state in states.items() if not isinstance(state, SessionChange))


def stored_sessions(connection: sqlite3.Connection, damaged: list[str]) -> Iterator[tuple[str, StoredSession]]:
    """Yield all sessions by key, one at a time: together they may be large.

    Those that cannot be read are left out, and their keys put into ``damaged``: without all of its changes too a session
    may lack a room, and its client would not notice.
    """
    changed = _changed(connection)
    for key, session in connection.execute("SELECT CAST(key AS BLOB), CAST(session AS BLOB) FROM sessions ORDER BY key"):
        name = key.decode(errors="replace")
        try:
            stored = _decode_session(session)
            if name in changed:
                rows = connection.execute(
                    "SELECT CAST(change AS BLOB) FROM session_changes WHERE key = ? ORDER BY number", (name,)
                )
                stored = applied(stored, [_decode_change(change) for (change,) in rows])
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
            damaged.append(name)
            continue
        yield name, stored


def _changed(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT DISTINCT CAST(key AS BLOB) FROM session_changes")
    return {key.decode(errors="replace") for (key,) in rows}
