"""The bridge against real sockets: the demo backend, and small servers that misbehave in ways that Django cannot.

What a real Django sends is tested in tests/integration/test_bridge.py.
"""

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from clients import Client
from hazoom_ws.llm_bridge.bridge import LlmBridge, _Samples
from hazoom_ws.llm_bridge.demo import DemoBackend
from hazoom_ws.llm_bridge.wire import Prompt
from hazoom_ws.settings import Settings
from visitors import Visitor

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
TOKEN = b'event: token\ndata: {"token": "a"}\n\n'
END = b'event: end\ndata: {"full_response": "a"}\n\n'


@contextmanager
def backend(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Hand each connection, after its request, to ``serve``; yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection: socket.socket) -> None:
            with connection, suppress(ConnectionError):  # an application that is closed stops what runs
                received = b""
                while not received.endswith(b"}"):
                    received += connection.recv(65536)
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/chat/"
        listener.shutdown(socket.SHUT_RDWR)


def answer(*parts: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(b"".join(parts))


def stall(*parts: bytes) -> Callable[[socket.socket], None]:
    """Send the parts and then nothing until the peer closes."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"".join(parts))
        while connection.recv(65536):
            pass

    return serve


def ask(make_app, url: str, *, stream: bool = True, **settings) -> tuple[list[tuple[str, dict]], Client]:
    """Ask, wait for the end, and return everything that was received after ``llm_started``."""
    client = Client(make_app(llm_url=url, rate_limit_per_s=0, **settings), user_name="Ann")
    client.received()
    assert client.call("llm_request", {"message": "hi", "request_id": "r", "stream": stream}) == {
        "ok": True,
        "request_id": "r",
    }
    (name, started), *seen = client.wait_for_any("llm_error", "llm_complete")
    assert (name, started) == ("llm_started", {"request_id": "r", "user": "Ann", "intelligence_level": "super"})
    return seen, client


def test_a_stream_is_relayed_token_by_token_and_completed(make_app):
    with DemoBackend() as demo:
        seen, client = ask(make_app, demo.url)
    tokens = [payload for name, payload in seen if name == "llm_token"]
    complete = seen[-1][1]
    assert [token["index"] for token in tokens] == list(range(len(tokens)))
    assert "".join(token["token"] for token in tokens) == complete["response"]
    assert "demo" in complete["response"]
    assert {token["request_id"] for token in tokens} == {"r"}
    assert complete["message"] == "Response complete"
    assert complete["finish_reason"] == "stop"
    assert complete["intelligence_level"] == "super"
    assert complete["token_count"] == len(tokens)
    assert 0 < complete["ttft_ms"] <= complete["duration_ms"]
    assert complete["session_id"]
    assert "room" not in complete
    llm = client.call("get_stats")["llm"]
    assert (llm["active"], llm["requests_total"], llm["tokens_total"]) == (0, 1, len(tokens))
    assert llm["ttft_ms_p50"] == llm["ttft_ms_p99"] == complete["ttft_ms"]


def test_an_answer_without_stream_is_one_response_and_a_completion(make_app):
    with DemoBackend() as demo:
        seen, _ = ask(make_app, demo.url, stream=False)
    assert [name for name, _ in seen] == ["llm_response", "llm_complete"]
    response, complete = seen[0][1], seen[1][1]
    assert response["response"] == complete["response"]
    assert (response["intelligence_level"], response["request_id"]) == ("super", "r")
    assert complete["token_count"] == 0


@pytest.mark.parametrize(
    ("serve", "code", "retry"),
    [
        (answer(HEAD, TOKEN), "llm_failed", True),
        (answer(HEAD, TOKEN, b"event: token\ndata: {]\n\n", END), "llm_failed", True),
        (answer(HEAD, TOKEN, b'event: token\ndata: {"tok": 1}\n\n', END), "llm_failed", True),
        (answer(HEAD, b"event: token\ndata: " + b"[" * 50_000 + b"\n\n", END), "llm_failed", True),
        (
            answer(HEAD, b'event: error\ndata: {"error": "HTTPConnectionPool(host=\'10.0.0.7\')"}\n\n', END),
            "llm_failed",
            True,
        ),
        (answer(HEAD, b"\x00\xff" * 1000), "llm_failed", True),
        (answer(HEAD, b": nothing but a comment " * 10_000), "llm_failed", False),
        (answer(HEAD, TOKEN * 5_000), "llm_failed", False),
        (answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>"), "llm_failed", False),
        (answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "llm_failed", False),
        (answer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"), "llm_failed", False),
        (answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "llm_failed", False),
        (answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), "llm_failed", True),
        (answer(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), "llm_unavailable", True),
        (answer(b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), "llm_failed", False),
        (answer(b"SSH-2.0-OpenSSH_9.2\r\n"), "llm_unavailable", True),
        (answer(), "llm_unavailable", True),
        (
            answer(HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked"), b"25\r\n" + TOKEN[:9]),
            "llm_failed",
            True,
        ),
        (answer(HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked"), b"zz\r\n"), "llm_failed", True),
        (stall(), "llm_timeout", True),
        (stall(HEAD), "llm_timeout", True),
        (stall(HEAD, b": still here\n"), "llm_timeout", True),
        (stall(HEAD, TOKEN), "llm_timeout", True),
    ],
)
def test_every_failure_is_one_error_with_its_code_and_leaves_nothing_running(make_app, serve, code, retry):
    with backend(serve) as url:
        seen, client = ask(
            make_app, url, llm_first_token_timeout_s=0.3, llm_idle_timeout_s=0.3, llm_response_limit_bytes=100_000
        )
    error = seen[-1][1]
    assert [name for name, _ in seen if name != "llm_token"] == ["llm_error"]
    assert (error["request_id"], error["code"], error["retry"]) == ("r", code, retry)
    assert not any(word in error["message"] for word in ("127.0.0.1", "10.0.0.7", "host", "Error", "http"))
    assert client.call("get_stats")["llm"]["active"] == 0


def test_a_backend_that_is_down_is_unavailable(make_app):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    seen, _ = ask(make_app, f"http://127.0.0.1:{port}/")
    assert [(name, payload["code"]) for name, payload in seen] == [("llm_error", "llm_unavailable")]


def test_a_stream_that_never_ends_is_ended_by_the_total_time(make_app):
    def drip(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        closed = threading.Event()
        try:
            while not closed.wait(0.01):
                connection.sendall(TOKEN)
        except OSError:
            closed.set()

    with backend(drip) as url:
        seen, _ = ask(make_app, url, llm_total_timeout_s=0.5)
    assert seen[-1][1]["code"] == "llm_timeout"
    assert "0.5 s" in seen[-1][1]["message"]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"answer": 1}', b""])
def test_an_answer_without_stream_that_is_none_is_a_failure(make_app, body):
    with backend(answer(JSON_HEAD, body)) as url:
        seen, _ = ask(make_app, url, stream=False)
    assert [(name, payload["code"]) for name, payload in seen] == [("llm_error", "llm_failed")]


def test_an_end_without_tokens_answers_with_its_full_response(make_app):
    with backend(answer(HEAD, END)) as url:
        seen, _ = ask(make_app, url)
    assert (seen[-1][1]["response"], seen[-1][1]["token_count"]) == ("a", 0)


def test_a_user_has_so_many_answers_at_once_and_not_one_more(make_app):
    with backend(stall(HEAD)) as url:
        no_queue = {"llm_queue_per_user_limit": 0, "llm_queue_limit": 0}
        app = make_app(llm_url=url, llm_streams_per_user_limit=2, llm_streams_limit=3, **no_queue)
        ann, tab, bob = (Client(app, user_name=name) for name in ("Ann", "Ann", "Bob"))
        assert ann.call("llm_request", {"message": "1", "request_id": "same"})["ok"]
        assert bob.call("llm_request", {"message": "1", "request_id": "same"})["error"]["code"] == "bad_payload"
        assert tab.call("llm_request", {"message": "2"})["ok"]
        error = ann.call("llm_request", {"message": "3"})["error"]
        assert (error["code"], error["retry"]) == ("too_many_streams", True)
        assert bob.call("llm_request", {"message": "1"})["ok"]
        assert bob.call("llm_request", {"message": "2"})["error"]["code"] == "too_many_streams"
        assert ann.call("get_stats")["llm"]["active"] == 3


def test_the_next_question_may_be_asked_as_soon_as_the_last_one_has_ended(make_app):
    with backend(answer(HEAD, TOKEN, END)) as url:
        client = Client(make_app(llm_url=url, llm_streams_per_user_limit=1))
        for _ in range(5):
            assert client.call("llm_request", {"message": "x"})["ok"]
            client.wait_for("llm_complete")


def test_a_question_that_was_accepted_is_accepted_again_and_asked_once(make_app):
    go_on = threading.Event()
    asked = []

    def gated(connection: socket.socket) -> None:
        asked.append(connection)
        connection.sendall(HEAD + TOKEN)
        go_on.wait(20)
        connection.sendall(END)

    with backend(gated) as url:
        app = make_app(llm_url=url, llm_streams_per_user_limit=1, llm_queue_per_user_limit=0)
        ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
        question = {"message": "x", "request_id": "same", "room": "general"}
        for _ in range(3):
            assert ann.call("llm_request", question) == {"ok": True, "request_id": "same"}
        assert ann.call("leave_room", {})["ok"]
        assert ann.call("llm_request", question)["ok"], "what was accepted stays so"
        assert ann.call("join_room", {})["ok"]
        go_on.set()
        bob.wait_for("llm_complete")
        assert ann.call("llm_request", question)["ok"]
        assert bob.call("llm_request", question)["error"]["code"] == "bad_payload"
        assert len(asked) == 1
        assert [entry["kind"] for entry in bob.call("get_history", {})["messages"]] == ["prompt", "assistant"]
        assert bob.call("get_stats")["llm"]["requests_total"] == 1


def test_who_asks_again_on_another_connection_gets_the_answer_there(make_app):
    with backend(answer(HEAD, TOKEN, END)) as url:
        app = make_app(llm_url=url)
        first, again = Client(app, user_name="Ann"), Client(app, user_name="Ann")
        assert first.call("llm_request", {"message": "x", "request_id": "same"})["ok"]
        first.wait_for("llm_complete")
        again.received()
        for _ in range(2):
            assert again.call("llm_request", {"message": "x", "request_id": "same"})["ok"]
            first.call("llm_request", {"message": "x", "request_id": "same"})
        assert [name for name, _ in again.received()] == ["llm_token", "llm_complete"], "once"
        assert [name for name, _ in first.received()] == []
        assert again.call("llm_resume", {"request_id": "same", "index": 0})["ok"]
        assert [name for name, _ in again.received()] == ["llm_token", "llm_complete"]


def test_a_question_that_waits_is_asked_when_another_users_answer_makes_room(make_app):
    ending = threading.Event()

    def hold(connection: socket.socket) -> None:
        connection.sendall(HEAD + TOKEN)
        ending.wait(20)
        connection.sendall(END)

    with backend(hold) as url:
        app = make_app(llm_url=url, llm_streams_limit=1)
        ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
        ann.call("llm_request", {"message": "1"})
        ann.wait_for("llm_token")
        bob.call("llm_request", {"message": "2"})
        assert bob.wait_for("llm_queued")["position"] == 1
        llm = bob.call("get_stats")["llm"]
        assert (llm["active"], llm["queued"], llm["tokens_total"]) == (1, 1, 1)
        ending.set()
        bob.wait_for("llm_complete")
        llm = bob.call("get_stats")["llm"]
        assert (llm["active"], llm["queued"]) == (0, 0)
        assert llm["queue_ms_p99"] > 0


def test_a_refused_question_is_not_shown_to_the_room(make_app):
    with backend(stall(HEAD)) as url:
        app = make_app(llm_url=url, llm_streams_per_user_limit=1, llm_queue_per_user_limit=0)
        ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
        ann.call("llm_request", {"message": "1"})
        bob.received()
        ann.call("llm_request", {"message": "2", "room": "general"})
        assert bob.received() == []


def test_a_shared_answer_is_seen_by_the_room_and_kept(make_app):
    with backend(answer(HEAD, TOKEN, END)) as url:
        app = make_app(llm_url=url)
        ann, bob = Client(app, user_name="Ann"), Client(app, "/llm", user_name="Bob")
        ann.call("llm_request", {"message": "why?", "room": "general", "request_id": "r"})
        assert bob.wait_for("llm_token", namespace="/llm")["room"] == "general"
        assert bob.wait_for("llm_complete", namespace="/llm")["response"] == "a"
        messages = ann.call("get_history", {})["messages"]
        assert [(m["user"], m["message"], m["kind"], m["request_id"]) for m in messages] == [
            ("Ann", "why?", "prompt", "r"),
            ("Assistant", "a", "assistant", "r"),
        ]


def test_a_private_answer_is_for_the_asker_only(make_app):
    with backend(answer(HEAD, TOKEN, END)) as url:
        app = make_app(llm_url=url)
        ann, bob = Client(app), Client(app)
        bob.received()
        ann.call("llm_request", {"message": "why?"})
        ann.wait_for("llm_complete")
        assert bob.received() == []


def test_a_private_answer_ends_when_its_asker_is_gone(make_app):
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            connection.sendall(HEAD)
            while not ended.wait(0.01):
                connection.sendall(TOKEN)
        except OSError:
            ended.set()

    with backend(drip) as url:
        client = Client(make_app(llm_url=url, llm_user_grace_s=0))
        client.call("llm_request", {"message": "why?"})
        client.wait_for("llm_token")
        client.socket.disconnect()
        assert ended.wait(20)


def test_headers_that_drip_for_ever_are_a_timeout(make_app):
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        ended = threading.Event()
        with suppress(OSError):
            while not ended.wait(0.02):
                connection.sendall(b"y")

    with backend(drip) as url:
        seen, client = ask(make_app, url, llm_first_token_timeout_s=0.3)
    assert [payload["code"] for _, payload in seen] == ["llm_timeout"]
    assert client.call("get_stats")["llm"]["circuit"] == "closed"


def test_the_body_of_a_redirect_is_not_read(make_app):
    def redirect(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 99999999\r\n\r\n")
        connection.recv(1)

    with backend(redirect) as url:
        seen, _ = ask(make_app, url)
    assert [payload["code"] for _, payload in seen] == ["llm_failed"]


def test_a_resumed_answer_goes_to_every_device_of_its_user(make_app):
    go_on = threading.Semaphore(0)

    def gated(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        for _ in range(2):
            go_on.acquire(timeout=20)
            connection.sendall(TOKEN)
        go_on.acquire(timeout=20)
        connection.sendall(END)

    with backend(gated) as url:
        app = make_app(llm_url=url)
        laptop, phone = Client(app, user_name="Ann"), Client(app, user_name="Ann")
        laptop.call("llm_request", {"message": "?", "request_id": "r"})
        go_on.release()
        laptop.wait_for("llm_token")
        phone.call("llm_resume", {"request_id": "r", "index": 0})
        assert phone.wait_for("llm_token")["index"] == 0
        go_on.release(2)
        for device in (laptop, phone):
            assert device.wait_for("llm_token")["index"] == 1
            assert device.wait_for("llm_complete")["response"] == "aa"


def test_a_question_of_a_room_has_a_conversation_of_its_own(make_app):
    with backend(answer(HEAD, TOKEN, END)) as url:
        client = Client(make_app(llm_url=url), user_name="Ann")
        sessions = []
        for fields in ({}, {"room": "general"}, {}, {"room": "general"}):
            client.call("llm_request", {"message": "?", **fields})
            sessions.append(client.wait_for("llm_complete")["session_id"])
    assert sessions[:2] == sessions[2:]
    assert sessions[0] != sessions[1]


def test_answers_that_were_kept_take_no_more_than_their_limit_whatever_was_asked(make_app):
    with backend(answer(JSON_HEAD, b'{"response": "%s"}' % (b"x" * 50_000))) as url:
        app = make_app(llm_url=url, llm_resume_limit_bytes=80_000, rate_limit_per_s=0)
        client = Client(app)
        for number in range(4):
            client.call("llm_request", {"message": "?", "request_id": str(number), "stream": False})
            client.wait_for("llm_complete")
        known = [client.call("llm_resume", {"request_id": str(number), "index": 0})["ok"] for number in range(4)]
    assert known == [False, False, False, True]


def test_who_has_to_end_an_answer_lets_others_go_first_whatever_the_end():
    """A backend that went ended 500 answers in one breath, for which everybody waited."""

    class Reading:
        def pause(self) -> None: ...

        def resume(self) -> None: ...

    readers: queue.Queue[Callable[[bytes], None]] = queue.Queue()

    def read(_: socket.socket, on_data: Callable[[bytes], None]) -> Reading:
        readers.put(on_data)
        return Reading()

    happened: list[str] = []
    ended = threading.Event()

    class Sink:
        def add_tokens(self, tokens: list[str]) -> None:
            happened.append("tokens")

        def end(self, event: object) -> None:
            happened.append(type(event).__name__)
            ended.set()

        def keeps_up(self) -> bool:
            return True

    for last, end in ((END, "LlmComplete"), (b"", "LlmError")):
        with backend(stall(HEAD)) as url:
            bridge = LlmBridge(
                Settings(llm_url=url),
                start_task=lambda run, *given: threading.Thread(target=run, args=given).start(),
                read=lambda: read,
                give_way=lambda: happened.append("others"),
            )
            happened.clear()
            ended.clear()
            prompt = Prompt(
                request_id="r", user_identifier="Ann", message="?", intelligence_level="super", session_id="s", stream=True
            )
            bridge.start(prompt, Sink(), 0.0)
            on_data = readers.get(timeout=10)
            for data in (TOKEN, last):
                on_data(data)
            assert ended.wait(10)
            assert happened == ["others", "tokens", "others", end]


def test_a_request_whose_task_does_not_start_takes_no_place():
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    bridge = LlmBridge(Settings(), start_task=refuse)
    prompt = Prompt(
        request_id="r", user_identifier="Ann", message="?", intelligence_level="super", session_id="s", stream=True
    )
    with pytest.raises(RuntimeError):
        bridge.start(prompt, object(), 0.0)
    assert bridge.stats(0).active == 0


def test_percentiles_are_nearest_ranks_of_the_last_thousand():
    samples = _Samples()
    assert samples.percentile(0.5) == 0
    samples.add(1.0)
    assert samples.percentile(0.99) == 1.0
    for number in range(1000):
        samples.add(float(number))
    assert samples.percentile(0.99) == 990.0


def at(app, address: str) -> Visitor:
    """Return somebody who comes from an address, as a proxy that is trusted says."""
    visitor = Visitor(app, HTTP_X_FORWARDED_FOR=address)
    visitor.connect()
    return visitor


def test_an_address_holds_no_more_places_than_it_leaves_free(make_app):
    with backend(stall(HEAD)) as url:
        limits = {"llm_streams_limit": 8, "llm_queue_limit": 4, "llm_streams_per_user_limit": 1}
        app = make_app(llm_url=url, trusted_proxies=("127.0.0.0/8",), **limits)
        crowd = [at(app, "203.0.113.7") for _ in range(12)]
        codes = []
        for guest in crowd:
            reply = guest.call("llm_request", {"message": "me"})
            codes.append("ok" if reply["ok"] else reply["error"]["code"])
        assert codes == ["ok"] * 6 + ["too_many_streams"] * 6
        stats = crowd[0].call("get_stats")["llm"]
        assert (stats["active"], stats["queued"]) == (4, 2)
        assert "address" in crowd[-1].call("llm_request", {"message": "me"})["error"]["message"]
        # Whoever comes from elsewhere finds a place, as long as there is one.
        others = [at(app, f"198.51.100.{number}") for number in range(4)]
        assert [other.call("llm_request", {"message": "me"})["ok"] for other in others] == [True] * 4
        assert crowd[0].call("get_stats")["llm"]["active"] == 8
        for visitor in (*crowd, *others):
            visitor.close()


def test_addresses_on_this_machine_are_not_limited(make_app):
    with backend(stall(HEAD)) as url:
        app = make_app(llm_url=url, llm_streams_limit=4, llm_queue_limit=0, llm_streams_per_user_limit=1)
        guests = [Client(app) for _ in range(5)]
        assert [guest.call("llm_request", {"message": "me"})["ok"] for guest in guests] == [True] * 4 + [False]


def test_a_place_is_given_back_with_its_address(make_app):
    with backend(answer(HEAD, TOKEN, END)) as url:
        app = make_app(llm_url=url, llm_streams_limit=2, llm_queue_limit=1, trusted_proxies=("127.0.0.0/8",))
        guest = at(app, "203.0.113.7")
        for _ in range(5):
            assert guest.call("llm_request", {"message": "x"})["ok"]
            while not guest.events("llm_complete"):
                pass
        guest.close()
