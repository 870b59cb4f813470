"""Editors of documents as users have them: yjs over y-socket.io, in a Node process."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

from servers import DEADLINE_S, start_in_node


class Editors:
    """One Node process with any number of editors, which `kill` ends as a crash would."""

    def __init__(self) -> None:
        self._number = 0
        self._process = start_in_node("yjs_client.cjs")

    def __enter__(self) -> "Editors":
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def kill(self) -> None:
        """End the process without a word to any server."""
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def start(self, url: str, name: str, user: str | None = None) -> "Editor":
        """Begin to open a document."""
        self._number += 1
        editor = Editor(self, self._number)
        self.call("open", editor=editor.number, url=url, name=name, user=user)
        return editor

    def open(self, url: str, name: str, user: str | None = None) -> "Editor":
        """Open a document and wait until it is there."""
        editor = self.start(url, name, user)
        editor.wait(lambda: editor.state()["synced"], "synced")
        return editor

    def call(self, command: str, **arguments: Any) -> Any:
        """Run a command of yjs_client.cjs and return its reply."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, "call": 0, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the Node process has ended"
        return json.loads(line)["reply"]


class Editor:
    """One editor, whose shared text is called "content"."""

    def __init__(self, editors: Editors, number: int) -> None:
        self.number = number
        self._editors = editors

    def _call(self, command: str, **arguments: Any) -> Any:
        return self._editors.call(command, editor=self.number, **arguments)

    @property
    def text(self) -> str:
        return self._call("text")

    def type(self, text: str, at: int = -1) -> None:
        """Insert text; -1 is the end."""
        self._call("insert", at=at, text=text)

    def type_many(self, count: int) -> None:
        """Insert so many letters, each by itself."""
        self._call("insert_many", count=count)

    def delete(self, at: int, count: int) -> None:
        self._call("delete", at=at, count=count)

    def state(self) -> dict[str, Any]:
        """Return synced, connected, length, events (both ways), refused, error, ended."""
        return self._call("state")

    def others(self) -> list[str]:
        """Return the names of the others who are here."""
        return self._call("others")

    def set_user(self, user: str) -> None:
        self._call("set_user", user=user)

    def send_raw(self, event: str, data: bytes) -> None:
        self._call("send_raw", event=event, base64=base64.b64encode(data).decode())

    def drop(self) -> None:
        """Lose the connection, and come back."""
        self._call("drop")

    def leave(self) -> None:
        self._call("leave")

    def come_back(self) -> None:
        self._call("come_back")

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until something is so."""
        ends_at_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < ends_at_s, f"not within {DEADLINE_S:g} s: {what}; it has {self.state()}"
            time.sleep(0.02)

    def wait_for_text(self, text: str) -> None:
        self.wait(lambda: self.text == text, f"the text {text[:80]!r}")

    def wait_for_others(self, *names: str) -> None:
        self.wait(lambda: self.others() == sorted(names), f"{names} are here")
