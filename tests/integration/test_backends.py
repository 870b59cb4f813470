"""Backends over HTTP, as they are: a key, JSON, and a room full of official clients; and no log that shows the key."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from hostile_http import exchange, request
from raw_client import connect, handshake, read_all
from servers import (
    DEADLINE_S,
    Backend,
    Hazoom,
    OfficialClient,
    clean_environment,
    command_of_hazoom,
    django_runserver,
    flask_tool,
    free_port,
    gunicorn,
    hazoom,
    unique,
    wait_until,
)

TRANSPORTS = (["websocket"], ["polling"])
KEY, OLD_KEY = "new-key-of-the-tests-0123456789", "old-key-of-the-tests-9876543210"


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with django_runserver() as backend:
        yield backend


@pytest.fixture(scope="module")
def server(async_mode: str, backend: Backend) -> Iterator[Hazoom]:
    env = {"HAZOOM_API_KEYS": f"{OLD_KEY},{KEY}", "HAZOOM_LOG_LEVEL": "debug"}
    with hazoom(async_mode=async_mode, llm_url=backend.chat_url, env=env) as server:
        yield server


def url_of(server: Hazoom, room: str) -> str:
    return f"{server.url}/api/v1/rooms/{quote(room, safe='')}/messages"


def post(server: Hazoom, room: str, message: str, *, key: str = KEY, **fields: str) -> requests.Response:
    payload = {"message": message, "user_name": "Shop", **fields}
    return requests.post(url_of(server, room), json=payload, headers={"X-API-Key": key}, timeout=DEADLINE_S)


def log_out(server: Hazoom, user_id: str) -> requests.Response:
    url = f"{server.url}/api/v1/users/{quote(user_id, safe='')}/disconnect"
    return requests.post(url, headers={"X-API-Key": KEY}, timeout=DEADLINE_S)


def test_what_a_backend_posts_reaches_the_room_and_its_history(server: Hazoom, client: OfficialClient) -> None:
    room = unique("r\u00e9sum\u00e9/1 ")
    members = [client.connect(server.url, transports=transports) for transports in TRANSPORTS]
    for member in members:
        assert member.emit("join_room", {"room": room})["ok"]
    posted = post(server, room, "Gr\u00fc\u00dfe \U0001f986", client_id="order 1").json()
    assert post(server, room, "again", key=OLD_KEY, client_id="order 1").json() == {**posted, "duplicate": True}
    for member in members:
        shown = member.wait_for("new_message")
        assert (shown["user"], shown["message"], shown["id"]) == ("Shop", "Gr\u00fc\u00dfe \U0001f986", posted["id"])
    page = requests.get(url_of(server, room), {"limit": 1}, headers={"X-API-Key": KEY}, timeout=DEADLINE_S).json()
    assert page == {**members[0].emit("get_history", {"room": room, "limit": 1}), "room": room}
    assert [entry["seq"] for entry in page["messages"]] == [posted["seq"]]


def test_without_the_key_nothing_is_said(server: Hazoom, client: OfficialClient) -> None:
    room = unique("room")
    member = client.connect(server.url)
    assert member.emit("join_room", {"room": room})["ok"]
    assert post(server, room, "no", key=KEY[:-1]).status_code == 401
    answer = exchange(server, request(f"POST {url_of(server, room)[len(server.url) :]}?api_key={KEY} HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert post(server, room, "yes").ok
    assert member.wait_for("new_message")["message"] == "yes"


@pytest.mark.parametrize("length", ["Content-Length: 99999999", "Transfer-Encoding: chunked"])
def test_a_body_that_is_too_large_is_refused_and_not_kept(server: Hazoom, length: str) -> None:
    line = f"POST {url_of(server, 'a')[len(server.url) :]} HTTP/1.1"
    body = (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 5 if "chunked" in length else b" " * 300_000
    with connect(server) as connection:
        connection.sendall(request(line, length, f"X-API-Key: {KEY}", "Content-Type: application/json", body=body))
        answer = b""
        while b'"too_large"' not in answer:
            answer += connection.recv(65_536) or pytest.fail(f"it ended after {answer!r}")
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("transports", TRANSPORTS, ids=lambda transports: transports[0])
def test_who_is_logged_out_stays_away_and_cannot_recover(
    server: Hazoom, backend: Backend, client: OfficialClient, transports: list[str]
) -> None:
    name, question = unique("Ann"), f"do:endless {unique('quack')}"
    options = {"auth": {"user_name": name}, "transports": transports, "reconnectionDelay": 10, "reconnectionDelayMax": 20}
    tab, other = client.connect(server.url, **options), client.connect(server.url, **options)
    bob = client.connect(server.url)
    feature = tab.open_namespace("/llm", auth={"user_name": name})
    assert tab.emit("llm_request", {"message": question})["ok"]
    tab.wait_for("llm_token")
    before = tab.session()
    assert log_out(server, name).json() == {"ok": True, "connections": 2}
    for socket in (tab, other, feature):
        assert socket.wait_for("disconnect") == {"reason": "io server disconnect"}
    wait_until(lambda: question not in backend.open_streams(), "the answer has ended")
    # With what the client would come back with it is somebody new.
    again = client.connect(server.url, auth={"user_name": name, **before}, transports=transports)
    assert again.received("status")[0]["recovered"] is False
    assert [socket.received("connect")[1:] for socket in (tab, other, feature)] == [[], [], []]
    assert bob.emit("message", {"message": "still here"})["ok"]
    assert log_out(server, name).json()["connections"] == 1


def test_who_is_away_when_logged_out_does_not_recover(server: Hazoom, client: OfficialClient) -> None:
    name = unique("Ann")
    with OfficialClient() as gone:
        tab = gone.connect(server.url, auth={"user_name": name})
        assert tab.emit("message", {"message": "hello"})["ok"]
        session = tab.session()
        count = server.stats()["total_connections"]
        gone.kill()
    wait_until(lambda: server.stats()["total_connections"] < count, "it has dropped")
    assert log_out(server, name).json() == {"ok": True, "connections": 0}
    again = client.connect(server.url, auth={"user_name": name, **session})
    assert again.received("status")[0]["recovered"] is False


def ask_with_the_key_everywhere(server: Hazoom, client: OfficialClient, *, sends_malformed: bool = True) -> None:
    """Send the key in all places, in requests that go well and in all that go wrong, malformed ones too."""
    secret = f"api_key={KEY}&token={KEY}"
    for path in ("/", "/board", "/health", "/nothing", "/static/nothing", "/socket.io/", "/api/v1/rooms/a/messages"):
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            headers = {"X-API-Key": KEY, "Authorization": f"Bearer {KEY}", "Cookie": f"api_key={KEY}"}
            requests.request(method, f"{server.url}{path}?{secret}", headers=headers, json={}, timeout=DEADLINE_S)
    for line in (
        f"GET /?{secret} HTTP/2.0",
        f"GET /?{secret}",
        f"GET /?{secret}&{'x' * 40_000} HTTP/1.1",
        f"GET /socket.io/?EIO=3&transport=polling&{secret} HTTP/1.1",
        f"GET /socket.io/?EIO=4&transport=api_key%3D{KEY} HTTP/1.1",
        f"GET /%ff?{secret} HTTP/1.1",
    ):
        if not sends_malformed:
            break
        for fields in ((), (f"X-API-Key : {KEY}",), (f"X-API-Key: {KEY}", f"Content-Length: {KEY}")):
            exchange(server, request(line, *fields))
    with connect(server) as connection:
        connection.sendall(handshake().replace(b"transport=websocket", f"transport=websocket&{secret}".encode()))
        connection.sendall(b"\x81\x80")
        connection.shutdown(1)
        read_all(connection)
    for transports in TRANSPORTS:
        auth = {"user_name": "Ann", "api_key": KEY, "token": KEY}
        user = client.connect(server.url, transports=transports, query={"api_key": KEY, "token": KEY}, auth=auth)
        user.emit("message", {"message": "hello", "api_key": KEY})
        user.emit("nothing", {"token": KEY})
        client.try_to_connect(server.url, "/nothing", auth=auth, transports=transports).wait_for("connect_error")
        user.disconnect()


def test_no_log_shows_a_key(async_mode: str, client: OfficialClient) -> None:
    env = {"HAZOOM_API_KEYS": KEY, "HAZOOM_LOG_LEVEL": "debug"}
    with hazoom(async_mode=async_mode, env=env) as server:
        ask_with_the_key_everywhere(server, client)
        wait_until(lambda: "a Socket.IO request is refused" in server.log, "what is refused")
        assert server.child.stop() == 0
        assert KEY not in server.child.output


def test_gunicorn_shows_no_key_in_its_access_log(client: OfficialClient) -> None:
    with gunicorn("--access-logfile", "-", "--log-level", "debug", HAZOOM_API_KEYS=KEY) as server:
        ask_with_the_key_everywhere(server, client)
        wait_until(lambda: "api_key=***" in server.child.output, "the access log")
        assert KEY not in server.child.output


def test_flask_shows_no_key_in_its_access_log(client: OfficialClient) -> None:
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", "hazoom_ws", "run", "--port", str(port)]
    with flask_tool(command, port, HAZOOM_API_KEYS=KEY, HAZOOM_LOG_URL="memory://") as server:
        ask_with_the_key_everywhere(server, client)
        wait_until(lambda: "api_key=***" in server.child.output, "the access log")
        assert KEY not in server.child.output


@pytest.mark.parametrize("mode", ["eventlet", "threading"])
def test_flask_socketio_shows_no_key_when_it_runs_and_logs(mode: str, client: OfficialClient, tmp_path: Path) -> None:
    port, script = free_port(), tmp_path / "serve.py"
    script.write_text(
        f"""
