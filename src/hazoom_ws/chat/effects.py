"""What the hub wants done for those who are connected, in the order in which it became true. Who does it: `Delivery`."""

from msgspec import Struct

from hazoom_ws.chat.presence import Connection
from hazoom_ws.events.base import ServerEvent


class Enter(Struct, frozen=True, gc=False):
    """From here on ``connection`` gets what is broadcast to ``room``."""

    connection: Connection
    room: str


class Leave(Struct, frozen=True, gc=False):
    """From here on ``connection`` gets nothing of ``room``."""

    connection: Connection
    room: str


class Push(Struct, frozen=True, gc=False):
    """Send ``event`` to one connection. ``offset``: up to where it has got everything with that, 0 if that is not said."""

    connection: Connection
    event: ServerEvent
    offset: int = 0


class Broadcast(Struct, frozen=True, gc=False):
    """Send ``event`` to every connection in ``room`` but those in ``skip``. ``offset`` is as in `Push`."""

    room: str
    event: ServerEvent
    skip: tuple[Connection, ...] = ()
    offset: int = 0


class Close(Struct, frozen=True, gc=False):
    """End a connection whose client has come back with another."""

    connection: Connection


Effect = Enter | Leave | Push | Broadcast | Close
