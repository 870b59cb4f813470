"""What an application holds of the system, with whom it shares it, and that it gives it back."""

import gc
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from flask import Flask
from flask_socketio.test_client import SocketIOTestClient

from clients import Client
from hazoom_ws import create_app
from hazoom_ws.llm_bridge.demo import DemoBackend
from hazoom_ws.settings import Settings, SettingsError
from servers import wait_until


def descriptors() -> set[str]:
    """Return what this process has open, as far as the system tells."""
    folder = Path("/proc/self/fd")
    found = set()
    for entry in folder.iterdir() if folder.exists() else ():
        try:
            found.add(f"{entry.name} {os.readlink(entry)}")
        except OSError:
            continue  # the one that reads the folder
    return found


@pytest.fixture
def demo() -> Iterator[DemoBackend]:
    with DemoBackend() as demo:
        yield demo


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the instance folder of applications, where the default file is, in a folder of this test."""
    monkeypatch.setattr(Flask, "auto_find_instance_path", lambda _: str(tmp_path))
    return tmp_path


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Check that the test leaves no descriptor and no thread behind."""
    close(create_app(Settings(log_url="memory://")))  # what all applications of a process share stays
    gc.collect()
    before, threads = descriptors(), set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= threads, "no thread is left")
    gc.collect()
    wait_until(lambda: descriptors() <= before, "no descriptor is left")


def use(app: Flask, text: str = "hello") -> None:
    """Let a client say something, and begin a session that needs a task."""
    client = Client(app, user_name="Ann")
    assert client.call("message", {"message": text})["ok"]
    assert app.test_client().get("/socket.io/?EIO=4&transport=polling").status_code == 200


def history(app: Flask) -> list[str]:
    reply = Client(app, user_name="Bob").call("get_history", {"room": "general"})
    return [entry["message"] for entry in reply["messages"]]


def wait_until_freed(held: weakref.WeakSet[object]) -> None:
    """Wait for that, as a task of an application may be at work."""
    wait_until(lambda: gc.collect() >= 0 and not held, "it is freed")


def close(app: Flask) -> None:
    app.extensions["hazoom_ws"].close()


@pytest.mark.long
def test_two_hundred_applications_leave_nothing(instance: Path, nothing_left: None) -> None:
    for _ in range(200):
        close(create_app())


def test_twenty_applications_leave_nothing(instance: Path, nothing_left: None) -> None:
    for number in range(20):
        app = create_app()
        with closing(app.extensions["hazoom_ws"]):
            assert len(history(app)) == number, "each finds the file of the one before"
            use(app)
    assert [path.name for path in instance.iterdir() if path.suffix == ".sqlite3"] == ["messages.sqlite3"]


@pytest.mark.long
def test_applications_that_are_dropped_leave_nothing(instance: Path, nothing_left: None) -> None:
    for number in range(5):
        app = create_app(Settings(log_url="sqlite:///named.sqlite3"))
        assert len(history(app)) == number
        use(app)
        server = app.extensions["socketio"].server
        for eio_sid in list(server.environ):
            server._handle_eio_disconnect(eio_sid, "gone")  # such that it may come back
        del server
        SocketIOTestClient.clients.clear()  # the library keeps them, and they keep their application
        held = weakref.WeakSet([app.extensions["hazoom_ws"].log])
        del app
        wait_until_freed(held)


