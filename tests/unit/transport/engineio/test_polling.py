"""A POST of many packets leaves everybody else their turns, and has a bound."""

import io
from typing import Any

import pytest

from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.session import WebSocket
from hazoom_ws.transport.serving.http_requests import handle_request
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import frame


@pytest.fixture
def engine() -> Engine:
    engine = Engine(async_mode="threading", clock=lambda: 1000.0, handle_request=handle_request)
    engine.on("connect", lambda *_: None)
    engine.on("disconnect", lambda *_: None)
    return engine


def post(engine: Engine, sid: str, body: bytes, **more: str) -> str:
    """Return the status of the answer."""
    statuses: list[str] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "QUERY_STRING": f"EIO=4&transport=polling&sid={sid}",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    engine.handle_request(environ | more, lambda status, _headers: statuses.append(status))
    return statuses[0]


class Candidate(WebSocket):
    def close(self, code: Any) -> None:
        """Nobody is there."""


def open_session(engine: Engine) -> Any:
    session = engine.open()
    session.start_polling()
    return session


def test_after_every_sixteenth_packet_everybody_else_has_a_turn(engine):
    happened: list[str] = []
    engine.on("message", lambda _sid, text: happened.append(text))
    engine.give_way = lambda: happened.append("turn")
    assert post(engine, open_session(engine).id, b"\x1e".join([b"4x"] * 100)) == "200 OK"
    assert happened.count("x") == 100
    runs = "".join(happened).split("turn")
    assert max(map(len, runs)) <= 16


def test_after_two_milliseconds_everybody_else_has_a_turn(engine):
    now_s = 1000.0
    turns: list[float] = []

    def take(*_: str) -> None:
        nonlocal now_s
        now_s += 0.001

    engine.clock = lambda: now_s
    engine.on("message", take)
    engine.give_way = lambda: turns.append(now_s)
    assert post(engine, open_session(engine).id, b"\x1e".join([b"4x"] * 12)) == "200 OK"
    assert len(turns) == 3


def test_who_closes_the_session_in_the_middle_ends_the_payload(engine):
    taken: list[str] = []
    session = open_session(engine)
    engine.on("message", lambda _sid, text: taken.append(text))
    engine.give_way = lambda: engine.close(session, "over")
    assert post(engine, session.id, b"\x1e".join([b"4x"] * 100)) == "400 Bad Request"
    assert len(taken) == 15


@pytest.mark.parametrize(("count", "status"), [(10_000, "200 OK"), (10_001, "400 Bad Request")])
def test_ten_thousand_packets_are_taken_and_one_more_closes_the_session(engine, count, status):
    session = open_session(engine)
    assert post(engine, session.id, b"\x1e" * (count - 1) if count > 10_000 else b"\x1e".join([b"6"] * count)) == status
    assert session.is_open is (status == "200 OK")


@pytest.mark.parametrize(
    "more", [{"HTTP_TRANSFER_ENCODING": "chunked"}, {"CONTENT_LENGTH": "\xb2"}, {"CONTENT_LENGTH": "9"}]
)
def test_a_payload_of_no_clear_length_closes_the_session(engine, more):
    session = open_session(engine)
    assert post(engine, session.id, b"6", **more) == "400 Bad Request"
    assert not session.is_open


def poll(engine: Engine, sid: str) -> tuple[str, bytes]:
    """Return the status and the body of the answer."""
    statuses: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "QUERY_STRING": f"EIO=4&transport=polling&sid={sid}"}
    body = b"".join(engine.handle_request(environ, lambda status, _headers: statuses.append(status)))
    return statuses[0], body


def test_who_polls_after_the_server_has_closed_gets_what_was_said_before_and_the_end(engine):
    """Between two polls a client heard of the close by an error, and not why."""
    session = open_session(engine)
    session.send_frame(frame(frames.TEXT, b"4bye"))
    engine.disconnect(session.id)
    assert post(engine, session.id, b"4x") == "200 OK"
    assert poll(engine, session.id) == ("200 OK", b"4bye")
    assert poll(engine, session.id) == ("200 OK", b"1")
    assert poll(engine, session.id)[0] == "400 Bad Request"
    assert len(engine.parting) == 0


def test_who_is_about_to_change_to_a_websocket_hears_the_end_at_once(engine):
    """It polled no more, and noticed after 45 s that the server had gone."""
    session = open_session(engine)
    candidate = Candidate(engine, session)
    assert engine.start_upgrade(candidate)
    candidate.has_probed = True
    session.send_frame(frame(frames.TEXT, b"4bye"))
    engine.disconnect(session.id)
    assert poll(engine, session.id) == ("200 OK", b"4bye\x1e1")
    assert len(engine.parting) == 0


def test_what_a_client_does_not_come_for_is_forgotten(engine):
    session = open_session(engine)
    session.send_frame(frame(frames.TEXT, b"4bye"))
    engine.disconnect(session.id)
    engine.parting.sweep(1004.9)
    assert engine.parting.find(session.id) is session
    engine.parting.sweep(1005.1)
    assert len(engine.parting) == 0
    assert engine._outbox_total.size_bytes == 0


def test_who_reads_too_slowly_hears_why_instead_of_what_waited(engine):
    engine.parting.last_words = lambda sid: [frame(frames.TEXT, f"4bye {sid}".encode())]
    session = open_session(engine)
    while session.is_open:
        session.send_frame(frame(frames.TEXT, b"4" + b"x" * 100_000))
    assert poll(engine, session.id) == ("200 OK", f"4bye {session.id}".encode())
    assert poll(engine, session.id) == ("200 OK", b"1")
    assert poll(engine, session.id)[0] == "400 Bad Request"
    assert engine._outbox_total.size_bytes == 0


@pytest.mark.parametrize("reason", ["ping timeout", "slow reader"])
def test_who_has_gone_is_owed_nothing(engine, reason):
    session = open_session(engine)
    session.send_frame(frame(frames.TEXT, b"4x"))
    engine.close(session, reason)
    assert len(engine.parting) == 0
    assert engine._outbox_total.size_bytes == 0
