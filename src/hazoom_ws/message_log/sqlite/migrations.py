"""The schema of a log's file, and how a file of an earlier version gets it."""

import logging
import secrets
import sqlite3

from hazoom_ws.message_log.sqlite.damage import Damage
from hazoom_ws.settings import SettingsError

logger = logging.getLogger(__name__)

# The version is in a file twice, that a damaged number can be told from a newer version's: as PRAGMA user_version, and
# with this before it as PRAGMA application_id, which files of earlier releases have as 0.
_OURS = 0x687A0000  # "hz"
_VERSION_LIMIT = 1000  # there will not be as many

# Each makes a file of the version before it one of its own version, counted from 1. Never change
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
    """
    ALTER TABLE tail ADD COLUMN parts BLOB;  -- changes of rooms' state, updates of documents
    CREATE TABLE state (
        id INTEGER PRIMARY KEY,
        room TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB,  -- JSON text; NULL: deleted
        seq INTEGER NOT NULL,
        user TEXT NOT NULL,
        timestamp REAL NOT NULL,
        checksum INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX state_by_key ON state (room, key);
    CREATE INDEX state_deleted_by_room ON state (room, seq) WHERE value IS NULL;
    CREATE INDEX state_deleted_by_age ON state (timestamp, seq) WHERE value IS NULL;
    CREATE TABLE state_trimmed (room TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE state_resent (
        seq INTEGER PRIMARY KEY,
        room TEXT NOT NULL,
        user TEXT NOT NULL,
        client_id TEXT NOT NULL,
        sender TEXT,
        timestamp REAL NOT NULL
    );
    CREATE UNIQUE INDEX state_resent_by_user ON state_resent (client_id, user, room) WHERE sender IS NULL;
    CREATE UNIQUE INDEX state_resent_by_sender ON state_resent (client_id, sender, room) WHERE sender IS NOT NULL;
    CREATE TABLE document_updates (
        seq INTEGER PRIMARY KEY,
        document TEXT NOT NULL,
        data BLOB NOT NULL,
        checksum INTEGER NOT NULL
    );
    CREATE INDEX document_updates_by_document ON document_updates (document, seq);
    CREATE TABLE snapshots (
        id INTEGER PRIMARY KEY,
        document TEXT NOT NULL,
        part INTEGER NOT NULL,
        parts_count INTEGER NOT NULL,
        through INTEGER NOT NULL,  -- updates up to this number are in it
        data BLOB NOT NULL,
        checksum INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX snapshots_by_document ON snapshots (document, part);
    """,
    """
    ALTER TABLE messages ADD COLUMN user_id TEXT;  -- of who said it, where identities are checked
    """,
)


def migrate(writer: sqlite3.Connection, *, start_seq: int) -> bool:
    """Give a file the schema of today; in a new one numbers begin after ``start_seq``. Return whether it is new.

    Raises `SettingsError` for a file of a newer version, `Damage`.
    """
    version = _version_of(writer)
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        # One transaction: a process that dies in the middle leaves the version before.
        writer.executescript(f"BEGIN IMMEDIATE; {statements} {_set_version(number)} COMMIT")
    if version == 0:
        writer.execute("INSERT INTO about VALUES (?, ?)", (secrets.token_hex(6), start_seq))
    return version == 0


def _version_of(writer: sqlite3.Connection) -> int:
    """Return the version of a file, and mend its numbers if one of them is damaged."""
    version, mark = (int(writer.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("user_version", "application_id"))
    marked, newest = mark - _OURS, len(MIGRATIONS)
    is_marked = 0 < marked <= newest
    if (is_marked and version == marked) or (version == 0 and not is_marked):
        return version
    if newest < version < _VERSION_LIMIT and not is_marked:
        raise SettingsError(
            f"log_url: the file is of schema version {version}, this hazoom_ws knows {newest}; "
            "update it, or choose another file"
        )
    # A file that was open is of the newest version: of two that may be, the lower one is the damaged one.
    found = max((number for number in (version, marked) if 0 < number <= newest), default=0)
    if not found:
        raise Damage
    writer.executescript(f"BEGIN IMMEDIATE; {_set_version(found)} COMMIT")
    if mark != 0:
        logger.error("the version of the message log was damaged; it is %d again, and nothing is missing for that", found)
    return found


def _set_version(number: int) -> str:
    return f"PRAGMA user_version = {number}; PRAGMA application_id = {_OURS + number};"
