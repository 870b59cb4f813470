"""Decoded JSON in, a payload of `events` out, or an error that names the field and its limit."""

from collections.abc import Collection
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Struct

from hazoom_ws.errors import BadPayload, TooLarge
from hazoom_ws.names import composed, has_controls, is_blank, is_plain
from hazoom_ws.settings import Settings

T = TypeVar("T", bound=Struct)
_ROOM_FIELDS = ("room", "document")
_COMPOSED_OF_CHARS = 4  # at the most, that become one


class TextLimit(NamedTuple):
    """How long a text may be; ``unit`` is "characters" or "bytes of UTF-8"."""

    least: int
    most: int
    unit: str = "characters"


def text_limits(settings: Settings) -> dict[str, TextLimit]:
    """Return the limits of the fields that `parse` checks wherever they are, by name."""
    room = TextLimit(1, settings.room_name_limit_chars)
    return {
        **dict.fromkeys(_ROOM_FIELDS, room),
        "user_name": TextLimit(0, settings.user_name_limit_chars),
        "message": TextLimit(1, settings.message_limit_bytes, "bytes of UTF-8"),
    }


def parse(payload_type: type[T], payload: object, settings: Settings) -> T:
    """Turn decoded JSON into ``payload_type``; ``null`` is a field that was left out, names get their normal form.

    There may be bytes in one that ``takes_parts``, and a field of bytes takes nothing else.
    Raises `BadPayload` with the field's name and its limit, or `TooLarge` for a ``message`` over its limit.
    """
    if isinstance(payload, dict):
        payload = _tidied(payload, settings, getattr(payload_type, "nullable", ()))
    try:
        if getattr(payload_type, "takes_parts", False):
            parsed = msgspec.convert(payload, payload_type, builtin_types=(bytes,))
        else:
            parsed = msgspec.convert(payload, payload_type)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    for field in _ROOM_FIELDS:
        name: Any = getattr(parsed, field, UNSET)
        if name is not UNSET and not (len(name) <= settings.room_name_limit_chars and is_plain(name)):
            _check_name(field, name, settings.room_name_limit_chars, may_be_blank=False)
    user_name: Any = getattr(parsed, "user_name", UNSET)
    if user_name is not UNSET:
        _check_name("user_name", user_name, settings.user_name_limit_chars, may_be_blank=True)
        if user_name.casefold() == composed(settings.assistant_name.strip()).casefold():
            raise BadPayload("user_name", f"{user_name!r} is the assistant's name")
    message: Any = getattr(parsed, "message", UNSET)
    if message is not UNSET:
        # Four bytes a character is the most that UTF-8 needs: most messages are never encoded to be measured.
        if len(message) * 4 > settings.message_limit_bytes:
            size_bytes = len(message.encode())
            if size_bytes > settings.message_limit_bytes:
                raise TooLarge("message", settings.message_limit_bytes, size_bytes)
        if is_blank(message):
            raise BadPayload("message", "must not be empty or blank")
    return parsed


def _check_name(field: str, text: str, limit_chars: int, *, may_be_blank: bool) -> None:
    if len(text) > limit_chars:
        raise BadPayload(field, f"{len(text)} characters, the limit is {limit_chars}")
    if has_controls(text):
        raise BadPayload(field, "must not have control characters, or such as change the direction of text")
    if not may_be_blank and is_blank(text):
        raise BadPayload(field, "must not be empty or blank")


def _tidied(payload: dict[Any, Any], settings: Settings, nullable: Collection[str]) -> dict[Any, Any]:
    """Return a payload without what is null but may not be, and with its names in the form in which they are compared."""
    if None in payload.values():
        payload = {field: value for field, value in payload.items() if value is not None or field in nullable}
    if isinstance(user_name := payload.get("user_name"), str):
        payload = {**payload, "user_name": _tidied_name(user_name, settings.user_name_limit_chars).strip()}
    for field in _ROOM_FIELDS:
        if isinstance(name := payload.get(field), str) and not name.isascii():
            payload = {**payload, field: _tidied_name(name, settings.room_name_limit_chars)}
    return payload


def room_name(name: str, settings: Settings, *, field: str) -> str:
    """Return the name of a room, or of what is named like one, in the form in which it is compared. Raises `BadPayload`."""
    tidied = _tidied_name(name, settings.room_name_limit_chars)
    _check_name(field, tidied, settings.room_name_limit_chars, may_be_blank=False)
    return tidied


def checked_name(field: str, text: str, limit_chars: int) -> str:
    """Return a name in the form in which names are compared. Raises `BadPayload`."""
    tidied = _tidied_name(text, limit_chars).strip()
    _check_name(field, tidied, limit_chars, may_be_blank=False)
    return tidied


def checked_id(field: str, text: str, limit_chars: int) -> str:
    """Return an id as it is: it is compared character by character. Raises `BadPayload` for what cannot be one."""
    _check_name(field, text, limit_chars, may_be_blank=False)
    return text


def _tidied_name(name: str, limit_chars: int) -> str:
    # One that is far too long is refused as it is: to compose it may take long.
    return name if len(name) > _COMPOSED_OF_CHARS * limit_chars else composed(name)


def _refusal(text: str) -> BadPayload:
    """Turn msgspec's "Expected `str`, got `int` - at `$.room`" into "room: expected str, got int"."""
    problem, _, path = text.replace("`", "").partition(" - at ")
    field = path.removeprefix("key in ").removeprefix("$").removeprefix(".") or "payload"
    if problem.startswith("Object missing required field "):
        return BadPayload(problem.rsplit(" ", 1)[1], "is required")
    return BadPayload(field, problem[0].lower() + problem[1:])
