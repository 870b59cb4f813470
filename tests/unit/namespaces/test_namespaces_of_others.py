"""Namespaces that an application adds: their handlers find the request, may refuse, and harm nobody when they fail."""

import gc
import weakref
from functools import partial

import pytest
import socketio
from flask import Flask

from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.session import EngineSession
from hazoom_ws.transport.websocket import frames

Caplog = pytest.LogCaptureFixture
TOO_DEEP = '["add",' + "[" * 99 + "]" * 99 + "]"


@pytest.fixture
def engine(app: Flask) -> Engine:
    return app.extensions["socketio"].server.eio


def open_polling(engine: Engine, **said: str) -> EngineSession:
    session = engine.open(said)
    session.start_polling()
    engine.send_open_packet(session)
    session.outbox.pop_all()
    return session


def assert_nobody_is_left(app: Flask) -> None:
    server = app.extensions["socketio"].server
    assert app.extensions["hazoom_ws"].hub.connection_count == 0
    assert not server.manager._clients
    assert not server.environ


class Refusing(socketio.Namespace):
    """A namespace that only a class serves."""

    def on_connect(self, _sid: str, environ: dict[str, str], _auth: object) -> bool:
        return environ.get("HTTP_COOKIE") == "right"


def open_with_others(app: Flask, engine: Engine, **said: str) -> EngineSession:
    """Open a session, when there is the namespace ``/mine``, and enter ours."""
    app.extensions["socketio"].server.register_namespace(Refusing("/mine"))
    session = open_polling(engine, **said)
    engine.receive(session, "40")
    session.outbox.pop_all()
    return session


def answers(session: EngineSession) -> list[str]:
    return [frames.opened(framed).data for framed in session.outbox.pop_all()]


def test_a_namespace_that_is_a_class_finds_the_request(app: Flask, engine: Engine) -> None:
    refused, let_in = open_with_others(app, engine, HTTP_COOKIE="wrong"), open_with_others(app, engine, HTTP_COOKIE="right")
    engine.receive(refused, "40/mine,")
    engine.receive(let_in, "40/mine,")
    assert answers(refused)[-1].startswith("44/mine,")
    assert answers(let_in)[-1].startswith("40/mine,")


def fail(*_: object) -> None:
    raise RuntimeError("a defect of somebody else's handler")


def test_a_connect_handler_of_theirs_that_fails_refuses(app: Flask, engine: Engine, caplog: Caplog) -> None:
    app.extensions["socketio"].on("connect", namespace="/failing")(fail)
    session = open_with_others(app, engine)
    engine.receive(session, "40/failing,")
    assert answers(session) == ['44/failing,{"message":"Connection rejected by server"}']
    assert "a defect of somebody else's handler" in caplog.text
    assert session.is_open
    engine.close(session, "transport close")
    assert_nobody_is_left(app)


def test_a_disconnect_handler_of_theirs_that_fails_keeps_nobody(app: Flask, engine: Engine, caplog: Caplog) -> None:
    app.extensions["socketio"].on("disconnect", namespace="/failing")(fail)
    session = open_with_others(app, engine)
    for end in (lambda: engine.receive(session, "41/failing,"), lambda: engine.close(session, "transport close")):
        engine.receive(session, "40/failing,")
        assert answers(session)[0].startswith("40/failing,")
        caplog.clear()
        end()
        assert "a defect of somebody else's handler" in caplog.text
    assert_nobody_is_left(app)


def test_an_event_handler_of_theirs_that_fails_ends_nothing(app: Flask, engine: Engine, caplog: Caplog) -> None:
    app.extensions["socketio"].on("add", namespace="/failing")(fail)
    session = open_with_others(app, engine)
    engine.receive(session, "40/failing,")
    engine.receive(session, '42/failing,["add",1]')
    assert session.is_open
    assert "event 'add' of the namespace /failing failed" in caplog.text


def test_who_is_closed_while_their_handler_lets_it_in_is_gone(app: Flask, engine: Engine) -> None:
    left = []
    socketio_ = app.extensions["socketio"]
    socketio_.on("connect", namespace="/closing")(lambda: engine.close(session, "transport close"))
    socketio_.on("disconnect", namespace="/closing")(left.append)
    session = open_with_others(app, engine)
    engine.receive(session, "40/closing,")
    assert left == ["transport close"]
    assert_nobody_is_left(app)


def test_a_disconnect_handler_of_theirs_finds_what_was_kept_with_the_client(app: Flask, engine: Engine) -> None:
    server = app.extensions["socketio"].server
    server.on("connect", lambda sid, *_: server.save_session(sid, {"a": 1}, namespace="/own"), namespace="/own")
    found = []
    server.on("disconnect", lambda sid, _: found.append(server.get_session(sid, namespace="/own")), namespace="/own")
    session = open_with_others(app, engine)
    engine.receive(session, "40/own,")
    engine.close(session, "transport close")
    assert found == [{"a": 1}]
    with pytest.raises(KeyError):
        engine.get_session(session.id)


