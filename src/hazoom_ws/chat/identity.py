"""Who a new connection is; and how a guest is known again, who has no name to be known by.

The pid of a guest ends in a key of its own, that of the next session too. Its client shows the pid whenever it comes back:
so it is the same sender as before (`Hub.publish`) even if its session is gone. Whoever reads an id cannot tell the key.

A page that was loaded anew, or another tab, has no pid: so each guest is told a ``guest_key``, which has the same key, the
end of the name and the hour, and makes who shows it that guest again for a day. Nothing is remembered for that.
"""

import hashlib
import re
import secrets
from collections.abc import Collection
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from hazoom_ws.chat.presence import GUEST_ALPHABET, GUEST_CHARS, GUEST_PREFIX, User, guest_name, name_in

PID_CHARS = 35  # without a key
_KEY_BYTES, _KEY_CHARS = 12, 16
_ID_DIGITS = 24  # 96 bits, as the key has
_GUEST_KEY = re.compile(rf"([A-Za-z0-9_-]{{{_KEY_CHARS}}})([{GUEST_ALPHABET}]{{{GUEST_CHARS}}})([0-9a-f]{{5,8}})")
_HOUR_S, _DAY_HOURS = 3600, 24


def named_user(user_name: str | UnsetType) -> User | None:
    """Return who a connection is by its name, None for a guest."""
    name = name_in(user_name)
    return User.named(name) if name else None


class Shown(NamedTuple):
    """What a client shows of who it was before: ``pid`` and ``guest_key``, "" if nothing, and when that is."""

    pid: str = ""
    guest_key: str = ""
    now: float = 0.0


def identify(user: User | None, user_name: str | UnsetType, shown: Shown, taken: Collection[str]) -> tuple[User, str]:
    """Return who a connection is and, of a guest, the key for its pid, "" if there is none.

    ``user``: who it is known to be whatever the name, if that is so. A blank name means none. ``taken``: names of other
    guests.
    """
    if user is None and (named := named_user(user_name)) is not None:
        return named, ""
    key = key_in(shown.pid)
    if user is not None:
        return user, key if key and user.id == _id_of(key) else ""
    found = _GUEST_KEY.fullmatch(shown.guest_key)
    if found is not None and 0 <= _hour(shown.now) - int(found[3], 16) <= _DAY_HOURS:
        return User(_id_of(found[1]), f"{GUEST_PREFIX}{found[2]}"), found[1]
    key = key or secrets.token_urlsafe(_KEY_BYTES)
    return User(_id_of(key), guest_name(taken)), key


def key_in(pid: str) -> str:
    """Return the key of a guest that a pid ends in, "" if it has none."""
    return pid[PID_CHARS:] if len(pid) == PID_CHARS + _KEY_CHARS else ""


def guest_key_of(user: User, key: str, now: float) -> str:
    """Return what makes its client the same guest again for a day, "" for who is none."""
    return f"{key}{user.name[-GUEST_CHARS:]}{_hour(now):x}" if key and user.is_guest else ""


def is_same(before: User, user: User | None, user_name: str | UnsetType) -> bool:
    """Return whether a connection may be that of ``before``; ``user`` and ``user_name`` are as in `identify`."""
    if user is not None and user != before:
        return False
    if before.checked_id is not UNSET or (user is not None and user.checked_id is not UNSET):
        return user == before
    name = name_in(user_name)
    return before == User.named(name) if name else before.is_guest


def _hour(now: float) -> int:
    return int(now // _HOUR_S)


def _id_of(key: str) -> str:
    return f"guest:{hashlib.sha256(key.encode()).hexdigest()[:_ID_DIGITS]}"
