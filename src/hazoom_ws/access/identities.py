"""Who a client is, as whoever vouches for it says so: a token's claims, or the answer of a URL that was asked.

Decides what such words have to be. Knows neither tokens nor HTTP.
"""

from typing import NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.chat.presence import User
from hazoom_ws.chat.rights import EVERYTHING, Rights
from hazoom_ws.errors import BadPayload, Unauthorized
from hazoom_ws.events.parsing import checked_id, checked_name
from hazoom_ws.names import composed
from hazoom_ws.settings import Settings

_ID_LIMIT_CHARS = 255
_LAST_MOMENT = 2**53
_ROOMS_LIMIT_COUNT, _PATTERNS_LIMIT_COUNT = 1000, 100  # patterns are looked at one after the other


class Identity(NamedTuple):
    """Who a client is, what it may do, and until when that is so, in seconds since the epoch; None: for ever."""

    user: User
    rights: Rights
    expires_at: float | None

    def has_ended(self, now: float) -> bool:
        """Return whether it is over."""
        return self.expires_at is not None and self.expires_at <= now


class Claims(Struct, frozen=True, kw_only=True):
    """The claims of a token that say who somebody is; others mean nothing here. Source: RFC 7519, section 4.1."""

    sub: str
    exp: int | float
    nbf: int | float | UnsetType = UNSET
    iss: str | UnsetType = UNSET
    aud: str | list[str] | UnsetType = UNSET
    name: str | UnsetType = UNSET
    rooms: list[str] | UnsetType = UNSET
    llm: bool | UnsetType = UNSET


class Profile(Struct, frozen=True, kw_only=True):
    """What `auth_url` answers about somebody who is to be let in."""

    user_id: str
    user_name: str
    rooms: list[str] | UnsetType = UNSET
    llm: bool | UnsetType = UNSET
    expires_at: int | float | UnsetType = UNSET


def identity_of_claims(claims: Claims, settings: Settings) -> Identity:
    """Return whose claims those are, whose signature and times were checked. Raises `Unauthorized`."""
    name = claims.name
    if name is UNSET:  # then the id is shown, which may be longer than names are
        name = claims.sub[: settings.user_name_limit_chars]
    return _identity(
        Profile(user_id=claims.sub, user_name=name, rooms=claims.rooms, llm=claims.llm, expires_at=claims.exp), settings
    )


def identity_of_answer(body: bytes, settings: Settings, now: float) -> Identity:
    """Return whom an answer of `auth_url` is about. Raises `Unauthorized`, with ``retry``: it is not what it should be."""
    try:
        answer = msgspec.json.decode(body, type=Profile)
        identity = _identity(answer, settings)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unauthorized(f"its answer is not what it should be: {error}", retry=True) from None
    except Unauthorized as error:
        raise Unauthorized(error.reason, retry=True) from None
    if identity.has_ended(now):
        raise Unauthorized("expires_at is over", retry=True)
    return identity


def _identity(said: Profile, settings: Settings) -> Identity:
    """Return whom that describes. Raises `Unauthorized`."""
    try:
        user_id = checked_id("its id", said.user_id, _ID_LIMIT_CHARS)
        name = checked_name("its name", said.user_name, settings.user_name_limit_chars)
    except BadPayload as error:
        raise Unauthorized(str(error)) from None
    if name.casefold() == composed(settings.assistant_name.strip()).casefold():
        raise Unauthorized("its name is the assistant's")
    rooms, may_ask, expires_at = said.rooms, said.llm is not False, said.expires_at
    if rooms is not UNSET and (count := len(rooms)) > _ROOMS_LIMIT_COUNT:
        raise Unauthorized(f"{count} rooms, the limit is {_ROOMS_LIMIT_COUNT}")
    if rooms is not UNSET and (count := sum("*" in room for room in rooms)) > _PATTERNS_LIMIT_COUNT:
        raise Unauthorized(f"{count} patterns of rooms, the limit is {_PATTERNS_LIMIT_COUNT}")
    if expires_at is not UNSET and not 0 <= expires_at <= _LAST_MOMENT:
        raise Unauthorized("its end is no moment")
    rights = EVERYTHING if rooms is UNSET and may_ask else Rights(None if rooms is UNSET else rooms, may_ask=may_ask)
    return Identity(User.identified(user_id, name), rights, None if expires_at is UNSET else expires_at)
