"""The React client of the guide, as it stands there, in a project of Vite's with StrictMode and the types of the server.

What the guide shows is taken out of it; what a new project has beside that is in ``react/``.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from playwright.sync_api import Page, expect

from servers import (
    DEADLINE_S,
    ROOT,
    Backend,
    Hazoom,
    child_process,
    django_runserver,
    free_port,
    hazoom,
    program,
    unique,
)
from tcp_proxy import TcpProxy, tcp_proxy

GUIDE = (ROOT / "src" / "hazoom_ws" / "web" / "guides" / "react.md").read_text(encoding="utf-8")
NPM = ROOT / "scripts" / "npm" / "node_modules"
TOKENS = ["Grüße", " aus", "  dem", " Café", ":\n", "🦆", " \t", "👩‍🚀", "日本", "語 ", "<b>fett</b>", "."]
KEY = "k" * 32
# What a browser says of a network that is not there.
OFFLINE = "WebSocket connection to|net::ERR_"


class Site(NamedTuple):
    """The project in its development server: its folder, its origin, and the way to the server, which a test starts."""

    folder: Path
    origin: str
    proxy: TcpProxy

    def serve(self, **settings: str) -> AbstractContextManager[Hazoom]:
        """Return a context with a server where the pages look for it."""
        env = {f"HAZOOM_{name}": value for name, value in settings.items()}
        env["HAZOOM_CORS_ORIGINS"] = self.origin
        return hazoom(demo="LLM_URL" not in settings, port=self.proxy.server_port, env=env)


def write_project(folder: Path, types: str) -> None:
    """Put the code of the guide beside what a new project has."""
    shutil.copytree(ROOT / "tests" / "browser" / "react", folder, dirs_exist_ok=True)
    (folder / "node_modules").symlink_to(NPM, target_is_directory=True)
    files = re.findall(r"^```tsx?\n// (src/\w+\.tsx?)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in files] == ["src/chat.ts", "src/useRoom.ts", "src/WebSocketChat.tsx", "src/main.tsx"]
    [first] = re.findall(r"^```ts\n(import .*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    for name, code in [*files, ("src/first.ts", f"{first}export {{}};\n")]:
        (folder / name).write_text(code, encoding="utf-8")
    (folder / "src" / "events.d.ts").write_text(types, encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, port = tmp_path_factory.mktemp("react") / "my-chat", free_port()
    with hazoom(port=port) as server:
        write_project(folder, requests.get(f"{server.url}/events.d.ts", timeout=DEADLINE_S).text)
    vite = str(NPM / "vite" / "bin" / "vite.js")
    command = [program("TEST_NODE", "node"), vite, str(folder), "--host", "127.0.0.1", "--port", str(free_port())]
    with (
        tcp_proxy(port) as proxy,
        child_process("Vite", [*command, "--strictPort"], VITE_CHAT_URL=proxy.url, NO_COLOR="1") as child,
    ):
        yield Site(folder, child.wait_for_output(r"Local: +(http://127\.0\.0\.1:\d+)/")[1], proxy)


def say(page: Page, text: str, *, button: str = "Send") -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name=button, exact=True).click()


def expect_messages(pages: tuple[Page, ...], texts: list[str]) -> None:
    """Expect each of these messages in each window, once and in this order."""
    for page in pages:
        expect(page.locator("li.message span")).to_have_text(texts)
        expect(page.locator("li.outgoing")).to_have_count(0)


def expect_status(page: Page, text: str) -> None:
    expect(page.get_by_role("status")).to_contain_text(text)


def test_the_compiler_takes_the_code_of_the_guide(site: Site) -> None:
    tsc = str(NPM / "typescript" / "bin" / "tsc")
    done = subprocess.run(
        [program("TEST_NODE", "node"), tsc, "--project", str(site.folder)],
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE_S,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_each_window_has_every_message_once_whatever_happens(
    site: Site, tmp_path: Path, open_window: Callable[..., Page]
) -> None:
    sent: list[str] = []

    def listen(page: Page) -> None:
        page.on("websocket", lambda websocket: websocket.on("framesent", lambda payload: sent.append(str(payload))))

    log = {"LOG_URL": f"sqlite:///{tmp_path / 'log.sqlite3'}"}
    with django_runserver() as backend:
        with site.serve(**log, LLM_URL=backend.url) as server:
            ann = open_window(f"{site.origin}/#team", may_log=OFFLINE, prepare=listen)
            expect_status(ann, "1 in team")
            ben = open_window(f"{site.origin}/#team", may_log=OFFLINE)
            texts = talk(ann, ben)
            joins = [frame for frame in sent if '"join_room"' in frame or '"leave_room"' in frame]
            assert len(joins) == 1, "StrictMode has begun the effect twice, which is none of the server's business"
            texts += stream(ann, ben, texts, site.proxy, backend)
            server.child.kill()
            say(ann, "while it was away")
        with site.serve(**log) as server:
            texts.append("while it was away")
            expect_messages((ann, ben), texts)
            name = ben.get_by_role("status").inner_text().split(":")[0]
            ben.reload()
            expect_messages((ann, ben), texts)
            expect_status(ben, name)  # the same guest as before
            server.child.kill()
            say(ann, "to one that knows nobody")
        # Nobody is known any more, and nobody in the room: it is joined again, from the last message on.
        with site.serve(**log, RECOVERY_WINDOW_S="0"):
            texts.append("to one that knows nobody")
            expect_messages((ann, ben), texts)
            say(ben, "the last one")
            expect_messages((ann, ben), [*texts, "the last one"])


def talk(ann: Page, ben: Page) -> list[str]:
    """Let two talk, who see who is there and who types; return what was said."""
    for page in (ann, ben):
        expect_status(page, "2 in team")
    ann.get_by_label("Message").fill("one")
    expect(ben.locator(".typing")).to_contain_text("typing ...")
    say(ann, "one")
    say(ann, "two")
    expect_messages((ann, ben), ["one", "two"])
    expect(ben.locator(".typing")).to_be_empty()
    return ["one", "two"]


def stream(ann: Page, ben: Page, texts: list[str], proxy: TcpProxy, backend: Backend) -> list[str]:
    """Let the AI answer while the network drops and returns; return what was said."""
    gate = unique("gate")
    question, tokens = f"do:gated {gate}", 0

    def release(count: int) -> str:
        nonlocal tokens
        for _ in range(count):
            backend.release(gate)
        tokens += count
        return "".join(TOKENS[:tokens])

    say(ben, question, button="Ask the AI")
    shown = release(3)
    for page in (ann, ben):
        expect(page.locator("li.answer")).to_contain_text(shown)
    proxy.go_down()
    for page in (ann, ben):
        expect_status(page, "offline")
    say(ann, "from the tunnel")
    say(ann, "still there")
    expect(ann.locator("li.outgoing")).to_have_count(2)
    shown = release(4)
    proxy.come_up()
    said = [question, "from the tunnel", "still there"]
    expect_messages((ann, ben), [*texts, *said])
    for page in (ann, ben):
        expect_status(page, "2 in team")
        expect(page.locator("li.answer")).to_contain_text(shown)
    said.append(release(len(TOKENS) + 1 - tokens))
    expect_messages((ann, ben), [*texts, *said])
    for page in (ann, ben):
        expect(page.locator("li.answer")).to_have_count(0)
    return said


def test_who_was_away_for_too_long_begins_with_the_newest_messages(site: Site, open_window: Callable[..., Page]) -> None:
    with site.serve(RECOVERY_WINDOW_S="0", API_KEYS=KEY) as server:
        page = open_window(f"{site.origin}/#team", may_log=OFFLINE)
        expect_status(page, "1 in team")
        say(page, "before")
        expect_messages((page,), ["before"])
        site.proxy.go_down()
        expect_status(page, "offline")
        texts = [f"message {number}" for number in range(60)]
        with requests.Session() as backend:
            backend.headers["X-API-Key"] = KEY
            for text in texts:
                said = {"message": text, "user_name": "Shop"}
                backend.post(f"{server.url}/api/v1/rooms/team/messages", json=said, timeout=DEADLINE_S).raise_for_status()
        site.proxy.come_up()
        expect_messages((page,), texts[-50:])
        page.get_by_role("button", name="Earlier messages").click()
        expect_messages((page,), ["before", *texts])
        expect(page.get_by_role("button", name="Earlier messages")).to_have_count(0)


def test_who_is_not_let_in_is_told_so(site: Site, open_window: Callable[..., Page]) -> None:
    with site.serve(AUTH="api_key", API_KEYS=KEY):
        page = open_window(site.origin)
        expect_status(page, "closed")
        expect_status(page, "you are not let in")


def test_a_token_does_not_render_the_page(site: Site, open_window: Callable[..., Page]) -> None:
    gate = unique("gate")
    with django_runserver() as backend, site.serve(LLM_URL=backend.url):
        page = open_window(f"{site.origin}/counted.html")
        expect_status(page, "1 in general")
        say(page, f"do:gated {gate}", button="Ask the AI")
        backend.release(gate)
        expect(page.locator("li.answer")).to_contain_text(TOKENS[0])
        before = page.evaluate("renders")
        for count in range(2, len(TOKENS) + 1):
            backend.release(gate)
            expect(page.locator("li.answer")).to_contain_text("".join(TOKENS[:count]))
        assert page.evaluate("renders") == before > 0
        backend.release(gate)
        expect_messages((page,), [f"do:gated {gate}", "".join(TOKENS)])
        own = page.evaluate("chat.ask(undefined, 'just me', 'nano')")
        page.wait_for_function("([id, text]) => chat.answer(id).read().text === text", arg=[own, "".join(TOKENS)])
        told = page.evaluate(
            """async () => {
                const store = new Store({ count: 0 });
                let told = 0;
                store.subscribe(() => { told += 1; });
                for (let count = 0; count < 1000; count++) store.change({ count });
                await new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown)));
                return [told, store.read().count];
            }"""
        )
        assert told == [1, 999]


def test_an_origin_that_is_not_listed_is_refused_in_the_words_of_the_guide(
    site: Site, open_window: Callable[..., Page]
) -> None:
    complaints: list[str] = []

    def listen(page: Page) -> None:
        page.on("console", lambda message: complaints.append(message.text))

    with site.serve() as server:
        foreign = site.origin.replace("127.0.0.1", "localhost")
        page = open_window(foreign, may_log="WebSocket connection|CORS policy|ERR_FAILED", prepare=listen)
        expect_status(page, "offline")
        page.wait_for_event("console", lambda message: "ERR_FAILED" in message.text)
        assert f"origin '{foreign}' refused; to allow its pages add it to HAZOOM_CORS_ORIGINS" in server.log
    # The same but for the ports, and what keeps the browser's cache out.
    text = re.sub(r"\bt=\w+", "t=...", "\n".join(complaints)).replace(foreign, "http://localhost:5174")
    said = text.replace(site.proxy.url.removeprefix("http://"), "localhost:5000").splitlines()
    rows = re.findall(r"^\| (?:WebSocket|polling) \| `(.*)` \|$", GUIDE, re.MULTILINE)
    assert len(rows) == 2
    assert set(said) >= set(rows)
