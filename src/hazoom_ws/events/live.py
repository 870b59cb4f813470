"""What is live on the wire: relayed items, which are worth nothing a second later."""

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from hazoom_ws.events.base import ClientPayload, Identifier, ServerEvent


class SendRelay(ClientPayload, frozen=True, kw_only=True):
    """``data``: whatever JSON has; null with a ``key`` takes the value of that key away."""

    event = "relay"
    has_own_rate = True
    nullable = frozenset({"data"})
    channel: Identifier
    data: Any
    room: str | UnsetType = UNSET
    key: Identifier | UnsetType = UNSET


class RelayItem(Struct, frozen=True, kw_only=True, gc=False):
    """What one client has relayed. ``client``: the public id of that connection. ``data``: its JSON, as it is sent on."""

    user: str
    client: str
    channel: str
    key: str | UnsetType = UNSET
    data: Raw


class Relayed(ServerEvent, frozen=True, kw_only=True, gc=False):
    """What came in a room within a tick. ``at``: seconds since the epoch, UTC, when it left.

    ``snapshot``: the newest value of every key there is, in this event and those that follow. ``dropped``: so many items
    without a key are left out, the oldest ones.
    """

    event = "relay"
    room: str
    at: float
    items: list[RelayItem]
    snapshot: bool | UnsetType = UNSET
    dropped: int | UnsetType = UNSET
