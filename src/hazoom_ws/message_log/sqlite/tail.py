"""The table ``tail`` of a log's file: batches as they were written, each one row, until they are filed.

A row's number is that of its batch in the order of messages: so the row that holds a message is found by its ``seq``,
and nobody has to remember which that is.
"""

import logging
import re
import sqlite3
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import (
    RECORD_BYTES,
    Batch,
    ResentKey,
    SessionChange,
    SessionState,
    StoredSession,
    resent_key,
)
from hazoom_ws.message_log.documents import DocumentUpdate
from hazoom_ws.message_log.room_state import StateChange
from hazoom_ws.message_log.session_states import followed
from hazoom_ws.message_log.sqlite.parts import decoded_parts, encoded_parts, estimated_parts_bytes

logger = logging.getLogger(__name__)

_SESSION_BYTES, _ROOM_BYTES = 250, 10  # about, before a session is encoded
_REMEMBERED_BYTES = 1_048_576
_RECENT_LIMIT_BYTES = 262_144
_NOTHING = b"{}"
# Where a message begins, and what may be the key of a session: within a text all quotes are escaped.
_MESSAGE_BEGINS = b',{"user":'
_SESSION_KEY = re.compile(rb'"([\w-]+)":[{n]')
_SENDER_BEGINS = b',"sender":'  # after all else, see `KeptMessage`
_INSERT = (
    "INSERT INTO tail (number, messages, sessions, changes) VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT))"
)
_INSERT_WITH_PARTS = _INSERT.replace("changes", "changes, parts").replace("AS TEXT))", "AS TEXT), ?)")


class KeptMessage(NewMessage, frozen=True, kw_only=True, gc=False):
    """A message and who sent it, which is shown to nobody; UNSET: the user of the name shown (`MessageLog.append`)."""

    sender: str | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_decode_messages = msgspec.json.Decoder(list[KeptMessage]).decode
_decode_sessions = msgspec.json.Decoder(dict[str, StoredSession | None]).decode
_decode_changes = msgspec.json.Decoder(dict[str, SessionChange]).decode
_split_messages = msgspec.json.Decoder(list[Raw]).decode
_decode_message = msgspec.json.Decoder(NewMessage).decode
_decode_kept = msgspec.json.Decoder(KeptMessage).decode


class _Seq(Struct, gc=False):
    seq: int


_decode_seq = msgspec.json.Decoder(_Seq).decode


class EncodedBatch:
    """A batch as its row has it."""

    __slots__ = (
        "batch",
        "changes",
        "count",
        "last_seq",
        "messages",
        "number",
        "parts",
        "parts_bytes",
        "sessions",
        "size_bytes",
    )

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.number = batch.number
        self.messages = _encoded_messages(batch.messages, batch.senders)
        self.sessions = _encode(batch.sessions) if batch.sessions else _NOTHING
        self.changes = _encode(batch.changes) if batch.changes else _NOTHING
        self.parts = encoded_parts(batch) if batch.state_changes or batch.updates else None
        self.parts_bytes = 0 if self.parts is None else len(self.parts)
        self.count = batch.things_count
        self.last_seq = last_seq_of(batch)
        self.size_bytes = len(self.messages) + len(self.sessions) + len(self.changes) + self.parts_bytes

    def insert(self, connection: sqlite3.Connection) -> None:
        """Write the row. SQLite is told that it is text, so that it has not to be one in memory first."""
        row = (self.number, self.messages, self.sessions, self.changes)
        if self.parts is None:
            connection.execute(_INSERT, row)
        else:
            connection.execute(_INSERT_WITH_PARTS, (*row, self.parts))


def _encoded_messages(messages: list[NewMessage], senders: Mapping[int, str]) -> bytes:
    """Return messages as if they were of the type `KeptMessage`, which takes longer to make than to encode."""
    if not senders:
        return _encode(messages)
    parts = []
    for entry in messages:
        encoded = _encode(entry)
        sender = senders.get(entry.seq)
        parts.append(encoded if sender is None else encoded[:-1] + _SENDER_BEGINS + _encode(sender) + b"}")
    return b"[" + b",".join(parts) + b"]"


def _batch(
    kept: list[KeptMessage], sessions: dict[str, StoredSession | None], changes: dict[str, SessionChange], number: int
) -> Batch:
    """Return what a row has said as a batch."""
    senders = {entry.seq: entry.sender for entry in kept if entry.sender is not UNSET}
    return Batch(list[NewMessage](kept), sessions, changes, number, senders)


