"""Each connection is a file: the server raises its own limit, and outlives the moment in which there are none left."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import requests

from hostile_http import HEALTH
from servers import DEADLINE_S, OfficialClient, hazoom, wait_until

MORE_FILES = 20
CONNECTIONS = 60


@contextmanager
def soft_limit(files: int) -> Iterator[int]:
    """Let this process, and what it starts, open so few files; yield the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_healthy(url: str) -> bool:
    with suppress(requests.ConnectionError):
        return requests.get(f"{url}/health", timeout=DEADLINE_S).status_code == 200
    return False


def test_the_server_raises_its_soft_limit(async_mode: str) -> None:
    with soft_limit(256) as hard, hazoom(async_mode=async_mode) as server:
        soft, _ = resource.prlimit(server.child.process.pid, resource.RLIMIT_NOFILE)
        assert soft > 256
        assert soft <= hard


def test_the_table_of_files_has_its_size_from_the_start(async_mode: str) -> None:
    """It would grow in the middle of the service, which stops the loop."""
    with hazoom(async_mode=async_mode) as server:
        status = Path(f"/proc/{server.child.process.pid}/status").read_text()
        soft, _ = resource.prlimit(server.child.process.pid, resource.RLIMIT_NOFILE)
        [slots] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("FDSize:")]
        assert slots >= min(soft, 65_536)


def test_without_files_who_is_connected_is_served_and_who_comes_later_too(async_mode: str, client: OfficialClient) -> None:
    expect_service_in_a_crowd(async_mode, client, b"")


def test_a_crowd_that_was_answered_and_is_kept_keeps_nobody_out(client: OfficialClient) -> None:
    """With threads no connection is kept after its answer."""
    expect_service_in_a_crowd("eventlet", client, HEALTH)


def expect_service_in_a_crowd(async_mode: str, client: OfficialClient, said: bytes) -> None:
    with hazoom(async_mode=async_mode) as server, ExitStack() as crowd:
        ann = client.connect(server.url)
        ann.wait_for("upgrade")  # as long as it polls, each request needs a file of its own
        process = psutil.Process(server.child.process.pid)
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        limit = process.num_fds() + MORE_FILES
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, hard))
        for _ in range(CONNECTIONS):
            connection = crowd.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S))
            with suppress(ConnectionError):
                connection.sendall(said)
                assert not said or connection.recv(65536)[9:12] in (b"200", b"")
        wait_until(lambda: "file descriptors run short" in server.log, "there are few files left")
        for number in range(20):
            assert ann.emit("message", {"message": str(number)})["ok"]
        wait_until(lambda: is_healthy(server.url), "who asks is served, though the crowd stays")
        crowd.close()
        bob = client.connect(server.url)
        assert bob.emit("message", {"message": "here"})["ok"]
        assert ann.wait_for("new_message", lambda message: message["message"] == "here")
