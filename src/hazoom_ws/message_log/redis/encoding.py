"""What a batch, a message and a value are for Redis, in bytes and texts. Pure; called in threads beside turns."""

import logging
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, MsgspecError, Struct, UnsetType

from hazoom_ws.events.base import FinishReason
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import Batch, ResentKey, SessionChange, StoredSession, resent_key, size_bytes
from hazoom_ws.message_log.room_state import StateChange, StateValue

logger = logging.getLogger(__name__)

_DIGEST_BYTES = 10
_pack = msgspec.msgpack.Encoder().encode
_unpack_value = msgspec.msgpack.Decoder(tuple[str, float, bytes | None]).decode
_unpack_change = msgspec.msgpack.Decoder(tuple[str, float, dict[str, bytes | None]]).decode
_encode = msgspec.json.Encoder().encode
_decode_message = msgspec.json.Decoder(NewMessage).decode
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


def batch_digests(batch: Batch) -> Iterable[str]:
    """Yield the digests of all in a batch that may be sent again."""
    senders = batch.senders
    for entry in batch.messages:
        if entry.client_id is not UNSET:
            yield message_digest(entry, senders.get(entry.seq, UNSET))
    for change in batch.state_changes:
        if change.client_id is not None:
            yield change_digest(change)


def places_of(batch: Batch) -> dict[int, int]:
    """Return the place of each thing in a batch, by the number that it has here: they are in one order."""
    return {seq: place for place, seq in enumerate(sorted(entry.seq for entry in batch.entries()))}


def batch_arguments(batch: Batch, conditions: Mapping[int, Mapping[str, int]]) -> list[Any]:
    """Return what `scripts.WRITE` is told is in a batch, then the bytes of all that is.

    ``conditions``: of some changes of state, by their number here, the ``seq`` that keys must have.
    """
    places, senders = places_of(batch), batch.senders
    data: list[Any] = [b""]
    messages: list[Any] = []
    for entry in batch.messages:
        digest = "" if entry.client_id is UNSET else message_digest(entry, senders.get(entry.seq, UNSET))
        messages.append((entry.room, places[entry.seq], str(size_bytes(entry)), repr(entry.timestamp), digest))
        data.append(encode_message(entry))
    sessions = [
        (key, session is not None, "0" if session is None else repr(session.opened_at_s))
        for key, session in batch.sessions.items()
    ]
    data += [_encode(session) for session in batch.sessions.values() if session is not None]
    changes = list(batch.changes)
    data += [_encode(change) for change in batch.changes.values()]
    states: list[Any] = []
    for change in batch.state_changes:
        required = [(key, str(seq)) for key, seq in conditions.get(change.seq, {}).items()]
        timestamp, keys = repr(change.timestamp), list(change.values)
        states.append((change.room, places[change.seq], timestamp, change_digest(change), keys, required))
        data += [_pack_value(value, change.user, change.timestamp) for value in change.values.values()]
        data.append(encode_change(change))
    updates = [(update.document, places[update.seq]) for update in batch.updates]
    data += [update.data for update in batch.updates]
    data[0] = _pack((len(places), messages, sessions, changes, states, updates))
    return data


class _Unnumbered(Struct, omit_defaults=True):
    """A message as it is kept: what it has beside its id and its number, which are its place."""

    user: str
    message: str
    timestamp: float
    room: str
    client_id: str | UnsetType = UNSET
    kind: Literal["prompt", "assistant"] | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    finish_reason: FinishReason | UnsetType = UNSET
    code: str | UnsetType = UNSET
    event_name: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET


def encode_message(entry: NewMessage) -> bytes:
    """Return a message as it is kept."""
    return _encode(
        _Unnumbered(
            entry.user,
            entry.message,
            entry.timestamp,
            entry.room,
            entry.client_id,
            entry.kind,
            entry.request_id,
            entry.finish_reason,
            entry.code,
            entry.event_name,
            entry.user_id,
        )
    )


def decode_message(encoded: bytes, seq: int, epoch: str) -> NewMessage | None:
    """Return a message that has a number, None for what is no message: others may have written into this Redis."""
    try:
        return _decode_message(b'{"id":"%b-%d","seq":%d,' % (epoch.encode(), seq, seq) + encoded[1:])
    except (MsgspecError, ValueError) as error:
        logger.error("what Redis has under the number %d is no message, and is left out: %s", seq, error)
        return None


def pack_value(value: StateValue, timestamp: float) -> bytes:
    """Return a value of a state, deleted or not, and when it was set."""
    return b"%d " % value.seq + _pack_value(value.value, value.user, timestamp)


def _pack_value(value: bytes | None, user: str, timestamp: float) -> bytes:
    return (b"0 " if value is None else b"1 ") + _pack((user, timestamp, value))


def unpack_value(packed: bytes) -> tuple[StateValue, float]:
    """Return a value of a state, and when it was set."""
    seq, _, packed = packed.split(b" ", 2)
    user, timestamp, value = _unpack_value(packed)
    return StateValue(value, int(seq), user), timestamp


def encode_change(change: StateChange) -> bytes:
    """Return a change of state as it is published."""
    return _pack((change.user, change.timestamp, change.values))


def unpack_change(packed: bytes, room: str, seq: int) -> StateChange:
    """Return a change of state that was published."""
    user, timestamp, values = _unpack_change(packed)
    return StateChange(seq, room, user, timestamp, values)


class Sized(NamedTuple):
    """A message, and its `size_bytes`."""

    entry: NewMessage
    size_bytes: int


def place_of(identifier: bytes) -> tuple[int, int]:
    """Return the two numbers of an entry's id in a stream."""
    first, _, second = identifier.partition(b"-")
    return int(first), int(second)
