"""What people reported about backends of language models, and the ways to them: proxies, load balancers, busy models."""

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from http_proxy import http_proxy
from integration.test_hostile_backend import CHUNKED, END, chunk, hostile_backend, token
from integration.test_llm_over_tls import TOKENS, authority, tls_backend, trusted
from servers import Backend, OfficialClient, hazoom, unique, wait_until

__all__ = ["authority", "trusted"]

REASON = "HTTPConnectionPool(host='10.0.0.7', port=11434): Max retries exceeded with url: /api/generate"
# No name of it is one of this machine, but the proxy takes all of them there.
ELSEWHERE = "backend.example.com"


# What it says when it fails


@pytest.mark.parametrize("stream", [True, False])
def test_why_django_failed_is_in_the_log_and_nowhere_else(
    async_mode: str, backend: Backend, client: OfficialClient, stream: bool
) -> None:
    with hazoom(async_mode=async_mode, llm_url=backend.url) as server:
        user = client.connect(server.url)
        user.emit("llm_request", {"message": "do:status 500", "stream": stream})
        assert "10.0.0.7" not in str(user.wait_for("llm_error"))
        wait_until(lambda: f"HTTP 500: {REASON}" in server.log, "the reason is in the log")


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 500 Oops\r\n\r\n", b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlines\r\n5;"],
    ids=["plain", "chunked"],
)
def test_a_reason_that_never_ends_is_cut_in_time_and_in_bytes_and_keeps_nobody_waiting(
    async_mode: str, client: OfficialClient, head: bytes
) -> None:
    is_over = threading.Event()

    def drip(connection: socket.socket, _: threading.Semaphore) -> None:
        connection.sendall(head)
        with suppress(OSError):
            while not is_over.wait(0.02):
                connection.sendall(b"\x1b[31mx\r\n" if b"chunked" not in head else b"x")

    def flood(connection: socket.socket, _: threading.Semaphore) -> None:
        connection.sendall(head)
        with suppress(OSError):
            while True:
                connection.sendall(b"x" * 65536)

    for behave in (drip, flood):
        with hostile_backend(behave) as backend, hazoom(async_mode=async_mode, llm_url=backend.url) as server:
            user, other = client.connect(server.url), client.connect(server.url)
            user.send("llm_request", {"message": "?"})
            assert other.emit("message", {"message": "hello"})["ok"]
            assert user.wait_for("llm_error")["code"] == "llm_failed"
            [line] = [line for line in server.log.splitlines() if "AI request" in line]
            assert "HTTP 500" in line
            assert len(line) < 1200
            assert "\x1b" not in line
    is_over.set()


@pytest.mark.parametrize("status", [429, 503])
def test_a_backend_that_says_when_to_come_back_is_not_asked_before(
    async_mode: str, backend: Backend, client: OfficialClient, status: int
) -> None:
    with hazoom(async_mode=async_mode, llm_url=backend.url) as server:
        user = client.connect(server.url)
        asked_at_s = time.time()
        question = f"do:busy {status} 30"
        before = len(backend.received(question))
        assert user.emit("llm_request", {"message": question})["ok"]
        error = user.wait_for("llm_error")
        assert (error["code"], error["retry"]) == ("llm_unavailable", True)
        assert 0 <= error["retry_at"] - asked_at_s - 30 < 20
        refused = user.emit("llm_request", {"message": question})["error"]
        assert (refused["code"], refused["retry"]) == ("llm_unavailable", True)
        assert abs(refused["retry_at"] - error["retry_at"]) < 1
        assert len(backend.received(question)) == before + 1
        llm = server.stats()["llm"]
        assert llm["circuit"] == "open"
        assert abs(llm["retry_at"] - error["retry_at"]) < 1
        assert "quota exceeded" in server.log


# Tokens


def test_a_character_in_two_tokens_arrives_whole(async_mode: str, backend: Backend, client: OfficialClient) -> None:
    with hazoom(async_mode=async_mode, llm_url=backend.url) as server:
        user = client.connect(server.url)
        user.emit("llm_request", {"message": "do:halves", "room": "general"})
        complete = user.wait_for("llm_complete")
        expected = ["", "😀", "x", "\ufffdy", "\ufffd"]
        assert [(event["index"], event["token"]) for event in user.received("llm_token")] == list(enumerate(expected))
        assert complete["response"] == "".join(expected)
        assert user.emit("get_history", {})["messages"][-1]["message"] == "".join(expected)
        user.emit("llm_request", {"message": "do:halves", "stream": False})
        assert user.wait_for("llm_response")["response"] == "".join(expected)


def test_a_model_that_thinks_is_waited_for_as_long_as_it_is_alive(async_mode: str, client: OfficialClient) -> None:
    think_s = 1.5

    def think(connection: socket.socket, _: threading.Semaphore) -> None:
        connection.sendall(CHUNKED)
        for part in (token("a"), END):
            ends_at_s = time.monotonic() + think_s
            while (left_s := ends_at_s - time.monotonic()) > 0:
                connection.sendall(chunk(b": ping\n\n"))
                threading.Event().wait(min(left_s, 0.1))
            connection.sendall(chunk(part))
        connection.sendall(b"0\r\n\r\n")

    env = {"HAZOOM_LLM_FIRST_TOKEN_TIMEOUT_S": "0.8", "HAZOOM_LLM_IDLE_TIMEOUT_S": "0.8"}
    with hostile_backend(think) as backend, hazoom(async_mode=async_mode, llm_url=backend.url, env=env) as server:
        user = client.connect(server.url)
        user.emit("llm_request", {"message": "?"})
        assert user.wait_for("llm_complete")["response"] == "a"
    env["HAZOOM_LLM_TOTAL_TIMEOUT_S"] = "1"
    with hostile_backend(think) as backend, hazoom(async_mode=async_mode, llm_url=backend.url, env=env) as server:
        user = client.connect(server.url)
        user.emit("llm_request", {"message": "?"})
        error = user.wait_for("llm_error")
        assert (error["code"], "whole answer" in error["message"]) == ("llm_timeout", True)


