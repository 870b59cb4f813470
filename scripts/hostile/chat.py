"""Attacks by what chat allows: rooms of long names, long messages, sessions that may come back, fresh limits."""

import threading
import time
from contextlib import ExitStack

from hostile.attack import BURST_COUNT, RATE_PER_S, Attack, Context
from hostile.rooms import enter_rooms, join, long_name
from hostile.wire import Closed, Line, WebSocket, frame

_READER_ADDRESS = "127.0.0.3"
_READER_BYTES_PER_S = 1_250_000  # 10 Mbit/s
_READER_BUFFER_BYTES = 65_536
_TICK_S = 0.01


def rejoin(context: Context) -> None:
    """Join one of 120 rooms of long names again and again, on 20 connections, as often as is allowed."""

    def act(context: Context) -> None:
        websocket = context.websocket()
        try:
            rooms = [long_name(f"{number}-") for number in range(120)]
            enter_rooms(context, websocket, rooms)
            packet = join("", rooms[0], history=0)
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
            websocket.send(b"".join(join(index, room, history=0) for index, room in enumerate(rooms)))
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


ATTACKS = (
    Attack("rejoin", "10", "20 clients in 120 rooms of long names join one again and again", rejoin),
    Attack("away", "11", "sessions in 98 rooms of long names drop, again and again", away),
    Attack("slow-readers", "15", "65,000 bytes 95 times, then 47/s, to 20 readers on 10 Mbit/s", slow_readers),
    Attack("fresh-limits", "16", "leave / and come back on one session for a new bucket", fresh_limits),
)
