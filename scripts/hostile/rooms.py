"""How attackers enter rooms: with the longest names that there are, as fast as the rate allows."""

import json

from hostile.attack import BURST_COUNT, RATE_PER_S, Context
from hostile.wire import WebSocket, frame


def long_name(name: str) -> str:
    """Return the longest name of a room that there is: 128 characters of four bytes, and of twelve in ASCII's JSON."""
    return name.ljust(128, "😀")


def join(number: int | str, room: str, **fields: int) -> bytes:
    return frame(f"42{number}{json.dumps(['join_room', {'room': room, **fields}], ensure_ascii=False)}")


def enter_rooms(context: Context, websocket: WebSocket, rooms: list[str]) -> None:
    """Join rooms at the rate that is allowed."""
    for number, room in enumerate(rooms):
        websocket.send(join(number, room, history=0))
        if number >= BURST_COUNT - 10:
            context.pause(1.1 / RATE_PER_S)
    websocket.wait_for(f"43{len(rooms) - 1}[")
