"""Attacks by an AI backend that never comes to an end, and on the places that the AI has."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

from hostile.attack import Attack, Context
from hostile.wire import Closed, TimeIsUp, WebSocket

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_TOKEN = b'event: token\ndata: {"token": "a"}\n\n'
_GUESTS = 690
_PATIENCE_S = 2.0
_BETWEEN_S = 0.05
# Loopback is never limited by its address: these two stand behind a proxy, which the server is told to trust.
_PROXIED = {
    "HAZOOM_TRUSTED_PROXIES": "127.0.0.0/8",
    # What the address may do is not what is attacked here.
    "HAZOOM_CONNECT_RATE_LIMIT_BURST_COUNT": "1000",
    "HAZOOM_ADDRESS_RATE_LIMIT_BURST_COUNT": "10000",
}
_GUESTS_ADDRESS, _HONEST_ADDRESS = "203.0.113.2", "203.0.113.3"  # of RFC 5737: nobody's


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def serve(context: Context, answer: Callable[[], Iterator[bytes]]) -> None:
    """Play the backend in threads: ``answer`` yields what each request gets; nothing follows its end, and nobody closes."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = context.backend.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            request = b""
            while not request.endswith(b"}"):
                received = connection.recv(65_536)
                if not received:
                    return
                request += received
            context.counts["asked"] += 1
            for data in answer():
                connection.sendall(data)
                context.counts["backend_mb"] = context.counts["backend_bytes"] // 1_000_000
                context.counts["backend_bytes"] += len(data)
            while connection.recv(65_536):
                pass

    threading.stack_size(262_144)
    threading.Thread(target=accept, daemon=True).start()


def endless(begins: bytes, repeats: bytes) -> Callable[[Context], None]:
    """Return an attack of one client whose question gets ``begins`` and then ``repeats`` for ever; it asks again."""

    def answer() -> Iterator[bytes]:
        yield begins
        while True:
            yield repeats

    def attack(context: Context) -> None:
        serve(context, answer)

        def act(context: Context) -> None:
            websocket = context.websocket()
            try:
                while True:
                    websocket.say('42["llm_request",{"message":"?"}]')
                    websocket.stay(time.monotonic() + 0.5)
                    websocket.received.clear()
            finally:
                websocket.close()

        context.repeat(act)

    return attack


def take_all_places(context: Context) -> None:
    """Ask three questions as each of 690 guests from one address; then somebody from another address asks."""

    def answer() -> Iterator[bytes]:
        yield _CHUNKED + _chunk(_TOKEN)

    serve(context, answer)
    served = waited = 0
    with ExitStack() as stack, suppress(TimeIsUp):
        for _ in range(_GUESTS):
            with suppress(Closed):
                guest = context.websocket(forwarded_for=_GUESTS_ADDRESS)
                stack.callback(guest.close)
                for _ in range(3):
                    guest.say('42["llm_request",{"message":"?"}]')
                context.counts["guests"] += 1
        end_s = context.ends_at_s = max(context.ends_at_s, time.monotonic() + 2 * _PATIENCE_S)
        while time.monotonic() < end_s:
            waited += 1
            served += _is_served(context, f"honest-{waited}")
            time.sleep(_BETWEEN_S)
    context.counts["honest_asked"], context.counts["honest_served"] = waited, served
    if served < waited or not waited:
        context.broken.append(f"the AI served {served} of {waited} questions from another address")


def _is_served(context: Context, request_id: str) -> bool:
    """Return whether somebody from another address gets a token in time; the place is given back then."""
    honest = WebSocket(context.port, time.monotonic() + _PATIENCE_S, forwarded_for=_HONEST_ADDRESS)
    try:
        honest.say(f'427["llm_request",{{"message":"?","request_id":"{request_id}"}}]')
        honest.wait_for('42["llm_token"')
        honest.say(f'428["llm_cancel",{{"request_id":"{request_id}"}}]')
        honest.wait_for('42["llm_complete"')
    except (Closed, TimeIsUp):
        return False
    finally:
        honest.close()
    return True


_HTTP = {"has_backend": True}
ATTACKS = (
    Attack(
        "backend-100",
        "2",
        "a backend that sends 100 Continue without end",
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 400),
        **_HTTP,
    ),
    Attack("backend-head", "2+", "a backend whose head never ends", endless(_HEAD, b"X-A: b\r\n" * 400), **_HTTP),
    Attack(
        "backend-line", "2+", "a backend whose status line never ends", endless(b"HTTP/1.1 200 ", b"x" * 16_384), **_HTTP
    ),
    Attack(
        "backend-extension",
        "2+",
        "a backend's chunk extension without end",
        endless(_CHUNKED + b"5;", b"x" * 16_384),
        **_HTTP,
    ),
    Attack(
        "backend-trailers",
        "2+",
        "a backend's trailers without end",
        endless(_CHUNKED + _chunk(_TOKEN) + b"0\r\n", b"X-A: b\r\n" * 400),
        **_HTTP,
    ),
    Attack("backend-bytes", "2+", "a backend's chunks of a byte", endless(_CHUNKED, _chunk(b":") * 3000), **_HTTP),
    Attack(
        "backend-blank", "2+", "a backend's blank lines without end", endless(_CHUNKED, _chunk(b"\n" * 16_000)), **_HTTP
    ),
    Attack("backend-comment", "2+", "a backend's comment without end", endless(_CHUNKED, _chunk(b":" * 16_000)), **_HTTP),
    Attack("backend-tokens", "2+", "a backend's tokens without end", endless(_CHUNKED, _chunk(_TOKEN * 400)), **_HTTP),
    Attack(
        "ai-places",
        "16",
        "690 guests of one address take every place of the AI",
        take_all_places,
        has_backend=True,
        variables=_PROXIED,
    ),
)