import logging, warnings
if {mode == "eventlet"}:
    with warnings.catch_warnings(action="ignore"):
        import eventlet
    eventlet.monkey_patch()
from hazoom_ws import create_app
logging.basicConfig(level=logging.INFO)
app = create_app(async_mode="{mode}")
app.extensions["socketio"].run(app, port={port}, log_output=True, allow_unsafe_werkzeug=True)
""".replace(", allow_unsafe_werkzeug=True", "" if mode == "eventlet" else ", allow_unsafe_werkzeug=True")
    )
    with flask_tool([sys.executable, str(script)], port, HAZOOM_API_KEYS=KEY, HAZOOM_LOG_URL="memory://") as server:
        # What is no HTTP eventlet's protocol logs past the log that it is given.
        ask_with_the_key_everywhere(server, client, sends_malformed=mode != "eventlet")
        wait_until(lambda: "api_key=***" in server.child.output, "the access log")
        assert KEY not in server.child.output


def test_keys_of_a_file_open_too_and_a_bad_one_ends_the_start(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# of the shop\n{KEY}\n")
    with hazoom(env={"HAZOOM_API_KEYS_FILE": str(keys)}) as server:
        assert post(server, "a", "hi").ok
        assert post(server, "a", "hi", key=OLD_KEY).status_code == 401
    keys.write_text(f"{KEY}\nshort\n")
    env = clean_environment(HAZOOM_API_KEYS_FILE=str(keys))
    ended = subprocess.run(command_of_hazoom(), capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=env)
    assert ended.returncode == 2
    assert "api_keys_file: line 2: a key has at least 16 characters" in ended.stderr
    assert KEY not in ended.stderr


def test_without_keys_it_says_that_the_routes_are_closed(async_mode: str) -> None:
    with hazoom(async_mode=async_mode) as server:
        wait_until(lambda: "HAZOOM_API_KEYS" in server.log, "what opens them")
        assert post(server, "a", "hi").status_code == 403
