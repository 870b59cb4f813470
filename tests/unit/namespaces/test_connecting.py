"""A session that comes into a namespace: kept before it is told, and gone if it was closed in the middle."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import socketio
from flask import Flask

from hazoom_ws.app import create_app
from hazoom_ws.settings import Settings
from hazoom_ws.transport import frames
from hazoom_ws.transport.engine import Engine
from hazoom_ws.transport.session import Session

LIMIT_BYTES = 65_536


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite3"


@pytest.fixture
def app(file: Path) -> Iterator[Flask]:
    app = create_app(Settings(log_url=f"sqlite:///{file}", outbox_limit_bytes=LIMIT_BYTES))
    yield app
    app.extensions["hazoom_ws"].log.close()


@pytest.fixture
def engine(app: Flask) -> Engine:
    return app.extensions["socketio"].server.eio


def open_polling(engine: Engine) -> Session:
    session = engine.open()
    session.start_polling()
    engine.greet(session)
    return session


def sessions_in(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        batches = [json.loads(sessions) for (sessions,) in connection.execute("SELECT sessions FROM tail")]
        return [key for batch in batches for key in batch]


def test_who_is_let_in_hears_of_it_when_it_is_kept(engine: Engine, file: Path) -> None:
    session = open_polling(engine)
    kept_when_told = []
    push = engine.outlet.push

    def spy(recipient: Session, framed: bytes) -> None:
        if b'"pid"' in framed:
            kept_when_told.append(len(sessions_in(file)))
        push(recipient, framed)

    engine.outlet.push = spy
    engine.receive(session, "40")
    assert kept_when_told == [1]


def test_who_is_too_slow_for_the_answer_is_gone(app: Flask, engine: Engine) -> None:
    session = open_polling(engine)
    engine.outlet.push(session, b"x" * LIMIT_BYTES)
    assert session.is_open
    engine.receive(session, "40")
    assert not session.is_open
    assert_nobody_is_left(app)


def test_who_is_closed_while_it_is_let_in_is_gone(app: Flask, engine: Engine) -> None:
    session = open_polling(engine)
    hub = app.extensions["hazoom_ws"].hub
    connect = hub.connect

    def close_and_connect(*args: object, **options: object) -> object:
        engine.close(session, "transport close")  # as another thread may, at this moment
        return connect(*args, **options)

    hub.connect = close_and_connect
    engine.receive(session, "40")
    assert_nobody_is_left(app)


def assert_nobody_is_left(app: Flask) -> None:
    parts = app.extensions["hazoom_ws"]
    assert parts.hub.connection_count == 0
    assert not parts.delivery._links
    assert not app.extensions["socketio"].server.manager._clients


@pytest.mark.parametrize("auth", ["", "null", "{}", "[]", '""', "0", "false"])
def test_an_empty_auth_is_none(app: Flask, engine: Engine, auth: str) -> None:
    session = open_polling(engine)
    engine.receive(session, f"40{auth}")
    assert app.extensions["hazoom_ws"].hub.connection_count == 1
    engine.close(session, "transport close")


TOO_DEEP = '["add",' + "[" * 99 + "]" * 99 + "]"


@pytest.mark.parametrize("event", ['["disconnect"]', '["connect",{}]', '["add",NaN]', TOO_DEEP])
def test_their_handlers_get_no_event_that_is_none(app: Flask, engine: Engine, event: str) -> None:
    called = []
    socketio_ = app.extensions["socketio"]
    for name in ("add", "disconnect"):
        socketio_.on(name, namespace="/mine")(lambda *arguments: called.append(arguments))
    session = open_polling(engine)
    engine.receive(session, "40/mine,")
    engine.receive(session, f"42/mine,{event}")
    assert not session.is_open
    assert called == [("parse error",)]  # the library's own "disconnect"


def test_a_namespace_that_came_after_a_session_does_not_let_it_in(app: Flask, engine: Engine) -> None:
    session = open_polling(engine)
    socketio_ = app.extensions["socketio"]
    socketio_.on("connect", namespace="/late")(lambda: True)  # its handler would find no request, and not be called
    session.outbox.take_frames()
    engine.receive(session, "40/late,")
    assert [frames.opened(framed).data for framed in session.outbox.take_frames()] == [
        '44/late,{"message":"Invalid namespace"}'
    ]
    assert not socketio_.server.manager._clients


def test_what_a_request_says_is_kept_only_for_those_who_may_ask(app: Flask, engine: Engine) -> None:
    server = app.extensions["socketio"].server
    ours = engine.open({"HTTP_COOKIE": "a=b", "wsgi.input": object()})
    assert server.environ[ours.sid] == {}
    app.extensions["socketio"].on("connect", namespace="/mine")(lambda: True)
    theirs = engine.open({"HTTP_COOKIE": "a=b", "wsgi.input": object(), "REQUEST_METHOD": "GET"})
    environ = server.environ[theirs.sid]
    assert environ["HTTP_COOKIE"] == "a=b"
    assert environ["wsgi.input"].read() == b""
    assert environ["flask.app"] is app


def test_an_application_may_have_namespaces_of_its_own(app: Flask, engine: Engine) -> None:
    class Mine(socketio.Namespace):
        def on_connect(self, _sid: str, _environ: object, auth: object) -> bool:
            return auth != {"token": "wrong"}

        def on_add(self, _sid: str, first: int, second: int) -> int:
            return first + second

    server = app.extensions["socketio"].server
    server.register_namespace(Mine("/mine"))
    server.on("double", lambda _sid, number: 2 * number, namespace="/loose")
    session = open_polling(engine)
    session.outbox.take_frames()
    for sent in (
        '0/mine,{"token":"wrong"}',
        '0/mine,{"token":"right"}',
        '2/mine,1["add",2,3]',
        "0/loose,",
        '2/loose,2["double",4]',
        "0/nowhere,",
    ):
        engine.receive(session, "4" + sent)
    got = [frames.opened(framed).data for framed in session.outbox.take_frames()]
    assert [text.partition('"')[0] for text in got] == [
        "44/mine,{",
        "40/mine,{",
        "43/mine,1[5]",
        "40/loose,{",
        "43/loose,2[8]",
        "44/nowhere,{",
    ]
    assert session.is_open
