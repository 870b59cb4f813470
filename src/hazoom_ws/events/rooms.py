"""Rooms on the wire: joining, leaving, messages, history, who is there."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from hazoom_ws.events.base import (
    HIDDEN,
    ClientPayload,
    ErrorCode,
    FinishReason,
    Identifier,
    PageSize,
    Seq,
    ServerEvent,
    Timestamp,
)


class JoinRoom(ClientPayload, frozen=True, kw_only=True):
    """Enter a room. ``since``: the ``seq`` of the last message that was seen; ``history``: how many messages to replay."""

    event = "join_room"
    room: str | UnsetType = UNSET
    since: Seq | UnsetType = UNSET
    history: PageSize = 50


class LeaveRoom(ClientPayload, frozen=True, kw_only=True):
    """Leave a room."""

    event = "leave_room"
    room: str | UnsetType = UNSET


class SendMessage(ClientPayload, frozen=True, kw_only=True):
    """Say something in a room. ``client_id``: the sender's own, with which sending again is safe."""

    event = "message"
    message: str
    room: str | UnsetType = UNSET
    user_name: str | UnsetType = UNSET
    client_id: Identifier | UnsetType = UNSET


class GetHistory(ClientPayload, frozen=True, kw_only=True):
    """Read what was said: the newest messages, those before a ``seq``, or the oldest after one."""

    event = "get_history"
    room: str | UnsetType = UNSET
    before: Seq | UnsetType = UNSET
    after: Seq | UnsetType = UNSET
    limit: PageSize = 50


class GetRooms(ClientPayload, frozen=True, kw_only=True):
    """Read which rooms there are: one's own first, then those that one may enter and somebody is in, each by name.

    ``prefix``: only those whose names begin so. ``after``: the one of the last page, for the next one.
    """

    event = "get_rooms"
    required = False
    prefix: Annotated[str, Meta(max_length=1024)] = ""
    after: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class NewMessage(ServerEvent, frozen=True, kw_only=True, gc=False):
    """One message, as it is broadcast, kept and replayed.

    ``seq`` only grows, over all rooms, and has gaps. ``client_id``: the one that its sender gave it.

    An answer of the AI (``kind`` "assistant") is kept however it ended, with what there was of it, "" if there was nothing:
    ``finish_reason``, and ``code`` if it failed. What earlier versions have kept has neither.

    ``user_id``: who said it, where identities are checked: two may show one name.
    """

    event = "new_message"
    is_kept = True
    user: str
    message: str
    timestamp: Timestamp
    room: str
    id: str
    seq: int
    client_id: str | UnsetType = UNSET
    kind: Literal["prompt", "assistant"] | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    finish_reason: FinishReason | UnsetType = UNSET
    code: ErrorCode | UnsetType = UNSET
    # This is the record of an event that a feature keeps, and ``message`` its JSON. Such a record is in a log only: its
    # event is sent instead.
    event_name: Annotated[str, HIDDEN] | UnsetType = UNSET
    user_id: str | UnsetType = UNSET


class RoomJoined(ServerEvent, frozen=True, kw_only=True):
    """``users``: at most 200 names; ``complete``: nothing is missing before (or since) ``messages``.

    Who has asked for an acknowledgement gets ``messages`` there, and not here too.
    """

    event = "room_joined"
    is_numbered = True
    room: str
    user_count: int
    users: list[str]
    messages: list[NewMessage] | UnsetType = UNSET
    complete: bool


class RoomLeft(ServerEvent, frozen=True, kw_only=True):
    """The connection is not in the room any more; ``user_count`` are."""

    event = "room_left"
    room: str
    user_count: int


class UserJoined(ServerEvent, frozen=True, kw_only=True):
    """A user has come into the room, with the first of their connections."""

    event = "user_joined"
    if_slow = "dropped"
    room: str
    user: str
    user_count: int


class UserLeft(ServerEvent, frozen=True, kw_only=True):
    """A user has left the room, with the last of their connections."""

    event = "user_left"
    if_slow = "dropped"
    room: str
    user: str
    user_count: int


class Published(Struct, frozen=True, kw_only=True):
    """Acknowledgement of ``message``. ``duplicate``: it was kept before, sent with the same ``client_id``."""

    id: str
    seq: int
    timestamp: Timestamp
    duplicate: bool


class HistoryPage(Struct, frozen=True, kw_only=True):
    """Acknowledgement of ``get_history``: ascending by ``seq``; ``complete``: there is no more in that direction."""

    room: str
    messages: list[NewMessage]
    complete: bool


class ListedRoom(Struct, frozen=True, kw_only=True):
    """One of `RoomsPage`. ``last_seq``: of the newest message, 0 if there is none; that itself is for members.

    Of its text there are the first 200 characters.
    """

    room: str
    user_count: int
    is_member: bool
    last_seq: int
    last_message: NewMessage | UnsetType = UNSET


class RoomsPage(Struct, frozen=True, kw_only=True):
    """Acknowledgement of ``get_rooms``. ``complete``: there are no more; else ``after`` is for the next page."""

    rooms: list[ListedRoom]
    complete: bool
    after: str | UnsetType = UNSET
