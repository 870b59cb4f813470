"""Pieces of hostile HTTP for the tests: requests, and a quiet neighbour who is served meanwhile."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import requests

from raw_client import connect, read_all
from servers import DEADLINE_S, Hazoom

HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
STATS = '42["get_stats"]'


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    return "".join(f"{one}\r\n" for one in (line, "Host: a", *fields, "")).encode() + body


def post_to(sid: str, *fields: str, body: bytes = b"") -> bytes:
    return request(f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1", *fields, body=body)


def exchange(server: Hazoom, data: bytes) -> bytes:
    """Send it on a connection of its own, and return what comes until the server ends that."""
    with connect(server) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)  # or it is kept for another request
        return read_all(connection)


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of the answers that came on a connection."""
    return [int(part[2:5]) for part in answers.split(b"HTTP/1.")[1:]]


def open_polling(server: Hazoom) -> str:
    """Return the sid of a new session that polls."""
    answer = requests.get(f"{server.url}/socket.io/?EIO=4&transport=polling", timeout=DEADLINE_S)
    return str(answer.json()["sid"]) if answer.text[0] == "{" else answer.text.split('"sid":"')[1].split('"')[0]


@contextmanager
def meanwhile(attack: Callable[[threading.Event], object], count: int = 1) -> Iterator[None]:
    """Run ``attack(is_over)`` in threads until the block ends."""
    is_over = threading.Event()

    def run() -> None:
        with suppress(OSError):
            attack(is_over)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join(DEADLINE_S)


def send_for_ever(connection: socket.socket, data: bytes, is_over: threading.Event) -> None:
    """Send ``data`` again and again, and read what comes, until the end or until it ``is_over``."""
    connection.settimeout(0.1)
    left = memoryview(data)
    while not is_over.is_set():
        with suppress(TimeoutError, BlockingIOError):
            left = left[connection.send(left) :] or memoryview(data)
        connection.setblocking(False)
        with suppress(BlockingIOError):
            while connection.recv(262_144):
                pass
        connection.settimeout(0.1)
