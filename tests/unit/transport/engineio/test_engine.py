"""The engine's rules, with a clock that tests set and without the task that watches time."""

import re
from collections.abc import Callable

import pytest

from hazoom_ws.transport.bounds.outbox import DroppableFrame
from hazoom_ws.transport.engineio import requests as handshake
from hazoom_ws.transport.engineio.engine import BAD_PACKET, NO_NAMESPACE, Engine
from hazoom_ws.transport.engineio.python_engineio_overrides import message_frame
from hazoom_ws.transport.engineio.requests import Refused, id_prefix, process_of, worker_of
from hazoom_ws.transport.engineio.session import SLOW_READER, EngineSession, WebSocket
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import CloseCode, FrameError, opened

INTERVAL_S = 25.0
TIMEOUT_S = 20.0
CONNECT_TIMEOUT_S = 7.0
UPGRADE_TIMEOUT_S = 10.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class StillEngine(Engine):
    """An engine that sweeps when it is told to, and remembers what its handlers were called with."""

    def __init__(self, **options: object) -> None:
        self.time = Clock()
        self.messages: list[tuple[str, str | bytes]] = []
        self.disconnects: list[tuple[str, str]] = []
        super().__init__(
            async_mode="threading",
            clock=self.time,
            ping_interval=INTERVAL_S,
            ping_timeout=TIMEOUT_S,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            **options,
        )
        self.on("connect", lambda *_: None)
        self.on("message", lambda sid, data: self.messages.append((sid, data)))
        self.on("disconnect", lambda sid, reason: self.disconnects.append((sid, reason)))

    def start_sweeping(self) -> None:
        """Leave it to `pass_time`."""

    def pass_time(self, time_s: float) -> None:
        """Let so much time pass, at the end of which is one sweep."""
        self.time.now_s += time_s
        for sweep in self.sweeps:
            sweep(self.time())

    def knows_nobody(self) -> bool:
        deadlines = (self._pings, self._pongs, self._unjoined, self._upgrades_until)
        return not self.sessions and all(one.next_due_at_s() is None for one in deadlines)


class MemoryCarrier(WebSocket):
    """A WebSocket whose client takes everything."""

    def __init__(self, engine: Engine, session: EngineSession) -> None:
        super().__init__(engine, session)
        self.framed: list[bytes] = []
        self.codes: list[CloseCode] = []

    def send_frame(self, framed: bytes) -> None:
        self.framed.append(framed)

    def close(self, code: CloseCode) -> None:
        self.codes.append(code)

    def taken(self) -> list[str | bytes]:
        """Return the packets since the last call."""
        taken, self.framed = self.framed, []
        return [opened(framed).data for framed in taken]


@pytest.fixture
def engine() -> StillEngine:
    return StillEngine()


def open_polling(engine: Engine) -> EngineSession:
    session = engine.open()
    session.start_polling()
    engine.joined(session.id)
    return session


def open_websocket(engine: Engine) -> tuple[EngineSession, MemoryCarrier]:
    session = engine.open()
    websocket = MemoryCarrier(engine, session)
    session.websocket = websocket
    engine.joined(session.id)
    return session, websocket


def polled(session: EngineSession) -> list[str | bytes]:
    assert session.outbox is not None
    return [opened(framed).data for framed in session.outbox.pop_all()]


@pytest.fixture(params=["polling", "websocket"])
def open_session(request: pytest.FixtureRequest, engine: StillEngine) -> Callable[[], EngineSession]:
    return (lambda: open_polling(engine)) if request.param == "polling" else (lambda: open_websocket(engine)[0])


def taken(session: EngineSession) -> list[str | bytes]:
    """Return the packets that a session was sent since the last call, over either transport."""
    return session.websocket.taken() if isinstance(session.websocket, MemoryCarrier) else polled(session)


# Heartbeat


def test_a_ping_is_sent_when_the_interval_is_over(engine: StillEngine, open_session: Callable[[], EngineSession]) -> None:
    session = open_session()
    engine.pass_time(INTERVAL_S - 1)
    assert taken(session) == []
    engine.pass_time(1)
    assert taken(session) == ["2"]
    engine.pass_time(TIMEOUT_S - 1)
    assert taken(session) == []
    assert session.is_open


