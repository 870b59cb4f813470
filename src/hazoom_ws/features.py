"""What an application imports to add features of its own: payloads, handlers and events, in one class.

``create_app(settings, features=[Polls])`` serves them on ``/`` beside ours, and on a namespace with the feature's name. The
guide with a whole feature is ``web/guides/features.md``. What is here stays compatible.
"""

from msgspec import UNSET, UnsetType

from hazoom_ws.chat.presence import User
from hazoom_ws.errors import (
    BadPayload,
    Forbidden,
    HazoomError,
    LogUnavailable,
    NotFound,
    NotInRoom,
    Refused,
    TooLarge,
    TooManyTasks,
)
from hazoom_ws.events.base import PLACEHOLDERS, ClientPayload, Identifier, ServerEvent
from hazoom_ws.namespaces.chat import Chat, Kept, Sender
from hazoom_ws.namespaces.features import Feature, handles

__all__ = [
    "PLACEHOLDERS",
    "UNSET",
    "BadPayload",
    "Chat",
    "ClientPayload",
    "Feature",
    "Forbidden",
    "HazoomError",
    "Identifier",
    "Kept",
    "LogUnavailable",
    "NotFound",
    "NotInRoom",
    "Refused",
    "Sender",
    "ServerEvent",
    "TooLarge",
    "TooManyTasks",
    "UnsetType",
    "User",
    "handles",
]
