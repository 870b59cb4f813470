"""Cheering: everybody in a room hears it, and the one who is cheered on each connection."""

from hazoom_ws.features import ClientPayload, Feature, Sender, ServerEvent, handles


class Cheer(ClientPayload, frozen=True):
    event = "cheer"
    room: str


class Cheered(ServerEvent, frozen=True):
    event = "cheered"
    room: str
    by: str


class Thanks(ServerEvent, frozen=True):
    event = "thanks"


class Cheering(Feature):
    name = "cheering"
    events = (Cheered, Thanks)

    @handles(Cheer)
    def cheer(self, sender: Sender, payload: Cheer) -> None:
        room = self.chat.room_of(sender, payload.room)
        self.chat.broadcast(room, Cheered(room=room, by=sender.user.name), skip=[sender])
        self.chat.push_user(sender.user, Thanks())
