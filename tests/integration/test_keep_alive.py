"""How long a connection over HTTP is kept that was answered, is silent, or asks again slowly."""

import socket

import pytest

from hostile_http import HEALTH, statuses
from raw_client import connect, read_all
from servers import Hazoom, hazoom

CLOSING = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LONG_S, SHORT_S = "300", "0.2"
WITH_EVENTLET = ("eventlet", "eventlet without epoll")


def answered(server: Hazoom) -> socket.socket:
    """Return a connection that has had one answer and may ask again."""
    connection = connect(server)
    connection.sendall(HEALTH)
    data = b""
    while not data.endswith(b"}"):
        received = connection.recv(65536)
        assert received, data
        data += received
    assert statuses(data) == [200]
    assert b"connection: close" not in data.lower()
    return connection


@pytest.mark.parametrize("mode", WITH_EVENTLET)
def test_a_connection_that_was_answered_outlives_one_that_is_silent(mode: str) -> None:
    """Load balancers keep theirs for a minute, and made 502s of it when they were closed after 10 s."""
    with hazoom(async_mode=mode, env={"HAZOOM_REQUEST_TIMEOUT_S": SHORT_S}) as server, answered(server) as kept:
        for _ in range(3):
            with connect(server) as silent:
                assert read_all(silent) == b"", "a connection that asks nothing ends"
        kept.sendall(CLOSING)
        assert statuses(read_all(kept)) == [200]


@pytest.mark.parametrize("mode", WITH_EVENTLET)
def test_a_connection_that_was_answered_ends_too(mode: str) -> None:
    env = {"HAZOOM_KEEP_ALIVE_TIMEOUT_S": SHORT_S, "HAZOOM_REQUEST_TIMEOUT_S": LONG_S}
    with hazoom(async_mode=mode, env=env) as server, answered(server) as kept:
        assert read_all(kept) == b""


@pytest.mark.parametrize("begun", [b"G", b"GET /health HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\nHost: a\r\n"])
@pytest.mark.parametrize("mode", WITH_EVENTLET)
def test_another_request_has_as_long_as_the_first_once_it_has_begun(mode: str, begun: bytes) -> None:
    env = {"HAZOOM_KEEP_ALIVE_TIMEOUT_S": LONG_S, "HAZOOM_REQUEST_TIMEOUT_S": SHORT_S}
    with hazoom(async_mode=mode, env=env) as server, answered(server) as kept:
        kept.sendall(begun)
        assert read_all(kept) == b""


def test_with_threads_the_answer_says_that_the_connection_ends() -> None:
    with hazoom(async_mode="threading") as server, connect(server) as connection:
        connection.sendall(HEALTH)
        answer = read_all(connection)
        assert statuses(answer) == [200]
        assert b"\r\nconnection: close\r\n" in answer.lower()
