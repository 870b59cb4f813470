"""A backend behind TLS: requests reads the stream there, and nothing else is different."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from servers import OfficialClient, hazoom, wait_until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TOKENS = ["Grüße", " aus", " der", " Ferne"]


class Backend:
    """Sends the head, each token and the end when it is told to; ``gone`` counts connections that the server has closed."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self.url = f"https://{host}:{listener.getsockname()[1]}/chat/"
        self.asked = self.gone = 0
        self.go_on = threading.Semaphore(0)
        self._listener = listener
        self._context = context
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, raw: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(raw, server_side=True) as connection:
            request = b""
            while not request.endswith(b"}"):
                request += connection.recv(65536)
            self.asked += 1
            threading.Thread(target=self._send, args=(connection,), daemon=True).start()
            while connection.recv(65536):
                pass
        self.gone += 1

    def _send(self, connection: ssl.SSLSocket) -> None:
        events = [b'event: token\ndata: {"token": "%s"}\n\n' % token.encode() for token in TOKENS]
        events.append(b"event: end\ndata: {}\n\n")
        pieces = [HEAD, *(b"%x\r\n%s\r\n" % (len(event), event) for event in events), b"0\r\n\r\n"]
        with suppress(OSError, ValueError):
            for piece in pieces:
                self.go_on.acquire()
                connection.sendall(piece)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@contextmanager
def tls_backend(authority: trustme.CA, host: str = "localhost") -> Iterator[Backend]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Backend(listener, context, host)
        listener.shutdown(socket.SHUT_RDWR)


def test_tokens_arrive_one_at_a_time_over_tls_too(
    async_mode: str, authority: trustme.CA, trusted: Path, client: OfficialClient
) -> None:
    env = {"REQUESTS_CA_BUNDLE": str(trusted)}
    with tls_backend(authority) as backend, hazoom(async_mode=async_mode, llm_url=backend.url, env=env) as server:
        user = client.connect(server.url)
        user.emit("llm_request", {"message": "?"})
        backend.go_on.release()
        for index, token in enumerate(TOKENS):
            backend.go_on.release()
            event = user.wait_for("llm_token")
            assert (event["token"], event["index"]) == (token, index)
        backend.go_on.release()
        assert user.wait_for("llm_complete")["response"] == "".join(TOKENS)


@pytest.mark.parametrize("pieces", [0, 1, 3], ids=["before the head", "after the head", "amid tokens"])
def test_an_answer_over_tls_is_stopped_at_once(
    async_mode: str, authority: trustme.CA, trusted: Path, client: OfficialClient, pieces: int
) -> None:
    env = {"REQUESTS_CA_BUNDLE": str(trusted)}
    with tls_backend(authority) as backend, hazoom(async_mode=async_mode, llm_url=backend.url, env=env) as server:
        user = client.connect(server.url)
        request_id = user.emit("llm_request", {"message": "?"})["request_id"]
        wait_until(lambda: backend.asked == 1, "the backend has the question")
        if pieces:
            backend.go_on.release(pieces)
        for _ in range(pieces - 1):
            user.wait_for("llm_token")
        assert user.emit("llm_cancel", {"request_id": request_id})["ok"]
        complete = user.wait_for("llm_complete")
        assert (complete["finish_reason"], complete["token_count"]) == ("cancelled", max(0, pieces - 1))
        wait_until(lambda: backend.gone == 1, "the connection is closed")
        assert user.received("llm_error") == []


def test_a_certificate_that_nobody_vouches_for_is_refused(
    async_mode: str, authority: trustme.CA, client: OfficialClient
) -> None:
    with tls_backend(authority) as backend, hazoom(async_mode=async_mode, llm_url=backend.url) as server:
        user = client.connect(server.url)
        user.emit("llm_request", {"message": "?"})
        assert user.wait_for("llm_error")["code"] == "llm_unavailable"
        assert backend.asked == 0
