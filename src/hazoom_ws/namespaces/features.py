"""What a feature is: a class that says which payloads it handles and which events it sends. Ours and an application's.

Everything else follows from that (`hazoom_ws.namespaces.registry`): the namespaces that serve it, validation, limits,
acknowledgements, errors, what is replayed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

from msgspec import Struct

from hazoom_ws.chat.effects import Numbered
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.events.base import ClientPayload, ServerEvent
from hazoom_ws.namespaces.chat import Chat
from hazoom_ws.namespaces.parts import Parts

Method = TypeVar("Method", bound=Callable[..., Any])


class Mark(NamedTuple):
    """What `handles` says of a method."""

    payload_type: type[ClientPayload]
    waits: bool
    acknowledged_with: type[Struct] | None


def handles(
    payload_type: type[ClientPayload], *, waits: bool = False, acknowledged_with: type[Struct] | None = None
) -> Callable[[Method], Method]:
    """Mark a method as the handler of the event that ``payload_type`` names: ``(self, sender, payload)``.

    It returns a `msgspec.Struct` whose fields the acknowledgement has, or None, and may raise an error with a code, such as
    `hazoom_ws.features.Refused`. What else it raises is logged under a reference, and answered with the code "internal".

    ``waits`` False: it runs in a turn, in which nothing else happens, and returns soon. True: it runs beside the turns, as
    a task that may wait for as long as it likes; it is acknowledged when it returns, and events that its sender sent later
    may be handled before that.

    ``acknowledged_with``: what the acknowledgement has, for who makes types of it, where the annotation of what the method
    returns does not say it.
    """

    def mark(method: Method) -> Method:
        method.handled = Mark(payload_type, waits, acknowledged_with)  # type: ignore[attr-defined]
        return method

    return mark


class Feature:
    """A feature of an application: subclass it, and give the class to ``create_app(features=[...])``.

    ``name`` is also that of its namespace, ``/name``; it is served on ``/`` too. ``events`` are all that it sends.
    ``codes`` are those of its own with which it refuses: clients' types have them.
    """

    name: ClassVar[str]
    events: ClassVar[tuple[type[ServerEvent], ...]] = ()
    codes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, chat: Chat) -> None:
        """Called once for each application, before anybody connects; it may read what is kept, and says nothing yet."""
        self.chat = chat

    def left(self, room: str, user: User) -> None:
        """Take note that a user has left a room, or has dropped and not come back in time. Called in a turn."""

    def close(self) -> None:
        """Take note that the application ends: end what waits."""


class OwnFeature(Feature):
    """One of ours, which knows the parts of the application."""

    def __init__(self, parts: Parts) -> None:  # and not what features of others are given
        self.parts = parts


class Greeting(OwnFeature, ABC):
    """One of ours that has something to say to whoever comes."""

    @abstractmethod
    def snapshots(self, connection: Connection) -> list[Numbered]:
        """Return what who comes new is told of what goes on in the connection's rooms."""

    @abstractmethod
    def catch_up(self, connection: Connection, offset: int, replayed: list[Numbered], process: str) -> list[Numbered]:
        """Return ``replayed`` and what else a client that comes back has missed after ``offset``, in order.

        ``process``: the one that has given that number, "" for this one. Each numbers what is not kept by itself.
        """
