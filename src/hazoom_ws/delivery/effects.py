"""What may be queued in a turn: the hub's effects (`chat.effects`), and two that only delivery knows."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from hazoom_ws.chat.effects import Effect, Offset
from hazoom_ws.chat.presence import Connection
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.connecting import Status

# An acknowledgement's argument, or what makes it when what it acknowledges is kept, or could not be.
Reply = dict[str, Any] | Callable[[], dict[str, Any]] | None


class Later(Struct, frozen=True, gc=False):
    """Call ``send`` with a reply, when what it acknowledges is kept."""

    send: Callable[[Any], None]
    reply: Reply = None


class Greet(Struct, frozen=True, gc=False):
    """Send ``events``, each with its offset, to one namespace of a connection, then what is said in ``rooms``.

    ``is_kept()`` returns whether all that was to be kept when this was queued has been.
    """

    connection: Connection
    namespace: str
    rooms: tuple[str, ...]
    events: list[tuple[ServerEvent | Status, Offset]]
    is_kept: Callable[[], bool]


Queued = Effect | Greet | Later
