"""CodeMirror and Quill on shared documents, in a browser, unmodified: bundled as their users do, served by another site."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from servers import ROOT, Hazoom, OfficialClient, free_port, unique
from website import website

OpenWindow = Callable[..., Page]
NPM = ROOT / "scripts" / "npm"
EDITORS = {"codemirror": ".cm-content", "quill": ".ql-editor"}
CURSORS = {"codemirror": ".cm-ySelectionInfo", "quill": ".ql-cursor-name"}
CONNECTION_FAILURE = "ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|WebSocket is closed"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a page for each editor, whose modules are bundled into one script; return their origin."""
    folder = tmp_path_factory.mktemp("editors")
    for name in EDITORS:
        source = ROOT / "tests" / "browser" / "editors" / f"{name}.mjs"
        command = [
            _esbuild(),
            str(source),
            "--bundle",
            "--format=iife",
            f"--outfile={folder / name}.js",
            "--log-level=error",
        ]
        subprocess.run(command, check=True, env=os.environ | {"NODE_PATH": str(NPM / "node_modules")})

    def answer(path: str) -> tuple[str, bytes]:
        name = path.strip("/")
        if name.endswith(".js"):
            return "text/javascript; charset=utf-8", (folder / name).read_bytes()
        page = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><div id="editor"></div>'
        return "text/html", f'{page}<script src="/{name}.js"></script>'.encode()

    with website(answer) as origin:
        yield origin


def _esbuild() -> Path:
    [found] = (NPM / "node_modules" / "@esbuild").glob("*/bin/esbuild")
    return found


@pytest.fixture
def server(async_mode: str, site: str, start_server: Callable[..., Hazoom], tmp_path: Path) -> Hazoom:
    env = {"HAZOOM_CORS_ORIGINS": site, "HAZOOM_LOG_URL": f"sqlite:///{tmp_path / 'log.sqlite3'}"}
    return start_server(async_mode=async_mode, demo=True, env=env, port=free_port())


@pytest.fixture(params=EDITORS)
def editor(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def open_editor(site: str, server: Hazoom, editor: str, open_window: OpenWindow) -> Callable[[str, str], Page]:
    def open_editor(name: str, user: str) -> Page:
        query = urlencode({"server": server.url, "name": name, "user": user})
        window = open_window(f"{site}/{editor}?{query}", may_log=CONNECTION_FAILURE)
        expect(window.locator("body[data-synced=true]")).to_be_attached()
        return window

    return open_editor


def content(window: Page, editor: str) -> Locator:
    return window.locator(EDITORS[editor])


def text_of(window: Page) -> str:
    return window.evaluate("provider.doc.getText('content').toString().replace(/\\n$/, '')")


def test_two_windows_write_into_one_document(open_editor: Callable[[str, str], Page], editor: str) -> None:
    name = unique("doc")
    ann, bob = open_editor(name, "Ann"), open_editor(name, "Bob")
    content(ann, editor).click()
    ann.keyboard.type("Hello from Ann")
    expect(content(bob, editor)).to_contain_text("Hello from Ann")
    content(bob, editor).click()
    bob.keyboard.press("Control+Home")
    bob.keyboard.type("Bob says: ")
    ann.keyboard.type("!")
    for window in (ann, bob):
        # What the window shows has the names at the others' cursors in it.
        window.wait_for_function("provider.doc.getText('content').toString().startsWith('Bob says: Hello from Ann!')")
        expect(content(window, editor)).to_contain_text("Hello from Ann!")
    expect(ann.locator(CURSORS[editor], has_text="Bob")).to_be_attached()
    expect(bob.locator(CURSORS[editor], has_text="Ann")).to_be_attached()
    assert text_of(ann) == text_of(bob) == "Bob says: Hello from Ann!"


def test_what_was_written_offline_is_there_after_a_reload_of_the_other(
    open_editor: Callable[[str, str], Page], editor: str
) -> None:
    name = unique("doc")
    ann, bob = open_editor(name, "Ann"), open_editor(name, "Bob")
    ann.evaluate("provider.disconnect()")
    content(ann, editor).click()
    ann.keyboard.type("written offline")
    ann.evaluate("provider.connect()")
    expect(content(bob, editor)).to_contain_text("written offline")
    ann.close()
    bob.reload()
    expect(content(bob, editor)).to_contain_text("written offline")


def test_the_ai_writes_in_every_window(open_editor: Callable[[str, str], Page], editor: str, server: Hazoom) -> None:
    name = unique("doc")
    ann, bob = open_editor(name, "Ann"), open_editor(name, "Bob")
    content(ann, editor).click()
    ann.keyboard.type("Summary: ")
    expect(content(bob, editor)).to_contain_text("Summary:")
    with OfficialClient() as client:
        asker = client.connect(server.url, auth={"user_name": "Ann"})
        asker.emit("llm_request", {"message": "hello", "document": name})
        expect(bob.locator(CURSORS[editor], has_text="Assistant")).to_be_attached()
        response = asker.wait_for("llm_complete")["response"]
    for window in (ann, bob):
        expect(content(window, editor)).to_contain_text(response.strip()[-20:])
    assert response in text_of(ann)
    assert text_of(ann) == text_of(bob)
