"""The connections to the backend: one serves request after request though somebody else reads the bodies."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests
import urllib3

from hazoom_ws.llm_bridge.http_chunks import ChunkDecoder
from hazoom_ws.llm_bridge.http_client import HttpClient, RawBody, beginning_of, raw_body
from hazoom_ws.llm_bridge.proxies import is_loopback

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


class Closing:
    """Answers the first request of each connection, and closes kept ones when the next has come, after ``last_words``."""

    def __init__(self, listener: socket.socket, last_words: bytes, *, resets: bool) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/chat/"
        self.served: list[int] = []  # requests of each connection
        self._listener, self._last_words, self._resets = listener, last_words, resets
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.served.append(0)
                threading.Thread(target=self._talk, args=(connection, len(self.served) - 1), daemon=True).start()

    def _talk(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError), connection:
            request = b""
            while received := connection.recv(65536):
                request += received
                if not request.endswith(b"{}"):
                    continue
                request = b""
                self.served[number] += 1
                if self.served[number] == 1:
                    connection.sendall(CHUNKED + b"".join(PIECES))
                    continue
                connection.sendall(self._last_words)
                if self._resets:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return


@contextmanager
def closing_peer(last_words: bytes = b"", *, resets: bool = False) -> Iterator[Closing]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Closing(listener, last_words, resets=resets)
        listener.shutdown(socket.SHUT_RDWR)


def read_whole(client: HttpClient, **options: object) -> bytes:
    body = raw_body(client.post(b"{}", accept="text/event-stream", timeout_s=(20, 20), **options))
    assert body is not None
    decoder = ChunkDecoder()
    content = decoder.feed(body.first)
    while not decoder.is_whole:
        content += decoder.feed(body.connection.recv(4096))
    body.close(is_whole=True)
    return content


@pytest.mark.parametrize("resets", [False, True])
def test_a_request_that_met_the_end_of_a_kept_connection_is_sent_once_more_on_a_new_one(resets: bool) -> None:
    with closing_peer(resets=resets) as backend:
        client = HttpClient(backend.url, 5)
        for _ in range(3):
            assert read_whole(client) == b"hello world"
        assert backend.served == [2, 2, 1]


@pytest.mark.parametrize("resets", [False, True])
def test_a_request_of_which_a_byte_was_answered_is_not_sent_again(resets: bool) -> None:
    with closing_peer(b"H", resets=resets) as backend:
        client = HttpClient(backend.url, 5)
        read_whole(client)
        with pytest.raises(requests.ConnectionError):
            read_whole(client)
        assert backend.served == [2]


def test_a_request_is_sent_again_once_and_only_if_somebody_waits_for_it() -> None:
    with closing_peer() as backend:
        client = HttpClient(backend.url, 5)
        read_whole(client)
        with pytest.raises(requests.ConnectionError):
            read_whole(client, is_wanted=lambda: False)
        assert backend.served == [2]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def refuse() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    accepted.append(connection)
                    connection.recv(65536)
                    connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        with pytest.raises(requests.ConnectionError):
            read_whole(HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}/", 5))
        assert len(accepted) == 1
        listener.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing_peer() as backend:
        client = HttpClient(backend.url, 5)
        read_whole(client)
        later_s = time.monotonic() + 4.1
        monkeypatch.setattr("hazoom_ws.llm_bridge.http_client.time.monotonic", lambda: later_s)
        read_whole(client)
        assert backend.served == [1, 1]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("127.1", True),
        ("0.0.0.0", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("notlocalhost", False),
        ("::2", False),
        ("", False),
    ],
)
def test_what_is_loopback_goes_past_proxies(monkeypatch: pytest.MonkeyPatch, host: str, expected: bool) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example.com:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert is_loopback(host) is expected
    if host:
        authority = f"[{host}]" if ":" in host else host
        assert (not HttpClient(f"http://{authority}:9001/chat/", 5)._options["proxies"]) is expected


def refused(*pieces: bytes, timeout_s: float = 20.0) -> bytes:
    with peer(b"".join(pieces)) as backend:
        response = HttpClient(backend.url, 5).post(b"{}", accept="text/event-stream", timeout_s=(20, 20))
        with response:
            return beginning_of(response, limit_bytes=1000, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("pieces", "content"),
    [
        ([b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nhello and more"], b"hello"),
        ([b"HTTP/1.1 500 Oops\r\nContent-Length: 5000\r\n\r\n", b"x" * 5000], b"x" * 1000),
        ([CHUNKED, *PIECES], b"hello world"),
        ([CHUNKED, b"zz\r\n"], b""),
        ([b"HTTP/1.1 204 Nothing\r\n\r\n"], b""),
        ([CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"), *PIECES], b""),
    ],
)
def test_the_beginning_of_a_body_has_a_bound(pieces: list[bytes], content: bytes) -> None:
    assert refused(*pieces) == content


def test_what_drips_for_ever_is_read_for_a_time_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            closed = threading.Event()
            with suppress(OSError), connection:
                connection.recv(65536)
                connection.sendall(CHUNKED + PIECES[0] + b"5;")
                while not closed.wait(0.01):
                    connection.sendall(b"x")

        threading.Thread(target=drip, daemon=True).start()
        client = HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}/", 5)
        with client.post(b"{}", accept="text/event-stream", timeout_s=(20, 20)) as response:
            assert beginning_of(response, limit_bytes=100_000, timeout_s=0.3) == b"hello"
