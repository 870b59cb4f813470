"""Who a new connection is; and how a guest is known again, who has no name to be known by.

The pid of a guest ends in a key of its own, that of the next session too. Its client shows the pid whenever it comes back:
so it is the same sender as before (`Hub.publish`) even if its session is gone. Whoever reads an id cannot tell the key.
"""

import hashlib
import secrets
from collections.abc import Collection

from msgspec import UNSET, UnsetType

from hazoom_ws.chat.presence import User, guest_name, name_in

PID_CHARS = 35  # without a key
_KEY_BYTES, _KEY_CHARS = 12, 16
_ID_DIGITS = 24  # 96 bits, as the key has


def named_user(user_name: str | UnsetType) -> User | None:
    """Return who a connection is by its name, None for a guest."""
    name = name_in(user_name)
    return User.named(name) if name else None


def identify(user: User | None, user_name: str | UnsetType, pid: str, taken: Collection[str]) -> tuple[User, str]:
    """Return who a connection is and, of a guest, the key for its pid, "" if there is none.

    ``user``: who it is known to be whatever the name, if that is so. A blank name means none. ``pid``: what its client had
    before, "" if nothing; ``taken``: names of other guests.
    """
    if user is None and (named := named_user(user_name)) is not None:
        return named, ""
    key = pid[PID_CHARS:] if len(pid) == PID_CHARS + _KEY_CHARS else ""
    if user is not None:
        return user, key if key and user.id == _id_of(key) else ""
    key = key or secrets.token_urlsafe(_KEY_BYTES)
    return User(_id_of(key), guest_name(taken)), key


def is_same(before: User, user: User | None, user_name: str | UnsetType) -> bool:
    """Return whether a connection may be that of ``before``; ``user`` and ``user_name`` are as in `identify`."""
    if user is not None and user != before:
        return False
    if before.checked_id is not UNSET or (user is not None and user.checked_id is not UNSET):
        return user == before
    name = name_in(user_name)
    return before == User.named(name) if name else before.is_guest


def _id_of(key: str) -> str:
    return f"guest:{hashlib.sha256(key.encode()).hexdigest()[:_ID_DIGITS]}"
