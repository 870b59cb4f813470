"""What an application may not say, or not there; what it can say is in tests/integration/test_application.py."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from clients import Client, Connect, MakeApp
from hazoom_ws.errors import BadPayload, LogUnavailable, TooLarge


def sid_of(client: Client) -> str:
    return client.app.extensions["socketio"].server.manager.sid_from_eio_sid(client.socket.eio_sid, "/")


@pytest.mark.parametrize("data", [b"x", {"part": b"x"}, [{"parts": [b"x"]}], ({}, bytearray(b"x"))])
@pytest.mark.parametrize("namespace", ["/", "/rooms", "/mine"])
def test_bytes_are_refused_where_they_are_sent(app: Flask, ann: Client, data: object, namespace: str) -> None:
    """They arrived as a text that nobody had asked for."""
    with pytest.raises(TypeError, match="event 'note' holds bytes"):
        app.extensions["socketio"].emit("note", data, to="general", namespace=namespace)
    assert ann.received("note") == []


def test_what_has_no_json_is_refused_where_it_is_sent(app: Flask, ann: Client) -> None:
    with pytest.raises(TypeError):
        app.extensions["socketio"].emit("note", {"what": object()}, to="general")
    assert ann.received("note") == []


def test_an_event_that_asks_for_an_acknowledgement_reaches_its_client(app: Flask, ann: Client) -> None:
    answers: list[object] = []
    app.extensions["socketio"].emit("note", "hi", to=sid_of(ann), callback=answers.append)
    [note] = [item for item in ann.socket.get_received() if item["name"] == "note"]
    assert note["args"] == ["hi"]


def test_a_room_of_socket_io_that_the_application_has_made_is_reached_too(app: Flask, ann: Client, bob: Client) -> None:
    app.extensions["socketio"].server.enter_room(sid_of(ann), "vip")
    app.extensions["socketio"].emit("note", {}, to="vip")
    app.extensions["socketio"].emit("note", {}, to=["vip", "general"])
    assert [len(client.received("note")) for client in (ann, bob)] == [2, 1]


def test_a_message_of_the_application_is_in_the_file_when_it_returns(make_app: MakeApp, tmp_path: Path) -> None:
    publish = make_app(log_url=f"sqlite:///{tmp_path}/m.sqlite3").extensions["hazoom_ws"].publish
    published = publish("a", "hi", user_name="Shop")
    with closing(sqlite3.connect(tmp_path / "m.sqlite3")) as connection:
        in_file = [*connection.execute("SELECT messages FROM tail"), *connection.execute("SELECT seq FROM messages")]
        assert str(published.seq) in str(in_file)


def test_a_message_that_cannot_be_kept_is_told(make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hazoom_ws.message_log.sqlite.writer._BUSY_TIMEOUT_S", 0)
    parts = make_app(log_url=f"sqlite:///{tmp_path}/m.sqlite3").extensions["hazoom_ws"]
    with pytest.raises(TooLarge):
        parts.publish("a", "x" * 65_537, user_name="Shop")
    with pytest.raises(BadPayload, match="user_name"):
        parts.publish("a", "hi", user_name="Assistant")
    holder = sqlite3.connect(tmp_path / "m.sqlite3", isolation_level=None)
    with closing(holder), holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable):
            parts.publish("a", "hi", user_name="Shop")


def test_who_is_called_while_something_is_sent_cannot_wait_for_more(app: Flask, connect: Connect) -> None:
    """Sending finds out that a client is gone, and tells handlers: they would wait for themselves."""
    parts, socketio = app.extensions["hazoom_ws"], app.extensions["socketio"]
    connect(user_name="Ann")
    errors: list[Exception] = []

    def say(*_: object) -> None:
        try:
            parts.publish("general", "she is gone", user_name="Shop")
        except RuntimeError as error:
            errors.append(error)

    socketio.server._send_eio_packet = say  # what a test client gets its events by
    thread = threading.Thread(target=socketio.emit, args=("note", {}), kwargs={"to": "general"}, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert "start_background_task" in str(errors[0])
