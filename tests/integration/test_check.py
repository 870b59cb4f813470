"""``hazoom-ws check``, as an operator runs it: beside what it looks at, and where that is broken."""

import json
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from file_modes import bound_by_modes
from identity_provider import identity_provider
from minting import key_of
from servers import (
    DEADLINE_S,
    Backend,
    child_process,
    clean_environment,
    command_of_hazoom,
    free_port,
    hazoom,
    run_hazoom,
)

SECRET = "geheim-geheim-0123456789-abcdefgh"

OTHER_PROGRAM = """
import signal, socket
listener = socket.create_server(("127.0.0.1", 0))
print("on", listener.getsockname()[1], flush=True)
signal.pause()
"""


class Findings:
    """What a check has found: levels and texts by topic."""

    def __init__(self, *arguments: object, **variables: str) -> None:
        ended = run_hazoom("check", *arguments, "--json", **variables)
        assert ended.stderr == ""
        report = json.loads(ended.stdout)
        self.status: int = ended.returncode
        self.all: list[dict[str, str]] = report["findings"]
        levels = {finding["level"] for finding in self.all}
        assert report["status"] == next((level for level in ("problem", "warning") if level in levels), "ok")
        assert self.status == (1 if report["status"] == "problem" else 0)
        assert "Traceback" not in ended.stdout
        for finding in self.all:
            assert finding["remedy"] or finding["level"] == "ok", f"nothing is said that mends it: {finding}"
            assert "could not be checked" not in finding["found"], finding
        self.text = ended.stdout

    def of(self, topic: str, level: str) -> str:
        """Return all that is said of a topic at a level."""
        found = [finding for finding in self.all if (finding["topic"], finding["level"]) == (topic, level)]
        assert found, f"nothing of {topic} is {level}: {self.all}"
        return " ".join(f"{finding['found']} -> {finding['remedy']}" for finding in found)


@contextmanager
def answering(status: int, body: str, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Run a server that answers everything alike; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(body.encode())), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815 - as the library calls it

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_nothing_is_wrong_before_the_start_and_nothing_is_changed(tmp_path: Path, backend: Backend) -> None:
    url = f"sqlite:///{tmp_path}/log/messages.sqlite3"
    found = Findings("--port", free_port(), HAZOOM_LLM_URL=backend.chat_url, HAZOOM_LOG_URL=url)
    assert found.status == 0
    assert "is free" in found.of("port", "ok")
    assert "says healthy, in " in found.of("django", "ok")
    assert "the first token came after " in found.of("stream", "ok")
    assert "it will be made" in found.of("log", "ok")
    assert "localhost:5173" in found.of("origins", "ok")
    assert list(tmp_path.iterdir()) == []
    assert backend.received("Answer with one word.")[-1]["body"]["intelligence_level"] == "nano"
    assert "Answer with one word." not in backend.open_streams()


def test_beside_the_running_server_its_port_and_its_file_are_as_they_should_be(tmp_path: Path) -> None:
    env = {"HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3"}
    with hazoom(demo=True, env=env) as server:
        before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        found = Findings("--port", server.port, "--demo", **env)
        elsewhere = Findings("--port", free_port(), "--demo", **env)
        assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
        assert run_hazoom("say", "general", "hello", "--url", server.url).returncode == 0
        pid = server.child.process.pid
    assert found.status == 0
    assert f"hazoom_ws itself is running on port {server.port}" in found.of("port", "ok")
    assert f"pid {pid}" in found.of("port", "ok")
    assert "the running server has it" in found.of("log", "ok")
    assert "a hazoom_ws that listens elsewhere has it" in elsewhere.of("log", "problem")


def test_a_file_of_another_version_is_known_wherever_sqlite_has_its_number(tmp_path: Path) -> None:
    path = tmp_path / "messages.sqlite3"
    env = {"HAZOOM_LOG_URL": f"sqlite:///{path}"}
    with hazoom(env=env):
        pass
    assert "schema version " in Findings("--port", "0", "--demo", **env).of("log", "ok")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 99")
        assert Path(f"{path}-wal").stat().st_size, "it is beside the file for now"
        assert "is of schema version 99" in Findings("--port", "0", "--demo", **env).of("log", "problem")
    assert not Path(f"{path}-wal").exists()
    assert "is of schema version 99" in Findings("--port", "0", "--demo", **env).of("log", "problem")
    path.write_text("no file of SQLite", encoding="utf-8")
    assert "is no file of messages" in Findings("--port", "0", "--demo", **env).of("log", "problem")


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    config = tmp_path / "hazoom.toml"
    config.write_text(f'jwt_secret = "{"ab" * 20}"\nauth = "jwt"\n', encoding="utf-8")
    config.chmod(0o644)
    (tmp_path / "file").touch()
    script = tmp_path / "other.py"
    script.write_text(OTHER_PROGRAM, encoding="utf-8")
    with child_process("another program", [sys.executable, str(script), SECRET]) as other:
        port, pid = int(other.wait_for_output(r"on ([0-9]+)\n")[1]), other.process.pid
        found = Findings(
            *("--port", port, "--config", config),
            HAZOOM_LLM_URL=f"http://u:{SECRET}@127.0.0.1:{free_port()}/api/llm/chat/?key={SECRET}",
            HAZOOM_LOG_URL=f"sqlite:///{tmp_path}/file/messages.sqlite3",
            HAZOOM_CORS_ORIGINS="*",
            HAZOOM_TRUSTED_PROXIES="0.0.0.0/0",
            HAZOOM_API_KEYS=SECRET,
        )
    assert found.status == 1
    assert f"port {port} on 127.0.0.1 is taken by python" in found.of("port", "problem")
    assert f"other.py (pid {pid})" in found.of("port", "problem")
    assert f"--port {port + 1}" in found.of("port", "problem")
    assert "Connection refused" in found.of("django", "problem")
    assert "cannot be made" in found.of("log", "problem")
    assert "only 2 different characters" in found.of("auth", "warning")
    assert "every user of this machine may read the config file" in found.of("secrets", "warning")
    assert "any origin" in found.of("origins", "warning")
    assert "0.0.0.0/0" in found.of("proxies", "problem")
    assert SECRET not in found.text


