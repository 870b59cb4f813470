"""Rooms: joining, leaving, talking, reading what was said."""

from msgspec import UNSET, UnsetType

from hazoom_ws import schemas
from hazoom_ws.namespaces.base import FeatureNamespace, handles
from hazoom_ws.namespaces.delivery import Link


class RoomsNamespace(FeatureNamespace):
    @handles(schemas.JoinRoom)
    def join_room(self, link: Link, payload: schemas.JoinRoom) -> schemas.RoomJoined:
        hub, connection = self.parts.hub, link.connection
        room = hub.resolve_room(payload.room)
        joined = hub.join(connection, room, since=_or_none(payload.since), history=payload.history)
        self.parts.answers.show(connection, room)
        return joined

    @handles(schemas.LeaveRoom)
    def leave_room(self, link: Link, payload: schemas.LeaveRoom) -> schemas.RoomLeft:
        hub = self.parts.hub
        return hub.leave(link.connection, hub.resolve_room(payload.room))

    @handles(schemas.SendMessage)
    def message(self, link: Link, payload: schemas.SendMessage) -> schemas.Published:
        hub = self.parts.hub
        return hub.publish(
            link.connection,
            hub.resolve_room(payload.room),
            payload.message,
            user_name=payload.user_name,
            client_id=payload.client_id,
        )

    @handles(schemas.GetHistory)
    def get_history(self, link: Link, payload: schemas.GetHistory) -> schemas.HistoryPage:
        hub = self.parts.hub
        return hub.history(
            link.connection,
            hub.resolve_room(payload.room),
            before=_or_none(payload.before),
            after=_or_none(payload.after),
            limit=payload.limit,
        )


def _or_none(seq: int | UnsetType) -> int | None:
    return None if seq is UNSET else seq
