"""The document page as people use it: several write at once, through drops, with the keyboard, on a phone."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from chat_windows import (
    CONNECTION_FAILURE,
    PHONE,
    OpenWindow,
    StartServer,
    button,
    expect_axe_is_content,
    expect_state,
    field,
    in_one_mode,
    join,
    stored,
)
from servers import Hazoom, django_runserver, unique, wait_until
from tcp_proxy import tcp_proxy

# Clients of y-socket.io that say of themselves what no editor would, and one whose cursor is in the text.
STRANGE_PEERS = """async (room) => {
  const { Doc, SocketIOProvider, createRelativePositionFromTypeIndex } = await import("/static/vendor/editor.min.js");
  const color = "red; opacity: 0; background: url(//example.com)";
  const strange = [
    5, [], { cursor: 5 }, { cursor: { anchor: {}, head: [] } }, { cursor: { anchor: { type: {} }, head: { item: 1 } } },
    { user: { name: {} }, cursor: null }, { user: "x", cursor: { anchor: { tname: "other" }, head: { tname: "other" } } },
  ];
  for (const state of [...strange, null]) {
    const doc = new Doc();
    const provider = new SocketIOProvider(location.origin, room, doc, { disableBc: true }, { forceNew: true });
    await new Promise((resolve) => provider.on("sync", resolve));
    const position = createRelativePositionFromTypeIndex(doc.getText("content"), 0);
    const last = { user: { name: "The last one", color, colorLight: color }, cursor: { anchor: position, head: position } };
    provider.awareness.setLocalState(state ?? last);
  }
}"""
STEPS_LIMIT_COUNT = 30
MARKUP = "<img src=x onerror=ran=1><script>ran=1</script>"


def document(url: str, room: str) -> str:
    return f"{url}/document?room={room}"


def text(window: Page) -> Locator:
    return window.get_by_role("textbox", name="Text of the document")


def lines(window: Page) -> Locator:
    return text(window).locator(".cm-line")


def expect_open(window: Page) -> Page:
    expect(text(window)).to_be_visible()
    return window


def expect_lines(window: Page, *expected: str) -> None:
    """Expect this text; the names at the others' cursors are no part of it."""
    window.wait_for_function(
        """(expected) => {
          const lines = [...document.querySelectorAll(".cm-line")].map((line) => {
            const copy = line.cloneNode(true);
            for (const other of copy.querySelectorAll(".peer-caret, .cm-placeholder")) other.remove();
            return copy.textContent.replace(/\\u200b/g, "");
          });
          return JSON.stringify(lines) === JSON.stringify(expected);
        }""",
        arg=list(expected),
    )


def press_until_disabled(window: Page, key: str, name: str) -> None:
    """Press a key until the button that does the same has nothing to do: how much one step is depends on time."""
    for _ in range(STEPS_LIMIT_COUNT):
        if button(window, name).is_enabled():
            window.keyboard.press(key)
    expect(button(window, name)).to_be_disabled()


@pytest.fixture
def pair(server: Hazoom, open_window: OpenWindow) -> tuple[Page, Page]:
    """Two windows, Ann's and Bob's, on one empty document."""
    url = document(server.url, unique("doc"))
    ann, bob = (open_window(url, prepare=stored(name=name)) for name in ("Ann", "Bob"))
    return expect_open(ann), expect_open(bob)


