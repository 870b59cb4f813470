"""Typing indicators on the wire."""

from msgspec import UNSET, UnsetType

from hazoom_ws.events.base import ClientPayload, ServerEvent


class Typing(ClientPayload, frozen=True, kw_only=True):
    event = "typing"
    is_fleeting = True
    room: str | UnsetType = UNSET
    is_typing: bool = True
    user_name: str | UnsetType = UNSET


class UserTyping(ServerEvent, frozen=True, kw_only=True):
    event = "user_typing"
    if_slow = "dropped"
    user: str
    is_typing: bool
    room: str
