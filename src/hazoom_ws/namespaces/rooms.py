"""Rooms: joining, leaving, talking, reading what was said."""

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.errors import TooMuchHistory
from hazoom_ws.events.rooms import (
    GetHistory,
    GetRooms,
    HistoryPage,
    JoinRoom,
    LeaveRoom,
    ListedRoom,
    NewMessage,
    Published,
    RoomJoined,
    RoomLeft,
    RoomsPage,
    SendMessage,
    UserJoined,
    UserLeft,
)
from hazoom_ws.message_log.contract import PAGE_LIMIT_BYTES, NotLoaded, loading_all
from hazoom_ws.names import composed
from hazoom_ws.namespaces.features import OwnFeature, handles
from hazoom_ws.namespaces.replies import WhenKept, fields_of, published, when_kept

_SHOWN_CHARS = 200  # of the last message of a room, in a list of rooms


class RoomsFeature(OwnFeature):
    """Rooms: who is in them, what is said and was said."""

    name = "rooms"
    events = (NewMessage, RoomJoined, RoomLeft, UserJoined, UserLeft)

    @handles(JoinRoom)
    def join_room(self, clients: ClientSet, payload: JoinRoom) -> RoomJoined:
        """Put the sender into a room, and reply who is there and what was said."""
        hub, connection = self.parts.hub, clients.connection
        room = hub.resolve_room(payload.room)
        joined = hub.join(
            connection,
            room,
            since=_or_none(payload.since),
            history=payload.history,
            limit_bytes=self._page_limit_bytes(clients),
            shows_page=not clients.gets_reply,
        )
        self._note_page(clients, joined.messages)
        self.parts.answers.push_snapshots(connection, room)
        self.parts.relay.enter(connection, room)
        return joined

    @handles(LeaveRoom)
    def leave_room(self, clients: ClientSet, payload: LeaveRoom) -> RoomLeft:
        """Take the sender out of a room, and reply how many are left."""
        hub = self.parts.hub
        return hub.leave(clients.connection, hub.resolve_room(payload.room))

    @handles(SendMessage, acknowledged_with=Published)
    def message(self, clients: ClientSet, payload: SendMessage) -> WhenKept:
        """Say something in a room; the reply comes when it is kept."""
        hub = self.parts.hub
        said = hub.publish(
            clients.connection,
            hub.resolve_room(payload.room),
            payload.message,
            user_name=payload.user_name,
            client_id=payload.client_id,
        )
        return when_kept(said.entry, lambda: fields_of(published(said)))

    @handles(GetHistory)
    def get_history(self, clients: ClientSet, payload: GetHistory) -> HistoryPage:
        """Reply with a page of what was said in a room. Raises `TooMuchHistory` while too many are on their way."""
        hub, limit_bytes = self.parts.hub, self._page_limit_bytes(clients)
        if not limit_bytes:
            raise TooMuchHistory(self.parts.settings.outbox_limit_bytes // 2)
        page = hub.history(
            clients.connection,
            hub.resolve_room(payload.room),
            before=_or_none(payload.before),
            after=_or_none(payload.after),
            limit=payload.limit,
            limit_bytes=limit_bytes,
        )
        self._note_page(clients, page.messages)
        return page

    @handles(GetRooms)
    def get_rooms(self, clients: ClientSet, payload: GetRooms) -> RoomsPage:
        """Reply with a page of the rooms that there are for the sender. Raises `TooMuchHistory`, as `get_history`."""
        if not self._page_limit_bytes(clients):
            raise TooMuchHistory(self.parts.settings.outbox_limit_bytes // 2)
        begin = None if payload.after is UNSET else composed(payload.after)
        names, after = self.parts.hub.rooms.listed(clients.connection, composed(payload.prefix), begin, payload.limit)
        self._require_loaded(names)
        rooms = [self._listed(clients, name) for name in names]
        self._note_page(clients, [room.last_message for room in rooms if room.last_message is not UNSET])
        return RoomsPage(rooms=rooms, complete=after is None, after=UNSET if after is None else after)

    def _require_loaded(self, rooms: list[str]) -> None:
        """Raise `NotLoaded` for all at once of which the last message is not in memory."""
        log, missing = self.parts.log, []
        for room in rooms if log.reads_beside else ():
            try:
                log.read(room, limit=1, newest=True, limit_bytes=1)
            except NotLoaded as error:
                missing.append(error)
        if missing:
            raise loading_all(missing)

    def _listed(self, clients: ClientSet, room: str) -> ListedRoom:
        is_member = room in clients.connection.rooms
        last = self.parts.log.read(room, limit=1, newest=True, limit_bytes=1).messages
        shown = [replace(entry, message=entry.message[:_SHOWN_CHARS]) for entry in last if is_member]
        return ListedRoom(
            room=room,
            user_count=self.parts.hub.rooms.user_count(room),
            is_member=is_member,
            last_seq=last[0].seq if last else 0,
            last_message=shown[0] if shown else UNSET,
        )

    def _page_limit_bytes(self, clients: ClientSet) -> int:
        return min(PAGE_LIMIT_BYTES, self.parts.delivery.page_limit_bytes(clients))

    def _note_page(self, clients: ClientSet, messages: list[NewMessage] | UnsetType) -> None:
        if messages is not UNSET and messages:
            self.parts.delivery.note_page(clients, messages)


def _or_none(seq: int | UnsetType) -> int | None:
    return None if seq is UNSET else seq
