"""Attacks by asking again and again for what is long: pages of history, rooms of long messages, all statistics."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

from hostile.attack import BURST_COUNT, RATE_PER_S, Attack, Context
from hostile.rooms import enter_rooms, join
from hostile.wire import Closed, TimeIsUp, frame


def join_burst(context: Context) -> None:
    """Be an honest client that joins 6 rooms of messages of 60 KB in one burst: is it closed as slow?"""
    rooms = [f"archive-{number}" for number in range(6)]
    _write(context, rooms, "😀" * 15_000, messages=18)

    def act(context: Context) -> None:
        honest = context.websocket()
        try:
            honest.send(b"".join(join(number, room) for number, room in enumerate(rooms)))
            seen = 0
            while seen < len(rooms):
                seen += sum(text.startswith("43") for text in honest.texts())
                honest.read(0.5)
            context.counts["honest_bursts"] += 1
        except Closed:
            context.counts["honest_closed"] += 1
            raise
        finally:
            honest.close()
        context.pause(0.2)

    context.repeat(act)
    if context.counts["honest_closed"]:
        context.broken.append(f"an honest client was closed {context.counts['honest_closed']} times")


def asked(
    packet: str, *, clients: int, rooms: int = 0, begins: str = "", heavy: bool = False, burst: int = BURST_COUNT - 10
) -> Callable[[Context], None]:
    """Send an event from so many clients as often as is allowed, after ``begins`` if that is a packet.

    ``burst``: how many at first, fewer where the answers of a burst are more than an outbox holds. ``rooms``: so many more
    rooms of long names are there. ``heavy``: the room of that name has 60 messages of 64 KB.
    """

    def attack(context: Context) -> None:
        if heavy:
            _write(context, ["heavy"], "x" * 65_000, messages=60)
        with ExitStack() as stack, suppress(Closed, TimeIsUp):
            for first in range(0, rooms, 90):
                owner = context.websocket()
                stack.callback(owner.close)
                names = [f"{number}-".ljust(128, "x") for number in range(first, min(rooms, first + 90))]
                enter_rooms(context, owner, names)
            context.flood(clients, lambda context: context.websocket(), lambda: _paced(frame(packet), begins, burst))

    return attack


def _write(context: Context, rooms: list[str], text: str, *, messages: int) -> None:
    """Write so many messages into each room, from as many connections as their budgets take."""
    for room in rooms:
        packet = json.dumps(["message", {"room": room, "message": text}], ensure_ascii=False)
        left = messages
        while left > 0:
            writer = context.websocket()
            writer.send(join(0, room, history=0))
            writer.send(b"".join(frame(f"42{number}{packet}") for number in range(1, 4)))
            with suppress(Closed):
                writer.wait_for("433[")
            writer.close()
            left -= 3


def _paced(packet: bytes, begins: str, burst: int) -> Iterator[bytes | float]:
    if begins:
        yield frame(begins)
    yield packet * burst
    while True:
        yield 1.05 / RATE_PER_S
        yield packet


ATTACKS = (
    Attack("join-burst", "18", "an honest client joins 6 rooms of messages of 60 KB in one burst", join_burst),
    Attack(
        "stats-rooms",
        "19",
        "30 clients ask get_stats of 1,000 rooms of long names",
        asked('427["get_stats"]', clients=30, rooms=1000, burst=2),
    ),
    Attack("stats", "19+", "30 clients ask get_stats", asked('427["get_stats"]', clients=30)),
    Attack(
        "history",
        "18+",
        "8 clients ask for pages of 64 KB messages",
        asked(
            '427["get_history",{"room":"heavy","limit":500}]',
            clients=8,
            begins='42["join_room",{"room":"heavy","history":0}]',
            heavy=True,
        ),
    ),
    Attack(
        "join-heavy",
        "18+",
        "8 clients join a room of 64 KB messages again and again",
        asked('427["join_room",{"room":"heavy","history":500}]', clients=8, heavy=True),
    ),
)