@pytest.mark.parametrize("namespace", ["", "/mine,"])
def test_who_is_closed_a_moment_before_it_would_be_known_is_gone(app: Flask, engine: Engine, namespace: str) -> None:
    server = app.extensions["socketio"].server
    server.register_namespace(Refusing("/mine"))
    session = open_polling(engine, HTTP_COOKIE="right")
    register = server.manager.register

    def close_and_register(*arguments: str) -> object:
        engine.close(session, "transport close")  # as another thread may
        return register(*arguments)

    server.manager.register = close_and_register
    engine.receive(session, f"40{namespace}")
    assert_nobody_is_left(app)


def test_who_is_disconnected_by_the_application_is_gone_whatever_its_handler_does(app: Flask, engine: Engine) -> None:
    socketio_ = app.extensions["socketio"]
    socketio_.on("disconnect", namespace="/failing")(fail)
    session = open_with_others(app, engine)
    for namespace in ("/failing", "/"):
        engine.receive(session, f"40{namespace},")
        answers(session)
        socketio_.server.disconnect(socketio_.server.manager.sid_from_eio_sid(session.id, namespace), namespace)
        assert answers(session) == ["41" if namespace == "/" else f"41{namespace},"]
        assert socketio_.server.manager.client_of(session.id, namespace) is None
    engine.close(session, "transport close")
    assert_nobody_is_left(app)


def test_an_application_is_told_what_clients_acknowledge(app: Flask, engine: Engine, caplog: Caplog) -> None:
    told = []
    socketio_ = app.extensions["socketio"]
    socketio_.on("connect", namespace="/asking")(lambda: True)
    sessions = [open_with_others(app, engine) for _ in range(3)]
    for session in sessions:
        engine.receive(session, "40/asking,")
    sids = [socketio_.server.manager.sid_from_eio_sid(session.id, "/asking") for session in sessions]
    for session in sessions:
        answers(session)
    emit = partial(socketio_.server.emit, "ask", namespace="/asking")
    emit(1, to=sids[:2], skip_sid=sids[1], callback=lambda *said: told.append(said))
    emit(2, to=sids[0], callback=fail)
    assert answers(sessions[0]) == ['42/asking,1["ask",1]', '42/asking,2["ask",2]']
    assert not answers(sessions[1]) + answers(sessions[2])
    for identifier in (0, 1, 1, 2, 0, 3):
        engine.receive(sessions[0], f'43/asking,{identifier}["yes"]')
    assert told == [("yes",)]
    assert sessions[0].is_open
    emit(3, to=sids[0], callback=fail)
    assert answers(sessions[0]) == ['42/asking,3["ask",3]']
    assert "a defect of somebody else's handler" in caplog.text


def test_their_handlers_get_no_auth_that_is_none(app: Flask, engine: Engine) -> None:
    seen = []
    app.extensions["socketio"].on("connect", namespace="/asking")(seen.append)
    session = open_with_others(app, engine)
    engine.receive(session, '40/asking,{"token":NaN}')
    assert answers(session)[0].startswith('44/asking,{"message":"payload: is not valid JSON')
    assert not seen


def test_what_was_kept_of_a_request_is_freed_with_its_session(app: Flask, engine: Engine) -> None:
    session = open_with_others(app, engine)
    environ = app.extensions["socketio"].server.environ[session.id]
    engine.receive(session, "40/mine,")
    request = weakref.ref(app.request_context(environ).request)
    assert request() is not None
    gc.disable()
    try:
        engine.close(session, "transport close")
        assert request() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("namespace", ["/", "/rooms", "*"])
def test_nobody_may_serve_our_namespaces(app: Flask, namespace: str) -> None:
    socketio_ = app.extensions["socketio"]
    with pytest.raises(ValueError, match="hazoom_ws"):
        socketio_.on("disconnect", namespace=namespace)(fail)
    if namespace != "*":
        with pytest.raises(ValueError, match="hazoom_ws"):
            socketio_.server.register_namespace(Refusing(namespace))


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
    engine.receive(session, "40/late,")
    assert answers(session) == ['44/late,{"message":"Invalid namespace"}']
    assert not socketio_.server.manager._clients


def test_what_a_request_says_is_kept_only_for_those_who_may_ask(app: Flask, engine: Engine) -> None:
    server = app.extensions["socketio"].server
    ours = engine.open({"HTTP_COOKIE": "a=b", "wsgi.input": object()})
    assert server.environ[ours.id] == {}
    app.extensions["socketio"].on("connect", namespace="/mine")(lambda: True)
    theirs = engine.open({"HTTP_COOKIE": "a=b", "wsgi.input": object(), "REQUEST_METHOD": "GET"})
    environ = server.environ[theirs.id]
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
    for sent in (
        '0/mine,{"token":"wrong"}',
        '0/mine,{"token":"right"}',
        '2/mine,1["add",2,3]',
        "0/loose,",
        '2/loose,2["double",4]',
        "0/nowhere,",
    ):
        engine.receive(session, "4" + sent)
    got = answers(session)
    assert [text.partition('"')[0] for text in got] == [
        "44/mine,{",
        "40/mine,{",
        "43/mine,1[5]",
        "40/loose,{",
        "43/loose,2[8]",
        "44/nowhere,{",
    ]
    assert session.is_open