def test_the_next_interval_begins_with_the_answer(engine: StillEngine, open_session: Callable[[], EngineSession]) -> None:
    session = open_session()
    for _ in range(3):
        engine.pass_time(INTERVAL_S)
        assert taken(session) == ["2"]
        engine.pass_time(TIMEOUT_S - 1)
        engine.receive(session, "3")
        engine.pass_time(INTERVAL_S - 1)
        assert taken(session) == []
        engine.pass_time(1 - INTERVAL_S)
    assert session.is_open


def test_without_an_answer_the_session_ends(engine: StillEngine, open_session: Callable[[], EngineSession]) -> None:
    session = open_session()
    engine.pass_time(INTERVAL_S)
    engine.receive(session, "4a message is no answer")
    engine.pass_time(TIMEOUT_S)
    assert not session.is_open
    assert engine.disconnects == [(session.id, engine.reason.PING_TIMEOUT)]
    assert engine.knows_nobody()


def test_an_answer_to_nothing_changes_nothing(engine: StillEngine, open_session: Callable[[], EngineSession]) -> None:
    session = open_session()
    engine.pass_time(INTERVAL_S - 1)
    engine.receive(session, "3")
    engine.pass_time(1)
    assert taken(session) == ["2"]


def test_a_sweep_that_comes_late_gives_no_extra_time(
    engine: StillEngine, open_session: Callable[[], EngineSession]
) -> None:
    session = open_session()
    engine.pass_time(INTERVAL_S + TIMEOUT_S)
    assert not session.is_open


def test_each_session_has_its_own_time(engine: StillEngine) -> None:
    early = open_polling(engine)
    engine.pass_time(1)
    late = open_polling(engine)
    engine.pass_time(INTERVAL_S - 1)
    assert (polled(early), polled(late)) == (["2"], [])
    engine.pass_time(1)
    assert (polled(early), polled(late)) == ([], ["2"])


def test_a_session_is_overdue_before_any_sweep_has_seen_it(
    engine: StillEngine, open_session: Callable[[], EngineSession]
) -> None:
    session = open_session()
    engine.time.now_s += INTERVAL_S + TIMEOUT_S - 1
    assert not engine.is_overdue(session)
    engine.time.now_s += 1
    assert engine.is_overdue(session)
    with pytest.raises(Refused):
        handshake.find_session(engine, {"transport": "polling", "sid": session.id})
    assert engine.disconnects == [(session.id, engine.reason.PING_TIMEOUT)]


def test_a_session_that_was_asked_is_overdue_when_its_answer_is(engine: StillEngine) -> None:
    session = open_polling(engine)
    engine.pass_time(INTERVAL_S)
    engine.time.now_s += TIMEOUT_S - 1
    assert not engine.is_overdue(session)
    engine.time.now_s += 1
    assert engine.is_overdue(session)


# Connect time-out


def test_a_session_that_joins_no_namespace_ends(engine: StillEngine) -> None:
    session = engine.open()
    session.start_polling()
    engine.pass_time(CONNECT_TIMEOUT_S - 1)
    assert session.is_open
    engine.pass_time(1)
    assert engine.disconnects == [(session.id, NO_NAMESPACE)]
    assert engine.knows_nobody()


def test_a_session_in_a_namespace_stays_and_begins_anew_when_it_has_left_the_last(engine: StillEngine) -> None:
    session = open_polling(engine)
    engine.pass_time(CONNECT_TIMEOUT_S)
    assert session.is_open
    engine.unjoined(session.id)
    engine.pass_time(CONNECT_TIMEOUT_S - 1)
    assert session.is_open
    engine.pass_time(1)
    assert not session.is_open


def test_being_refused_again_and_again_gives_a_session_no_more_time(engine: StillEngine) -> None:
    session = engine.open()
    session.start_polling()
    engine.pass_time(CONNECT_TIMEOUT_S - 1)
    engine.unjoined(session.id)
    engine.pass_time(1)
    assert not session.is_open


def test_leaving_the_last_namespace_because_of_the_end_leaves_nothing_behind(engine: StillEngine) -> None:
    session = open_polling(engine)
    engine.on("disconnect", lambda sid, _: engine.unjoined(sid))
    engine.close(session, "over")
    assert engine.knows_nobody()


# Upgrade


