"""Under gunicorn: it ends when it is told to, goes on where it was, and says at the start what cannot work."""

import re
import signal
from pathlib import Path

import pytest
import requests

from raw_client import raw_client
from servers import DEADLINE_S, Hazoom, OfficialClient, gunicorn, wait_until

QUICKLY = {"reconnectionDelay": 20, "reconnectionDelayMax": 200}
WAYS = (["polling"], ["websocket"], ["polling", "websocket"])


def assert_silent(server: Hazoom) -> None:
    """Check that nothing but gunicorn's own notes is in the log."""
    lines = [line for line in server.log.splitlines() if not re.search(r"\] \[INFO\] ", line)]
    assert lines == []


def come_and_go(client: OfficialClient, url: str) -> None:
    for transports in WAYS:
        user = client.connect(url, transports=transports)
        if len(transports) > 1:
            user.wait_for("upgrade")
        assert user.emit("message", {"message": "hello"})["ok"] is True
        user.disconnect()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_worker_whose_clients_have_gone_ends(number: signal.Signals, client: OfficialClient) -> None:
    """It had a traceback for each WebSocket in the log."""
    with gunicorn() as server:
        come_and_go(client, server.url)
        assert server.child.stop(number) == 0
        assert_silent(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_worker_with_clients_closes_them_and_ends(number: signal.Signals, client: OfficialClient) -> None:
    """It served them until gunicorn killed it, 30 s later."""
    with gunicorn() as server:
        users = [client.connect(server.url, transports=transports, reconnection=False) for transports in WAYS]
        users[-1].wait_for("upgrade")
        with raw_client(server, join=False):  # who has joined nothing, reads nothing and answers no close frame
            assert server.child.stop(number) == 0
        for user, transports in zip(users, WAYS, strict=True):
            # Gunicorn takes no more polls by then, so that the one that brought the goodbye is the last that is answered.
            reasons = ("transport close", "transport error") if transports == ["polling"] else ("transport close",)
            assert user.wait_for("disconnect")["reason"] in reasons
            assert [bye["reason"] for bye in user.received("bye")] == ["shutting_down"]
        assert_silent(server)


def log_in(folder: Path) -> dict[str, str]:
    return {"HAZOOM_LOG_URL": f"sqlite:///{folder}/messages.sqlite3"}


def test_after_a_reload_clients_come_back_to_where_they_were(tmp_path: Path, client: OfficialClient) -> None:
    """The next worker starts before the last one ends: it found the file in use, and gunicorn ended."""
    with gunicorn(**log_in(tmp_path)) as server:
        users = [
            client.connect(server.url, transports=transports, **QUICKLY) for transports in (["polling"], ["websocket"])
        ]
        for count in (2, 3):
            assert users[0].emit("message", {"message": f"before {count}"})["ok"] is True
            for user in users:
                user.wait_for("new_message")
            server.child.process.send_signal(signal.SIGHUP)
            for user in users:
                client.wait(lambda user=user, count=count: len(user.received("connect")) == count, "it is back")
                assert user.received("connect")[-1]["recovered"] is True
        newcomer = client.connect(server.url)
        messages = newcomer.emit("get_history", {})["messages"]
        assert [entry["message"] for entry in messages] == ["before 2", "before 3"]
        assert server.log.count("Booting worker") == 3
        assert server.child.stop() == 0
        assert_silent(server)


def test_a_worker_that_has_served_enough_requests_makes_room_for_the_next(tmp_path: Path, client: OfficialClient) -> None:
    with gunicorn("--max-requests", "30", **log_in(tmp_path)) as server:
        user = client.connect(server.url, transports=["websocket"], **QUICKLY)
        assert user.emit("message", {"message": "before"})["ok"] is True
        wait_until(lambda: not server.is_ready() or "Autorestarting" in server.log, "it has served them")
        client.wait(lambda: len(user.received("connect")) == 2, "it is back")
        assert user.received("connect")[1]["recovered"] is True
        assert server.child.stop() == 0
        assert_silent(server)


REFUSED = {
    "two workers": (["--workers", "2"], {}, "gunicorn is to run 2 workers, and one process serves all clients"),
    "two workers by variable": ([], {"WEB_CONCURRENCY": "2"}, "gunicorn is to run 2 workers"),
    "preload": (["--preload"], {}, "leave --preload out"),
    "sync": (["--worker-class", "sync", "--threads", "1"], {}, "gunicorn's sync worker with 1 thread serves one request"),
    "one thread": (["--threads", "1"], {}, "gunicorn's gthread worker with 1 thread serves one request at a time"),
    "a setting": ([], {"HAZOOM_PROT": "80"}, "unknown environment variable HAZOOM_PROT; did you mean HAZOOM_PORT?"),
    "a setting with preload": (["--preload"], {"HAZOOM_PROT": "80"}, "did you mean HAZOOM_PORT?"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_work_ends_the_start_with_one_line(kind: str) -> None:
    arguments, variables, expected = REFUSED[kind]
    with gunicorn(*arguments, is_ready=False, **variables) as server:
        assert server.child.wait() != 0
        ours = {line.removeprefix("Error: ") for line in server.log.splitlines() if "hazoom_ws: " in line}
        assert len(ours) == 1
        assert ours.pop().startswith("hazoom_ws: ")
        assert expected in server.log
        assert "Traceback" not in server.log


def test_a_file_that_another_server_has_ends_the_start_with_one_line(tmp_path: Path) -> None:
    with gunicorn(**log_in(tmp_path)), gunicorn(is_ready=False, **log_in(tmp_path)) as second:
        assert second.child.wait() != 0
        assert "hazoom_ws: log_url: another hazoom_ws uses" in second.log
        assert "Traceback" not in second.log


def test_a_worker_that_is_added_waits_for_the_first_to_end_and_takes_over(tmp_path: Path, client: OfficialClient) -> None:
    """One that failed would have ended gunicorn, and with it the one that serves."""
    with gunicorn("--graceful-timeout", "1", **log_in(tmp_path)) as server:
        user = client.connect(server.url, **QUICKLY)
        server.child.process.send_signal(signal.SIGTTIN)
        server.child.wait_for_output(r"gunicorn's worker \d+ waits, for one process serves all clients: log_url: another")
        assert user.emit("message", {"message": "hello"})["ok"] is True
        server.child.process.send_signal(signal.SIGTTOU)  # the eldest goes
        client.wait(lambda: len(user.received("connect")) == 2, "it is back")
        assert [entry["message"] for entry in user.emit("get_history", {})["messages"]] == ["hello"]
        assert server.child.stop() == 0
        assert server.log.count("waits, for one process") == 1
        assert "Traceback" not in server.log


def test_a_worker_that_waits_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with gunicorn(**log_in(tmp_path)) as server:
        server.child.process.send_signal(signal.SIGTTIN)
        wait_until(lambda: server.log.count("Booting worker") == 2, "there is a second one")
        assert server.child.stop() == 0
        assert_silent(server)


def test_the_log_says_that_all_threads_are_taken(client: OfficialClient) -> None:
    with gunicorn("--threads", "3") as server:
        for _ in range(2):
            client.connect(server.url, transports=["websocket"])
        assert requests.get(f"{server.url}/health", timeout=DEADLINE_S).ok
        assert "raise --threads" not in server.log
        client.connect(server.url, transports=["websocket"])
        server.child.wait_for_output(
            r"each of gunicorn's 3 threads has a client, and who else comes waits; raise --threads"
        )
        assert server.child.stop() == 0


EMBEDDED = """
from gunicorn.app.base import BaseApplication
from hazoom_ws import create_app

class Server(BaseApplication):
    def load_config(self):
        for name, value in {"bind": "127.0.0.1:0", "worker_class": "gthread", "threads": 8}.items():
            self.cfg.set(name, value)
        self.cfg.set("control_socket_disable", True)

    def load(self):
        return app

app = create_app()
Server().run()
"""


def test_an_application_that_was_made_before_the_fork_is_not_served(tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(EMBEDDED, encoding="utf-8")
    with gunicorn(is_ready=False, line=[str(script)], **log_in(tmp_path)) as server:
        url = server.child.wait_for_output(r"Listening at: (http://127\.0\.0\.1:\d+)")[1]
        for path in ("health", "socket.io/?EIO=4&transport=polling"):
            answer = requests.get(f"{url}/{path}", timeout=DEADLINE_S)
            assert (answer.status_code, answer.text) == (
                503,
                "the server's log says why this application cannot be served\n",
            )
        assert server.log.count("create_app was called before this process was forked") == 1
        assert server.child.stop() == 0
