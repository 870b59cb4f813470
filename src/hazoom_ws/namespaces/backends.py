"""What a backend may say and read in a room by HTTP, with the same results, limits and errors as a client's events.

Who may call it, and what HTTP makes of it: `hazoom_ws.web.backends`. Called from a request of Flask's, outside of turns;
nobody has to be in the room.
"""

from collections.abc import Mapping
from typing import Any

from hazoom_ws.errors import BadPayload
from hazoom_ws.events.parsing import parse, room_name
from hazoom_ws.events.rooms import GetHistory, HistoryPage, Published
from hazoom_ws.namespaces.application import FromApplication
from hazoom_ws.settings import Settings
from hazoom_ws.transport.socketio.packet import read_json

_NUMBER_DIGITS = 20  # more than a seq may have
_PAGE_FIELDS = ("before", "after", "limit")


class Backends:
    """One application's rooms, for its backends."""

    def __init__(self, settings: Settings, outside: FromApplication) -> None:
        self.settings = settings
        self._outside = outside

    def post(self, room: str, body: str) -> Published:
        """Say in ``room`` what ``body`` is, JSON as of the event ``message``; return when it is kept.

        Raises `BadPayload`, `TooLarge`, `LogUnavailable`.
        """
        payload = read_json(body, self.settings.event_limit_bytes)
        if not isinstance(payload, dict):
            raise BadPayload("payload", "expected a JSON object")
        fields: dict[str, Any] = {name: payload.get(name) for name in ("message", "user_name", "client_id")}
        return self._outside.publish(room, **fields)

    def history(self, room: str, query: Mapping[str, str]) -> HistoryPage:
        """Return a page of what was said in ``room``, as the event ``get_history`` does. Raises `BadPayload`."""
        asked = {name: _number(query[name]) for name in _PAGE_FIELDS if name in query}
        name = room_name(room, self.settings, field="room")
        return self._outside.history(parse(GetHistory, {**asked, "room": name}, self.settings))


def _number(text: str) -> int | str:
    """Return the number that a text is, or the text, which is then refused as any other field of a wrong type."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _NUMBER_DIGITS else text
