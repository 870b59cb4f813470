"""What may be relayed: any JSON, but none that would harm who gets it. Pure; called within turns."""

from typing import Any

import msgspec
from msgspec import Raw

from hazoom_ws.errors import BadPayload, TooLarge

DATA_LIMIT_BYTES = 16_384  # a long stroke; what is larger is no matter of 30 times a second
NOTHING = Raw(b"null")
_PLACEHOLDER = "_placeholder"
_QUOTED_PLACEHOLDER = f'"{_PLACEHOLDER}"'.encode()
_encode_json = msgspec.json.Encoder().encode


def relayed(data: Any) -> Raw | bytes:
    """Return the JSON of ``data`` as it is sent on: our own, whatever escapes and doubled keys the client wrote.

    Bytes stay as they are.

    Raises `TooLarge`, or `BadPayload` for an object with the key ``_placeholder``: the clients of all who get it would take
    that for a place of a binary part, find none, and close their connections.
    """
    if data is None:
        return NOTHING
    if isinstance(data, bytes):
        if len(data) > DATA_LIMIT_BYTES:
            raise TooLarge("data", DATA_LIMIT_BYTES, len(data), unit="bytes")
        return data
    encoded = _encode_json(data)
    if len(encoded) > DATA_LIMIT_BYTES:
        raise TooLarge("data", DATA_LIMIT_BYTES, len(encoded))
    if _QUOTED_PLACEHOLDER in encoded and _has_placeholder(data):
        raise BadPayload("data", f"must not have an object with the key {_PLACEHOLDER!r}")
    return Raw(encoded)


def _has_placeholder(data: Any) -> bool:
    """Return whether any object in ``data`` has that key; level by level, for `Packet` has bounded how deep it is."""
    level = [data]
    while level:
        if any(isinstance(one, dict) and _PLACEHOLDER in one for one in level):
            return True
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return False
