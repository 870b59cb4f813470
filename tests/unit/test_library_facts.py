"""What our code relies on or guards against in the libraries below it, so that an upgrade that changes it is noticed."""

import http.client
import inspect
import socket
import threading

import engineio
import flask
import flask_socketio
import msgspec
import pytest
import requests
import socketio
from flask_socketio import SocketIO
from socketio import packet


@pytest.fixture
def stock():
    """A stock Flask-SocketIO server with a class namespace, its test client and what its handlers saw."""
    app = flask.Flask("stock")
    sio = SocketIO(app, async_mode="threading", async_handlers=False)
    seen = []

    class Namespace(flask_socketio.Namespace):
        def trigger_event(self, event, *args):
            seen.append((event, self.socketio.server.manager.is_connected(args[0], "/"), flask.has_request_context()))
            return True

    sio.on_namespace(Namespace("/"))
    return sio.test_client(app), seen, sio


def test_a_namespace_is_called_outside_of_a_request_context(stock):
    assert stock[1] == [("connect", False, False)]


def test_a_client_can_name_its_event_connect_so_the_name_alone_proves_nothing(stock):
    client, seen, _ = stock
    client.emit("connect", {})
    client.emit("disconnect", {})
    assert [event for event, _, _ in seen] == ["connect", "connect", "disconnect"]
    assert all(type(event) is str for event, _, _ in seen)


def test_the_library_dispatches_connect_and_disconnect_once_as_plain_strings(stock):
    client, seen, sio = stock
    sio.server._handle_eio_disconnect(client.eio_sid, "gone")
    assert [(type(event), event) for event, _, _ in seen] == [(str, "connect"), (str, "disconnect")]


def test_a_handler_sees_its_client_as_not_connected_yet_so_nothing_is_broadcast_to_it_before(stock):
    assert stock[1][0][1] is False


def test_a_subclass_of_str_as_the_name_reaches_the_namespace_as_it_is(stock):
    _, seen, sio = stock

    class Name(str):
        __slots__ = ()

    sid = sio.server.manager.sid_from_eio_sid(stock[0].eio_sid, "/")
    sio.server._handle_event(stock[0].eio_sid, "/", None, [Name("x"), 1])
    assert sid
    assert type(seen[-1][0]) is Name


def test_an_error_method_on_a_namespace_is_a_hook_that_ours_must_not_have():
    from hazoom_ws.namespaces.root import RootNamespace

    assert not hasattr(flask_socketio.Namespace, "error")
    assert not [name for name in dir(RootNamespace) if name == "error" or name.startswith("on_")]


def test_rooms_do_not_cross_namespaces_and_every_client_is_in_one_named_like_its_sid(stock):
    client, _, sio = stock
    sid = sio.server.manager.sid_from_eio_sid(client.eio_sid, "/")
    assert sio.server.rooms(sid) == [sid]


def test_the_signatures_that_we_call_or_override_are_those_we_know():
    def names(function):
        return list(inspect.signature(function).parameters)

    assert names(socketio.Server.emit)[:6] == ["self", "event", "data", "to", "room", "skip_sid"]
    assert names(socketio.Manager.eio_sid_from_sid) == ["self", "sid", "namespace"]
    assert names(socketio.Server._handle_event) == ["self", "eio_sid", "namespace", "id", "data"]
    assert names(packet.Packet.__init__) == ["self", "packet_type", "data", "namespace", "id", "binary", "encoded_packet"]
    assert names(flask_socketio.Namespace.trigger_event) == ["self", "event", "args"]


def test_events_in_the_connect_handler_leave_before_connect_is_answered():
    assert inspect.signature(socketio.base_server.BaseServer.__init__).parameters["always_connect"].default is False


def test_an_empty_list_of_origins_means_no_check_in_engineio_which_is_why_it_gets_a_function():
    server = engineio.Server(async_mode="threading", cors_allowed_origins=[])
    statuses = []
    environ = {"REQUEST_METHOD": "OPTIONS", "QUERY_STRING": "EIO=4", "HTTP_ORIGIN": "http://evil.example"}
    server.handle_request(environ, lambda status, _headers: statuses.append(status))
    server.cors_allowed_origins = lambda *_: False
    server.handle_request(environ, lambda status, _headers: statuses.append(status))
    assert [status.split(" ")[0] for status in statuses] == ["200", "400"]


def test_engineio_announces_whole_seconds_only():
    assert "int(" in inspect.getsource(engineio.Server._handle_connect)


def test_the_standard_json_writes_nan_and_msgspec_does_not():
    assert packet.Packet(packet.EVENT, ["x", float("nan")]).encode() == '2["x",NaN]'
    assert msgspec.json.encode(float("nan")) == b"null"
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode("NaN")


def test_deep_json_is_a_recursion_error_for_msgspec_so_the_depth_is_checked_first():
    with pytest.raises(RecursionError):
        msgspec.json.decode("[" * 100_000)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_the_socket_is_where_the_bridge_looks_for_it_and_read1_gives_what_arrived(connection):
    from hazoom_ws.llm_bridge import _socket_of

    more = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(f"HTTP/1.1 200 OK\r\nConnection: {connection}\r\nContent-Length: 2\r\n\r\na".encode())
                more.wait(20)
                peer.sendall(b"b")
                peer.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        with (
            requests.Session() as session,
            session.get(f"http://127.0.0.1:{listener.getsockname()[1]}/", stream=True) as reply,
        ):
            found = _socket_of(reply.raw)
            assert isinstance(found, socket.socket)
            found.settimeout(20)
            assert reply.raw.read1(100, decode_content=True) == b"a"
            more.set()
            assert reply.raw.read1(100, decode_content=True) == b"b"
            assert reply.raw.read1(100, decode_content=True) == b""
            assert _socket_of(reply.raw) is None


def test_a_response_that_closes_takes_the_socket_from_its_connection():
    assert "will_close" in inspect.getsource(http.client.HTTPConnection.getresponse)
