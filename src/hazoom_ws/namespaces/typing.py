"""Typing indicators."""

from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.events.typing import Typing, UserTyping
from hazoom_ws.namespaces.features import OwnFeature, handles


class TypingFeature(OwnFeature):
    """Who types in a room."""

    name = "typing"
    events = (UserTyping,)

    @handles(Typing)
    def typing(self, clients: ClientSet, payload: Typing) -> None:
        """Tell the others in the room."""
        hub = self.parts.hub
        room = hub.resolve_room(payload.room)
        hub.type(clients.connection, room, is_typing=payload.is_typing, user_name=payload.user_name)