def test_an_upgrade_takes_along_what_was_not_polled(engine: StillEngine) -> None:
    session = open_polling(engine)
    websocket = MemoryCarrier(engine, session)
    engine.send(session.id, "one")
    engine.start_upgrade(websocket)
    engine.handle_probe(websocket, "2probe")
    assert websocket.taken() == ["3probe"]
    engine.send(session.id, b"two")
    assert engine.transport(session.id) == "polling"
    engine.handle_probe(websocket, "5")
    engine.send(session.id, "three")
    assert websocket.taken() == ["4one", b"two", "4three"]
    assert engine.transport(session.id) == "websocket"
    engine.pass_time(UPGRADE_TIMEOUT_S)
    assert websocket.codes == []


@pytest.mark.parametrize("packets", [[], ["2probe"]], ids=["before the probe", "after the probe"])
def test_an_upgrade_that_takes_too_long_ends_and_the_session_goes_on(engine: StillEngine, packets: list[str]) -> None:
    session = open_polling(engine)
    websocket = MemoryCarrier(engine, session)
    engine.start_upgrade(websocket)
    for packet in packets:
        engine.handle_probe(websocket, packet)
    engine.pass_time(UPGRADE_TIMEOUT_S - 1)
    assert websocket.codes == []
    engine.pass_time(1)
    assert websocket.codes == [CloseCode.POLICY_VIOLATION]
    assert (session.is_open, session.websocket, session.candidate) == (True, None, None)
    engine.send(session.id, "x")
    assert polled(session) == ["4x"]


@pytest.mark.parametrize("packets", [["5"], ["4x"], [b"2probe"], ["2probe", "4x"], ["2"], [""]])
def test_an_upgrade_is_done_in_one_way_only(engine: StillEngine, packets: list[str | bytes]) -> None:
    websocket = MemoryCarrier(engine, open_polling(engine))
    engine.start_upgrade(websocket)
    for packet in packets[:-1]:
        engine.handle_probe(websocket, packet)
    with pytest.raises(FrameError):
        engine.handle_probe(websocket, packets[-1])


def test_a_websocket_whose_session_has_ended_cannot_take_it_over(engine: StillEngine) -> None:
    session = open_polling(engine)
    websocket = MemoryCarrier(engine, session)
    engine.start_upgrade(websocket)
    engine.handle_probe(websocket, "2probe")
    engine.close(session, "over")
    assert websocket.codes == [CloseCode.GOING_AWAY]
    with pytest.raises(FrameError):
        engine.handle_probe(websocket, "5")
    assert engine.knows_nobody()


def test_one_websocket_at_a_time_tries_to_take_a_session_over(engine: StillEngine) -> None:
    session = open_polling(engine)
    first, second, third = (MemoryCarrier(engine, session) for _ in range(3))
    assert engine.start_upgrade(first)
    assert not engine.start_upgrade(second)
    first.lost("transport close")
    assert engine.start_upgrade(second)
    engine.handle_probe(second, "2probe")
    engine.handle_probe(second, "5")
    assert not engine.start_upgrade(third)


def test_a_candidate_that_is_lost_leaves_the_session(engine: StillEngine) -> None:
    session = open_polling(engine)
    websocket = MemoryCarrier(engine, session)
    engine.start_upgrade(websocket)
    websocket.lost("transport close")
    assert (session.is_open, session.candidate, engine.disconnects) == (True, None, [])


# Close


def test_closing_twice_is_closing_once(engine: StillEngine, open_session: Callable[[], EngineSession]) -> None:
    session = open_session()
    engine.close(session, "first")
    engine.close(session, "second")
    engine.disconnect(session.id)
    assert engine.disconnects == [(session.id, "first")]
    assert engine.knows_nobody()


def test_closing_from_the_disconnect_handler_is_closing_once(engine: StillEngine) -> None:
    session, websocket = open_websocket(engine)
    calls: list[str] = []

    def close_again(sid: str, reason: str) -> None:
        calls.append(reason)
        engine.close(session, "again")
        engine.send(sid, "farewell")

    engine.on("disconnect", close_again)
    engine.close(session, "first")
    assert (calls, websocket.codes, websocket.taken()) == (["first"], [CloseCode.GOING_AWAY], [])


def test_a_websocket_that_is_lost_ends_its_session(engine: StillEngine) -> None:
    session, websocket = open_websocket(engine)
    websocket.lost(engine.reason.TRANSPORT_CLOSE)
    assert engine.disconnects == [(session.id, engine.reason.TRANSPORT_CLOSE)]


