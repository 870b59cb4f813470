"""Floods of connections and of events, from one address and from many, by one user and by many.

The server believes whom they say that they come from, as it would believe a proxy: all of 127.0.0.0/8 is trusted.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator

from hostile.attack import RATE_PER_S, Attack, Context
from hostile.wire import Closed, Line, TimeIsUp, WebSocket, frame, handshake

_TRUSTING = {"HAZOOM_TRUSTED_PROXIES": "127.0.0.0/8"}
_ADDRESS = "198.51.100.7"
# The server's limits as they come.
_ADDRESS_CONNECTIONS, _CONNECTS_PER_S, _CONNECTS_BURST = 1000, 50, 500
_ALL_CONNECTS_PER_S, _ALL_CONNECTS_BURST = 2000, 10_000
_USER_PER_S, _USER_BURST = 200, 400
_ADDRESS_PER_S, _ADDRESS_BURST = 1000, 2000
_TOLERANCE = 1.2
_THREADS = 4
_HELD_PER_THREAD = 600
_BATCH_COUNT = 40


def _addresses() -> Iterator[str]:
    """Yield addresses of IPv4 and of IPv6, each of which counts for itself."""
    for number in itertools.count():
        yield f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        yield f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1"


def connects(addresses: Callable[[], Iterator[str]], per_s: int, burst: int, *, joins: bool) -> Callable[[Context], None]:
    """Open WebSockets as fast as it goes, hold some hundreds, and let the oldest go for new ones."""

    def attack(context: Context) -> None:
        source, lock = addresses(), threading.Lock()

        def act(context: Context) -> None:
            held: list[Line] = []
            try:
                while not context.is_over():
                    with lock:
                        address = next(source)
                    line = context.line(keeps=True)
                    held.append(line)
                    line.send(handshake(address))
                    if joins:
                        line.send(frame("40"))
                    _take_status(context, line)
                    if len(held) > _HELD_PER_THREAD:
                        held.pop(0).close()
            finally:
                for line in held:
                    line.close()

        context.repeat(act, threads=_THREADS)
        seconds = time.monotonic() - context.started_s
        if context.counts["let_in"] > (burst + per_s * seconds) * _TOLERANCE:
            context.broken.append(f"{context.counts['let_in']} handshakes in {seconds:.1f} s")

    return attack


def _take_status(context: Context, line: Line) -> None:
    """Count whether a handshake was answered with 101 or with 429. Raises `Closed` for anything else."""
    while b"\r\n" not in line.received:
        line.read(1.0)
        if context.is_over():
            raise TimeIsUp
    status = bytes(line.received[9:12])
    if status == b"101":
        context.counts["let_in"] += 1
    elif status == b"429":
        context.counts["refused"] += 1
        if b"\r\nRetry-After: " not in line.received:
            context.broken.append("a 429 that does not say when to come again")
        line.close()
    else:
        raise Closed(f"status {status!r}")
    line.keeps = False
    line.received.clear()


def full_house(context: Context) -> None:
    """Hold as many connections from one address as are let in, and try for more."""
    held: list[WebSocket] = []

    def act(context: Context) -> None:
        websocket = context.websocket(forwarded_for=_ADDRESS)
        held.append(websocket)
        websocket.keeps = False
        context.counts["let_in"] += 1
        if len(held) > _ADDRESS_CONNECTIONS:
            context.broken.append(f"{len(held)} connections from one address")

    try:
        context.repeat(act, threads=_THREADS)
    finally:
        for websocket in held:
            websocket.close()


def events(
    packet: str, *, clients: int, per_s: int, burst: int, auth: str = "", one_address: bool = False, room: str = "flooded"
) -> Callable[[Context], None]:
    """Send an event with an acknowledgement from so many clients as fast as each of them may, and count what is allowed.

    They are by one user (``auth``) from many addresses, or whoever they are from one.
    """

    def attack(context: Context) -> None:
        source, lock = _addresses(), threading.Lock()
        allowed = [0]

        def act(context: Context) -> None:
            with lock:
                address = _ADDRESS if one_address else next(source)
            websocket = context.websocket(auth=auth, forwarded_for=address)
            try:
                websocket.send(frame(f"42{json.dumps(['join_room', {'room': room}])}"))
                for number in itertools.count():
                    websocket.send(frame(packet.replace("42", f"42{number}", 1)))
                    context.counts["sent"] += 1
                    websocket.stay(time.monotonic() + 1 / RATE_PER_S)
                    done = websocket.received.count(b'{"ok":true')
                    context.counts["refused"] += websocket.received.count(b'"rate_limited"')
                    websocket.received.clear()
                    with lock:
                        allowed[0] += done
            finally:
                websocket.close()

        context.repeat(act, threads=clients)
        seconds = time.monotonic() - context.started_s
        context.counts["allowed"] = allowed[0]
        if allowed[0] > (burst + per_s * seconds) * _TOLERANCE:
            context.broken.append(f"{allowed[0]} events in {seconds:.1f} s")
        if not context.counts["refused"] and context.counts["sent"] > (burst + per_s * seconds) * _TOLERANCE:
            context.broken.append("nothing was refused")

    return attack


def boards(context: Context) -> None:
    """Crowd one board of Excalidraw from one address: who comes is told to all who are there."""
    number = itertools.count()

    def start(context: Context) -> Line:
        websocket = context.websocket(joins=False, forwarded_for=_ADDRESS)
        websocket.say("40/excalidraw,")
        return websocket

    def script() -> Iterator[bytes | float]:
        yield 1.0
        for _ in range(7):
            yield frame('42/excalidraw,["join-room","crowded"]')
            yield 0.5
            yield frame(f'42/excalidraw,["join-room","b{next(number)}"]')
            yield 0.5
        yield frame("41/excalidraw,")

    context.flood(400, start, script)


def _one_address() -> Iterator[str]:
    return itertools.repeat(_ADDRESS)


_MESSAGE = '42["message",{"room":"flooded","message":"x"}]'
_TYPING = '42["typing",{"room":"flooded"}]'
_RELAY = '42["relay",{"room":"flooded","channel":"c","key":"k","data":1}]'

ATTACKS = (
    Attack(
        "connects-address",
        "22",
        "handshakes from one address",
        connects(_one_address, _CONNECTS_PER_S, _CONNECTS_BURST, joins=False),
        variables=_TRUSTING,
    ),
    Attack(
        "connects-addresses",
        "22",
        "handshakes from as many addresses as it goes",
        connects(_addresses, _ALL_CONNECTS_PER_S, _ALL_CONNECTS_BURST, joins=False),
        variables=_TRUSTING,
    ),
    Attack(
        "connects-joining",
        "22",
        "the same, each with a CONNECT",
        connects(_addresses, _ALL_CONNECTS_PER_S, _ALL_CONNECTS_BURST, joins=True),
        variables=_TRUSTING,
    ),
    Attack(
        "connects-total",
        "22",
        "the same, where all together may make 100 a second",
        connects(_addresses, 100, 200, joins=True),
        variables=_TRUSTING
        | {"HAZOOM_CONNECT_TOTAL_RATE_LIMIT_PER_S": "100", "HAZOOM_CONNECT_TOTAL_RATE_LIMIT_BURST_COUNT": "200"},
    ),
    Attack("full-house", "22", "one address that holds all the connections it is given", full_house, variables=_TRUSTING),
    Attack(
        "events-user",
        "23",
        "one user's 60 tabs from 60 addresses that say all they may",
        events(_MESSAGE, clients=60, per_s=_USER_PER_S, burst=_USER_BURST, auth='{"user_name":"Eve"}'),
        variables=_TRUSTING,
    ),
    Attack(
        "events-address",
        "23",
        "60 guests from one address that say all they may",
        events(_TYPING, clients=60, per_s=_ADDRESS_PER_S, burst=_ADDRESS_BURST, one_address=True),
        variables=_TRUSTING,
    ),
    Attack(
        "relay-user",
        "23",
        "one user's 60 tabs that relay all they may",
        events(_RELAY, clients=60, per_s=_USER_PER_S * 12 // 5, burst=_USER_BURST * 12 // 5, auth='{"user_name":"Eve"}'),
        variables=_TRUSTING,
    ),
    Attack("boards", "24", "400 clients from one address that come and go on one board", boards, variables=_TRUSTING),
)
