"""What our code relies on or guards against in the libraries below it, so that an upgrade that changes it is noticed."""

import http.client
import http.server
import inspect
import os
import re
import select
import socket
import subprocess
import sys
import threading

import engineio
import flask
import flask_socketio
import msgspec
import pytest
import requests
import socketio
import werkzeug.serving
from flask_socketio import SocketIO
from hypothesis import given
from hypothesis import strategies as st
from socketio import packet
from websockets import frames as websockets_frames

from hazoom_ws.transport.socketio.fan_out import FanOut


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
    from hazoom_ws.namespaces.door import FeatureNamespace

    assert not hasattr(flask_socketio.Namespace, "error")
    assert not [name for name in dir(FeatureNamespace) if name == "error" or name.startswith("on_")]


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
    from hazoom_ws.llm_bridge.urllib3_overrides import socket_of

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
            found = socket_of(reply.raw)
            assert isinstance(found, socket.socket)
            found.settimeout(20)
            assert reply.raw.read1(100, decode_content=True) == b"a"
            more.set()
            assert reply.raw.read1(100, decode_content=True) == b"b"
            assert reply.raw.read1(100, decode_content=True) == b""
            assert socket_of(reply.raw) is None


def test_a_response_that_closes_takes_the_socket_from_its_connection():
    assert "will_close" in inspect.getsource(http.client.HTTPConnection.getresponse)


def test_the_response_of_the_standard_library_reads_heads_and_trailers_where_ours_bounds_them():
    own = vars(http.client.HTTPResponse)
    assert {"begin", "_read_status", "_read_and_discard_trailer"} <= set(own)
    begin = inspect.getsource(own["begin"])
    assert "self._read_status()" in begin
    assert "parse_headers(self.fp)" in begin
    assert "self.fp.readline(" in inspect.getsource(own["_read_status"])
    assert "self._read_and_discard_trailer()" in inspect.getsource(own["_get_chunk_left"])
    assert "self.response_class(" in inspect.getsource(http.client.HTTPConnection.getresponse)


def test_werkzeug_reads_over_its_own_file_after_an_answer_and_takes_the_body_from_the_environ():
    handler = werkzeug.serving.WSGIRequestHandler
    source = inspect.getsource(handler.run_wsgi)
    assert "self.environ = environ = self.make_environ()" in source
    assert "self.rfile.read(" in source
    assert source.index("self.make_environ()") < source.index("self.rfile.read(")
    assert "handle_one_request" not in vars(handler)


def test_the_methods_of_werkzeug_that_we_replace_are_there():
    server, handler = werkzeug.serving.ThreadedWSGIServer, werkzeug.serving.WSGIRequestHandler
    assert {name for name in ("get_request", "handle_error", "log") if hasattr(server, name)} == {
        "get_request",
        "handle_error",
        "log",
    }
    replaced = {"setup", "handle_one_request", "parse_request", "make_environ", "finish", "version_string", "log_request"}
    assert {name for name in replaced if hasattr(handler, name)} == replaced
    assert "parse_request" in inspect.getsource(http.server.BaseHTTPRequestHandler.handle_one_request)
    assert "self.run_wsgi" in inspect.getsource(handler.__getattr__)


def test_the_methods_of_the_manager_that_the_fan_out_overrides_are_those_we_know():
    signatures = {
        "get_namespaces": "self",
        "pre_connect": "self eio_sid namespace",
        "connect": "self sid namespace",
        "is_connected": "self sid namespace",
        "is_pre_connected": "self sid namespace",
        "sid_from_eio_sid": "self eio_sid namespace",
        "eio_sid_from_sid": "self sid namespace",
        "pre_disconnect": "self sid namespace",
        "disconnect": "self sid namespace kwargs",
        "enter_room": "self sid namespace room eio_sid",
        "leave_room": "self sid namespace room",
        "close_room": "self room namespace",
        "get_rooms": "self sid namespace",
        "get_participants": "self namespace room",
        "emit": "self event data namespace room skip_sid callback to kwargs",
    }
    stock = {name: " ".join(inspect.signature(getattr(socketio.Manager, name)).parameters) for name in signatures}
    assert stock == signatures
    overridden = {name for name in vars(FanOut) if hasattr(socketio.Manager, name) and not name.startswith("__")}
    assert overridden == set(signatures)


