"""The form that asks for a key or a token, on the chat page, the whiteboard and the document."""

import pytest
from playwright.sync_api import Page, expect

from chat_windows import OpenWindow, StartServer, button, expect_axe_is_content, expect_messages, rows, say
from minting import SECRET, token

KEY = "a-key-of-an-application-0123456789"
SECRET_FIELD = "API key or token"


def log_in(window: Page, secret: str, *, is_kept: bool = False) -> None:
    window.get_by_label(SECRET_FIELD).fill(secret)
    if is_kept:
        window.get_by_label("Remember it until this tab is closed").check()
    button(window, "Log in").click()


def expect_login(window: Page) -> None:
    expect(window.get_by_role("dialog", name="Log in")).to_be_visible()


@pytest.mark.parametrize("path", ["/?room=team", "/board?room=team", "/document?room=team"])
def test_who_has_no_key_is_asked_for_one_and_a_wrong_one_is_not_let_in(
    start_server: StartServer, open_window: OpenWindow, path: str
) -> None:
    server = start_server(env={"HAZOOM_AUTH": "api_key", "HAZOOM_API_KEYS": KEY})
    window = open_window(f"{server.url}{path}")
    expect_login(window)
    expect_axe_is_content(window, "login")
    field = window.get_by_label(SECRET_FIELD)
    assert field.get_attribute("type") == "password"
    assert field.get_attribute("autocomplete") == "current-password"
    window.keyboard.press("Escape")
    expect_login(window)
    log_in(window, "a-wrong-key")
    expect(window.get_by_role("dialog").get_by_role("alert")).to_contain_text("not accepted")
    assert window.evaluate("sessionStorage.getItem('hazoom_ws.login')") is None
    log_in(window, KEY)
    expect(window.get_by_role("dialog")).to_be_hidden()
    expect(window.locator("#count")).to_have_text("1")
    # It was not to be kept: after a reload it is asked for again; now it is kept, for this tab alone.
    window.reload()
    expect_login(window)
    expect(window.locator("#login-problem")).to_be_empty()
    log_in(window, KEY, is_kept=True)
    expect(window.locator("#count")).to_have_text("1")
    window.reload()
    expect(window.locator("#count")).to_have_text("1")
    assert KEY not in window.url
    assert KEY not in window.evaluate("JSON.stringify(localStorage)")
    other = window.context.new_page()
    other.goto(window.url)
    expect_login(other)
    assert KEY not in server.log


def test_a_token_says_who_one_is_and_which_rooms_one_may_enter(start_server: StartServer, open_window: OpenWindow) -> None:
    server = start_server(env={"HAZOOM_AUTH": "jwt", "HAZOOM_JWT_SECRET": SECRET})
    window = open_window(f"{server.url}/?room=other")
    expect_login(window)
    log_in(window, token(name="Ann <b>", rooms=["team"]))
    expect(window.locator("#refused")).to_be_visible()
    expect(window.locator("#my-name")).to_have_text("Ann <b>")
    window.get_by_label("Join or create a room").fill("team")
    window.keyboard.press("Enter")
    expect(window.locator("#people")).to_contain_text("Ann <b> (you)")
    say(window, "let in")
    expect(rows(window)).to_have_count(1)
    assert server.log.count("eyJ") == 0


def test_two_of_one_name_are_two_people(start_server: StartServer, open_window: OpenWindow) -> None:
    server = start_server(env={"HAZOOM_AUTH": "jwt", "HAZOOM_JWT_SECRET": SECRET})
    windows = [open_window(f"{server.url}/?room=team") for _ in range(2)]
    for window, user in zip(windows, ("ann", "another Ann"), strict=True):
        log_in(window, token(sub=user))
    ann, other = windows
    say(ann, "hello")
    say(other, "Ann?")
    for window in windows:
        expect_messages(window, ("Ann", "hello"), ("Ann", "Ann?"))
    expect(ann.locator("#messages .is-own .text")).to_have_text(["hello"])
    expect(other.locator("#messages .is-own .text")).to_have_text(["Ann?"])
    expect(ann.locator("#messages .is-mention .text")).to_have_text(["Ann?"])
    ann.reload()
    log_in(ann, token(sub="ann"))
    expect(ann.locator("#messages .is-own .text")).to_have_text(["hello"])
