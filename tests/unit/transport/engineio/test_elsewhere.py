"""A request that comes to another process than has its session is answered as if it had come to that one."""

import io
import threading
from typing import Any

import pytest

from hazoom_ws.transport.engineio.elsewhere import Elsewhere
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.requests import id_prefix
from hazoom_ws.transport.serving.http_requests import handle_request
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import frame

HERE, THERE = "0" * 16, "1" * 16


class Process:
    """One of two processes, which ask each other at once."""

    def __init__(self, name: str) -> None:
        self.engine = Engine(async_mode="threading", handle_request=handle_request)
        self.received: list[str] = []
        self.closed: list[str] = []
        self.engine.on("connect", lambda *_: None)
        self.engine.on("message", lambda _sid, text: self.received.append(text))
        self.engine.on("disconnect", lambda _sid, reason: self.closed.append(reason))
        self.engine.id_prefix = id_prefix(0, name)
        self.engine.elsewhere = Elsewhere(self.engine, self)
        self.other: Process
        self.asked_count = 0
        self.error: Exception | None = None

    def has(self, process: str) -> bool:
        return process == (THERE if self.engine.id_prefix.startswith(HERE) else HERE)

    def ask(self, _process: str, question: bytes, limit_s: float) -> bytes:
        assert limit_s == self.engine.ping_interval + self.engine.ping_timeout
        self.asked_count += 1
        if self.error is not None:
            raise self.error
        return bytes(self.other.engine.elsewhere.answer(question))

    def tell(self, _process: str, question: bytes) -> None:
        self.other.engine.elsewhere.answer(question)

    def request(self, method: str, sid: str, body: bytes = b"", **more: str) -> tuple[str, bytes]:
        """Return the status and the body of an answer."""
        statuses: list[str] = []
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "QUERY_STRING": f"EIO=4&transport=polling&sid={sid}",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        answer = self.engine.handle_request(environ | more, lambda status, _headers: statuses.append(status))
        return statuses[0], b"".join(answer)


@pytest.fixture
def here() -> Process:
    return joined(HERE, THERE)


def joined(*names: str) -> Process:
    first, second = map(Process, names)
    first.other, second.other = second, first
    return first


def session_of(process: Process) -> Any:
    session = process.engine.open()
    session.start_polling()
    return session


def test_polls_and_posts_reach_the_session_and_leave_it_as_ever(here: Process) -> None:
    session = session_of(here.other)
    session.send_frame(frame(frames.TEXT, b"4hello"))
    session.send_frame(frame(frames.BINARY, b"bytes"))
    assert here.request("GET", session.id) == ("200 OK", b"4hello\x1ebYnl0ZXM=")
    assert here.request("POST", session.id, b"4one\x1e4two") == ("200 OK", b"ok")
    assert here.other.received == ["one", "two"]
    here.other.engine.close(session, "over")
    assert here.request("GET", session.id) == ("400 Bad Request", b'{"code":1,"message":"Session ID unknown"}')


@pytest.mark.parametrize(
    ("method", "body", "more", "status"),
    [
        ("POST", b"x", {}, 400),
        ("POST", b"4", {"CONTENT_LENGTH": "1000001"}, 413),
        ("POST", b"4", {"HTTP_TRANSFER_ENCODING": "chunked"}, 400),
        ("POST", b"4", {"CONTENT_LENGTH": "2"}, 400),
    ],
)
def test_what_is_no_request_of_the_protocol_ends_the_session(
    here: Process, method: str, body: bytes, more: dict[str, str], status: int
) -> None:
    for process in (here, here.other):
        session = session_of(here.other)
        assert process.request(method, session.id, body, **more)[0].startswith(str(status))
        assert not session.is_open
    assert here.other.closed == ["parse error"] * 2
    assert here.other.received == []


def test_nothing_but_polls_and_posts_is_asked_elsewhere(here: Process) -> None:
    session = session_of(here.other)
    assert here.request("PUT", session.id)[0] == "400 Bad Request"
    assert here.asked_count == 0


def test_a_session_of_this_process_costs_nothing_and_a_made_up_one_neither(here: Process) -> None:
    session = session_of(here)
    here.has = lambda _: pytest.fail("it was looked for elsewhere")  # type: ignore[method-assign]
    assert here.request("POST", session.id, b"4") == ("200 OK", b"ok")
    here = joined(HERE, THERE)
    for sid in ("x", f"{HERE}-00", f"{'2' * 16}-00", f"{THERE}-zz", f"{THERE}-"):
        assert here.request("GET", sid)[0] == "400 Bad Request"
    assert here.asked_count == 0


def test_a_process_that_is_gone_has_no_sessions_and_one_that_is_not_reached_may_have(here: Process) -> None:
    here.error = LookupError(THERE)
    assert here.request("GET", f"{THERE}-00") == ("400 Bad Request", b'{"code":1,"message":"Session ID unknown"}')
    for error in (TimeoutError(), ConnectionError()):
        here.error = error
        assert here.request("GET", f"{THERE}-00") == (
            "503 Service Unavailable",
            b'{"code":3,"message":"Session not reached"}',
        )


def test_the_log_says_it_once(here: Process, caplog: pytest.LogCaptureFixture) -> None:
    session = session_of(here.other)
    for _ in range(3):
        here.request("POST", session.id, b"4")
    assert caplog.text.count("a client that polls has its session at another process") == 1


def test_when_a_process_ends_the_polls_that_wait_by_way_of_it_end_and_their_sessions_stay(here: Process) -> None:
    session = session_of(here.other)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(here.request("GET", session.id)))
    thread.start()
    with session.changed:
        assert session.changed.wait_for(lambda: session.is_polled, 20)
    here.engine.elsewhere.end()
    thread.join(20)
    assert answers == [("200 OK", b"6")]
    asked_count = here.asked_count
    assert here.request("GET", session.id) == ("200 OK", b"6")
    assert here.asked_count == asked_count, "the next request is for another process"
    assert here.request("POST", session.id, b"4") == ("200 OK", b"ok")
    assert session.is_open
