"""What the hub wants done for those who are connected, in the order in which it became true. Who does it: `Delivery`."""

from msgspec import Struct

from hazoom_ws.chat.presence import Connection
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.connecting import Bye
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.room_state import StateChange

# Up to where a client has got everything with what it is sent. Of what is kept that is the message itself, the record of
# the event, or the change of state: its number is read when it is sent, and what could not be kept is sent to nobody.
Offset = int | NewMessage | StateChange
Numbered = tuple[ServerEvent, Offset]


def place_of(numbered: Numbered) -> int:
    """Return the place of an event in the order of this process."""
    offset = numbered[1]
    return offset if isinstance(offset, int) else offset.seq


class Enter(Struct, frozen=True, gc=False):
    """From here on ``connection`` gets what is broadcast to ``room``."""

    connection: Connection
    room: str


class Leave(Struct, frozen=True, gc=False):
    """From here on ``connection`` gets nothing of ``room``."""

    connection: Connection
    room: str


class Push(Struct, frozen=True, gc=False):
    """Send ``event`` to one connection. ``offset``: see `Offset`; 0 if that is not said."""

    connection: Connection
    event: ServerEvent
    offset: Offset = 0


class Broadcast(Struct, frozen=True, gc=False):
    """Send ``event`` to every connection in ``room`` but those in ``skip``. ``offset`` is as in `Push`."""

    room: str
    event: ServerEvent
    skip: tuple[Connection, ...] = ()
    offset: Offset = 0


class Close(Struct, frozen=True, gc=False):
    """End a connection on purpose: its client hears ``bye`` and does what that says.

    Named by its id, as one that is in documents or boards only is no `Connection`.
    """

    connection_id: str
    bye: Bye


Effect = Enter | Leave | Push | Broadcast | Close
