"""What is live on the wire: relayed items, which are worth nothing a second later, and the state that a room shares."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import replace

from hazoom_ws.events.base import PLACEHOLDERS, ClientPayload, Identifier, Seq, ServerEvent, Timestamp


class SendRelay(ClientPayload, frozen=True, kw_only=True):
    """Pass something on to the room that is worth nothing a second later.

    ``data``: whatever JSON has, or one binary part; null with a ``key`` takes the value of that key away.
    """

    event = "relay"
    takes_parts = True
    has_own_rate = True
    nullable = frozenset({"data"})
    channel: Identifier
    data: Any
    room: str | UnsetType = UNSET
    key: Identifier | UnsetType = UNSET


class RelayItem(Struct, frozen=True, kw_only=True, gc=False):
    """What one client has relayed. ``client``: the public id of its connection. ``data``: JSON, or one binary part."""

    user: str
    client: str
    channel: str
    key: str | UnsetType = UNSET
    data: Raw | bytes


class Relayed(ServerEvent, frozen=True, kw_only=True, gc=False):
    """What came in a room within a tick. ``at``: when it left.

    ``snapshot``: the newest value of every key there is, in this event and those that follow. ``dropped``: so many items
    without a key are left out, the oldest ones.
    """

    event = "relay"
    has_parts = True
    room: str
    at: Timestamp
    items: list[RelayItem]
    snapshot: bool | UnsetType = UNSET
    dropped: int | UnsetType = UNSET

    def split(self) -> tuple["Relayed", tuple[bytes, ...]]:
        """Return what is sent as JSON, and the binary parts."""
        parts: list[bytes] = []
        items: list[RelayItem] = []
        for item in self.items:
            if isinstance(item.data, bytes):
                items.append(replace(item, data=PLACEHOLDERS[len(parts)]))
                parts.append(item.data)
            else:
                items.append(item)
        return (replace(self, items=items), tuple(parts)) if parts else (self, ())


class SetState(ClientPayload, frozen=True, kw_only=True):
    """Set keys of the state that a room shares. ``values``: by key whatever JSON has, null deletes.

    ``if_seq``: by key the ``seq`` that it must have, 0 if it must not be there; else nothing is set, see "conflict".
    ``client_id``: the sender's own, with which sending again is safe.
    """

    event = "state_set"
    values: Annotated[dict[Identifier, Any], Meta(min_length=1)]
    room: str | UnsetType = UNSET
    if_seq: dict[Identifier, Seq] | UnsetType = UNSET
    client_id: Identifier | UnsetType = UNSET


class GetState(ClientPayload, frozen=True, kw_only=True):
    """Ask for the state of a room, or for what has changed in it after ``since``, a ``seq``."""

    event = "state_get"
    room: str | UnsetType = UNSET
    since: Seq | UnsetType = UNSET


class SharedState(ServerEvent, frozen=True, kw_only=True, gc=False):
    """What has changed in the state that a room shares. ``values``: JSON by key, null where it was deleted."""

    event = "state"
    is_kept = True
    room: str
    seq: int
    values: dict[str, Raw]
    user: str


class StateAccepted(Struct, frozen=True, kw_only=True):
    """Acknowledgement of ``state_set``."""

    seq: int
    duplicate: bool


class StatePage(Struct, frozen=True, kw_only=True):
    """Acknowledgement of ``state_get``. ``complete`` False: what was deleted after ``since`` is not known, this is all."""

    room: str
    seq: int
    values: dict[str, Raw]
    complete: bool
