"""The chat page for everybody: by keyboard alone, by screen reader, in the dark, on a phone, from right to left."""

import pytest
from playwright.sync_api import Page, expect

from chat_windows import (
    PHONE,
    OpenWindow,
    StartServer,
    answer_texts,
    answers,
    ask,
    button,
    enter,
    expect_axe_is_content,
    expect_messages,
    field,
    in_one_mode,
    join,
    rows,
    say,
    stored,
)
from servers import Hazoom, django_runserver, unique

ANSWER = """## Title

A [link](https://example.com), `code`.

| a | b |
|---|---|
| 1 | 2 |

```python
def f(): # why
    return 1
```

> quoted"""
# Whether what has the focus shows it: by an outline, or a ring around its form.
SHOWS_FOCUS = """() => {
  const focused = document.activeElement;
  const styles = [focused, focused.closest("form") ?? focused].map((one) => getComputedStyle(one));
  const isRinged = ({ outlineStyle, boxShadow }) => outlineStyle !== "none" || boxShadow !== "none";
  return focused === document.body || styles.some(isRinged);
}"""


def focused(window: Page) -> str:
    return window.evaluate(
        "document.activeElement.id || document.activeElement.className || document.activeElement.localName"
    )


@in_one_mode
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_about(
    async_mode: str, start_server: StartServer, open_window: OpenWindow, scheme: str
) -> None:
    gate = unique("gate")
    with django_runserver() as backend:
        server = start_server(async_mode=async_mode, llm_url=backend.url, env={"HAZOOM_MESSAGE_LIMIT_BYTES": "5000"})
        ann, bob = (enter(open_window, server.url, name, "team", color_scheme=scheme) for name in ("Ann", "Bob"))
        expect_axe_is_content(ann, "empty")
        say(bob, "Hello Ann, see https://example.com/\n" * 60)
        say(ann, "one\n" * 60)
        ask(ann, f"do:echo {ANSWER}")
        expect(answer_texts(ann).locator(".hljs-keyword").first).to_be_visible()
        ask(bob, "do:status 500")
        ask(ann, "plain", scope="private")
        ask(ann, f"do:gated {gate}", scope="room")
        backend.release(gate)
        expect(answer_texts(ann).last).to_have_text("Grüße")
        field(bob, "Message").fill("x" * 4500)
        join(ann, "other")
        say(bob, "Ann, where are you?")
        expect(ann.locator(".badge.is-mention")).to_be_visible()
        join(ann, "team")
        ann.locator("#scroller").evaluate("(scroller) => scroller.scrollTo(0, 300)")
        expect_axe_is_content(ann, "messages, scrolled up")
        expect_axe_is_content(bob, "a long draft")
        for opener, what in (("#me", "settings"), ("[popovertarget=room-menu]", "menu"), ("#open-keys", "keys")):
            ann.locator(opener).click()
            expect_axe_is_content(ann, what)
            if what != "menu":
                ann.keyboard.press("Escape")
        phone = enter(open_window, server.url, "Zoe", "team", color_scheme=scheme, **PHONE)
        expect_axe_is_content(phone, "phone")
        button(phone, "Rooms").click()
        expect_axe_is_content(phone, "drawer")
        phone.keyboard.press("Escape")
        phone.locator("#people-button").click()
        expect_axe_is_content(phone, "people on a phone")
        for _ in range(20):
            backend.release(gate)


@in_one_mode
def test_everything_is_reached_with_the_keyboard_alone(server: Hazoom, open_window: OpenWindow) -> None:
    ann = enter(open_window, server.url, "Ann", unique("team"), viewport={"width": 1280, "height": 720})
    # Every control is in the order of Tab, and each one that has the focus shows it.
    reached = []
    ann.evaluate("document.activeElement.blur()")
    for _ in range(40):
        ann.keyboard.press("Tab")
        reached.append(focused(ann))
        assert ann.evaluate(SHOWS_FOCUS), reached
        if reached.count("skip") > 1 or reached[-1] == "body":
            break
    controls = "skip join-room me board people-button scroller text ask-ai send close-people"
    assert set(controls.split()) <= set(reached)


