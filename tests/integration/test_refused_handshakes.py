"""What a client is told that cannot be served, and what the log says of it."""

from collections.abc import Iterator

import pytest
import requests

from protocol_client import REPEATED_HEADERS, Answer, Polling, ask, refusal
from servers import DEADLINE_S, Hazoom, hazoom, wait_until

OLD = "EIO=3&transport={}&t=1&b64=1"
OF_VERSION_2 = Answer(400, '{"code":5,"message":"Unsupported protocol version"}')
MENDED_BY = "EIO=3 is Socket.IO 1 or 2; install socket.io-client 4"


@pytest.fixture
def server(async_mode: str) -> Iterator[Hazoom]:
    with hazoom(async_mode=async_mode) as server:
        yield server


def lines_with(server: Hazoom, text: str) -> list[str]:
    return [line for line in server.log.splitlines() if text in line]


def test_a_client_of_socket_io_2_is_told_what_the_reference_server_tells_it(server: Hazoom) -> None:
    page = {"Origin": "http://localhost:5173"}
    answer = requests.get(f"{server.url}/socket.io/?{OLD.format('polling')}", headers=page, timeout=DEADLINE_S)
    assert Answer(answer.status_code, answer.text) == OF_VERSION_2
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:5173", "its page may read why"
    assert refusal(server.url, OLD.format("websocket")) == OF_VERSION_2
    assert refusal(server.url, OLD.format("websocket"), REPEATED_HEADERS) == OF_VERSION_2


@pytest.mark.parametrize("headers", [None, REPEATED_HEADERS], ids=["usual handshake", "handshake through WSGI"])
@pytest.mark.parametrize(
    ("query", "line"),
    [
        (OLD, MENDED_BY),
        ("EIO=2&transport={}", "EIO=2 is Socket.IO 1.0; install socket.io-client 4"),
        ("transport={}", "no EIO is no version of it; install socket.io-client 4"),
        ("EIO=%0A4&transport={}", r"EIO=\n4 is no version of it; install socket.io-client 4"),
        ("EIO=4&transport=telepathy", "transport unknown: transport=telepathy"),
        ("EIO=4", "transport unknown: none is named"),
        ("EIO=4&transport={}&sid=nobody", "session id unknown"),
    ],
)
def test_the_log_says_once_why_a_handshake_is_refused(
    server: Hazoom, query: str, line: str, headers: list[tuple[str, str]] | None
) -> None:
    for _ in range(5):
        assert refusal(server.url, query.format("websocket"), headers).status == 400
        assert ask(server.url, query.format("polling")).status == 400
    wait_until(lambda: lines_with(server, line), line)
    assert len(lines_with(server, line)) == 1


def test_the_log_says_which_method_opens_nothing(server: Hazoom) -> None:
    assert ask(server.url, "EIO=4&transport=polling", "DELETE").status == 400
    wait_until(lambda: lines_with(server, "bad handshake method: DELETE"), "a line in the log")


def test_clients_that_are_served_leave_no_line(server: Hazoom) -> None:
    polling = Polling(server.url)
    with polling.upgraded() as socket:
        socket.send("40")
        assert str(socket.receive()).startswith("40{")
    assert lines_with(server, "refused") == []