class Share:
    """What is filed at once: the oldest batches of the tail, up to the row ``number``, put together.

    ``damaged``: rows that could not be read as a whole, as they are; what could be read of them is here all the same.
    """

    __slots__ = (
        "count",
        "damaged",
        "last_seq",
        "messages",
        "number",
        "parts_bytes",
        "senders",
        "size_bytes",
        "state_changes",
        "states",
        "updates",
    )

    def __init__(self) -> None:
        self.messages: list[NewMessage] = []
        self.senders: dict[int, str] = {}
        self.states: dict[str, SessionState] = {}
        self.state_changes: list[StateChange] = []
        self.updates: list[DocumentUpdate] = []
        self.damaged: list[tuple[int, object, object, object, object]] = []
        self.number = self.last_seq = self.count = self.size_bytes = self.parts_bytes = 0

    def add(self, number: int, messages: bytes, sessions: bytes, changes: bytes, parts: bytes | None) -> None:
        """Add a row as the table has it."""
        found = None if parts is None else decoded_parts(parts)
        try:
            batch = _batch(_decode_messages(messages), _decode_sessions(sessions), _decode_changes(changes), number)
            is_sound = _are_sound(batch.messages, max(number, self._last_message_seq + 1))
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
            is_sound = False
        if not is_sound or not (found is None or found.is_sound):
            self.damaged.append((number, messages, sessions, changes, parts))
        if not is_sound:
            batch = _salvaged(number, messages, sessions, changes, self._last_message_seq)
        size_bytes = len(messages or b"") + len(sessions or b"") + len(changes or b"")
        if found is None:
            self.take(batch, size_bytes, 0)
        else:
            batch = batch._replace(state_changes=found.state_changes, updates=found.updates)
            self.take(batch, size_bytes + len(parts or b""), len(parts or b""))

    def take(self, batch: Batch, size_bytes: int, parts_bytes: int) -> None:
        """Put the batch of the next row to what is here."""
        self.number = batch.number
        self.count += batch.things_count
        self.size_bytes += size_bytes
        self.parts_bytes += parts_bytes
        self.messages += batch.messages
        self.senders.update(batch.senders)
        if parts_bytes:
            self.state_changes += batch.state_changes
            self.updates += batch.updates
            self.last_seq = last_seq_of(batch) or self.last_seq
        self.states |= batch.sessions
        for key, change in batch.changes.items():
            self.states[key] = followed(self.states[key], change) if key in self.states else change

    @property
    def _last_message_seq(self) -> int:
        return self.messages[-1].seq if self.messages else 0


def _are_sound(messages: Sequence[NewMessage], first_seq: int) -> bool:
    """Return whether messages have numbers that they may have: each has it in its id too."""
    for entry in messages:
        if entry.seq < first_seq or not entry.id.endswith(f"-{entry.seq}"):
            return False
        first_seq = entry.seq + 1
    return True


def _salvaged(number: int, messages: bytes | None, sessions: bytes | None, changes: bytes | None, last_seq: int) -> Batch:
    """Return what can be read of a row. Of sessions that cannot, all are ended: an old state may lack a room, unnoticed."""
    found: list[KeptMessage] = []
    parts = (messages or b"").removeprefix(b"[").removesuffix(b"]").split(_MESSAGE_BEGINS)
    for index, part in enumerate(parts):
        try:
            entry = _decode_kept(part if index == 0 else _MESSAGE_BEGINS[1:] + part)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if _are_sound([entry], max(number, last_seq + 1)):
            found.append(entry)
            last_seq = entry.seq
    states: dict[str, StoredSession | None] = {}
    changed: dict[str, SessionChange] = {}
    try:
        states, changed = _decode_sessions(sessions or _NOTHING), _decode_changes(changes or _NOTHING)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        keys = _SESSION_KEY.findall((sessions or b"") + (changes or b""))
        states = {key.decode(): None for key in keys}
    return _batch(found, states, changed, number)


def read_share(connection: sqlite3.Connection, limit_count: int, limit_bytes: int) -> Share | None:
    """Return the oldest batches until a limit is reached, None if there are none."""
    share = Share()
    rows = connection.execute(
        "SELECT number, CAST(messages AS BLOB), CAST(sessions AS BLOB), CAST(changes AS BLOB), "
        "CAST(parts AS BLOB) FROM tail ORDER BY number"
    )
    with closing(rows):
        for row in rows:
            share.add(*row)
            if share.count >= limit_count or share.size_bytes >= limit_bytes:
                break
    return share if share.number else None


