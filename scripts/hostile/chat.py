"""Attacks by what chat allows: rooms of long names, long messages, sessions that may come back, statistics, limits."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

from hostile.attack import BURST_COUNT, RATE_PER_S, Attack, Context
from hostile.wire import Closed, Line, TimeIsUp, WebSocket, frame

_READER_ADDRESS = "127.0.0.3"
_READER_BYTES_PER_S = 1_250_000  # 10 Mbit/s
_READER_BUFFER_BYTES = 65_536
_TICK_S = 0.01


def long_name(name: str) -> str:
    """Return the longest name of a room that there is: 128 characters of four bytes, and of twelve in ASCII's JSON."""
    return name.ljust(128, "😀")


def _join(number: int | str, room: str, **fields: int) -> bytes:
    return frame(f"42{number}{json.dumps(['join_room', {'room': room, **fields}], ensure_ascii=False)}")


def _enter_rooms(context: Context, websocket: WebSocket, rooms: list[str]) -> None:
    """Join rooms at the rate that is allowed."""
    for number, room in enumerate(rooms):
        websocket.send(_join(number, room, history=0))
        if number >= BURST_COUNT - 10:
            context.pause(1.1 / RATE_PER_S)
    websocket.wait_for(f"43{len(rooms) - 1}[")


def rejoin(context: Context) -> None:
    """Join one of 120 rooms of long names again and again, on 20 connections, as often as is allowed."""

    def act(context: Context) -> None:
        websocket = context.websocket()
        try:
            rooms = [long_name(f"{number}-") for number in range(120)]
            _enter_rooms(context, websocket, rooms)
            packet = _join("", rooms[0], history=0)
            while True:
                websocket.send(packet)
                context.counts["joins"] += 1
                websocket.stay(time.monotonic() + 1.05 / RATE_PER_S)
                websocket.received.clear()
        finally:
            websocket.close()

    context.repeat(act, threads=20)


def away(context: Context) -> None:
    """Leave as many sessions behind as possible, each in 98 rooms of long names."""

    def act(context: Context) -> None:
        websocket = context.websocket()
        number = context.counts["sessions"] = context.counts["sessions"] + 1
        rooms = [long_name(f"{number}-{index}-") for index in range(98)]
        try:
            websocket.send(b"".join(_join(index, room, history=0) for index, room in enumerate(rooms)))
            websocket.wait_for("4397[")
        finally:
            websocket.reset()

    context.repeat(act, threads=4)


def slow_readers(context: Context) -> None:
    """Flood ``general`` within the rate limit, with 20 readers there on lines of 10 Mbit/s: who of them is closed?"""
    with ExitStack() as stack:
        readers: list[Line] = []
        for number in range(20):
            reader = WebSocket(
                context.port,
                context.ends_at_s,
                auth=f'{{"user_name":"Reader {number}"}}',
                source=_READER_ADDRESS,
                receive_buffer_bytes=_READER_BUFFER_BYTES,
            )
            stack.callback(reader.close)
            reader.keeps = False
            readers.append(reader)
        closed: list[int] = []
        ending = threading.Event()
        reading = threading.Thread(target=_read_slowly, args=(readers, closed, ending))
        reading.start()
        try:
            context.repeat(_shout)
        finally:
            ending.set()
            reading.join()
    context.counts["readers_closed"] = len(closed)
    if closed:
        context.broken.append(f"{len(closed)} of {len(readers)} readers on 10 Mbit/s were closed")


def _shout(context: Context) -> None:
    websocket = context.websocket()
    packet = frame(f'42["message",{{"message":"{"x" * 65_000}"}}]')
    websocket.keeps = False
    try:
        for number in range(1 << 60):
            websocket.send(packet)
            context.counts["messages"] += 1
            if number >= 95:
                websocket.stay(time.monotonic() + 1 / 47)
    finally:
        websocket.close()


def _read_slowly(readers: list[Line], closed: list[int], ending: threading.Event) -> None:
    open_readers = dict(enumerate(readers))
    while not ending.wait(_TICK_S):
        for number, reader in list(open_readers.items()):
            try:
                reader.take(int(_READER_BYTES_PER_S * _TICK_S))
            except Closed:
                del open_readers[number]
                closed.append(number)


def fresh_limits(context: Context) -> None:
    """Leave ``/`` and come back on the same Engine.IO session: does the bucket start anew?"""
    allowed = refused = 0

    def act(context: Context) -> None:
        nonlocal allowed, refused
        websocket = context.websocket()
        burst = b"".join(frame(f'42{number}["leave_room",{{"room":"none"}}]') for number in range(BURST_COUNT))
        try:
            for _ in range(20_000):
                websocket.send(burst)
                left = BURST_COUNT
                while left:
                    replies = [text for text in websocket.texts() if text.startswith("43")]
                    left -= len(replies)
                    refused_now = sum("rate_limited" in reply for reply in replies)
                    refused += refused_now
                    allowed += len(replies) - refused_now
                    if left:
                        websocket.read(0.5)
                websocket.say("41")
                websocket.say("40")
                websocket.wait_for("40{")
        finally:
            websocket.close()

    context.repeat(act)
    context.counts["allowed"], context.counts["refused"] = allowed, refused
    context.expect_at_most(allowed, "events were allowed")


def join_burst(context: Context) -> None:
    """Be an honest client that joins 6 rooms of messages of 60 KB in one burst: is it closed as slow?"""
    rooms = [f"archive-{number}" for number in range(6)]
    _write(context, rooms, "😀" * 15_000, messages=18)

    def act(context: Context) -> None:
        honest = context.websocket()
        try:
            honest.send(b"".join(_join(number, room) for number, room in enumerate(rooms)))
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
                _enter_rooms(context, owner, names)
            context.flood(clients, lambda context: context.websocket(), lambda: _paced(frame(packet), begins, burst))

    return attack


def _write(context: Context, rooms: list[str], text: str, *, messages: int) -> None:
    """Write so many messages into each room, from as many connections as their budgets take."""
    for room in rooms:
        packet = json.dumps(["message", {"room": room, "message": text}], ensure_ascii=False)
        left = messages
        while left > 0:
            writer = context.websocket()
            writer.send(_join(0, room, history=0))
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
    Attack("rejoin", "10", "20 clients in 120 rooms of long names join one again and again", rejoin),
    Attack("away", "11", "sessions in 98 rooms of long names drop, again and again", away),
    Attack("slow-readers", "15", "65,000 bytes 95 times, then 47/s, to 20 readers on 10 Mbit/s", slow_readers),
    Attack("fresh-limits", "16", "leave / and come back on one session for a new bucket", fresh_limits),
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
