"""What the README shows works as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import requests

from servers import DEADLINE_S, ROOT, OfficialClient, flask_tool, free_port, hazoom, program

APPLICATION = """
{patch}
from hazoom_ws import create_app
from hazoom_ws.settings import Settings

app = create_app(Settings(default_room="lobby", log_url="memory://"), async_mode={async_mode!r})
{snippet}
app.extensions["socketio"].run(app, port={port}{options})
"""


def test_the_client_that_it_shows_chats_and_sees_an_answer(tmp_path: Path) -> None:
    [snippet] = re.findall(r"```js\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    with hazoom(demo=True) as server:
        assert "http://localhost:5000" in snippet
        ending = 'socket.on("llm_complete", ({ response }) => { console.log(`\\nall: ${response}`); process.exit(); });'
        script = tmp_path / "client.mjs"
        script.write_text(snippet.replace("http://localhost:5000", server.url) + ending, encoding="utf-8")
        (tmp_path / "node_modules").symlink_to(ROOT / "scripts" / "npm" / "node_modules", target_is_directory=True)
        command = [program("TEST_NODE", "node"), str(script)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=DEADLINE_S, check=True)
    assert "I am Ann, in general" in done.stdout
    assert "Ann: hello" in done.stdout
    answer = done.stdout.rpartition("all: ")[2].strip()
    assert answer
    assert answer in "".join(done.stdout.split("all: ")[:-1])  # token by token, before it was there as a whole
    assert done.stderr == ""


def test_the_application_that_it_shows_sends_into_a_room(tmp_path: Path, client: OfficialClient, async_mode: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [snippet] = re.findall(r"### Sending from the application\n.*?```python\n(.*?)```", readme, re.DOTALL)
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