def test_what_else_the_manager_keeps_and_the_fan_out_does_without_is_what_we_know():
    """A new method or attribute may read the stock rooms, which ours does not have."""
    public = {name for name in dir(socketio.Manager) if not name.startswith("_")}
    assert public - set(vars(FanOut)) == {
        "basic_close_room",
        "basic_disconnect",
        "basic_enter_room",
        "basic_leave_room",
        "can_disconnect",
        "initialize",
        "is_sid_room",
        "set_server",
        "trigger_callback",
    }
    assert set(vars(socketio.Manager())) == {
        "logger",
        "server",
        "rooms",
        "eio_to_sid",
        "callbacks",
        "pending_connect",
        "pending_disconnect",
        "json",
    }


def test_the_server_registers_three_handlers_with_its_engine_which_are_those_that_ours_registers():
    server = socketio.Server(async_mode="threading")
    assert server.eio.handlers == {
        "connect": server._handle_eio_connect,
        "message": server._handle_eio_message,
        "disconnect": server._handle_eio_disconnect,
    }
    assert list(inspect.signature(server._handle_eio_connect).parameters) == ["eio_sid", "environ"]
    assert list(inspect.signature(server._handle_eio_message).parameters) == ["eio_sid", "data"]
    assert list(inspect.signature(server._handle_eio_disconnect).parameters) == ["eio_sid", "reason"]


def test_a_test_client_calls_what_we_answer_for_it():
    source = inspect.getsource(flask_socketio.test_client.SocketIOTestClient)
    used = set(re.findall(r"socketio\.server\.(_\w+)", source))
    assert used == {"_handle_eio_connect", "_handle_eio_message", "_send_packet", "_send_eio_packet"}


def test_the_engine_has_what_we_use_and_replace():
    def names(function):
        return list(inspect.signature(function).parameters)

    engine = engineio.Server(async_mode="threading")
    assert names(engine.handle_request) == ["environ", "start_response"]
    assert names(engine.send) == ["sid", "data"]
    assert names(engine.send_packet) == ["sid", "pkt"]
    assert names(engine.save_session) == ["sid", "session"]
    for method in (engine.get_session, engine.transport, engine.disconnect):
        assert names(method) == ["sid"]
    for method in (engine._cors_allowed_origins, engine._cors_headers):
        assert names(method) == ["environ"]
    assert engine.handlers == {}
    assert callable(engine._async["sleep"])
    words = {name: text for name, text in vars(engine.reason).items() if name.isupper()}
    assert words == {
        "CLIENT_DISCONNECT": "client disconnect",
        "SERVER_DISCONNECT": "server disconnect",
        "PING_TIMEOUT": "ping timeout",
        "TRANSPORT_CLOSE": "transport close",
        "TRANSPORT_ERROR": "transport error",
    }


def test_the_client_has_what_we_replace():
    client = socketio.Client()
    assert client._engineio_client_class() is engineio.Client
    assert list(inspect.signature(engineio.Client._trigger_event).parameters) == ["self", "event", "args", "kwargs"]
    assert "kwargs.pop('run_async', False)" in inspect.getsource(engineio.Client._trigger_event)
    assert list(inspect.signature(engineio.Client.disconnect).parameters) == ["self", "abort", "reason"]
    assert "self.read_loop_task.join()" in inspect.getsource(engineio.Client.disconnect)


def test_the_server_has_what_we_replace():
    def names(function):
        return list(inspect.signature(function).parameters)

    server = socketio.Server(async_mode="threading")
    assert (server.namespace_handlers, server.handlers, server.environ) == ({}, {}, {})
    assert names(server._handle_disconnect) == ["eio_sid", "namespace", "reason"]
    assert names(server.disconnect) == ["sid", "namespace", "ignore_queue"]
    assert names(server._handle_connect) == ["eio_sid", "namespace", "data"]
    assert names(server._handle_ack) == ["eio_sid", "namespace", "id", "data"]
    assert names(server._trigger_event) == ["event", "namespace", "args"]
    assert names(server._send_packet) == ["eio_sid", "pkt"]


