"""What is pending leaves at the end of a turn, whatever fails for one of those who get it."""

import logging
import socket
import threading
from typing import Any

import pytest

from hazoom_ws.transport.bounds.outbox import Outbox
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.pending import EMPTY, with_own
from hazoom_ws.transport.serving.endpoints import Lingerer
from hazoom_ws.transport.serving.loop_websocket import LoopWebSocket, flush
from hazoom_ws.transport.websocket.frames import TEXT, CloseCode, frame
from raw_client import received_until_closed


class Watcher:
    """A loop that never turns by itself."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.inbox = memoryview(bytearray(65536))
        self.leaving: Any = None
        self.lingerer: Lingerer | None = None

    def clock(self) -> float:
        return 1000.0

    def watch(self, endpoint: Any) -> None: ...

    def unwatch(self, endpoint: Any) -> None: ...

    def want_to_write(self, endpoint: Any, *, wanted: bool) -> None: ...

    def welcome(self, newcomer: Any, head: bytes) -> None: ...

    def linger(self, endpoint: Any, outbox: Outbox | None = None) -> None:
        self.lingerer = Lingerer(self, endpoint.connection, outbox)


def test_who_is_too_slow_and_reads_on_gets_whole_frames_and_hears_why() -> None:
    engine = Engine(async_mode="threading", outbox_limit_bytes=1000)
    engine.parting.last_words = lambda _: [frame(TEXT, b"4bye")]
    engine.on("connect", lambda *_: None)
    engine.on("disconnect", lambda *_: None)
    session = engine.open()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        watcher = Watcher(engine)
        session.websocket = LoopWebSocket(watcher, ours, session)
        while session.is_open:
            session.pending = (frame(TEXT, b"4" + b"x" * 100_000),) * 3
            flush([session], [])
        assert session.pending is EMPTY
        assert watcher.lingerer is not None
        reader = threading.Thread(target=lambda: received.extend(received_until_closed(theirs)), daemon=True)
        received: list[str | int] = []
        reader.start()
        while reader.is_alive():
            watcher.lingerer.on_writable()
            reader.join(0.01)
    assert received[-2:] == ["4bye", CloseCode.GOING_AWAY]
    assert set(received[:-2]) == {"4" + "x" * 100_000}
    assert engine._outbox_total.size_bytes == 0


class Connection:
    """A socket that takes ``accepts`` bytes at once, or fails with ``error``."""

    def __init__(self, accepts: int = 1_000_000, error: Exception | None = None) -> None:
        self.accepts = accepts
        self.error = error
        self.data = b""

    def send(self, data: bytes) -> int:
        if self.error is not None:
            raise self.error
        self.data += data[: self.accepts]
        return min(len(data), self.accepts)


class FakeWebSocket:
    outbox = None

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.held: tuple[Any, int] | None = None

    def hold(self, framed: Any, sent: int) -> None:
        if self.connection.accepts < 0:
            raise RuntimeError("a defect in what is held")
        self.held = framed, sent


class Session:
    def __init__(self, websocket: FakeWebSocket, pending: Any) -> None:
        self.id = "s"
        self.websocket = websocket
        self.pending = pending


def session(*pending: bytes, **options: Any) -> Session:
    return Session(FakeWebSocket(Connection(**options)), pending)


@pytest.mark.parametrize("error", [RuntimeError("a defect"), MemoryError(), ConnectionResetError()], ids=repr)
def test_what_fails_for_one_keeps_nothing_from_the_others(error: Exception, caplog: pytest.LogCaptureFixture):
    sessions = [session(b"a"), session(b"b", error=error), session(b"c")]
    broken: list[Any] = []
    flush(sessions, broken)
    assert [each.websocket.connection.data for each in sessions] == [b"a", b"", b"c"]
    assert broken == [sessions[1].websocket]
    assert all(each.pending is EMPTY for each in sessions)
    is_defect = not isinstance(error, OSError)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * is_defect


def test_what_a_connection_does_not_take_is_held():
    slow = session(b"abc", b"def", accepts=4)
    flush([slow], [])
    assert slow.websocket.held == ((b"abc", b"def"), 4)
    assert slow.pending is EMPTY


def test_a_frame_of_ones_own_changes_nothing_that_others_have():
    shared = (b"a",)
    own = with_own(shared, b"b")
    assert (shared, own) == ((b"a",), [b"a", b"b"])
    assert with_own(own, b"c") is own
    assert with_own(EMPTY, b"d") == [b"d"]
    assert EMPTY == ()
