"""The connections to the backend: one serves request after request though somebody else reads the bodies."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests
import urllib3

from hazoom_ws.http_chunks import ChunkDecoder
from hazoom_ws.llm_http import HttpClient, RawBody, raw_body

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: sessionid=secret\r\n\r\n"
PIECES = [b"5\r\nhello\r\n", b"6\r\n world\r\n", b"0\r\n\r\n"]


class Peer:
    """A backend that sends ``pieces``, each but the first when it is told to."""

    def __init__(self, listener: socket.socket, *pieces: bytes) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/chat/"
        self.connections = 0
        self.requests: list[bytes] = []
        self.go_on = threading.Semaphore(0)
        self._pieces = pieces
        self._listener = listener
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with suppress(ConnectionError), connection:
                request = b""
                while received := connection.recv(65536):
                    request += received
                    if not request.endswith(b"{}"):
                        continue
                    self.requests.append(request)
                    request = b""
                    connection.sendall(self._pieces[0])
                    for piece in self._pieces[1:]:
                        self.go_on.acquire()
                        connection.sendall(piece)


@contextmanager
def peer(*pieces: bytes) -> Iterator[Peer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Peer(listener, *pieces)
        listener.shutdown(socket.SHUT_RDWR)


def post(client: HttpClient) -> RawBody | None:
    return raw_body(client.post(b"{}", accept="text/event-stream", timeout_s=(20, 20)))


@pytest.mark.parametrize("first", [CHUNKED, CHUNKED + PIECES[0]], ids=["head alone", "head with a chunk"])
def test_one_connection_serves_request_after_request_and_no_cookie_goes_back(first: bytes) -> None:
    rest = PIECES if first == CHUNKED else PIECES[1:]
    with peer(first, b"".join(rest)) as backend:
        client = HttpClient(backend.url, 5)
        for _ in range(3):
            body = post(client)
            assert body is not None
            assert body.is_chunked
            assert body.connection.gettimeout() is not None
            decoder = ChunkDecoder()
            content = decoder.feed(body.first)
            backend.go_on.release()
            while not decoder.is_whole:
                content += decoder.feed(body.connection.recv(4096))
            assert content == b"hello world"
            body.close(is_whole=True)
        assert backend.connections == 1
        assert [b"ookie" in request for request in backend.requests] == [False] * 3


def test_a_connection_whose_body_was_not_read_to_its_end_is_closed() -> None:
    with peer(CHUNKED + PIECES[0]) as backend:
        client = HttpClient(backend.url, 5)
        for number in (1, 2):
            body = post(client)
            assert body is not None
            body.close(is_whole=False)
            assert backend.connections == number


def test_a_body_that_is_not_chunked_ends_with_its_connection() -> None:
    with peer(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello") as backend:
        body = post(HttpClient(backend.url, 5))
        assert body is not None
        assert (body.is_chunked, body.first) == (False, b"hello")
        body.close(is_whole=True)


@pytest.mark.parametrize("head", [b"Content-Length: 5", b"Content-Encoding: gzip"])
def test_what_only_requests_can_read_is_left_to_it(head: bytes) -> None:
    with peer(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + b"\r\n\r\nhello") as backend:
        assert post(HttpClient(backend.url, 5)) is None


INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "is_taken"),
    [
        (INTERIM * 8 + CHUNKED, True),
        (INTERIM * 9 + CHUNKED, False),
        (INTERIM * 100_000, False),
        (INTERIM.replace(b"\r\n\r\n", b"\r\nX: %s\r\n\r\n" % (b"a" * 9000)) * 8 + CHUNKED, False),
        (CHUNKED[:-2] + b"X: %s\r\n" % (b"a" * 30_000) + b"\r\n", True),
        (CHUNKED[:-2] + b"X: %s\r\n" % (b"a" * 30_000) * 3 + b"\r\n", False),
    ],
    ids=["8 interim", "9 interim", "100,000 interim", "large interim", "a large head", "a larger head"],
)
def test_interim_answers_and_the_head_have_bounds(head: bytes, is_taken: bool) -> None:
    with peer(head) as backend:
        client = HttpClient(backend.url, 5)
        if is_taken:
            body = post(client)
            assert body is not None
            body.close(is_whole=False)
        else:
            with pytest.raises(requests.ConnectionError):
                post(client)


@pytest.mark.parametrize(("trailers", "is_taken"), [(b"X: y\r\n" * 1000, True), (b"X: y\r\n" * 100_000, False)])
def test_the_trailers_of_a_body_that_requests_reads_have_a_bound(trailers: bytes, is_taken: bool) -> None:
    with peer(CHUNKED + PIECES[0] + b"0\r\n" + trailers + b"\r\n") as backend:
        response = HttpClient(backend.url, 5).post(b"{}", accept="text/event-stream", timeout_s=(20, 20))
        assert response.raw.read1(100) == b"hello"
        if is_taken:
            assert response.raw.read1(100) == b""
        else:
            with pytest.raises(urllib3.exceptions.ProtocolError):
                response.raw.read1(100)
        response.close()
