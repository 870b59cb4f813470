"""What becomes of an answer: kept in its room however it ended, announced, and waited for by who may come back."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from clients import Client
from hazoom_ws.llm_bridge.demo import DemoBackend
from unit.llm_bridge.test_bridge import END, HEAD, JSON_HEAD, TOKEN, answer, backend, stall
from visitors import Visitor


def kept(client: Client) -> list[tuple]:
    """Return what the default room's history says of answers."""
    messages = client.call("get_history", {})["messages"]
    fields = ("request_id", "message", "finish_reason", "code")
    return [tuple(entry.get(field) for field in fields) for entry in messages if entry.get("kind") == "assistant"]


@pytest.mark.parametrize(
    ("serve", "stream", "expected"),
    [
        (answer(HEAD, TOKEN, END), True, ("a", "stop", None)),
        (answer(HEAD, b"event: end\ndata: {}\n\n"), True, ("", "stop", None)),
        (answer(JSON_HEAD, b'{"response": "whole"}'), False, ("whole", "stop", None)),
        (answer(HEAD, TOKEN, TOKEN), True, ("aa", "failed", "llm_failed")),
        (answer(HEAD, TOKEN, b'event: error\ndata: {"error": "secret"}\n\n'), True, ("a", "failed", "llm_failed")),
        (answer(HEAD), True, ("", "failed", "llm_failed")),
        (answer(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), True, ("", "failed", "llm_unavailable")),
        (answer(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), False, ("", "failed", "llm_unavailable")),
        (stall(HEAD, TOKEN), True, ("a", "failed", "llm_timeout")),
    ],
)
def test_an_answer_in_a_room_is_kept_however_it_ended(make_app, serve, stream, expected):
    with backend(serve) as url:
        app = make_app(llm_url=url, llm_idle_timeout_s=0.3)
        ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
        assert ann.call("llm_request", {"message": "?", "request_id": "r", "room": "general", "stream": stream})["ok"]
        seen = bob.wait_for_any("llm_complete", "llm_error")
        assert kept(bob) == [("r", *expected)]
        # What is live says the same, before the end that only who is there gets.
        (live,) = [event for name, event in seen if name == "new_message" and event.get("kind") == "assistant"]
        assert live == bob.call("get_history", {})["messages"][-1]
        assert [name for name, _ in seen][-2] == "new_message"


def test_what_was_stopped_is_kept_with_what_there_was_of_it(make_app):
    with backend(stall(HEAD, TOKEN)) as url, backend(stall()) as silent_url:
        for one_url, text in ((url, "a"), (silent_url, "")):
            ann = Client(make_app(llm_url=one_url, llm_streams_per_user_limit=1), user_name="Ann")
            for request_id in ("running", "waiting"):
                assert ann.call("llm_request", {"message": "?", "request_id": request_id, "room": "general"})["ok"]
            if text:
                ann.wait_for("llm_token")
            for request_id in ("waiting", "running"):
                assert ann.call("llm_cancel", {"request_id": request_id})["ok"]
                ann.wait_for("llm_complete")
            assert kept(ann) == [("waiting", "", "cancelled", None), ("running", text, "cancelled", None)]


def test_a_question_that_is_no_answer_says_nothing_of_an_end(make_app):
    with backend(stall(HEAD)) as url:
        ann = Client(make_app(llm_url=url), user_name="Ann")
        ann.call("llm_request", {"message": "?", "request_id": "r", "room": "general"})
        ann.call("message", {"message": "hello"})
        for message in ann.call("get_history", {})["messages"]:
            assert "finish_reason" not in message
            assert "code" not in message


# Started


def test_a_room_is_told_whose_answer_is_on_its_way_before_its_first_token(make_app):
    with DemoBackend() as demo:
        app = make_app(llm_url=demo.url)
        ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
        bob.received()
        ann.call("llm_request", {"message": "?", "request_id": "r", "room": "general", "intelligence_level": "nano"})
        seen = bob.wait_for_any("llm_token")
        assert [name for name, _ in seen] == ["new_message", "llm_started", "llm_token"]
        assert seen[1][1] == {"request_id": "r", "user": "Ann", "intelligence_level": "nano", "room": "general"}
        bob.wait_for("llm_complete")