def test_disconnect_ends_one_or_all(engine: StillEngine) -> None:
    sessions = [open_polling(engine) for _ in range(3)]
    engine.disconnect(sessions[1].id)
    assert [session.is_open for session in sessions] == [True, False, True]
    engine.disconnect()
    assert engine.knows_nobody()
    assert {reason for _, reason in engine.disconnects} == {engine.reason.SERVER_DISCONNECT}


def test_stopping_ends_all_though_one_cannot_be_ended_as_it_should(
    engine: StillEngine, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = [open_polling(engine) for _ in range(3)]

    def fail_first(sid: str, _reason: str) -> None:
        if sid == sessions[0].id:
            raise RuntimeError

    engine.on("disconnect", fail_first)
    engine.stop()
    assert engine.knows_nobody()
    assert [record.message for record in caplog.records] == [f"closing session {sessions[0].id} failed"]


def test_an_engine_that_is_stopped_opens_no_sessions(engine: StillEngine) -> None:
    engine.stop()
    with pytest.raises(Refused) as refused:
        handshake.find_session(engine, {"transport": "polling", "EIO": "4"})
    assert refused.value.status == 503


def test_a_session_that_opens_while_the_engine_is_stopped_is_closed(engine: StillEngine) -> None:
    engine.on("connect", lambda *_: engine.stop())
    session = engine.open()
    session.start_polling()
    assert not session.is_open
    assert engine.knows_nobody()


def test_a_session_that_has_ended_is_not_taken_over(engine: StillEngine) -> None:
    """Its WebSocket was waited for until the client went."""
    session = open_polling(engine)
    engine.close(session, "over")
    assert not engine.start_upgrade(MemoryCarrier(engine, session))
    assert engine.knows_nobody()


def test_a_session_that_is_closed_takes_and_gets_nothing(engine: StillEngine) -> None:
    session = open_polling(engine)
    engine.close(session, "over")
    engine.receive(session, "4x")
    engine.send(session.id, "x")
    engine.joined(session.id)
    engine.unjoined(session.id)
    assert engine.messages == []
    assert engine.knows_nobody()
    with pytest.raises(KeyError):
        engine.get_session(session.id)


# Packets


@pytest.mark.parametrize(("packet", "message"), [("4", ""), ("4hello", "hello"), (b"\x00", b"\x00"), (b"", b"")])
def test_a_message_reaches_the_handler(engine: StillEngine, packet: str | bytes, message: str | bytes) -> None:
    session = open_polling(engine)
    engine.receive(session, packet)
    assert engine.messages == [(session.id, message)]


@pytest.mark.parametrize("packet", ["", "0", "2", "2probe", "5", "7", "abc", "6x"])
def test_a_packet_that_is_none_ends_the_session(engine: StillEngine, packet: str) -> None:
    session, websocket = open_websocket(engine)
    engine.receive(session, packet)
    assert engine.disconnects == [(session.id, BAD_PACKET)]
    assert websocket.codes == [CloseCode.PROTOCOL_ERROR]


def test_a_handler_that_crashes_ends_the_session_and_is_logged(
    engine: StillEngine, caplog: pytest.LogCaptureFixture
) -> None:
    session, websocket = open_websocket(engine)
    engine.on("message", lambda *_: 1 // 0)
    engine.receive(session, "4x")
    assert engine.disconnects == [(session.id, engine.reason.TRANSPORT_ERROR)]
    assert websocket.codes == [CloseCode.GOING_AWAY]
    assert "ZeroDivisionError" in caplog.text


def test_the_state_of_a_session_is_kept_for_the_application(engine: StillEngine) -> None:
    session = open_polling(engine)
    engine.get_session(session.id)["name"] = "Ada"
    assert engine.get_session(session.id) == {"name": "Ada"}
    engine.save_session(session.id, {"name": "Bob"})
    assert engine.get_session(session.id) == {"name": "Bob"}


# Slow readers


def limited(limit_bytes: int, total_limit_bytes: int = 1_000_000) -> StillEngine:
    return StillEngine(outbox_limit_bytes=limit_bytes, outbox_total_limit_bytes=total_limit_bytes)


FRAME = message_frame("x" * 97)
TYPING = DroppableFrame(frames.frame(frames.TEXT, b"4" + b"t" * 97))
assert len(FRAME) == len(TYPING) == 100


def push(engine: Engine, session: EngineSession, *framed: bytes) -> None:
    for one in framed:
        engine.outlet.push(session, one)


def test_who_polls_too_slowly_is_closed_at_the_bound(caplog: pytest.LogCaptureFixture) -> None:
    engine = limited(300)
    session = open_polling(engine)
    push(engine, session, FRAME, FRAME, FRAME)
    assert session.is_open
    push(engine, session, FRAME)
    assert engine.disconnects == [(session.id, SLOW_READER)]
    assert f"session {session.id} is closed: it reads too slowly" in caplog.text


def test_who_polls_in_time_is_not_closed() -> None:
    engine = limited(300)
    session = open_polling(engine)
    for _ in range(5):
        push(engine, session, FRAME, FRAME, FRAME)
        assert len(polled(session)) == 3
    assert session.is_open


def test_what_may_be_lost_goes_first() -> None:
    engine = limited(300)
    session = open_polling(engine)
    push(engine, session, FRAME, TYPING, TYPING, TYPING)
    assert session.is_open
    push(engine, session, FRAME, FRAME)
    assert polled(session) == [opened(FRAME).data] * 3
    assert session.is_open


def test_what_may_be_lost_closes_nobody() -> None:
    engine = limited(300)
    session = open_polling(engine)
    push(engine, session, FRAME, FRAME, FRAME, TYPING, TYPING)
    assert session.is_open
    assert polled(session) == [opened(FRAME).data] * 3


def test_a_frame_over_the_bound_passes_an_empty_outbox() -> None:
    engine = limited(50)
    session = open_polling(engine)
    push(engine, session, FRAME)
    assert session.is_open
    assert polled(session) == [opened(FRAME).data]


def test_all_outboxes_together_have_a_bound_too() -> None:
    engine = limited(1000, total_limit_bytes=300)
    early, late = open_polling(engine), open_polling(engine)
    push(engine, early, FRAME, FRAME, FRAME)
    push(engine, late, FRAME, FRAME)
    assert (early.is_open, late.is_open) == (True, False)
    polled(early)
    push(engine, open_polling(engine), FRAME, FRAME, FRAME)
    assert engine.disconnects == [(late.id, SLOW_READER)]


def test_what_was_kept_for_a_session_that_ends_counts_no_more() -> None:
    engine = limited(1000, total_limit_bytes=300)
    for _ in range(3):
        session = open_polling(engine)
        push(engine, session, FRAME, FRAME, FRAME)
        assert session.is_open
        engine.close(session, "over")
    assert engine._outbox_total.size_bytes == 0


def test_an_id_names_its_process_where_there_are_several():
    def id_with(prefix: str) -> str:
        engine = Engine(async_mode="threading")
        engine.id_prefix = prefix
        return engine.generate_id()

    name = "0123456789abcdef"
    alone, worker, process, both = (id_with(id_prefix(*parts)) for parts in ((0, ""), (12, ""), (0, name), (12, name)))
    assert re.fullmatch(r"[0-9a-f]{30}", alone)
    for sid, start in ((worker, "12-"), (process, f"{name}-"), (both, f"12-{name}-")):
        assert re.fullmatch(rf"{start}[0-9a-f]{{30}}", sid)
    sids = (alone, worker, process, both)
    assert [worker_of(f"/socket.io/?EIO=4&sid={sid}") for sid in sids] == [0, 12, 0, 12]
    assert [process_of(sid) for sid in sids] == ["", "", name, name]
    for made_up in (f"{name}-", f"{name}-x", f"0-{name}-00", f"1000-{name}-00", f"{name}0-00", f"{name}-{'0' * 65}", "\n"):
        assert process_of(made_up) == ""
    sid = worker
    for target in (
        f"/socket.io/?EIO=4&transport=polling&sid={sid}",
        f"/socket.io/?sid={sid}&EIO=4",
        f"/socket.io/?sid={sid}&sid=3-0",
    ):
        assert worker_of(target) == 12
    for target in (
        "/socket.io/",
        "/socket.io/?xsid=3-0",
        "/socket.io/?sid=03-0",
        "/socket.io/?sid=1000-0",
        "/socket.io/?sid=3",
    ):
        assert worker_of(target) == 0
