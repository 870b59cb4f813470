"""What the README and the guides show works as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import requests

from servers import DEADLINE_S, ROOT, Hazoom, OfficialClient, flask_tool, free_port, gunicorn, hazoom, program

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
    guide = (GUIDES / "operating.md").read_text(encoding="utf-8")
    [snippet] = re.findall(r"### Sending from the application\n.*?```python\n(.*?)```", guide, re.DOTALL)
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
    guide = (GUIDES / "operating.md").read_text(encoding="utf-8")
    [snippet] = re.findall(r"## In your own application\n+```python\n(.*?)```", guide, re.DOTALL)
    assert "Settings(" in snippet
    script = tmp_path / "application.py"
    script.write_text(snippet.replace("Settings(", 'Settings(log_url="memory://", '), encoding="utf-8")
    subprocess.run([sys.executable, str(script)], timeout=DEADLINE_S, check=True)


def test_the_command_for_gunicorn_that_it_shows_serves_and_ends(client: OfficialClient) -> None:
    guide = (GUIDES / "operating.md").read_text(encoding="utf-8")
    [line] = re.findall(r"```\n(gunicorn .*)\n```", guide)
    words = shlex.split(line)
    words[words.index("--bind") + 1] = "127.0.0.1:0"
    with gunicorn(line=["-m", *words, "--no-control-socket"]) as server:
        user = client.connect(server.url)
        assert user.emit("message", {"message": "hello"})["ok"] is True
        assert server.child.stop() == 0
