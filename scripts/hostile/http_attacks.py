"""Attacks by HTTP: pipelines, bodies that nobody asked for, heads and bodies that never end, framing that is ambiguous."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from hostile.attack import Attack, Context, many
from hostile.wire import Closed, begun_frame

_PAGE = b"GET / HTTP/1.1\r\nHost:a\r\n\r\n"
_HALF_BYTES = 999_000
_CHUNK = b"100000\r\n" + b"x" * 1_048_576 + b"\r\n"


def _head(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, "Host: 127.0.0.1", *headers, "", ""]).encode()


_CHUNKED_POST = _head("POST /health HTTP/1.1", "Transfer-Encoding: chunked")


def lines(count: int, begins: bytes, repeats: bytes, *, pause_s: float = 0.0) -> Callable[[Context], None]:
    """Send ``begins`` and then ``repeats`` for ever on ``count`` connections; each pause is ``pause_s``."""

    def script() -> Iterator[bytes | float]:
        if begins:
            yield begins
        yield from many(repeats, pause_s=pause_s)()

    return lambda context: context.flood(count, lambda context: context.line(), script)


def half_frames(context: Context) -> None:
    """Hold 400 WebSockets, each with 1 MB of a message that is not whole."""

    def script() -> Iterator[bytes | float]:
        yield begun_frame(1_000_000, _HALF_BYTES)

    context.flood(400, lambda context: context.websocket(joins=False), script)


def half_posts(context: Context) -> None:
    """Hold 200 sessions, each with 1 MB of a POST that is not whole."""

    def act(context: Context) -> None:
        held = []
        try:
            while len(held) < 200:
                path = context.polling(joins=False).path
                line = context.line()
                held.append(line)
                line.send(_head(f"POST {path} HTTP/1.1", "Content-Length: 1000000") + b"4" * _HALF_BYTES)
            context.counts["held"] = len(held)
            context.stay()
        finally:
            for line in held:
                line.close()

    context.repeat(act)


def half_requests(context: Context) -> None:
    """Hold 1,100 connections that have not finished a request line."""

    def script() -> Iterator[bytes | float]:
        yield b"GET /soc"

    context.flood(1100, lambda context: context.line(), script)


def _smuggled(*headers: str, body: bytes = b"", host: str = "Host: 127.0.0.1") -> bytes:
    """Return a request whose body is a second request to those who read its framing differently."""
    lines = ["GET /health HTTP/1.1", *([host] if host else []), *headers, "", ""]
    return "\r\n".join(lines).encode() + body


_SECOND = b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_LENGTH = f"Content-Length: {len(_SECOND)}"
_FRAMINGS = {
    "two lengths": _smuggled("Content-Length: 0", _LENGTH, body=_SECOND),
    "two lengths, the other way round": _smuggled(_LENGTH, "Content-Length: 0", body=_SECOND),
    "a blank before the colon": _smuggled(f"Content-Length : {len(_SECOND)}", body=_SECOND),
    "gzip, chunked": _smuggled("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n" + _SECOND),
    "length and chunked": _smuggled(_LENGTH, "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + _SECOND),
    "an unknown coding": _smuggled("Transfer-Encoding: xchunked", body=_SECOND),
    "a length with a sign": _smuggled(f"Content-Length: +{len(_SECOND)}", body=_SECOND),
    "a folded header": _smuggled("X-A: b", " Transfer-Encoding: chunked", body=_SECOND),
    "no Host": _smuggled(host=""),
}


def framing(context: Context) -> None:
    """Send what a proxy may read differently; each is to be answered with 400, and closed."""
    for name, request in _FRAMINGS.items():
        line = context.line(keeps=True)
        with suppress(Closed):
            line.send(request)
            line.stay(time.monotonic() + 0.3)
        line.close()
        statuses = [part[:3] for part in bytes(line.received).split(b"HTTP/1.1 ")[1:]]
        if statuses != [b"400"]:
            context.broken.append(f"{name}: {b', '.join(statuses).decode() or 'no answer'}")


ATTACKS = (
    Attack("pipeline", "2", "one socket that pipelines GET / and reads", lines(1, b"", _PAGE * 400)),
    Attack("pipeline-slow", "2", "the same at 100 KB/s", lines(1, b"", _PAGE * 39, pause_s=0.01)),
    Attack("pipeline-health", "2+", "the same with GET /health", lines(1, b"", _PAGE.replace(b"/ ", b"/health ", 1) * 400)),
    Attack(
        "pipeline-polling",
        "2+",
        "the same with polls of nobody",
        lines(1, b"", _head("GET /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1") * 400),
    ),
    Attack("pipeline-400", "2+", "400 sockets that pipeline GET /", lines(400, b"", _PAGE * 100)),
    Attack("body-chunked", "4", "POST /health with chunks without end", lines(1, _CHUNKED_POST, _CHUNK)),
    Attack(
        "body-length",
        "4",
        "POST /health with Content-Length: 99999999999",
        lines(1, _head("POST /health HTTP/1.1", "Content-Length: 99999999999"), b"x" * 262_144),
    ),
    Attack(
        "body-get",
        "4+",
        "GET / with chunks without end, 20 sockets",
        lines(20, _head("GET / HTTP/1.1", "Transfer-Encoding: chunked"), _CHUNK),
    ),
    Attack(
        "body-socketio",
        "4+",
        "POST to /socket.io/ of nobody with chunks without end",
        lines(4, _head("POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1", "Transfer-Encoding: chunked"), _CHUNK),
    ),
    Attack("chunk-extension", "4+", "a chunk extension without end", lines(4, _CHUNKED_POST + b"5;", b"x" * 65_536)),
    Attack("chunk-bytes", "4+", "chunks of a byte without end", lines(4, _CHUNKED_POST, b"1\r\nx\r\n" * 10_000)),
    Attack("trailers", "4+", "trailers without end", lines(4, _CHUNKED_POST + b"0\r\n", b"X-A: b\r\n" * 8000)),
    Attack(
        "body-trickle",
        "4+",
        "200 bodies of a byte each 50 ms",
        lines(200, _head("POST /health HTTP/1.1", "Content-Length: 99999"), b"x", pause_s=0.05),
    ),
    Attack("heads", "4+", "200 heads that never end", lines(200, _PAGE[:-2], b"X-A: b\r\n" * 1000)),
    Attack("request-lines", "4+", "50 request lines that never end", lines(50, b"GET /", b"x" * 65_536)),
    Attack("half-frames", "12", "400 WebSockets with half a message of 1 MB", half_frames),
    Attack("half-posts", "12", "200 half POSTs of 1 MB", half_posts),
    Attack("descriptors", "13", "1,100 half requests, 1,024 descriptors", half_requests, file_limit=1024),
    Attack("framing", "20", "HTTP that a proxy reads differently", framing),
)
