"""What strangers send over HTTP stops nobody, fills nothing, and is never read in two ways."""

import resource
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest
import requests
from websockets.frames import Opcode

from hostile_http import HEALTH, STATS, exchange, meanwhile, open_polling, post_to, request, send_for_ever, statuses
from raw_client import RawClient, connect, frame, handshake, raw_client, read_all
from servers import DEADLINE_S, Hazoom, hazoom, wait_until

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
TOTAL_BYTES = 2_000_000
PART = bytes([0x81, 0xFF]) + struct.pack("!Q", 990_000) + bytes(4) + b"4" * 900_000
# Far above what a connection's buffers in the kernel take.
ENDLESS_BYTES = 64_000_000


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_INCOMING_TOTAL_LIMIT_BYTES": str(TOTAL_BYTES)}
    with hazoom(async_mode=async_mode, env=env) as server:
        yield server


@pytest.fixture(scope="module")
def impatient_server(async_mode: str) -> Iterator[Hazoom]:
    """A server that waits for the rest of something for a moment only."""
    with hazoom(async_mode=async_mode, env={"HAZOOM_MESSAGE_TIMEOUT_S": "0.2"}) as server:
        yield server


@pytest.fixture
def quiet(server: Hazoom) -> Iterator[RawClient]:
    """A client who was there before, and must be served all the time."""
    with raw_client(server) as raw:
        yield raw
        ask(raw)


def ask(raw: RawClient, count: int = 1) -> None:
    for _ in range(count):
        raw.send(STATS)
        raw.receive_event("stats")


# Stops nobody


@pytest.mark.parametrize("clients", [1, 50])
def test_who_sends_request_after_request_keeps_nobody_waiting_as_long_as_that_lasts(
    server: Hazoom, quiet: RawClient, clients: int
) -> None:
    def pipeline(is_over: threading.Event) -> None:
        while not is_over.is_set():
            with connect(server) as connection, suppress(ConnectionError):
                send_for_ever(connection, HEALTH * 1000, is_over)

    with meanwhile(pipeline, clients):
        ask(quiet, 20)
        assert requests.get(f"{server.url}/health", timeout=DEADLINE_S).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/", "/nowhere", "/api/v1/status", "/socket.io/?EIO=4&transport=telepathy"])
