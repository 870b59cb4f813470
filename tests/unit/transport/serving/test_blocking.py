"""`BlockingWebSocket` over real sockets and threads."""

import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from websockets.frames import Frame, Opcode

from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.requests import Refused
from hazoom_ws.transport.engineio.session import SLOW_READER
from hazoom_ws.transport.serving import blocking
from hazoom_ws.transport.serving.blocking import NO_SOCKET, BlockingWebSocket, carry
from hazoom_ws.transport.websocket.frames import TEXT, CloseCode, frame
from raw_client import received_until_closed
from servers import wait_until

LIMIT_BYTES = 1000
PATIENCE_S = 20


def client_frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True)


def test_nothing_more_is_taken_from_who_is_too_slow():
    engine = Engine(async_mode="threading", outbox_limit_bytes=LIMIT_BYTES)
    engine.on("connect", lambda *_: None)
    taken, ends = [], []
    engine.on("disconnect", lambda _, reason: ends.append(reason))

    def answer_at_length(_sid: str, text: str) -> None:
        taken.append(text)
        for _ in range(100):
            websocket.send_frame(frame(TEXT, b"4" + b"x" * 100_000))

    engine.on("message", answer_at_length)
    session = engine.open()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session.websocket = websocket = BlockingWebSocket(engine, session, ours)
        theirs.sendall(client_frame("41") + client_frame("42") * 100)
        websocket.serve(b"")
    assert taken == ["1"]
    assert ends == [SLOW_READER]


def test_who_is_too_slow_and_reads_on_gets_whole_frames_and_hears_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocking, "_WAIT_S", PATIENCE_S)
    monkeypatch.setattr(blocking, "_LINGER_S", PATIENCE_S)
    engine = Engine(async_mode="threading", outbox_limit_bytes=LIMIT_BYTES)
    engine.parting.last_words = lambda _: [frame(TEXT, b"4bye")]
    ended = threading.Event()
    engine.on("connect", lambda *_: None)
    engine.on("disconnect", lambda *_: ended.set())
    session = engine.open()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session.websocket = websocket = BlockingWebSocket(engine, session, ours)
        server = threading.Thread(target=websocket.serve, args=(b"",), daemon=True)
        server.start()
        websocket.send_frame(frame(TEXT, b"4" + b"x" * 1_000_000))
        theirs.recv(1, socket.MSG_PEEK)  # it has begun to leave
        while session.is_open:
            websocket.send_frame(frame(TEXT, b"4y"))
        assert ended.wait(PATIENCE_S)
        received = received_until_closed(theirs)
        server.join(PATIENCE_S)
        assert not server.is_alive()
    assert received == ["4" + "x" * 1_000_000, "4bye", CloseCode.GOING_AWAY]


def test_who_upgrades_with_too_much_is_ended_by_its_reader_and_not_under_the_lock_of_its_frames():
    """Its disconnect handler waits for a turn, and in a turn is somebody who sends to it and waits for that lock."""
    engine = Engine(async_mode="threading", outbox_limit_bytes=LIMIT_BYTES)
    engine.on("connect", lambda *_: None)
    ended = []

    def disconnect(_sid: str, reason: str) -> None:
        with session.changed:
            ended.append((reason, threading.current_thread()))

    engine.on("disconnect", disconnect)
    session = engine.open()
    session.start_polling()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        websocket = BlockingWebSocket(engine, session, ours)
        assert engine.start_upgrade(websocket)
        engine.handle_probe(websocket, "2probe")
        framed = frame(TEXT, b"4" + b"x" * 97)
        while session.outbox.add(framed):
            pass
        websocket.send_frame(framed)  # takes the room of the last one
        engine.handle_probe(websocket, "5")
        assert not ended
        reader = threading.Thread(target=websocket.serve, args=(b"",), daemon=True)
        reader.start()
        reader.join(PATIENCE_S)
        assert ended == [(SLOW_READER, reader)]


def test_between_two_messages_the_part_of_the_next_has_its_own_time():
    now_s = 1000.0
    engine = Engine(async_mode="threading", message_timeout_s=30.0, clock=lambda: now_s)
    engine.on("connect", lambda *_: None)
    engine.on("disconnect", lambda *_: None)
    engine.on("message", lambda *_: None)
    session = engine.open()
    ours, theirs = socket.socketpair()
    message = client_frame("41")

    def wait_until_held(size_bytes: int) -> None:
        wait_until(lambda: engine.unfinished.total_bytes == size_bytes, f"{size_bytes} bytes are held")

    with ours, theirs:
        session.websocket = websocket = BlockingWebSocket(engine, session, ours)
        reader = threading.Thread(target=websocket.serve, args=(b"",), daemon=True)
        reader.start()
        sent = 3
        theirs.sendall(message[:sent])
        wait_until_held(sent)
        for _ in range(3):
            now_s += 29.0
            engine.unfinished.sweep(now_s)
            rest = message[sent:]
            sent = sent % 5 + 1
            theirs.sendall(rest + message[:sent])
            wait_until_held(sent)
        assert session.is_open
        now_s += 30.0
        engine.unfinished.sweep(now_s)
        reader.join(PATIENCE_S)
        assert not session.is_open
        assert engine.unfinished.total_bytes == 0


def ready_engine() -> Engine:
    engine = Engine(async_mode="threading")
    engine.on("connect", lambda *_: None)
    engine.on("disconnect", lambda *_: None)
    return engine


def under_gunicorn(connection: socket.socket) -> dict[str, object]:
    """Return what python-engineio makes of gunicorn's environment: a socket that looks like eventlet's as well."""
    return {"gunicorn.socket": connection, "eventlet.input": SimpleNamespace(get_socket=lambda: connection)}


@pytest.mark.parametrize(
    ("environ_of", "expected"),
    [(under_gunicorn, StopIteration), (lambda connection: {"werkzeug.socket": connection}, ConnectionError)],
)
def test_what_ends_a_websocket_is_what_its_server_takes_for_an_end(
    environ_of: Callable[[socket.socket], dict[str, object]], expected: type[Exception]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(expected):
            carry(ready_engine(), None, b"", environ_of(ours))


def test_a_session_that_is_closed_before_it_has_its_websocket_ends_it() -> None:
    """Nobody told the reader, which served the client for as long as it stayed."""
    engine = ready_engine()
    engine.on("connect", lambda *_: engine.stop())
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def serve() -> None:
            with pytest.raises(StopIteration):
                carry(engine, None, b"", under_gunicorn(ours))

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        server.join(PATIENCE_S)
        assert not server.is_alive()


def test_the_log_says_once_that_a_server_has_no_sockets_to_give(caplog: pytest.LogCaptureFixture) -> None:
    """waitress is one: clients that know WebSockets only got a 400, and the log spoke of a bad request."""
    engine = ready_engine()
    for _ in range(3):
        with pytest.raises(Refused):
            carry(engine, None, b"", {})
    assert [(record.levelname, record.message) for record in caplog.records] == [("WARNING", NO_SOCKET)]
