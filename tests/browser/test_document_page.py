"""The document page as people use it: they write in several windows at once, through drops, with the keyboard, on a phone."""

from collections.abc import Callable

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
from servers import Hazoom, unique
from tcp_proxy import tcp_proxy

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
            for (const caret of copy.querySelectorAll(".peer-caret")) caret.remove();
            return copy.textContent.replace(/\\u200b/g, "");
          });
          return JSON.stringify(lines) === JSON.stringify(expected);
        }""",
        arg=list(expected),
    )


def expect_in_step(window: Page) -> None:
    """Expect that what was written here has come to the server: its answer to a later request is here."""
    window.wait_for_function("document.body.dataset.state === 'connected' || document.body.dataset.state === 'recovered'")


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
    button(ann, "Undo").click()
    expect_lines(bob, "Bob: ")
    button(ann, "Redo").click()
    expect_lines(bob, "Bob: Hello from Ann!")
    expect(button(bob, "Undo")).to_be_enabled()
    ann.close()
    expect(bob.locator(".peer-caret")).to_have_count(0)
    bob.reload()
    expect_lines(bob, "Bob: Hello from Ann!")
    expect(button(bob, "Undo")).to_be_disabled()
