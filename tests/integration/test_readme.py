"""What the README and the guides show works as it stands."""

import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import requests

from servers import (
    DEADLINE_S,
    ROOT,
    Hazoom,
    OfficialClient,
    child_process,
    flask_tool,
    free_port,
    gunicorn,
    hazoom,
    program,
)

APPLICATION = """
{patch}
from hazoom_ws import create_app
from hazoom_ws.settings import Settings

app = create_app(Settings(default_room="lobby", log_url="memory://"), async_mode={async_mode!r})
{snippet}
app.extensions["socketio"].run(app, port={port}{options})
"""


GUIDES = ROOT / "src" / "hazoom_ws" / "web" / "guides"


def run_node(folder: Path, files: dict[str, str]) -> str:
    """Run the last of ``files`` beside the others and the packages of npm; return what it printed."""
    modules = folder / "node_modules"
    modules.mkdir()
    for package in (ROOT / "scripts" / "npm" / "node_modules").iterdir():
        (modules / package.name).symlink_to(package, target_is_directory=package.is_dir())
    for name, text in {"package.json": '{"type": "module"}', **files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    command = [program("TEST_NODE", "node"), str(folder / list(files)[-1])]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=DEADLINE_S, check=True)
    assert done.stderr == ""
    return done.stdout


def snippets(page: Path, server: Hazoom) -> list[str]:
    """Return the JavaScript that a page shows, for this server."""
    found = re.findall(r"```js\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [snippet.replace("http://localhost:5000", server.url) for snippet in found]


def test_the_client_that_it_shows_chats_and_sees_an_answer(tmp_path: Path) -> None:
    with hazoom(demo=True) as server:
        [snippet] = snippets(ROOT / "README.md", server)
        assert server.url in snippet
        ending = 'socket.on("llm_complete", ({ response }) => { console.log(`all: ${response}`); process.exit(); });'
        said = run_node(tmp_path, {"client.js": snippet + ending})
    assert "I am Ann, in general" in said
    assert "Ann: hello" in said
    streamed, _, answer = said.partition("all: ")
    assert answer.strip()
    assert answer.split()[0] in streamed  # token by token, before it was there as a whole


def test_the_application_that_it_shows_sends_into_a_room(tmp_path: Path, client: OfficialClient, async_mode: str) -> None:
    guide = (GUIDES / "embedding.md").read_text(encoding="utf-8")
    [snippet] = re.findall(r"## Sending from the application\n.*?```python\n(.*?)```", guide, re.DOTALL)
    port, script = free_port(), tmp_path / "application.py"
    is_patched = async_mode == "eventlet"
    patch = "import eventlet; eventlet.monkey_patch()" if is_patched else ""
    options = "" if is_patched else ", allow_unsafe_werkzeug=True"
    code = APPLICATION.format(patch=patch, async_mode=async_mode, snippet=snippet, port=port, options=options)
    script.write_text(code, encoding="utf-8")
    with flask_tool([sys.executable, str(script)], port) as server:
        ann = client.connect(server.url, auth={"user_name": "Ann"})
        assert requests.post(f"{server.url}/orders", timeout=DEADLINE_S).status_code == 204
        assert ann.wait_for("orders") == {"open": 3}
        [shown] = ann.received("new_message")
        assert (shown["user"], shown["message"], shown["room"]) == ("Shop", "A new order has come in", "lobby")


VOTER = """
import {{ io }} from "socket.io-client";

const socket = io("{url}", {{ auth: {{ user_name: "Ann" }} }});
await new Promise((connected) => socket.on("status", connected));
{snippet}
socket.disconnect();
"""


def test_the_feature_that_it_shows_counts_each_user_once_and_after_a_restart_too(tmp_path: Path, async_mode: str) -> None:
    guide = (GUIDES / "features.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    [page] = re.findall(r"```js\n(.*?)```", guide, re.DOTALL)
    assert len(code.splitlines()) <= 36
    port, script = free_port(), tmp_path / "application.py"
    is_patched = async_mode == "eventlet"
    patch = "import eventlet; eventlet.monkey_patch()\n" if is_patched else ""
    code = code.replace("create_app(", "create_app(async_mode='eventlet', ") if is_patched else code
    options = "" if is_patched else ", allow_unsafe_werkzeug=True"
    run = f'app.extensions["socketio"].run(app, port={port}{options})\n'
    script.write_text(patch + code + run, encoding="utf-8")
    told = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        with flask_tool([sys.executable, str(script)], port, HAZOOM_LOG_URL=f"sqlite:///{tmp_path}/m.sqlite3") as server:
            told.append(run_node(folder, {"voter.js": VOTER.format(url=server.url, snippet=page)}))
    assert told == ["Ann is for tea\n", "already_voted: you are for tea\n"]


def test_the_application_that_it_shows_first_works(tmp_path: Path) -> None:
    guide = (GUIDES / "embedding.md").read_text(encoding="utf-8")
    [snippet] = re.findall(r"# In your own application\n.*?```python\n(.*?)```", guide, re.DOTALL)
    assert "Settings(" in snippet
    script = tmp_path / "application.py"
    script.write_text(snippet.replace("Settings(", 'Settings(log_url="memory://", '), encoding="utf-8")
    subprocess.run([sys.executable, str(script)], timeout=DEADLINE_S, check=True)


def test_the_command_for_gunicorn_that_it_shows_serves_and_ends(client: OfficialClient) -> None:
    guide = (GUIDES / "embedding.md").read_text(encoding="utf-8")
    [line] = re.findall(r"```\n(gunicorn .*)\n```", guide)
    words = shlex.split(line)
    words[words.index("--bind") + 1] = "127.0.0.1:0"
    with gunicorn(line=["-m", *words, "--no-control-socket"]) as server:
        user = client.connect(server.url)
        assert user.emit("message", {"message": "hello"})["ok"] is True
        assert server.child.stop() == 0


def test_the_command_that_it_shows_first_starts_a_server_with_a_demo() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    line, tests, *_ = re.findall(r"```\n(python .*)\n```", readme)
    assert tests == "python scripts/test.py"
    command = [
        sys.executable,
        *(str(ROOT / word) if "/" in word else word for word in shlex.split(line)[1:]),
        "--port",
        "0",
    ]
    with child_process("scripts/run.py", command, HAZOOM_LOG_URL="memory://") as child:
        url = child.wait_for_output(r"hazoom_ws ready on (http://\S+)")[1]
        for path in ("/", "/board", "/guides"):
            assert requests.get(url + path, timeout=DEADLINE_S).ok
        child.wait_for_output("the demo backend")


def test_the_scripts_that_contributors_are_shown_are_there() -> None:
    guide = (GUIDES / "contributing.md").read_text(encoding="utf-8")
    named = set(re.findall(r"python (scripts/\w+\.py)", guide))
    assert named == {f"scripts/{name}.py" for name in ("test", "hostile", "soak", "kill", "restart", "bench")}
    for script in named - {"scripts/test.py"}:
        command = [sys.executable, str(ROOT / script), "--help"]
        subprocess.run(command, timeout=DEADLINE_S, check=True, capture_output=True)


def test_the_backup_that_it_shows_is_whole_and_can_be_put_back(tmp_path: Path, client: OfficialClient) -> None:
    guide = (GUIDES / "deploying.md").read_text(encoding="utf-8")
    [(file, statement)] = re.findall(r"```\nsqlite3 (\S+) \"(.*)\"\n```", guide)
    [copy] = re.findall(r"'(.*)'", statement)
    log, backup = tmp_path / "messages.sqlite3", tmp_path / "backup.sqlite3"
    assert Path(file).name == Path(copy).name == log.name
    env = {"HAZOOM_LOG_URL": f"sqlite:///{log}"}
    with hazoom(env=env) as server:
        ann = client.connect(server.url, auth={"user_name": "Ann"})
        assert ann.emit("message", {"message": "before"})["ok"]
        with sqlite3.connect(log) as connection:
            connection.execute(statement.replace(copy, str(backup)))
        connection.close()
        assert ann.emit("message", {"message": "after"})["ok"]
        ann.disconnect()
    for name in (log.name, f"{log.name}-wal", f"{log.name}-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    backup.rename(log)
    with hazoom(env=env) as server:
        bob = client.connect(server.url, auth={"user_name": "Bob"})
        assert [message["message"] for message in bob.emit("get_history", {})["messages"]] == ["before"]
        assert log.stat().st_mode & 0o077 == 0, "it is its owner's only again"
