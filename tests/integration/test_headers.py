"""What every answer says to a browser, whoever of the server gives it, and what it does not say of the server."""

import re
from collections.abc import Iterator

import pytest

from hostile_http import exchange, open_polling, post_to, request
from raw_client import handshake
from servers import Hazoom, hazoom

POLL = "/socket.io/?EIO=4&transport=polling"

# How it is asked, and which status that has.
ANSWERS: dict[str, tuple[bytes, int]] = {
    "a page": (request("GET / HTTP/1.1"), 200),
    "a head alone": (request("HEAD / HTTP/1.1"), 200),
    "a file": (request("GET /static/chat/chat.css HTTP/1.1"), 200),
    "a file that is not there": (request("GET /static/nothing HTTP/1.1"), 404),
    "a path that is not there": (request("GET /nothing HTTP/1.1"), 404),
    "a method that is not allowed": (request("POST /health HTTP/1.1"), 405),
    "a preflight": (request("OPTIONS / HTTP/1.1", "Origin: http://localhost:5173"), 200),
    "a handshake": (request(f"GET {POLL} HTTP/1.1"), 200),
    "another version": (request("GET /socket.io/?EIO=3&transport=polling HTTP/1.1"), 400),
    "no transport": (request("GET /socket.io/ HTTP/1.1"), 400),
    "an unknown session": (request(f"GET {POLL}&sid=x HTTP/1.1"), 400),
    "a foreign page": (request(f"GET {POLL} HTTP/1.1", "Origin: https://evil.example"), 400),
    "a foreign page's WebSocket": (handshake("Origin: https://evil.example\r\n"), 400),
    "a WebSocket of another version": (handshake().replace(b"Version: 13", b"Version: 12"), 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "no request": (b"what?\r\n\r\n", 400),
    "a long line": (request(f"GET /{'x' * 40_000} HTTP/1.1"), 414),
    "a large head": (request("GET / HTTP/1.1", *["x: y"] * 101), 431),
    "another HTTP": (request("GET / HTTP/2.0"), 505),
    "two lengths": (request("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 1"), 400),
}


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    with hazoom(async_mode=async_mode, env={"HAZOOM_CORS_ORIGINS": "http://localhost:5173"}) as server:
        yield server


def assert_safe(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = [line.decode().partition(": ") for line in head.split(b"\r\n")[1:]]
    said = {name.lower(): value for name, _, value in fields}
    assert said["x-content-type-options"] == "nosniff"
    assert said["x-frame-options"] == "DENY"
    assert said["referrer-policy"] == "no-referrer"
    assert re.match("default-src '(self|none)'", said["content-security-policy"])
    assert "frame-ancestors 'none'" in said["content-security-policy"]
    assert len(re.findall("content-security-policy", head.decode("latin-1"), re.IGNORECASE)) == 1
    assert not re.search("[0-9]", said.get("server", "")), "no version"
    assert not re.search(rb"Traceback|site-packages|[Ww]erkzeug|[Ee]ventlet|[Pp]ython|\.py\b", head)
    if not head.startswith(b"HTTP/1.1 200 "):
        assert not re.search(rb"Traceback|site-packages|[Ww]erkzeug|[Ee]ventlet|[Pp]ython|\.py\b", body)


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_keeps_a_browser_from_harm(server: Hazoom, name: str) -> None:
    data, status = ANSWERS[name]
    answer = exchange(server, data)
    assert int(answer[9:12]) == status
    assert_safe(answer)


def test_polls_and_posts_do_too(server: Hazoom) -> None:
    sid = open_polling(server)
    posted = exchange(server, post_to(sid, "Content-Length: 2", body=b"40"))
    polled = exchange(server, request(f"GET {POLL}&sid={sid} HTTP/1.1"))
    too_large = exchange(server, post_to(sid, "Content-Length: 1000001", body=b"x" * 100))
    assert [int(answer[9:12]) for answer in (posted, polled, too_large)] == [200, 200, 413]
    for answer in (posted, polled, too_large):
        assert_safe(answer)
