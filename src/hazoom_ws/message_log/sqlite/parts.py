"""What a batch has beside messages and sessions: changes of rooms' state and updates of documents, as the tail has them.

One thing after the other, in bytes: its length and checksum, then itself in MessagePack, which holds bytes as they are. So
nothing grows by being written, nothing has to be searched, and of a row that is damaged the others can be read.

Source: https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

from struct import Struct
from typing import NamedTuple
from zlib import crc32

import msgspec

from hazoom_ws.message_log.contract import Batch
from hazoom_ws.message_log.documents import DocumentUpdate
from hazoom_ws.message_log.room_state import StateChange

_HEAD = Struct("<II")
_RECORD_BYTES = 60  # names and numbers, about
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StateChange | DocumentUpdate).decode


class Parts(NamedTuple):
    """What was read. Not ``is_sound``: some of it could not be, and is left out."""

    state_changes: list[StateChange]
    updates: list[DocumentUpdate]
    is_sound: bool


def encoded_parts(batch: Batch) -> bytes:
    """Return the parts of a batch."""
    parts: list[bytes] = []
    for entries in (batch.state_changes, batch.updates):
        for entry in entries:
            encoded = _encode(entry)
            parts += (_HEAD.pack(len(encoded), crc32(encoded)), encoded)
    return b"".join(parts)


def decoded_parts(parts: bytes) -> Parts:
    """Return what can be read of the parts of a row."""
    found = Parts([], [], is_sound=True)
    view, start, is_sound = memoryview(parts), 0, True
    while start < len(view):
        if len(view) - start < _HEAD.size:
            return found._replace(is_sound=False)
        length, checksum = _HEAD.unpack_from(view, start)
        encoded = view[start + _HEAD.size : start + _HEAD.size + length]
        start += _HEAD.size + length
        try:
            if len(encoded) != length or crc32(encoded) != checksum:
                raise msgspec.DecodeError
            entry = _decode(encoded)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            is_sound = False
            continue
        if isinstance(entry, StateChange):
            found.state_changes.append(entry)
        else:
            found.updates.append(entry)
    return found._replace(is_sound=is_sound)


def estimated_parts_bytes(batch: Batch) -> int:
    """Return how much the parts of a batch take, about or less, without encoding them."""
    values_bytes = sum(len(value or b"") for change in batch.state_changes for value in change.values.values())
    updates_bytes = sum(len(update.data) for update in batch.updates)
    return values_bytes + updates_bytes + _RECORD_BYTES * (len(batch.state_changes) + len(batch.updates))