def test_two_windows_write_one_text_see_each_others_cursors_and_keep_it(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    expect(text(ann)).to_contain_text("Everybody in this room sees it")
    expect(ann.locator("#people li")).to_have_text(["Ann (you)", "Bob"])
    ann.keyboard.type("Hello from Ann")
    expect_lines(bob, "Hello from Ann")
    bob.bring_to_front()
    text(bob).focus()
    bob.keyboard.press("Control+Home")
    bob.keyboard.type("Bob: ")
    ann.bring_to_front()
    ann.keyboard.type("!")
    for window in pair:
        expect_lines(window, "Bob: Hello from Ann!")
    expect(ann.locator(".peer-caret bdi")).to_have_text("Bob")
    expect(bob.locator(".peer-caret bdi")).to_have_text("Ann")
    bob.keyboard.press("Control+a")
    expect(ann.locator(".peer-selection")).to_have_text("Bob: Hello from Ann!")
    # Undo is of one's own.
    press_until_disabled(ann, "Control+z", "Undo")
    expect_lines(bob, "Bob: ")
    button(ann, "Redo").click()
    press_until_disabled(ann, "Control+y", "Redo")
    expect_lines(bob, "Bob: Hello from Ann!")
    expect(button(bob, "Undo")).to_be_enabled()
    bob.locator("[popovertarget=menu]").click()
    with bob.expect_download() as download:
        button(bob, "Download as text").click()
    assert download.value.path().read_text(encoding="utf-8") == "Bob: Hello from Ann!"
    assert download.value.suggested_filename == f"{bob.locator('#room').inner_text()}.md"
    ann.close()
    expect(bob.locator(".peer-caret")).to_have_count(0)
    bob.reload()
    expect_lines(bob, "Bob: Hello from Ann!")
    expect(button(bob, "Undo")).to_be_disabled()


@in_one_mode
def test_what_was_written_without_a_connection_is_merged_when_it_is_back(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("doc")
    with tcp_proxy(server.port) as proxy:
        ann, bob = (
            open_window(document(url, room), prepare=stored(name=name), may_log=CONNECTION_FAILURE)
            for url, name in ((proxy.url, "Ann"), (server.url, "Bob"))
        )
        for window in (ann, bob):
            expect_open(window)
        ann.keyboard.type("one two")
        expect_lines(bob, "one two")
        proxy.go_down()
        expect_state(ann, "Offline")
        expect(ann.locator("#offline")).to_contain_text("your changes are kept on this page and merged later")
        expect(ann.locator(".peer-caret")).to_have_count(0)
        expect_lines(ann, "one two")
        ann.keyboard.type(" three")
        text(bob).focus()
        bob.keyboard.press("Control+Home")
        bob.keyboard.type("zero ")
        expect_lines(ann, "one two three")
        expect_lines(bob, "zero one two")
        proxy.come_up()
        for window in (ann, bob):
            expect_lines(window, "zero one two three")
        expect(ann.locator("#offline")).to_be_hidden()
        ann.keyboard.type(" four")
        expect_lines(bob, "zero one two three four")


@in_one_mode
def test_names_and_texts_are_only_text_and_what_is_no_cursor_is_not_there(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("doc")
    ann = expect_open(open_window(document(server.url, room), prepare=stored(name=MARKUP)))
    bob = expect_open(open_window(document(server.url, room), prepare=stored(name="Bob")))
    ann.keyboard.insert_text(f"{MARKUP}\n[here](javascript:ran=1)")
    expect_lines(bob, MARKUP, "[here](javascript:ran=1)")
    expect(bob.locator(".peer-caret bdi")).to_have_text(MARKUP)
    bob.evaluate(STRANGE_PEERS, room)
    expect(ann.locator(".peer-caret bdi", has_text="The last one")).to_be_attached()
    ann.keyboard.type("!")
    expect_lines(bob, MARKUP, "[here](javascript:ran=1)!")
    for window in (ann, bob):
        expect(window.locator("main :is(img:not(.cm-widgetBuffer), script, a)")).to_have_count(0)
        assert window.evaluate("typeof ran") == "undefined"
        assert window.evaluate("getComputedStyle(document.body).opacity") == "1"


@pytest.mark.parametrize(
    ("room", "said"), [("C%23", "can have no document"), ("x" * 129, "128"), ("a%3Fb", "can have no document")]
)
@in_one_mode
def test_a_document_that_cannot_be_is_refused_in_words(
    server: Hazoom, open_window: OpenWindow, room: str, said: str
) -> None:
    window = open_window(document(server.url, room))
    expect(window.get_by_role("alert")).to_contain_text(said)
    expect_state(window, "Not connected")
    expect(text(window)).to_have_count(0)


@in_one_mode
def test_chat_whiteboard_and_document_of_a_room_lead_to_each_other(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("Büro & Co")
    window = open_window(server.url)
    expect(window.locator("#people")).to_contain_text("(you)")
    join(window, room)
    window.get_by_role("link", name="Document of this room").click()
    expect_open(window)
    expect(window).to_have_title(f"{room} – document")
    window.keyboard.type("kept")
    window.locator("[popovertarget=menu]").click()
    window.get_by_role("link", name="Whiteboard of this room").click()
    expect(window).to_have_title(f"{room} – whiteboard")
    window.locator("[popovertarget=menu]").click()
    window.get_by_role("link", name="Document of this room").click()
    expect_lines(window, "kept")
    window.get_by_role("link", name="Chat of this room").click()
    expect(window.get_by_role("heading", name=room, exact=True)).to_be_visible()
    without_name = expect_open(open_window(f"{server.url}/document"))
    assert without_name.url.endswith("/document?room=general")


@in_one_mode
def test_the_name_that_is_chosen_is_at_ones_cursor(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    ann.keyboard.type("text")
    expect(bob.locator(".peer-caret bdi")).to_have_text("Ann")
    ann.locator("#people-button").click()
    field(ann, "Your name").fill("Anna")
    button(ann, "Save").click()
    expect(bob.locator(".peer-caret bdi")).to_have_text("Anna")
    expect(bob.locator("#people li")).to_have_text(["Bob (you)", "Anna"])
    ann.keyboard.press("Escape")
    text(ann).focus()
    ann.keyboard.type("!")
    expect_lines(bob, "text!")


@in_one_mode
def test_the_keyboard_writes_indents_and_leaves_the_text(pair: tuple[Page, Page]) -> None:
    ann, _ = pair
    assert "Escape, then Tab" in (
        text(ann).evaluate("(one) => document.getElementById(one.getAttribute('aria-describedby')).textContent")
    )
    ann.keyboard.type("- one")
    ann.keyboard.press("Tab")
    expect_lines(ann, "  - one")
    expect(lines(ann)).to_have_attribute("dir", "auto")
    expect(ann.locator(".md-mark").last).to_contain_text("-")
    press_until_disabled(ann, "Control+z", "Undo")
    expect_lines(ann, "")
    press_until_disabled(ann, "Control+Shift+Z", "Redo")
    expect_lines(ann, "  - one")
    ann.keyboard.press("Escape")
    ann.keyboard.press("Shift+Tab")
    expect(ann.get_by_role("button", name="Menu", exact=True)).to_be_focused()


def ask_to_write(window: Page, question: str) -> None:
    window.locator("[popovertarget=menu]").click()
    button(window, "Ask the AI to write here …").click()
    field(window, "What is it to write?").fill(question)
    button(window, "Ask").click()


def test_the_ai_writes_into_the_text_of_everybody_until_it_is_stopped(
    start_server: StartServer, open_window: OpenWindow
) -> None:
    with django_runserver() as backend:
        server = start_server(llm_url=backend.url)
        ann, bob = (
            expect_open(open_window(document(server.url, "team"), prepare=stored(name=name))) for name in ("Ann", "Bob")
        )
        ann.bring_to_front()
        text(ann).focus()
        ann.keyboard.type("Summary: ")
        expect_lines(bob, "Summary: ")
        question = f"do:endless {unique('stream')}"
        ask_to_write(ann, question)
        for window in (ann, bob):
            expect(window.locator(".peer-caret bdi", has_text="Assistant")).to_be_attached()
        expect(button(bob, "Stop the AI")).to_be_hidden()
        button(ann, "Stop the AI").click()
        expect(button(ann, "Stop the AI")).to_be_hidden()
        wait_until(lambda: question not in backend.open_streams(), "Django's stream is closed")
        for window in (ann, bob):
            expect(window.locator(".peer-caret bdi", has_text="Assistant")).to_have_count(0)
            expect(window.locator("#problem")).to_be_hidden()
            expect(lines(window).first).to_have_text(re.compile("Summary: ."))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@in_one_mode
def test_axe_finds_nothing_to_complain_about(pair: tuple[Page, Page], open_window: OpenWindow, scheme: str) -> None:
    ann, _ = pair
    ann.keyboard.insert_text("# Plan\n\n**Ship** *it* with `tests`, see [this](https://example.com)\n\n- first\n> said")
    for options in ({}, PHONE):
        window = expect_open(open_window(ann.url, color_scheme=scheme, **options))
        expect(window.locator(".peer-caret").first).to_be_visible()
        for opener in (None, "#people-button", "[popovertarget=menu]", "#ask"):
            if opener:
                window.locator(opener).click()
            expect_axe_is_content(window, f"{scheme} {opener}")
        button(window, "Cancel").click()
        text(window).focus()
        window.keyboard.press("Control+f")
        expect(window.locator(".cm-search")).to_be_visible()
        expect_axe_is_content(window, f"{scheme} search")
