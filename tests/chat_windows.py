"""The chat page in a browser, for its tests: windows that are in a room, what is said and asked there, what is shown."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect

from servers import ROOT, Hazoom

OpenWindow = Callable[..., Page]
StartServer = Callable[..., Hazoom]

CONNECTION_FAILURE = (
    "ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_SOCKET_NOT_CONNECTED|ERR_INTERNET_DISCONNECTED"
)
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
AXE = ROOT / "scripts" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
# For what the page does by itself, however the server runs.
in_one_mode = pytest.mark.parametrize("async_mode", ["eventlet"], indirect=True)


def field(window: Page, name: str) -> Locator:
    return window.get_by_role("textbox", name=name, exact=True)


def button(window: Page, name: str) -> Locator:
    return window.get_by_role("button", name=name, exact=True)


def stored(**values: Any) -> Callable[[Page], None]:
    """Return what prepares a page with values in the browser's storage, as from an earlier visit."""
    script = "".join(
        f"localStorage.getItem({key}) ?? localStorage.setItem({key}, {json.dumps(json.dumps(value))});"
        for key, value in ((json.dumps(f"hazoom_ws.{name}"), value) for name, value in values.items())
    )
    return lambda page: page.add_init_script(script)


def enter(
    open_window: OpenWindow,
    url: str,
    name: str | None,
    room: str | None,
    prepare: Callable[[Page], None] | None = None,
    **options: Any,
) -> Page:
    """Open a window of somebody's in a room, and wait until it is there."""

    def prepare_all(page: Page) -> None:
        if name is not None:
            stored(name=name)(page)
        if prepare:
            prepare(page)

    query = "" if room is None else page_of(room)
    window = open_window(f"{url}/{query}", prepare=prepare_all, **options)
    expect_entered(window, name)
    return window


def expect_entered(window: Page, name: str | None = None) -> None:
    expect(window.locator("#people")).to_contain_text(f"{name} (you)" if name else "(you)")


def page_of(room: str) -> str:
    """Return the query of a room's page, as a browser encodes it."""
    return f"?room={quote(room, safe='')}"


def say(window: Page, text: str) -> None:
    """Send a message to people."""
    ask_ai = button(window, "Ask AI")
    if ask_ai.get_attribute("aria-pressed") == "true":
        ask_ai.click()
    message = field(window, "Message")
    expect(message).to_have_attribute("placeholder", re.compile("Message to .+"))  # after a reload the page begins anew
    message.fill(text)
    message.press("Enter")
    expect(message).to_have_value("")


def ask(window: Page, question: str, *, level: str | None = None, scope: str | None = None) -> None:
    """Ask the AI; ``scope`` is "room" or "private"."""
    ask_ai = button(window, "Ask AI")
    if ask_ai.get_attribute("aria-pressed") != "true":
        ask_ai.click()
    if level:
        window.get_by_label("Level of the AI").select_option(level)
    if scope:
        window.get_by_label("Who sees the answer").select_option(scope)
    field(window, "Message").fill(question)
    field(window, "Message").press("Enter")
    expect(field(window, "Message")).to_have_value("")


def rename(window: Page, name: str) -> None:
    window.locator("#me").click()
    field(window, "Your name").fill(name)
    button(window, "Done").click()
    expect_entered(window, name)


def join(window: Page, room: str) -> None:
    """Go into another room by the side bar."""
    field(window, "Join or create a room").fill(room)
    field(window, "Join or create a room").press("Enter")
    expect(window.locator("#room")).to_have_text(room)


def rows(window: Page) -> Locator:
    """Return what is shown as said: messages, questions and answers, in their order."""
    return window.locator("#messages > li:not(.gap)")


def answers(window: Page) -> Locator:
    return window.locator("#messages .answer")


def answer_texts(window: Page) -> Locator:
    return window.locator("#messages .answer .text")


def expect_messages(window: Page, *messages: tuple[str, str]) -> None:
    """Expect exactly these senders and texts, in this order, and nothing that is still to be sent."""
    expect(rows(window).locator(".text")).to_have_text([text for _, text in messages])
    expect(rows(window).locator(".sender")).to_have_text([sender for sender, _ in messages])
    expect(window.locator("#pending > li")).to_have_count(0)


def expect_people(window: Page, *names: str) -> None:
    expect(window.locator("#people li")).to_have_text(list(names))
    expect(window.locator("#count")).to_have_text(str(len(names)))


def expect_no_problem(window: Page) -> None:
    expect(window.locator("#problem")).to_be_hidden()


def expect_state(window: Page, text: str) -> None:
    expect(window.locator("#connection")).to_contain_text(text)


def expect_axe_is_content(window: Page, what: str) -> None:
    """Expect that axe finds nothing to complain about: WCAG 2.2 AA, and what is good practice beside it."""
    if not window.evaluate("typeof axe !== 'undefined'"):
        window.evaluate(AXE.read_text(encoding="utf-8"))
    violations = window.evaluate("axe.run().then(({ violations }) => violations)")
    found = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in violations]
    assert found == [], f"{what}: {found}"


def pause_clock(window: Page) -> None:
    """Let no time pass in a window, so that its timers do not depend on how fast the machine is."""
    window.clock.pause_at(window.evaluate("Date.now()") / 1000 + 10)
