"""What a batch, a message and a value are for Redis, in bytes and texts. Pure; called in threads beside turns."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import Batch, ResentKey, SessionChange, StoredSession, resent_key, size_bytes
from hazoom_ws.message_log.room_state import StateChange, StateValue

_DIGEST_BYTES = 10
_pack = msgspec.msgpack.Encoder().encode
_unpack_value = msgspec.msgpack.Decoder(tuple[int, str, float, bytes | None]).decode
_encode = msgspec.json.Encoder().encode
decode_message = msgspec.json.Decoder(NewMessage).decode
decode_session = msgspec.json.Decoder(StoredSession).decode
decode_change = msgspec.json.Decoder(SessionChange).decode


def digest_of(kind: str, key: ResentKey) -> str:
    """Return what a message ("m") or a change of state ("s") is known by that may be sent again."""
    return blake2b(_encode((kind, *key)), digest_size=_DIGEST_BYTES).hexdigest()


def message_digest(entry: NewMessage, sender: str | UnsetType) -> str:
    """Return the digest of a message, "" if it has no ``client_id``."""
    if entry.client_id is UNSET:
        return ""
    return digest_of("m", resent_key(entry.room, entry.user, entry.client_id, sender))


def change_digest(change: StateChange) -> str:
    """Return the digest of a change of state, "" if it has no ``client_id``."""
    if change.client_id is None:
        return ""
    sender = UNSET if change.sender is None else change.sender
    return digest_of("s", resent_key(change.room, change.user, change.client_id, sender))


def last_seq_of(batch: Batch) -> int:
    """Return the highest number in a batch, by which batches follow each other."""
    lasts = [entries[-1].seq for entries in (batch.messages, batch.state_changes, batch.updates) if entries]
    return max(lasts, default=batch.number)


def batch_digests(batch: Batch) -> Iterable[str]:
    """Yield the digests of all in a batch that may be sent again."""
    senders = batch.senders
    for entry in batch.messages:
        if entry.client_id is not UNSET:
            yield message_digest(entry, senders.get(entry.seq, UNSET))
    for change in batch.state_changes:
        if change.client_id is not None:
            yield change_digest(change)


def batch_arguments(batch: Batch) -> list[Any]:
    """Return what `scripts.WRITE` is told is in a batch, then the bytes of all that is."""
    senders = batch.senders
    data: list[Any] = [b""]
    messages: list[Any] = []
    for entry in batch.messages:
        digest = "" if entry.client_id is UNSET else message_digest(entry, senders.get(entry.seq, UNSET))
        messages.append((entry.room, str(entry.seq), str(size_bytes(entry)), repr(entry.timestamp), digest))
        data.append(_encode(entry))
    sessions = [(key, session is not None) for key, session in batch.sessions.items()]
    data += [_encode(session) for session in batch.sessions.values() if session is not None]
    changes = list(batch.changes)
    data += [_encode(change) for change in batch.changes.values()]
    states: list[Any] = []
    for change in batch.state_changes:
        states.append((change.room, str(change.seq), repr(change.timestamp), change_digest(change), list(change.values)))
        data += [
            pack_value(StateValue(value, change.seq, change.user), change.timestamp) for value in change.values.values()
        ]
    updates = [(update.document, str(update.seq)) for update in batch.updates]
    data += [update.data for update in batch.updates]
    data[0] = _pack((messages, sessions, changes, states, updates))
    return data


def undo_arguments(batch: Batch, hour: int, replaced: Mapping[tuple[str, str], StateValue | None]) -> list[Any]:
    """Return what `scripts.UNDO` is told of a batch: ``replaced`` is what was there before, by room and key."""
    messages = [(entry.room, str(entry.seq), str(size_bytes(entry))) for entry in batch.messages]
    digests = [(digest, str(hour)) for digest in batch_digests(batch)]
    values = [(room, key, value is not None) for (room, key), value in replaced.items()]
    updates = [(update.document, str(update.seq)) for update in batch.updates]
    # When an earlier value was set is not known any more: a deleted key is remembered as if it were deleted now.
    timestamp = max((change.timestamp for change in batch.state_changes), default=0.0)
    data = [pack_value(value, timestamp) for value in replaced.values() if value is not None]
    return [_pack((messages, digests, values, updates)), *data]


def pack_value(value: StateValue, timestamp: float) -> bytes:
    """Return a value of a state, deleted or not, and when it was set."""
    return _pack((value.seq, value.user, timestamp, value.value))


def unpack_value(packed: bytes) -> tuple[StateValue, float]:
    """Return a value of a state, and when it was set."""
    seq, user, timestamp, value = _unpack_value(packed)
    return StateValue(value, seq, user), timestamp


class Sized(NamedTuple):
    """A message, and its `size_bytes`."""

    entry: NewMessage
    size_bytes: int


def place_of(identifier: bytes) -> tuple[int, int]:
    """Return the two numbers of an entry's id in a stream."""
    first, _, second = identifier.partition(b"-")
    return int(first), int(second)
