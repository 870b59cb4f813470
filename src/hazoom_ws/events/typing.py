"""Typing indicators on the wire."""

from msgspec import UNSET, UnsetType

from hazoom_ws.events.base import ClientPayload, ServerEvent


class Typing(ClientPayload, frozen=True, kw_only=True):
    """Say that one types in a room, or has stopped to."""

    event = "typing"
    is_fleeting = True
    room: str | UnsetType = UNSET
    is_typing: bool = True
    user_name: str | UnsetType = UNSET


class UserTyping(ServerEvent, frozen=True, kw_only=True):
    """Somebody else in the room types, or has stopped to."""

    event = "user_typing"
    if_slow = "dropped"
    user: str
    is_typing: bool
    room: str