@in_one_mode
def test_what_is_done_often_has_a_key(server: Hazoom, open_window: OpenWindow) -> None:
    here, there = unique("here"), unique("there")
    ann = enter(open_window, server.url, "Ann", here, viewport={"width": 1280, "height": 720})
    press = ann.keyboard.press
    press("/")
    assert focused(ann) == "text"
    ann.keyboard.type("hello / ? j")
    press("Enter")
    expect_messages(ann, ("Ann", "hello / ? j"))
    press("Alt+i")
    expect(button(ann, "Ask AI")).to_have_attribute("aria-pressed", "true")
    ann.keyboard.type("why?")
    press("Enter")
    expect(answers(ann).locator(".copy")).to_be_visible()
    press("Alt+i")
    ann.evaluate("document.activeElement.blur()")
    press("?")
    expect(ann.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    press("j")
    press("Escape")
    expect(ann.get_by_role("dialog")).to_have_count(0)
    press("j")
    assert focused(ann) == "join-room"
    ann.keyboard.type(there)
    press("Enter")
    expect(ann.locator("#room")).to_have_text(there)
    assert focused(ann) == "text"
    press("Alt+ArrowDown")
    expect(ann.locator("#room")).to_have_text(here)
    press("Alt+ArrowUp")
    expect(ann.locator("#room")).to_have_text(there)
    # A dialog gives the focus back.
    ann.locator("#me").focus()
    press("Enter")
    assert focused(ann) == "name"
    press("Escape")
    assert focused(ann) == "me"
    # Messages scroll with the keys, from the field too.
    say(ann, "line\n" * 200)
    expect(rows(ann)).to_have_count(1)
    expect(ann.locator("#jump")).to_be_hidden()
    field(ann, "Message").focus()
    press("PageUp")
    expect(ann.locator("#jump")).to_be_visible()
    press("Control+End")
    expect(ann.locator("#jump")).to_be_hidden()


@in_one_mode
def test_on_a_phone_the_rooms_are_a_drawer_and_the_composer_stays_in_sight(server: Hazoom, open_window: OpenWindow) -> None:
    here, there = unique("here"), unique("there")
    ann = enter(open_window, server.url, "Ann", here, **PHONE)
    bob = enter(open_window, server.url, "Bob", there)
    assert ann.evaluate("document.documentElement.scrollWidth") <= 390
    sidebar = ann.locator("#sidebar")
    expect(sidebar).to_be_hidden()
    button(ann, "Rooms").tap()
    expect(sidebar).to_be_visible()
    expect(ann.locator("#close-sidebar")).to_be_focused()
    join(ann, there)
    expect(sidebar).to_be_hidden()
    say(bob, "hello\n" * 40)
    expect(rows(ann)).to_have_count(1)
    # The keyboard is out: there is room for the field, its buttons, and something of the messages.
    for height in (844, 450, 300):
        ann.set_viewport_size({"width": 390, "height": height})
        for part in ("#text", "#send", "#ask-ai"):
            expect(ann.locator(part)).to_be_in_viewport(ratio=1)
        expect(ann.locator("#messages .text")).to_be_in_viewport()
        assert ann.locator("#scroller").evaluate("({ clientHeight }) => clientHeight") > 80
        assert ann.evaluate("document.scrollingElement.scrollHeight <= innerHeight")
    button(ann, "Ask AI").tap()
    field(ann, "Message").fill("a\n" * 30)
    expect(ann.locator("#send")).to_be_in_viewport(ratio=1)
    # Its key for a new line makes one; the button sends.
    field(ann, "Message").fill("a")
    field(ann, "Message").press("Enter")
    expect(field(ann, "Message")).to_have_value("a\n")
    ann.locator("#people-button").tap()
    expect(ann.locator("#people-panel")).to_be_visible()
    ann.keyboard.press("Escape")
    expect(ann.locator("#people-panel")).to_be_hidden()


@in_one_mode
def test_texts_run_in_their_own_direction_and_the_page_can_be_turned(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("team")
    ann, bob = enter(open_window, server.url, "שלום", room), enter(open_window, server.url, "Bob", room)
    say(ann, "مرحبا world")
    say(bob, "hello")
    directions = "[...document.querySelectorAll('#messages .text')].map((text) => getComputedStyle(text).direction)"
    expect(rows(bob)).to_have_count(2)
    assert bob.evaluate(directions) == ["rtl", "ltr"]
    field(bob, "Message").fill("שלום")
    assert field(bob, "Message").evaluate("(text) => getComputedStyle(text).direction") == "rtl"
    bob.evaluate("document.documentElement.dir = 'rtl'")
    places = {name: bob.locator(f"#{name}").bounding_box()["x"] for name in ("sidebar", "people-panel", "chat")}
    assert places["people-panel"] < places["chat"] < places["sidebar"]
    assert bob.evaluate("document.documentElement.scrollWidth <= innerWidth")


@in_one_mode
def test_the_theme_is_the_systems_until_one_is_chosen(server: Hazoom, open_window: OpenWindow) -> None:
    def background(page: Page) -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    ann = enter(open_window, server.url, "Ann", None, color_scheme="dark")
    light, dark = "rgb(255, 255, 255)", "rgb(23, 25, 29)"
    assert background(ann) == dark
    ann.locator("#me").click()
    expect(ann.get_by_label("As the system")).to_be_checked()
    ann.get_by_label("Light").check()
    assert background(ann) == light
    button(ann, "Done").click()
    ann.reload()
    assert background(ann) == light
    bob = enter(open_window, server.url, "Bob", None, prepare=stored(theme="dark"))
    assert background(bob) == dark
    # What only hints is as easy to read as the rest.
    for window in (ann, bob):
        colors = window.evaluate(
            "[getComputedStyle(document.getElementById('text'), '::placeholder'), getComputedStyle(document.body)]"
            ".map(({ color, backgroundColor, opacity }) => [color, backgroundColor, opacity])"
        )
        assert colors[0][2] == "1"
        assert contrast(colors[0][0], colors[1][1]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colors like ``rgb(1, 2, 3)``, as WCAG defines it."""

    def luminance(color: str) -> float:
        parts = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@in_one_mode
def test_who_hits_letters_by_mistake_turns_those_keys_off_for_good(server: Hazoom, open_window: OpenWindow) -> None:
    ann = enter(open_window, server.url, "Ann", unique("team"), viewport={"width": 1280, "height": 720})
    ann.evaluate("document.activeElement.blur()")
    ann.keyboard.press("?")
    ann.get_by_label("Keys of one letter").uncheck()
    ann.keyboard.press("Escape")
    ann.reload()
    expect(ann.locator("#connection")).to_have_text("Connected")
    ann.evaluate("document.activeElement.blur()")
    for key in "?j/":
        ann.keyboard.press(key)
    assert ann.evaluate("document.activeElement === document.body")
    expect(ann.get_by_role("dialog")).to_have_count(0)