def test_a_second_application_gets_a_file_of_its_own_and_says_so(
    instance: Path, nothing_left: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        apps = [create_app() for _ in range(3)]
    assert [f"messages-{number}.sqlite3" in line for number, line in zip((2, 3), caplog.messages, strict=True)] == [
        True
    ] * 2
    for number, app in enumerate(apps):
        use(app, f"hello {number}")
    assert [history(app) for app in apps] == [["hello 0"], ["hello 1"], ["hello 2"]]
    assert {path.name for path in instance.iterdir() if path.suffix == ".sqlite3"} == {
        "messages.sqlite3",
        "messages-2.sqlite3",
        "messages-3.sqlite3",
    }
    close(apps[1])
    again = create_app()
    assert history(again) == ["hello 1"], "a file that is free again is taken first"
    for app in (*apps, again):
        close(app)


def test_a_file_that_is_named_is_not_shared(instance: Path, nothing_left: None) -> None:
    (instance / "link.sqlite3").symlink_to(instance / "named.sqlite3")
    first = create_app(Settings(log_url="sqlite:///named.sqlite3"))
    for url in ("sqlite:///named.sqlite3", f"sqlite:///{instance}/named.sqlite3", "sqlite:///link.sqlite3"):
        with pytest.raises(SettingsError, match=r"another application of this process uses .*/named.sqlite3; close it"):
            create_app(Settings(log_url=url))
    close(first)
    close(create_app(Settings(log_url="sqlite:///link.sqlite3")))


def test_a_folder_is_no_file(instance: Path) -> None:
    with pytest.raises(SettingsError, match="is a folder"):
        create_app(Settings(log_url=f"sqlite:///{instance}"))


def test_closing_twice_changes_nothing_and_what_is_closed_keeps_nothing(instance: Path, nothing_left: None) -> None:
    app = create_app()
    client = Client(app, user_name="Ann")
    close(app)
    close(app)
    reply = client.call("message", {"message": "too late"})
    assert (reply["ok"], reply["error"]["code"]) == (False, "internal")
    assert app.test_client().get("/ready").status_code == 503
    assert not (instance / "messages.sqlite3-wal").exists()


def test_what_was_said_before_is_kept(instance: Path, nothing_left: None) -> None:
    app = create_app()
    use(app, "kept")
    close(app)
    again = create_app()
    assert history(again) == ["kept"]
    close(again)


def test_a_log_that_is_unwell_is_not_opened_again_once_it_is_closed(instance: Path, nothing_left: None) -> None:
    app = create_app()
    log, before = app.extensions["hazoom_ws"].log, set(threading.enumerate())
    log.problem = "disk full"
    with app.extensions["hazoom_ws"].delivery.turn():
        pass  # from now on it is tried each second to open it
    close(app)
    wait_until(lambda: set(threading.enumerate()) <= before, "nobody tries any more")
    assert log.problem == "closed"


class KeepAlive(BaseHTTPRequestHandler):
    """A backend that keeps its connections open, as Django behind gunicorn does."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"response": "hi", "session_id": "s"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def keep_alive() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), KeepAlive) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/chat/"
        server.shutdown()


def test_connections_to_the_backend_are_given_back(keep_alive: str, nothing_left: None) -> None:
    app = create_app(Settings(log_url="memory://", llm_url=keep_alive))
    client = Client(app, user_name="Ann")
    client.emit("llm_request", {"message": "hello", "stream": False})
    client.wait_for("llm_complete")
    port = urlsplit(keep_alive).port

    def is_open() -> bool:
        return any(one.raddr and one.raddr.port == port for one in psutil.Process().net_connections("tcp"))

    wait_until(is_open, "its connection is kept for the next request")
    close(app)
    wait_until(lambda: not is_open(), "it is closed")
    assert app.test_client().get("/health").status_code == 200, "the application is still there"


def test_an_answer_that_runs_is_stopped(demo: DemoBackend, nothing_left: None) -> None:
    app = create_app(Settings(log_url="memory://", llm_url=demo.url))
    client = Client(app, user_name="Ann")
    client.emit("llm_request", {"message": "hello"})
    client.wait_for("llm_token")
    close(app)
    assert client.wait_for("llm_complete")["finish_reason"] == "cancelled"


EVENTLET = """
import warnings
warnings.filterwarnings("ignore", message="\\\\s*Eventlet is deprecated")
import eventlet
eventlet.monkey_patch()
import gc, os, sys
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from eventlet import patcher
from flask import Flask
Flask.auto_find_instance_path = lambda _: sys.argv[1]
sys.path.insert(0, sys.argv[2])
from clients import Client
from hazoom_ws import create_app
threads = lambda: [thread for thread in patcher.original("threading").enumerate() if "hazoom" in thread.name]
count = lambda: len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
was_started, counts = False, []
for _ in range(200):
    create_app(async_mode="eventlet").extensions["hazoom_ws"].close()
for number in range(6):
    app = create_app(async_mode="eventlet")
    parts = app.extensions["hazoom_ws"]
    with closing(parts):
        client = Client(app, user_name="Ann")
        client.emit("message", {"message": "hello"})
        client.emit("get_history", {"room": "general"})
        parts.delivery._commit._worker.run(lambda: None)
        was_started = was_started or bool(threads())
        assert app.test_client().get("/socket.io/?EIO=4&transport=polling").status_code == 200
    del app, parts, client
    gc.collect()
    counts.append(count())
with closing(create_app(async_mode="eventlet").extensions["hazoom_ws"]) as parts:
    page = parts.log.read("general", limit=10, newest=True)
print(was_started, len(threads()), max(counts[1:]) - counts[1], len(page.messages))
"""


WATCHED = """
import warnings
warnings.filterwarnings("ignore", message="\\\\s*Eventlet is deprecated")
import eventlet
eventlet.monkey_patch()
from eventlet import patcher
from hazoom_ws import create_app
from hazoom_ws.cli import serve_with_eventlet
from hazoom_ws.settings import Settings
threading = patcher.original("threading")
app = create_app(Settings(log_url="memory://"), async_mode="eventlet")
serve_with_eventlet(app, eventlet.listen(("127.0.0.1", 0)))
watchdogs = [thread for thread in threading.enumerate() if thread.name == "hazoom_ws watchdog"]
app.extensions["hazoom_ws"].close()
with eventlet.Timeout(20):
    while any(thread.is_alive() for thread in watchdogs):
        eventlet.sleep(0.01)
print(len(watchdogs), app.extensions["socketio"].server.eio.lag_s() < 20)
"""


def test_who_watches_the_loop_ends_with_the_application() -> None:
    command = [sys.executable, "-c", WATCHED]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.stdout, ended.stderr) == ("1 True\n", "")


@pytest.mark.long
def test_it_is_the_same_under_eventlet(tmp_path: Path) -> None:
    command = [sys.executable, "-c", EVENTLET, str(tmp_path), str(Path(__file__).parents[1])]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.stdout, ended.stderr) == ("True 0 0 6\n", "")