@given(data=st.binary(max_size=300), mask=st.binary(min_size=4, max_size=4))
def test_masking_is_an_exclusive_or_whatever_holds_the_bytes(data, mask):
    expected = bytes(byte ^ mask[position % 4] for position, byte in enumerate(data))
    for kind in (bytes, bytearray):
        masked = websockets_frames.apply_mask(kind(data), kind(mask))
        assert type(masked) is bytes
        assert masked == expected


def test_masking_is_done_in_c():
    assert inspect.isbuiltin(websockets_frames.apply_mask)


@pytest.fixture(scope="module")
def of_eventlet():
    """What we rely on in eventlet; asked in a process of its own, as importing it here would warn."""
    script = """
import inspect, re, socket, warnings
warnings.simplefilter("ignore")
import eventlet
from eventlet import greenio, hubs, patcher, wsgi

def names(function):
    return " ".join(inspect.signature(function).parameters)

print("hub.add", names(hubs.hub.BaseHub.add), "/", len(inspect.signature(hubs.get_hub().add).parameters))
print("schedule_call_global", names(hubs.get_hub().schedule_call_global))
print("wsgi.Server", names(wsgi.Server.__init__))
print("HttpProtocol", names(wsgi.HttpProtocol.__init__))
print("process_request", names(wsgi.Server.process_request))
print("overridden", *(name in dir(wsgi.HttpProtocol) for name in
    ("setup", "_read_request_line", "parse_request", "get_environ", "finish", "log_request")))
source = inspect.getsource(wsgi.HttpProtocol.handle_one_response)
print("input", *sorted(set(re.findall(r"request_input\\.(\\w+)", source))))
print("handle_one_request", "if not self.parse_request()" in inspect.getsource(wsgi.HttpProtocol.handle_one_request))
print("state", wsgi.STATE_IDLE, "WSGI_LOCAL.already_handled" in inspect.getsource(wsgi.HttpProtocol.handle_one_response))

ours, theirs = socket.socketpair()
green = greenio.GreenSocket(ours)
print("fd", green.fd is ours, ours.getblocking())
moved = socket.socket(ours.family, ours.type, ours.proto, fileno=green.fd.detach())
greenio.shutdown_safe(green)
green.close()
theirs.sendall(b"x")
print("moved", moved.recv(1).decode(), green.fileno())
"""
    lines = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in lines.splitlines())


def test_the_signatures_of_eventlet_that_we_call_or_override_are_those_we_know(of_eventlet):
    assert of_eventlet["hub.add"] == "self evtype fileno cb tb mark_as_closed / 5"
    assert of_eventlet["schedule_call_global"] == "seconds cb args kw"
    assert of_eventlet["HttpProtocol"] == "self conn_state server"
    assert of_eventlet["process_request"] == "self conn_state"
    options = of_eventlet["wsgi.Server"].split(" ")
    assert options[:4] == ["self", "socket", "address", "app"]
    assert {"log", "log_output", "socket_timeout", "debug", "protocol", "keepalive"} <= set(options)
    assert of_eventlet["overridden"] == "True True True True True True"
    assert of_eventlet["handle_one_request"] == "True"
    assert of_eventlet["state"] == "idle True"


def test_what_eventlet_asks_of_a_body_is_what_ours_answers(of_eventlet):
    assert of_eventlet["input"].split(" ") == [
        "chunked_input",
        "content_length",
        "discard",
        "headers_sent",
        "position",
        "should_send_hundred_continue",
    ]


def test_a_socket_can_be_taken_from_under_a_green_one_which_then_closes_nothing(of_eventlet):
    assert of_eventlet["fd"] == "True False"
    assert of_eventlet["moved"] == "x -1"


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll exists on Linux only")
def test_an_epoll_object_is_readable_for_another_one_when_one_of_its_members_is():
    inner, outer = select.epoll(), select.epoll()
    reading, writing = os.pipe()
    try:
        inner.register(reading, select.EPOLLIN)
        outer.register(inner.fileno(), select.EPOLLIN)
        assert outer.poll(0) == []
        os.write(writing, b"x")
        assert outer.poll(0) == [(inner.fileno(), select.EPOLLIN)]
    finally:
        os.close(reading)
        os.close(writing)
        outer.close()
        inner.close()
