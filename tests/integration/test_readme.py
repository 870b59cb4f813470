"""What the README shows works as it stands."""

import re
import subprocess
from pathlib import Path

from servers import DEADLINE_S, ROOT, hazoom, program


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
