"""A session that comes into a namespace: kept before it is told, and gone if it was closed in the middle."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from hazoom_ws.app import create_app
from hazoom_ws.settings import Settings
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.session import EngineSession

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


def open_polling(engine: Engine) -> EngineSession:
    session = engine.open()
    session.start_polling()
    engine.send_open_packet(session)
    return session


def sessions_in(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        batches = [json.loads(sessions) for (sessions,) in connection.execute("SELECT sessions FROM tail")]
        return [key for batch in batches for key in batch]


def test_who_is_let_in_hears_of_it_when_it_is_kept(engine: Engine, file: Path) -> None:
    session = open_polling(engine)
    kept_when_told = []
    push = engine.outlet.push

    def spy(recipient: EngineSession, framed: bytes) -> None:
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
    assert parts.delivery.is_empty
    assert not app.extensions["socketio"].server.manager._clients


@pytest.mark.parametrize("auth", ["", "null", "{}", "[]", '""', "0", "false"])
def test_an_empty_auth_is_none(app: Flask, engine: Engine, auth: str) -> None:
    session = open_polling(engine)
    engine.receive(session, f"40{auth}")
    assert app.extensions["hazoom_ws"].hub.connection_count == 1
    engine.close(session, "transport close")