# The way there


def test_a_kept_connection_that_ends_as_it_is_used_again_is_nobodys_failure(
    async_mode: str, client: OfficialClient
) -> None:
    served: list[int] = []

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                served.append(0)
                threading.Thread(target=talk, args=(connection, len(served) - 1), daemon=True).start()

    def talk(connection: socket.socket, number: int) -> None:
        with suppress(OSError), connection:
            request = b""
            while received := connection.recv(65536):
                request += received
                if request.endswith(b"}"):
                    request = b""
                    served[number] += 1
                    if served[number] > 1:
                        return
                    connection.sendall(CHUNKED + chunk(token("a")) + chunk(END) + b"0\r\n\r\n")

    env = {"HAZOOM_LLM_CIRCUIT_FAILURES_COUNT": "1"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/chat/"
        with hazoom(async_mode=async_mode, llm_url=url, env=env) as server:
            user = client.connect(server.url)
            for count in range(1, 5):
                assert user.emit("llm_request", {"message": "?"})["ok"]
                user.wait_for("llm_complete")
                wait_until(lambda count=count: server.stats()["llm"]["requests_total"] == count, "it is counted")
            assert user.received("llm_error") == []
            llm = server.stats()["llm"]
            assert (llm["circuit"], llm["failures_total"]) == ("closed", {})
        assert sum(served) - 4 in range(4)
        if async_mode == "eventlet":  # elsewhere no connection is kept
            assert max(served) == 2
        listener.shutdown(socket.SHUT_RDWR)


def test_a_backend_on_this_machine_is_asked_past_proxies(async_mode: str, backend: Backend, client: OfficialClient) -> None:
    nowhere = "http://127.0.0.1:9"
    env = {"HTTP_PROXY": nowhere, "http_proxy": nowhere, "ALL_PROXY": nowhere, "NO_PROXY": "", "no_proxy": ""}
    with hazoom(async_mode=async_mode, llm_url=backend.url, env=env) as server:
        user = client.connect(server.url)
        user.emit("llm_request", {"message": "plain"})
        assert user.wait_for("llm_complete")["finish_reason"] == "stop"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_all_of_it_works_through_a_proxy(async_mode: str, backend: Backend, client: OfficialClient, variable: str) -> None:
    with http_proxy() as proxy:
        env = {variable: proxy.url, "NO_PROXY": "", "no_proxy": ""}
        url = backend.url.replace("127.0.0.1", ELSEWHERE)
        with hazoom(async_mode=async_mode, llm_url=url, env=env) as server:
            user = client.connect(server.url)
            gate = unique("gate")
            user.emit("llm_request", {"message": f"do:gated {gate}"})
            for index in range(3):
                backend.release(gate)
                assert user.wait_for("llm_token")["index"] == index
            for _ in range(20):
                backend.release(gate)
            assert user.wait_for("llm_complete")["finish_reason"] == "stop"
            user.emit("llm_request", {"message": "plain", "stream": False})
            user.wait_for("llm_response")
            endless = f"do:endless {unique('stream')}"
            request_id = user.emit("llm_request", {"message": endless})["request_id"]
            user.wait_for("llm_token", lambda event: event["request_id"] == request_id)
            user.emit("llm_cancel", {"request_id": request_id})
            wait_until(lambda: endless not in backend.open_streams(), "Django's stream is closed")
            user.emit("llm_request", {"message": "do:status 500"})
            assert user.wait_for("llm_error")["code"] == "llm_failed"
            assert REASON in server.log
            stall = user.emit("llm_request", {"message": "do:stall headers", "request_id": "stall"})["request_id"]
            wait_until(lambda: backend.received("do:stall headers"), "Django has the question")
            assert user.emit("llm_cancel", {"request_id": stall})["ok"]
            user.wait_for("llm_complete", lambda event: event["request_id"] == stall)
            wait_until(lambda: server.stats()["llm"]["active"] == 0, "nobody waits for its headers")
        assert proxy.asked
        assert {line.split()[1].split("/")[2].split(":")[0] for line in proxy.asked} == {ELSEWHERE}


@pytest.mark.parametrize("pieces", [0, 3], ids=["before the head", "amid tokens"])
def test_an_encrypted_answer_through_a_proxy_comes_token_by_token_and_is_stopped_at_once(
    async_mode: str, authority: trustme.CA, trusted: Path, client: OfficialClient, pieces: int
) -> None:
    with http_proxy() as proxy, tls_backend(authority, ELSEWHERE) as backend:
        env = {"REQUESTS_CA_BUNDLE": str(trusted), "HTTPS_PROXY": proxy.url, "NO_PROXY": "", "no_proxy": ""}
        with hazoom(async_mode=async_mode, llm_url=backend.url, env=env) as server:
            user = client.connect(server.url)
            request_id = user.emit("llm_request", {"message": "?"})["request_id"]
            wait_until(lambda: backend.asked == 1, "the backend has the question")
            if pieces:
                backend.go_on.release()
            for index in range(pieces):
                backend.go_on.release()
                assert user.wait_for("llm_token")["token"] == TOKENS[index]
            assert user.emit("llm_cancel", {"request_id": request_id})["ok"]
            complete = user.wait_for("llm_complete")
            assert (complete["finish_reason"], complete["token_count"]) == ("cancelled", pieces)
            wait_until(lambda: backend.gone == 1, "the connection is closed")
        assert [line.split()[0] for line in proxy.asked] == ["CONNECT"]
