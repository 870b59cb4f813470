"""Engine.IO as a client speaks it, one step at a time: HTTP requests that can be left waiting, and a WebSocket."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from servers import DEADLINE_S, wait_until

SEPARATOR = "\x1e"
NOOP = "6"
POLLING = "EIO=4&transport=polling"
WEBSOCKET = "EIO=4&transport=websocket"
REPEATED_HEADERS = [("X-Twice", "1"), ("X-Twice", "2")]  # the loop leaves such a handshake to WSGI


class Answer(NamedTuple):
    status: int
    body: str

    @property
    def packets(self) -> list[str]:
        assert self.status == 200, self
        return self.body.split(SEPARATOR)


class Request:
    """An HTTP request that has been sent, on a connection of its own."""

    def __init__(self, url: str, query: str, method: str = "GET", body: str | bytes | None = None, **headers: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=DEADLINE_S)
        data = body.encode() if isinstance(body, str) else body
        self._connection.request(method, f"/socket.io/?{query}", data, {"Connection": "close", **headers})

    def answer(self) -> Answer:
        """Wait for the answer."""
        try:
            response = self._connection.getresponse()
            return Answer(response.status, response.read().decode())
        finally:
            self._connection.close()

    def cancel(self) -> None:
        self._connection.close()


def ask(url: str, query: str, method: str = "GET", body: str | bytes | None = None) -> Answer:
    return Request(url, query, method, body).answer()


class Polling:
    """A session that is opened by long polling."""

    def __init__(self, url: str) -> None:
        self.url = url
        opened = ask(url, POLLING)
        assert opened.status == 200, opened
        assert opened.body.startswith("0")
        self.handshake: dict[str, Any] = json.loads(opened.body[1:])
        self.sid: str = self.handshake["sid"]
        self.query = f"{POLLING}&sid={self.sid}"

    def poll(self) -> Answer:
        return ask(self.url, self.query)

    def post(self, body: str | bytes) -> Answer:
        return ask(self.url, self.query, "POST", body)

    def send(self, *packets: str) -> None:
        assert self.post(SEPARATOR.join(packets)) == Answer(200, "ok")

    def receive(self, count: int) -> list[str]:
        """Return that many packets other than NOOP."""
        packets: list[str] = []
        while len(packets) < count:
            packets += [packet for packet in self.poll().packets if packet != NOOP]
        assert len(packets) == count
        return packets

    def start_poll(self) -> Request:
        """Return a poll that waits at the server."""
        poll = Request(self.url, self.query)
        self.wait_until("is_polled")
        return poll

    def wait_until(self, name: str, expected: bool = True) -> None:
        """Wait until the server says so about the session."""
        wait_until(lambda: self.state()[name] is expected, f"{name} is {expected}")

    def state(self) -> dict[str, bool]:
        response = requests.get(f"{self.url}/sessions/{self.sid}", timeout=DEADLINE_S)
        response.raise_for_status()
        return response.json()

    def is_gone(self) -> bool:
        """Return whether the server no longer knows the session, over either transport."""
        unknown = Answer(400, '{"code":1,"message":"Session ID unknown"}')
        return self.poll() == self.post("4") == refusal(self.url, f"{WEBSOCKET}&sid={self.sid}") == unknown

    @contextmanager
    def websocket(self, headers: list[tuple[str, str]] | None = None) -> Iterator["WebSocket"]:
        """Open a WebSocket that may take the session over."""
        with websocket(self.url, f"{WEBSOCKET}&sid={self.sid}", headers) as socket:
            yield socket

    @contextmanager
    def upgraded(self, headers: list[tuple[str, str]] | None = None) -> Iterator["WebSocket"]:
        """Open a WebSocket that takes the session over."""
        with self.websocket(headers) as socket:
            socket.probe()
            socket.send("5")
            yield socket


class WebSocket:
    """A WebSocket of which nothing but its frames is known."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, *packets: str | bytes) -> None:
        for packet in packets:
            self.connection.send(packet)

    def receive(self) -> str | bytes:
        return self.connection.recv(DEADLINE_S)

    def probe(self) -> None:
        self.send("2probe")
        assert self.receive() == "3probe"

    def wait_until_closed(self) -> int | None:
        """Return the server's close code, None if the connection ended without one."""
        try:
            while True:
                self.receive()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def close(self) -> None:
        """Close, and wait for the server's answer to that."""
        self.connection.close()

    def abort(self) -> None:
        """End the connection without a word."""
        self.connection.close_socket()


@contextmanager
def websocket(url: str, query: str = WEBSOCKET, headers: list[tuple[str, str]] | None = None) -> Iterator[WebSocket]:
    """Open a WebSocket. Raises `InvalidStatus` if it is refused."""
    uri = f"{url.replace('http', 'ws', 1)}/socket.io/?{query}"
    with connect(
        uri, compression=None, max_size=None, ping_interval=None, proxy=None, additional_headers=headers
    ) as connection:
        yield WebSocket(connection)


@contextmanager
def session_over_websocket(url: str, headers: list[tuple[str, str]] | None = None) -> Iterator[WebSocket]:
    """Open a session that was never polled; its open packet has been read."""
    with websocket(url, headers=headers) as socket:
        opened = socket.receive()
        assert isinstance(opened, str)
        assert opened.startswith("0{")
        yield socket


def refusal(url: str, query: str, headers: list[tuple[str, str]] | None = None) -> Answer:
    """Return the answer to a WebSocket that is refused."""
    try:
        with websocket(url, query, headers):
            raise AssertionError("the WebSocket was accepted")
    except InvalidStatus as refused:
        return Answer(refused.response.status_code, refused.response.body.decode())
