"""A request that comes to another process than has its session is answered as if it had come to that one."""

import io
import threading
from typing import Any

import pytest

from hazoom_ws.transport.engineio import elsewhere as module
from hazoom_ws.transport.engineio.elsewhere import Elsewhere
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.requests import id_prefix
from hazoom_ws.transport.serving.http_requests import handle_request
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import frame

HERE, THERE = "0" * 16, "1" * 16
LONG = b"x" * 500_000


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
        self.slept_s: list[float] = []
        self.engine.sleep = self.slept_s.append
        self.wait_s = 0.0
        self.unknown_count = 0
        self.engine.elsewhere = Elsewhere(
            self.engine, self, wait_s=lambda _: self.wait_s, note_unknown=lambda _: self.note_unknown()
        )
        self.other: Process
        self.asked_bytes: list[int] = []  # of each question
        self.error: Exception | None = None

    def note_unknown(self) -> None:
        self.unknown_count += 1

    def has(self, process: str) -> bool:
        return process == (THERE if self.engine.id_prefix.startswith(HERE) else HERE)

    def ask(self, _process: str, question: bytes, limit_s: float) -> bytes:
        assert limit_s == self.engine.ping_interval + self.engine.ping_timeout
        self.asked_bytes.append(len(question))
        if self.error is not None:
            raise self.error
        return bytes(self.other.engine.elsewhere.answer(question))

    def tell(self, _process: str, question: bytes) -> None:
        self.asked_bytes.append(len(question))
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
    assert here.asked_bytes == []


def test_a_session_of_this_process_costs_nothing_and_one_of_no_process_neither(here: Process) -> None:
    session = session_of(here)
    here.has = lambda _: pytest.fail("it was looked for elsewhere")  # type: ignore[method-assign]
    assert here.request("POST", session.id, b"4") == ("200 OK", b"ok")
    here = joined(HERE, THERE)
    for sid in ("x", f"{HERE}-00", f"{'2' * 16}-00", f"{THERE}-zz", f"{THERE}-"):
        assert here.request("GET", sid)[0] == "400 Bad Request"
    assert here.asked_bytes == []


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
    here.request("GET", f"{THERE}-00")
    assert not caplog.text, "whoever makes up an id is no client"
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
    asked_count = len(here.asked_bytes)
    for pauses_count in (1, 2):
        assert here.request("GET", session.id) == ("200 OK", b"6")
        assert here.slept_s == [0.25] * pauses_count, "it may come here again at once"
    assert len(here.asked_bytes) == asked_count, "the next request is for another process"
    assert here.request("POST", session.id, b"4") == ("200 OK", b"ok")
    assert session.is_open


def test_of_a_made_up_session_nothing_is_read_and_little_is_asked(here: Process) -> None:
    unread: Any = type("Unread", (), {"read": lambda *_: pytest.fail("its body was read")})
    for number in range(3):
        sid = f"{THERE}-{number:030x}"
        assert here.request("POST", sid, LONG, **{"wsgi.input": unread()})[0] == "400 Bad Request"
        assert here.request("GET", sid)[0] == "400 Bad Request"
        assert here.unknown_count == 2 * (number + 1)
    assert max(here.asked_bytes) < 100


def test_who_has_named_too_many_sessions_that_are_not_there_waits_and_who_is_known_does_not(here: Process) -> None:
    known, new = session_of(here.other), session_of(here.other)
    assert here.request("POST", known.id, b"4") == ("200 OK", b"ok")
    here.wait_s, asked_count = 0.5, len(here.asked_bytes)
    for sid in (new.id, f"{THERE}-00"):
        assert here.request("POST", sid, b"4")[0] == "429 Too Many Requests"
    assert len(here.asked_bytes) == asked_count
    assert here.request("POST", known.id, b"4") == ("200 OK", b"ok")
    assert here.unknown_count == 0


def test_a_session_is_not_asked_for_again_while_it_is_known(here: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked_count(session: Any) -> int:
        before = len(here.asked_bytes)
        assert here.request("POST", session.id, b"4") == ("200 OK", b"ok")
        return len(here.asked_bytes) - before

    monkeypatch.setattr(module, "_KNOWN_LIMIT_COUNT", 2)
    one, two, three = (session_of(here.other) for _ in range(3))
    assert [asked_count(session) for session in (one, one, two, one, two)] == [2, 1, 2, 1, 1]
    assert [asked_count(session) for session in (three, two, one)] == [2, 1, 2]
    now_s = here.engine.clock()
    here.engine.clock = lambda: now_s + here.engine.ping_interval + here.engine.ping_timeout + 1
    assert asked_count(two) == 2
    here.other.engine.close(two, "over")
    for unknown_count in (0, 1):  # it is known to have been there, then it is not any more
        assert here.request("POST", two.id, b"4")[0] == "400 Bad Request"
        assert here.unknown_count == unknown_count


def test_of_the_bodies_of_a_session_one_at_a_time_is_passed_on_and_takes_its_time(here: Process) -> None:
    session = session_of(here.other)
    now_s = here.engine.clock()
    here.engine.clock = lambda: now_s
    assert here.request("POST", session.id, b"4" + LONG) == ("200 OK", b"ok")
    assert here.slept_s == [(1 + len(LONG)) / 524_288]
    answers: list[Any] = []
    here.engine.sleep = lambda _: answers.append(here.request("POST", session.id, LONG))
    asked_bytes = sum(here.asked_bytes)
    here.request("POST", session.id, b"4" + LONG)
    assert answers == [("400 Bad Request", b'{"code":3,"message":"Bad request"}')]
    assert not session.is_open
    assert sum(here.asked_bytes) - asked_bytes < 1.1 * len(LONG)


def test_who_has_last_words_to_hear_hears_them(here: Process) -> None:
    session = session_of(here.other)
    session.send_frame(frame(frames.TEXT, b"4bye"))
    here.other.engine.disconnect(session.id)
    assert here.request("POST", session.id, b"4") == ("200 OK", b"ok")
    assert here.request("GET", session.id) == ("200 OK", b"4bye")
    assert here.request("GET", session.id)[1] == b"1"
    assert here.unknown_count == 0