def test_settings_that_cannot_be_are_a_finding_too() -> None:
    found = Findings(HAZOOM_PROT="1")
    assert "HAZOOM_PROT" in found.of("settings", "problem")
    assert "HAZOOM_PORT" in found.of("settings", "problem")


def test_lines_for_people_say_the_same_as_json() -> None:
    ended = run_hazoom("check", "--demo", "--port", "0", HAZOOM_CORS_ORIGINS="*")
    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    assert any(line.startswith("ok       log ") for line in lines)
    position = next(number for number, line in enumerate(lines) if line.startswith("warning  origins"))
    assert lines[position + 1].lstrip().startswith("-> name the sites")
    assert lines[-1] == "1 warning"


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir(mode=0o500)
    env = clean_environment(HAZOOM_LOG_URL=f"sqlite:///{tmp_path}/log/messages.sqlite3")
    command = bound_by_modes(command_of_hazoom("check", "--demo", "--port", "0"))
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 1
    assert f"the folder {tmp_path}/log cannot be written" in ended.stdout


@pytest.mark.parametrize(
    ("status", "body", "topic", "level", "words"),
    [
        (404, "<h1>no such page</h1>", "stream", "problem", "HTTP 404"),
        (500, '{"error": "the model is down"}', "stream", "problem", "the model is down"),
        (200, "<h1>Welcome</h1>", "stream", "problem", "did not answer with a stream"),
        (200, '{"status": "starting"}', "django", "warning", "(starting)"),
    ],
)
def test_a_backend_that_answers_otherwise_is_told_apart(status: int, body: str, topic: str, level: str, words: str) -> None:
    with answering(status, body) as url:
        found = Findings("--port", "0", HAZOOM_LLM_URL=f"{url}/api/llm/chat/")
    assert words in found.of(topic, level)


def test_a_backend_that_says_nothing_is_given_up_on_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        found = Findings("--port", "0", HAZOOM_LLM_URL=f"http://127.0.0.1:{deaf.getsockname()[1]}/ask/")
    assert "no token came within" in found.of("stream", "warning")


def test_a_clock_that_differs_is_a_problem_where_tokens_end_by_it() -> None:
    with answering(200, '{"status": "healthy"}', {"Date": "Thu, 01 Jan 2015 00:00:00 GMT"}) as url:
        env = {"HAZOOM_LLM_URL": f"{url}/api/llm/chat/"}
        assert "s ahead of the one of Django" in Findings("--port", "0", **env).of("clock", "warning")
        tokens = {"HAZOOM_AUTH": "jwt", "HAZOOM_JWT_SECRET": SECRET}
        assert "tokens are refused" in Findings("--port", "0", **env, **tokens).of("clock", "problem")


def test_who_may_come_in_is_asked_of_whoever_decides(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("short\n", encoding="utf-8")
    with identity_provider() as provider:

        def found(**variables: str) -> Findings:
            return Findings("--port", "0", "--demo", **{f"HAZOOM_{name}": value for name, value in variables.items()})

        jwks = {"AUTH": "jwt", "JWT_JWKS_URL": f"{provider.url}/keys"}
        assert "has no key that can be used" in found(**jwks).of("auth", "problem")
        provider.keys.append(key_of("ES256"))
        assert "has 1 key to check them with" in found(**jwks).of("auth", "ok")
        asked: dict[str, Any] = {"AUTH": "url", "AUTH_URL": f"{provider.url}/who"}
        assert "may not (401)" in found(**asked).of("auth", "ok")
        provider.answer = lambda _: (403, b"<h1>CSRF verification failed</h1>")
        assert "@csrf_exempt" in found(**asked).of("auth", "problem")
        provider.answer = lambda _: (302, {})
        assert "answers 302" in found(**asked).of("auth", "problem")
        provider.answer = lambda _: (200, {"user_id": "1", "user_name": "Ann"})
        assert "lets in a visitor without cookies" in found(**asked).of("auth", "warning")
    assert "ConnectionError" in found(**asked).of("auth", "problem")
    assert "cannot be had" in found(**jwks).of("auth", "problem")
    assert "line 1: a key has at least" in found(AUTH="api_key", API_KEYS_FILE=str(keys)).of("keys", "problem")
    assert "cannot be read" in found(AUTH="jwt", JWT_KEY_FILE=str(tmp_path / "none.pem")).of("auth", "problem")


def test_a_command_line_that_cannot_be_understood_has_status_2() -> None:
    for arguments in (["--public-url", "chat.example.com"], ["--prot", "1"]):
        ended = run_hazoom("check", *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("hazoom_ws: ")