class RecentBatches:
    """The batches of the tail in memory, from its first row on, so that filing them soon reads nothing back.

    Bounded: of a longer tail the later ones are not here, and none is added before all of it is filed.
    """

    def __init__(self) -> None:
        self._batches: deque[tuple[Batch, int, int]] = deque()
        self._size_bytes = 0

    def add(self, encoded: EncodedBatch, *, tail_bytes: int) -> None:
        """Note a batch that was written, after ``tail_bytes`` of others."""
        if tail_bytes == self._size_bytes <= _RECENT_LIMIT_BYTES - encoded.size_bytes:
            self._batches.append((encoded.batch, encoded.size_bytes, encoded.parts_bytes))
            self._size_bytes += encoded.size_bytes

    def share(self, limit_count: int, limit_bytes: int) -> Share | None:
        """Return the oldest batches until a limit is reached, as `read_share` does; None if they have to be read."""
        share = Share()
        for batch, size_bytes, parts_bytes in self._batches:
            share.take(batch, size_bytes, parts_bytes)
            if share.count >= limit_count or share.size_bytes >= limit_bytes:
                break
        return share if share.number else None

    def filed(self, number: int) -> None:
        """Forget the batches up to the row ``number``."""
        while self._batches and self._batches[0][0].number <= number:
            self._size_bytes -= self._batches.popleft()[1]


class TailReader:
    """Finds messages in the tail, by a connection that only reads. It remembers the last row, unless that is large."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._number = 0
        self._messages: list[Raw] = []
        self._has_complained = False

    def find(self, seq: int, key: ResentKey | None = None) -> NewMessage | None:
        """Return the message with this ``seq``; None if it is not here, or not any more, or cannot be read.

        None too if a ``key`` is given that is not its `resent_key`.
        """
        try:
            return self._find(seq, key)
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
            self._messages = []
            if not self._has_complained:
                self._has_complained = True
                logger.error("a row in the tail of the message log is damaged; what it held is left out")
            return None

    def _find(self, seq: int, key: ResentKey | None) -> NewMessage | None:
        if not self._messages or not self._number <= seq <= _decode_seq(self._messages[-1]).seq:
            row = self._connection.execute(
                "SELECT number, CAST(messages AS BLOB) FROM tail WHERE number <= ? ORDER BY number DESC LIMIT 1", (seq,)
            ).fetchone()
            if row is None:
                return None
            number, messages = row[0], _split_messages(row[1])
            is_large = len(row[1]) > _REMEMBERED_BYTES
            self._number, self._messages = number, [] if is_large else messages
        else:
            number, messages = self._number, self._messages
        # Places that no message got make it an earlier one than the difference says, never a later one.
        end = min(len(messages), seq - number + 1)
        index = bisect_left(messages, seq, hi=end, key=lambda raw: _decode_seq(raw).seq)
        if index == end:
            return None
        entry = _decode_message(messages[index])
        return entry if entry.seq == seq and key in (None, _key_of(_decode_kept(messages[index]))) else None


def _key_of(entry: KeptMessage) -> ResentKey | None:
    return None if entry.client_id is UNSET else resent_key(entry.room, entry.user, entry.client_id, entry.sender)


def last_seq_of(batch: Batch) -> int | None:
    """Return the highest number in a batch, None if there is none."""
    if not batch.state_changes and not batch.updates:  # as nearly always
        return batch.messages[-1].seq if batch.messages else None
    return max(
        (entries[-1].seq for entries in (batch.messages, batch.state_changes, batch.updates) if entries), default=None
    )


def estimated_bytes(batch: Batch) -> int:
    """Return how much a batch is, about or less, without encoding it."""
    size = sum([len(entry.message) for entry in batch.messages]) + RECORD_BYTES * len(batch.messages)
    if batch.state_changes or batch.updates:
        size += estimated_parts_bytes(batch)
    if batch.sessions or batch.changes:
        rooms_count = sum(len(session.rooms) for session in batch.sessions.values() if session is not None)
        rooms_count += sum(len(change.joined) + len(change.left) for change in batch.changes.values())
        size += _SESSION_BYTES * (len(batch.sessions) + len(batch.changes)) + _ROOM_BYTES * rooms_count
    return size
