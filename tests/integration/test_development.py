"""Flask's tools for developers, which load the application in more than one process."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from servers import DEADLINE_S, OfficialClient, clean_environment, flask_tool, free_port, hazoom, wait_until

FLASK = [sys.executable, "-m", "flask", "--app", "hazoom_ws"]
SCRIPT = """
from hazoom_ws import create_app

app = create_app()
if __name__ == "__main__":
    {run}
"""
RUNS = {
    "app": "app.run(port={port}, debug=True, extra_files=[{extra!r}])",
    "app, as if by FLASK_DEBUG": "app.debug = True; app.run('127.0.0.1', {port}, extra_files=[{extra!r}])",
    "socketio": (
        "app.extensions['socketio'].run(app, port={port}, debug=True, allow_unsafe_werkzeug=True, "
        "reloader_options={{'extra_files': [{extra!r}]}})"
    ),
}


def command_for(kind: str, port: int, extra: Path) -> list[str]:
    if kind == "flask run":
        return [*FLASK, "run", "--debug", "--port", str(port), "--extra-files", str(extra)]
    if kind == "flask run --reload":
        return [*FLASK, "run", "--reload", "--port", str(port), "--extra-files", str(extra)]
    script = extra.with_name("serve.py")
    script.write_text(SCRIPT.format(run=RUNS[kind].format(port=port, extra=str(extra))), encoding="utf-8")
    return [sys.executable, str(script)]


@pytest.mark.parametrize("kind", ["flask run", "flask run --reload", *RUNS])
def test_a_server_that_reloads_has_its_file_before_and_after(kind: str, tmp_path: Path, client: OfficialClient) -> None:
    extra = tmp_path / "watched"
    extra.touch()
    port = free_port()
    log_url = f"sqlite:///{tmp_path}/messages.sqlite3"
    with flask_tool(command_for(kind, port, extra), port, HAZOOM_LOG_URL=log_url) as server:
        user = client.connect(server.url, transports=["websocket"])
        assert user.emit("message", {"message": "hello"})["ok"]
        extra.write_text("changed", encoding="utf-8")
        wait_until(lambda: server.log.count("Restarting with") == 2, "the first one has ended")
        wait_until(server.is_ready, "the next one answers")
        again = client.connect(server.url, transports=["websocket"])
        assert [entry["message"] for entry in again.emit("get_history", {})["messages"]] == ["hello"]
        assert "Traceback" not in server.log


def test_flask_run_without_a_reloader_keeps_messages(tmp_path: Path, client: OfficialClient) -> None:
    port, file = free_port(), tmp_path / "messages.sqlite3"
    with flask_tool([*FLASK, "run", "--port", str(port)], port, HAZOOM_LOG_URL=f"sqlite:///{file}") as server:
        assert client.connect(server.url).emit("message", {"message": "hello"})["ok"]
        assert file.exists()


def test_flask_routes_works_beside_a_server(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/messages.sqlite3"
    with hazoom(env={"HAZOOM_LOG_URL": url}) as server:
        ended = subprocess.run(
            [*FLASK, "routes"],
            env=clean_environment(HAZOOM_LOG_URL=url),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        assert "/api/v1/status" in ended.stdout
        assert requests.get(f"{server.url}/ready", timeout=DEADLINE_S).ok