def test_a_question_that_waits_has_started_when_it_is_asked(make_app):
    with backend(stall(HEAD)) as url:
        app = make_app(llm_url=url, llm_streams_per_user_limit=1)
        ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob")
        bob.received()
        for request_id in ("first", "second"):
            ann.call("llm_request", {"message": "?", "request_id": request_id})
        assert [event["request_id"] for event in ann.received("llm_started")] == ["first"]
        ann.call("llm_cancel", {"request_id": "first"})
        assert ann.wait_for("llm_started")["request_id"] == "second"
        assert bob.received() == [], "private"


def test_who_comes_before_the_first_token_is_told_too(make_app):
    with backend(stall(HEAD)) as url:
        app = make_app(llm_url=url)
        ann = Client(app, user_name="Ann")
        ann.call("llm_request", {"message": "?", "request_id": "shared", "room": "general"})
        ann.call("llm_request", {"message": "?", "request_id": "private"})
        late, again = Client(app, user_name="Bob"), Client(app, user_name="Ann")
        assert [event["request_id"] for event in late.received("llm_started")] == ["shared"]
        again.received()
        assert again.call("llm_resume", {"request_id": "private", "index": 0})["ok"]
        assert [name for name, _ in again.received()] == ["llm_started"]


# Who is waited for


@contextmanager
def endless() -> Iterator[tuple[str, threading.Event]]:
    """Serve tokens until the peer closes, which the event then says."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        try:
            connection.sendall(HEAD)
            while not ended.wait(0.01):
                connection.sendall(TOKEN)
        except OSError:
            ended.set()

    with backend(drip) as url:
        yield url, ended


def ask_and_leave(app, leave: Callable[[Visitor], None], *names: str) -> float:
    """Let a user ask on the last of these connections and leave them all; return the moment of that."""
    visitors = []
    for _ in names:
        visitor = Visitor(app)
        visitor.connect(user_name="Ann")
        visitors.append(visitor)
    assert visitors[-1].call("llm_request", {"message": "?"})["ok"]
    left_at_s = time.monotonic()
    for visitor in visitors:
        leave(visitor)
    return left_at_s


def drop(visitor: Visitor) -> None:
    visitor.close()


def say_goodbye(visitor: Visitor) -> None:
    visitor.send("41")
    visitor.close()


@pytest.mark.parametrize(("window_s", "grace_s"), [(1.0, 0.0), (0.0, 1.0), (0.5, 1.0)])
def test_a_private_answer_is_stopped_when_nobody_can_come_back_and_the_grace_is_over(make_app, window_s, grace_s):
    with endless() as (url, ended):
        app = make_app(llm_url=url, recovery_window_s=window_s, llm_user_grace_s=grace_s)
        left_at_s = ask_and_leave(app, drop, "phone")
        assert ended.wait(20)
        assert time.monotonic() - left_at_s >= 1.0


def test_who_says_goodbye_is_not_waited_for(make_app):
    with endless() as (url, ended):
        app = make_app(llm_url=url, recovery_window_s=1000.0, llm_user_grace_s=0.0)
        ask_and_leave(app, say_goodbye, "phone")
        assert ended.wait(20)


def test_a_user_is_waited_for_as_long_as_any_of_the_clients_may_come_back(make_app):
    with endless() as (url, ended):
        app = make_app(llm_url=url, recovery_window_s=1.0, llm_user_grace_s=0.0)
        leaves = iter([drop, say_goodbye])

        def leave(visitor: Visitor) -> None:
            next(leaves)(visitor)

        left_at_s = ask_and_leave(app, leave, "phone", "laptop")
        assert ended.wait(20)
        assert time.monotonic() - left_at_s >= 1.0


def test_who_comes_back_in_time_finds_the_answer_running(make_app):
    with endless() as (url, ended):
        app = make_app(llm_url=url, recovery_window_s=1000.0, llm_user_grace_s=0.0)
        visitor = Visitor(app)
        pid = visitor.connect(user_name="Ann")["pid"]
        request_id = visitor.call("llm_request", {"message": "?"})["request_id"]
        visitor.close()
        answers = app.extensions["hazoom_ws"].answers
        with answers.turn():
            answers.run_due()  # the grace is over
        back = Visitor(app)
        answered = back.connect(user_name="Ann", pid=pid)
        assert answered["pid"] == pid
        assert [text for text in answered["packets"] if "llm_started" in text], "it may have missed that too"
        assert not ended.is_set()
        assert back.call("llm_cancel", {"request_id": request_id})["ok"]
        assert ended.wait(20)
        back.close()