@pytest.mark.parametrize(
    ("field", "piece"),
    [
        ("Transfer-Encoding: chunked", b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
        ("Transfer-Encoding: chunked", b"1\r\nx\r\n" * 10_000),
        ("Transfer-Encoding: chunked", b"1;" + b"x" * 65_536),
        ("Content-Length: 99999999999", b"x" * 65_536),
    ],
    ids=["large chunks", "small chunks", "an endless line", "a length"],
)
def test_a_body_that_nobody_reads_is_cut_off(server: Hazoom, quiet: RawClient, path: str, field: str, piece: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(request(f"POST {path} HTTP/1.1", field))
        sent_bytes = 0
        with suppress(ConnectionError):
            while sent_bytes < ENDLESS_BYTES:
                connection.sendall(piece)
                sent_bytes += len(piece)
        assert sent_bytes < ENDLESS_BYTES
        ask(quiet)


@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_short_body_that_nobody_reads_is_read_over_and_the_answer_arrives(server: Hazoom, field: str) -> None:
    body = b"hello" if "Length" in field else b"5\r\nhello\r\n0\r\n\r\n"
    answers = exchange(
        server, request("POST /nowhere HTTP/1.1", field, body=body) + request("GET /health HTTP/1.1", "Connection: close")
    )
    assert statuses(answers) in ([404, 200], [404])  # werkzeug's server takes one request from a connection


def test_who_asks_before_it_sends_a_body_is_answered_without_it(server: Hazoom) -> None:
    answers = exchange(server, request("POST /nowhere HTTP/1.1", "Expect: 100-continue", "Content-Length: 5"))
    assert statuses(answers) == [404]
    sid = open_polling(server)
    with connect(server) as connection:
        connection.sendall(post_to(sid, "Expect: 100-continue", "Content-Length: 2", "Connection: close"))
        assert connection.recv(9) == b"HTTP/1.1 "
        assert connection.recv(4) == b"100 "
        connection.sendall(b"40")
        assert 200 in statuses(read_all(connection))


# Packets


@pytest.mark.parametrize(("count", "status"), [(10_000, 200), (10_001, 400)])
def test_a_post_has_at_most_ten_thousand_packets(server: Hazoom, quiet: RawClient, count: int, status: int) -> None:
    sid = open_polling(server)
    body = b"\x1e".join([b"6"] * count)
    answer = exchange(server, post_to(sid, f"Content-Length: {len(body)}", "Connection: close", body=body))
    assert statuses(answer) == [status]
    answer = exchange(server, post_to(sid, "Content-Length: 1", "Connection: close", body=b"6"))
    assert statuses(answer) == [status]  # the session is closed, or is not


def test_a_payload_without_a_length_is_refused(server: Hazoom, quiet: RawClient) -> None:
    answer = exchange(server, post_to(open_polling(server), "Transfer-Encoding: chunked", body=b"1\r\n6\r\n0\r\n\r\n"))
    assert statuses(answer) == [400]


# Fills nothing


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other side has ended it, reading over what it says."""
    with suppress(TimeoutError):
        while select.select([connection], [], [], 0)[0]:
            try:
                if not connection.recv(65536):
                    return True
            except ConnectionError:
                return True
    return False


@pytest.mark.parametrize("kind", ["messages", "fragments", "payloads", "heads"])
def test_what_is_not_whole_has_a_total_and_the_oldest_large_go_first(server: Hazoom, quiet: RawClient, kind: str) -> None:
    count = 100 if kind == "heads" else 8
    with ExitStack() as stack:
        small = stack.enter_context(connect(server))
        small.sendall(HEALTH[:-2])
        large = []
        for _ in range(count):
            data = PART
            if kind == "fragments":
                data = frame(Opcode.TEXT, b"4" * 900_000, fin=False)
            elif kind == "payloads":
                data = post_to(open_polling(server), "Content-Length: 990000", body=b"4" * 900_000)
            elif kind == "heads":
                data = request("GET / HTTP/1.1", *["X: " + "a" * 30_000] * 2)[:-2]
            if kind in ("messages", "fragments"):
                connection = stack.enter_context(raw_client(server)).connection
            else:
                connection = stack.enter_context(connect(server))
            with suppress(ConnectionError):
                connection.sendall(data)
            large.append(connection)
        fits = TOTAL_BYTES // len(data)
        wait_until(lambda: sum(map(is_closed, large)) >= count - fits, "those that are too much are closed")
        wait_until(lambda: all(map(is_closed, large[: count - fits - 1])), "the oldest are")
        ask(quiet)
        small.sendall(b"Connection: close\r\n\r\n")
        assert statuses(read_all(small)) == [200]


@pytest.mark.parametrize("kind", ["frame", "fragment", "payload", "dripped frame", "dripped payload"])
def test_what_is_not_whole_in_time_is_ended(impatient_server: Hazoom, kind: str) -> None:
    server = impatient_server
    with ExitStack() as stack:
        quiet = stack.enter_context(raw_client(server))
        if kind.endswith("payload"):
            connection = stack.enter_context(connect(server))
            connection.sendall(post_to(open_polling(server), "Content-Length: 100000", body=b"4"))
        else:
            raw = stack.enter_context(raw_client(server))
            connection = raw.connection
            raw.send_bytes(frame(Opcode.TEXT, b"4", fin=False) if kind == "fragment" else PART[:50])

        def ends() -> bool:
            if "dripped" in kind:
                with suppress(ConnectionError):
                    connection.sendall(b"4")
            return is_closed(connection)

        wait_until(ends, "it is ended")
        ask(quiet)


# Descriptors


@pytest.mark.parametrize("sent", [b"", HEALTH[:-2], b"poll"], ids=["silent", "half requests", "sessions in no namespace"])
def test_without_descriptors_who_is_in_and_who_asks_is_served(async_mode: str, sent: bytes) -> None:
    with hazoom(async_mode=async_mode, env={"HAZOOM_RATE_LIMIT_PER_S": "0"}) as server, ExitStack() as crowd:
        process = psutil.Process(server.child.process.pid)
        quiet = crowd.enter_context(raw_client(server))
        limit = 160
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        opening = request("GET /socket.io/?EIO=4&transport=polling HTTP/1.1")
        for number in range(2 * limit):
            connection = crowd.enter_context(connect(server))
            with suppress(ConnectionError):
                connection.sendall(opening if sent == b"poll" else sent)
            if number % 20 == 0:
                ask(quiet)

        def is_healthy() -> bool:
            with suppress(requests.ConnectionError):  # the server may have been short of them a moment ago
                return requests.get(f"{server.url}/health", timeout=DEADLINE_S).status_code == 200
            return False

        wait_until(is_healthy, "who asks is served though the crowd is still there")
        for _ in range(20):
            assert is_healthy()
        ask(quiet, 20)
        # Some of them are left: the reserve is 16.
        wait_until(lambda: process.num_fds() < limit - 8, "not all descriptors are taken")
        assert "Traceback" not in server.log


# Is never read in two ways

BODY = f"Content-Length: {len(SMUGGLED)}"
FRAMINGS = {
    "two lengths": (BODY, "Content-Length: 0"),
    "two equal lengths": (BODY, BODY),
    "a list of lengths": (f"{BODY}, {len(SMUGGLED)}",),
    "a negative length": ("Content-Length: -1",),
    "a length with a sign": ("Content-Length: +0",),
    "a length with an underscore": ("Content-Length: 0_0",),
    "a length that is none": ("Content-Length: x",),
    "an empty length": ("Content-Length:",),
    "a length and a coding": ("Content-Length: 0", "Transfer-Encoding: chunked"),
    "two codings": ("Transfer-Encoding: gzip, chunked",),
    "two codings apart": ("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
    "an unknown coding": ("Transfer-Encoding: identity",),
    "a coding nearly chunked": ("Transfer-Encoding: xchunked",),
    "a blank before the colon": ("Content-Length : 0",),
    "a folded line": ("X: a", f" {BODY}"),
    "a line that begins with a blank": (f" {BODY}",),
    "a bare line feed": (f"X: a\n{BODY}",),
    "a bare carriage return": (f"X: a\r{BODY}",),
    "a NUL": ("X: a\0",),
    "a line without a colon": ("nothing",),
    "a second Host": ("Host: b",),
}


@pytest.mark.parametrize("fields", [pytest.param(fields, id=name) for name, fields in FRAMINGS.items()])
@pytest.mark.parametrize("path", ["/health", "/socket.io/?EIO=4&transport=polling"])
def test_a_head_that_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_answered(
    server: Hazoom, quiet: RawClient, fields: tuple[str, ...], path: str
) -> None:
    for method in ("GET", "POST"):
        answers = exchange(server, request(f"{method} {path} HTTP/1.1", *fields, body=SMUGGLED))
        assert statuses(answers) == [400]
        assert b"nosniff" in answers


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health HTTP/1.1\r\n\r\n" + SMUGGLED,
        b"GET /health HTTP/1.1\nHost: a\n\n" + SMUGGLED,
        b"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n" + SMUGGLED,
        b"GET /health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
        b"GET /hea lth HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED,
        b"GET /health\r\n" + SMUGGLED,
        handshake().replace(b"Host: 127.0.0.1\r\n", b""),
        handshake("Host: b\r\n"),
        handshake(f"{BODY}\r\n") + SMUGGLED,
        handshake("Transfer-Encoding: chunked\r\n") + SMUGGLED,
    ],
)
def test_a_request_that_is_none_is_refused(server: Hazoom, quiet: RawClient, data: bytes) -> None:
    assert statuses(exchange(server, data)) == [400]


def test_an_old_client_needs_no_host(server: Hazoom) -> None:
    assert statuses(exchange(server, b"GET /health HTTP/1.0\r\n\r\n")) == [200]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("GET /health HTTP/1.1", *["X: a"] * 99, "Connection: close"), 431),
        (request("GET /health HTTP/1.1", *["X: a"] * 98, "Connection: close"), 200),
        (request("GET /health HTTP/1.1", "X: " + "a" * 33_000), 431),
        (request("GET /health HTTP/1.1", "X: " + "a" * 32_000, "Connection: close"), 200),
        (request("GET /health HTTP/1.1", *["X: " + "a" * 30_000] * 3), 431),
        (request(f"GET /health?{'a' * 33_000} HTTP/1.1"), 414),
        (request(f"GET /health?{'a' * 32_000} HTTP/1.1", "Connection: close"), 200),
        (request("GET /health HTTP/2.0"), 505),
    ],
)
def test_a_head_has_its_size_and_an_answer_says_what_was_too_much(server: Hazoom, data: bytes, status: int) -> None:
    assert statuses(exchange(server, data)) == [status]


@pytest.mark.parametrize("cookie_bytes", [9000, 20_000])
def test_a_websocket_whose_page_has_many_cookies_connects(server: Hazoom, cookie_bytes: int) -> None:
    with raw_client(server, extensions=f"Cookie: a={'b' * cookie_bytes}\r\n") as raw:
        ask(raw)


def test_every_answer_says_that_its_type_is_what_it_says(server: Hazoom) -> None:
    answers = [
        exchange(server, request(f"{line} HTTP/1.1", "Connection: close"))
        for line in (
            "GET /",
            "GET /health",
            "GET /ready",
            "GET /api/v1/status",
            "GET /nowhere",
            "POST /health",
            "GET /static/app.js",
            "OPTIONS /socket.io/?EIO=4",
            "GET /socket.io/?EIO=4&transport=polling",
            "GET /socket.io/?EIO=4&transport=telepathy",
            "POST /socket.io/?EIO=4&transport=polling&sid=nobody",
            "BAD /\0",
            f"GET /{'a' * 33_000}",
        )
    ]
    answers.append(exchange(server, handshake().replace(b"Version: 13", b"Version: 12")))
    assert [answer for answer in answers if b"X-Content-Type-Options: nosniff\r\n" not in answer] == []


def test_refusals_do_not_fill_the_log(server: Hazoom) -> None:
    before = len(server.log.splitlines())
    for _ in range(200):
        exchange(server, b"GET / HTTP/1.1\r\n\r\n")
    assert len(server.log.splitlines()) - before <= 2
