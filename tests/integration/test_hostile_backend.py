"""A backend that sends rubbish harms nobody's answer but the one that it is asked for."""

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from servers import OfficialClient, hazoom

HOSTILE_REQUESTS = 120
USERS = 12
GOOD_TOKENS = 40
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def token(text: str) -> bytes:
    return b'event: token\ndata: {"token": "%s"}\n\n' % text.encode()


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


END = b'event: end\ndata: {"full_response": "x"}\n\n'
RUBBISH: tuple[Callable[[], bytes], ...] = (
    lambda: random.randbytes(random.randrange(1, 3000)),
    lambda: PLAIN + random.randbytes(random.randrange(1, 3000)),
    lambda: CHUNKED + random.randbytes(random.randrange(1, 3000)),
    lambda: CHUNKED + chunk(token("a")) + random.randbytes(200),
    lambda: CHUNKED + chunk(random.randbytes(500)) * 20 + b"0\r\n\r\n",
    lambda: CHUNKED + b"ffffffff\r\n" + token("a") * 50,
    lambda: CHUNKED + chunk(token("a") * 30_000),
    lambda: CHUNKED + chunk(token("a"))[:-1],
    lambda: CHUNKED + chunk(token("a") + END) + b"0\r\n" + b"X: y\r\n" * 10_000,
    lambda: PLAIN + b"data: " + b"x" * 300_000,
    lambda: PLAIN + b"event: token\ndata: " + b"[" * 50_000 + b"\n\n",
    lambda: PLAIN + b"\n" * 100_000,
    lambda: PLAIN + b"\r" * 100_000 + token("a") + END,
    lambda: PLAIN + token("a") * 100 + END + token("after the end") * 1000,
    lambda: b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    lambda: b"HTTP/9.9 99999 \r\n\r\n",
    lambda: b"HTTP/1.1 204 No Content\r\n\r\n" + token("a"),
    lambda: b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + PLAIN + token("a") + END,
    lambda: CHUNKED.replace(b"chunked", b"gzip, chunked") + chunk(token("a") + END) + b"0\r\n\r\n",
    lambda: PLAIN.replace(b"close", b"close\r\nContent-Encoding: gzip") + random.randbytes(500),
    lambda: PLAIN.replace(b"close", b"close\r\nContent-Length: 99999") + token("a"),
)


Behave = Callable[[socket.socket, threading.Semaphore], None]


def send_rubbish(connection: socket.socket, _: threading.Semaphore) -> None:
    connection.sendall(random.choice(RUBBISH)())
    if random.random() < 0.3:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Backend:
    """Lets ``behave`` answer each question, but gives a good one a token for each `go_on`."""

    def __init__(self, listener: socket.socket, behave: Behave) -> None:
        self._behave = behave
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/chat/"
        self.go_on = threading.Semaphore(0)
        self._listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            request = b""
            while received := connection.recv(65536):
                request += received
                if not request.endswith(b"}"):
                    continue
                if b"good question" in request:
                    self._answer(connection)
                else:
                    self._behave(connection, self.go_on)
                return

    def _answer(self, connection: socket.socket) -> None:
        connection.sendall(CHUNKED)
        for number in range(GOOD_TOKENS):
            self.go_on.acquire()
            connection.sendall(chunk(token(f"{number} ")))
        connection.sendall(chunk(END) + b"0\r\n\r\n")


@contextmanager
def hostile_backend(behave: Behave = send_rubbish) -> Iterator[Backend]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Backend(listener, behave)
        listener.shutdown(socket.SHUT_RDWR)


def test_what_comes_after_a_failure_does_not_make_it_an_answer(async_mode: str, client: OfficialClient) -> None:
    rest = b'event: error\ndata: {"error": "secret"}\n\n' + b":" * 5000 + b"\n\n" + token("too late") + END

    def fail(connection: socket.socket, go_on: threading.Semaphore) -> None:
        connection.sendall(PLAIN + token("a"))
        go_on.acquire()
        connection.sendall(rest)

    with hostile_backend(fail) as backend, hazoom(async_mode=async_mode, llm_url=backend.url) as server:
        user = client.connect(server.url)
        user.emit("llm_request", {"message": "?"})
        user.wait_for("llm_token")
        backend.go_on.release()
        assert user.wait_for("llm_error")["code"] == "llm_failed"
        assert server.stats()["llm"]["active"] == 0
        assert [event["token"] for event in user.received("llm_token")] == ["a"]
        assert user.received("llm_complete") == []


def test_interim_answers_without_end_end_the_request_and_keep_nobody_waiting(
    async_mode: str, client: OfficialClient
) -> None:
    def never_begin(connection: socket.socket, _: threading.Semaphore) -> None:
        with suppress(OSError):
            while True:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    with hostile_backend(never_begin) as backend, hazoom(async_mode=async_mode, llm_url=backend.url) as server:
        user, other = client.connect(server.url), client.connect(server.url)
        user.emit("llm_request", {"message": "?"})
        assert other.emit("message", {"message": "hello"})["ok"]
        assert user.wait_for("llm_error")["code"] in ("llm_failed", "llm_unavailable")


@pytest.mark.parametrize("_", range(2))
def test_rubbish_ends_its_own_answer_once_and_no_other(async_mode: str, client: OfficialClient, _: int) -> None:
    env = {
        "HAZOOM_LLM_RESPONSE_LIMIT_BYTES": "200000",
        "HAZOOM_LLM_CIRCUIT_FAILURES_COUNT": "1000",
        "HAZOOM_LLM_QUEUE_PER_USER_LIMIT": "100",
        "HAZOOM_RATE_LIMIT_PER_S": "0",
    }
    with hostile_backend() as backend, hazoom(async_mode=async_mode, llm_url=backend.url, env=env) as server:
        good = client.connect(server.url)
        users = [client.connect(server.url) for _ in range(USERS)]
        good.emit("llm_request", {"message": "good question", "request_id": "good"})
        for number in range(HOSTILE_REQUESTS):
            users[number % USERS].send("llm_request", {"message": "?", "request_id": str(number)})
            if number % (HOSTILE_REQUESTS // GOOD_TOKENS) == 0:
                backend.go_on.release()
                good.wait_for("llm_token")
        complete = good.wait_for("llm_complete")
        assert complete["response"] == "".join(f"{number} " for number in range(GOOD_TOKENS))

        def ends() -> list[str]:
            return [
                event["request_id"]
                for user in users
                for name in ("llm_error", "llm_complete")
                for event in user.received(name)
            ]

        client.wait(lambda: len(ends()) >= HOSTILE_REQUESTS, "every answer has ended")
        assert good.emit("message", {"message": "still here"})["ok"]
        assert sorted(ends(), key=int) == [str(number) for number in range(HOSTILE_REQUESTS)]
        for user in users:
            for error in user.received("llm_error"):
                assert error["code"] in ("llm_failed", "llm_unavailable", "llm_timeout"), error
        llm = server.stats()["llm"]
        assert (llm["active"], llm["queued"]) == (0, 0)
        assert [user.received("disconnect") for user in users] == [[]] * USERS
