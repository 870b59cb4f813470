"""The schema of a log's file, and how a file of an earlier version gets it."""

import secrets
import sqlite3

from hazoom_ws.message_log.sqlite.damage import Damage
from hazoom_ws.settings import SettingsError

_VERSION_LIMIT = 1000  # there will not be as many

# Each makes a file of the version before it one of its own version (PRAGMA user_version), counted from 1. Never change
# one that was released: add another.
MIGRATIONS = (
    """
    CREATE TABLE about (epoch TEXT NOT NULL, start_seq INTEGER NOT NULL);
    CREATE TABLE messages (
        seq INTEGER PRIMARY KEY,
        room TEXT NOT NULL,
        user TEXT NOT NULL,
        message TEXT,  -- NULL: trimmed, but a resending is still recognised
        timestamp REAL NOT NULL,
        client_id TEXT,
        kind TEXT,
        request_id TEXT
    );
    CREATE INDEX messages_by_room ON messages (room, seq);
    CREATE UNIQUE INDEX messages_by_client_id ON messages (client_id, user, room) WHERE client_id IS NOT NULL;
    CREATE TABLE tail (
        seq INTEGER PRIMARY KEY,
        room TEXT NOT NULL,
        user TEXT NOT NULL,
        message TEXT NOT NULL,
        timestamp REAL NOT NULL,
        client_id TEXT,
        kind TEXT,
        request_id TEXT
    );
    CREATE TABLE trimmed (room TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE sessions (key TEXT PRIMARY KEY, session BLOB NOT NULL) WITHOUT ROWID;
    """,
    """
    INSERT OR IGNORE INTO messages SELECT * FROM tail ORDER BY room, seq;
    DROP TABLE tail;
    CREATE TABLE tail (seq INTEGER PRIMARY KEY, messages TEXT NOT NULL);  -- seq: of the first message
    """,
    """
    ALTER TABLE tail RENAME COLUMN seq TO number;
    ALTER TABLE tail ADD COLUMN sessions TEXT NOT NULL DEFAULT '{}';
    """,
    """
    ALTER TABLE tail ADD COLUMN changes TEXT NOT NULL DEFAULT '{}';  -- of sessions
    CREATE TABLE session_changes (number INTEGER PRIMARY KEY, key TEXT NOT NULL, change BLOB NOT NULL);
    CREATE INDEX session_changes_by_key ON session_changes (key);
    ALTER TABLE messages ADD COLUMN finish_reason TEXT;  -- of an answer of the AI
    ALTER TABLE messages ADD COLUMN code TEXT;  -- of one that failed
    -- Who sent a message with a client_id; NULL: the user of the name shown, as all were before.
    ALTER TABLE messages ADD COLUMN sender TEXT;
    DROP INDEX messages_by_client_id;
    CREATE UNIQUE INDEX messages_by_client_id ON messages (client_id, user, room)
        WHERE client_id IS NOT NULL AND sender IS NULL;
    CREATE UNIQUE INDEX messages_by_sender ON messages (client_id, sender, room) WHERE sender IS NOT NULL;
    ALTER TABLE messages ADD COLUMN event TEXT;  -- the name of an event of a feature, whose JSON is the message
    CREATE INDEX messages_by_event ON messages (room, event, seq) WHERE event IS NOT NULL;
    """,
)


def migrate(writer: sqlite3.Connection, *, start_seq: int) -> None:
    """Give a file the schema of today; in a new one numbers begin after ``start_seq``. Raises `SettingsError`, `Damage`."""
    version = writer.execute("PRAGMA user_version").fetchone()[0]
    if not 0 <= version < _VERSION_LIMIT:
        raise Damage
    if version > len(MIGRATIONS):
        raise SettingsError(
            f"log_url: the file is of schema version {version}, this hazoom_ws knows {len(MIGRATIONS)}; "
            "update it, or choose another file"
        )
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        # One transaction: a process that dies in the middle leaves the version before.
        writer.executescript(f"BEGIN IMMEDIATE; {statements} PRAGMA user_version = {number}; COMMIT")
    if version == 0:
        writer.execute("INSERT INTO about VALUES (?, ?)", (secrets.token_hex(6), start_seq))
