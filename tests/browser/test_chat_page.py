"""The built-in page as people use it: in several windows at once, over both ways to run the server."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, WebSocket, WebSocketRoute, expect

from servers import Hazoom, django_runserver, free_port, unique, wait_until
from tcp_proxy import tcp_proxy

OpenWindow = Callable[..., Page]
StartServer = Callable[..., Hazoom]

MARKUP = "<img src=x onerror=ran=1><b>"
CONNECTION_FAILURE = "ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET"
# For what the page does by itself, however the server runs.
in_one_mode = pytest.mark.parametrize("async_mode", ["eventlet"], indirect=True)
# Notes what the first answer said after each change of the page.
RECORD_ANSWER = """() => {
  window.seen = [];
  const list = document.getElementById("messages");
  new MutationObserver(() => {
    const answer = list.querySelector(".assistant");
    if (answer) window.seen.push(answer.lastChild.textContent);
  }).observe(list, { childList: true, characterData: true, subtree: true });
}"""


def field(window: Page, name: str) -> Locator:
    return window.get_by_role("textbox", name=name, exact=True)


def button(window: Page, name: str) -> Locator:
    return window.get_by_role("button", name=name, exact=True)


def enter(window: Page, name: str, room: str) -> None:
    """Join a room under a name."""
    field(window, "Name").fill(name)
    field(window, "Room").fill(room)
    button(window, "Join").click()
    expect(window.locator("#people")).to_contain_text(f"{name} (you)")


def say(window: Page, text: str) -> None:
    """Send a message."""
    field(window, "Message").fill(text)
    expect(button(window, "Send")).to_be_enabled()
    field(window, "Message").press("Enter")
    expect(field(window, "Message")).to_have_value("")


def expect_messages(window: Page, *messages: tuple[str, str]) -> None:
    """Expect exactly these senders and texts, in this order."""
    lines = window.locator("#messages li")
    expect(lines).to_have_text([f"{sender}{text}" for sender, text in messages])


def expect_people(window: Page, *names: str) -> None:
    expect(window.locator("#people li")).to_have_text(list(names))
    expect(window.locator("#count")).to_have_text(str(len(names)))


def expect_no_markup(window: Page) -> None:
    """Expect that nothing of `MARKUP` became an element or ran."""
    expect(window.locator("img, b")).to_have_count(0)
    assert window.evaluate("typeof ran") == "undefined"


def pause_clock(window: Page) -> None:
    """Let no time pass in a window, so that its timers do not depend on how fast the machine is."""
    window.clock.pause_at(window.evaluate("Date.now()") / 1000 + 10)


def test_two_windows_see_each_others_messages_once_and_in_order(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("team")
    ann, bob = open_window(server.url), open_window(server.url)
    enter(ann, "Ann", room)
    enter(bob, "Bob", room)
    expected = []
    for number in range(3):
        for name, window in (("Ann", ann), ("Bob", bob)):
            say(window, f"{name}'s message {number}")
            expected.append((name, f"{name}'s message {number}"))
    for window in (ann, bob):
        expect_messages(window, *expected)
        expect(window.locator("#problem")).to_be_empty()


def test_who_is_here_follows_windows_that_come_and_go(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("team")
    ann, bob = open_window(server.url), open_window(server.url)
    enter(ann, "Ann", room)
    expect_people(ann, "Ann (you)")
    enter(bob, "Bob", room)
    expect_people(ann, "Ann (you)", "Bob")
    expect_people(bob, "Ann", "Bob (you)")
    enter(ann, "Anna", room)
    expect_people(bob, "Bob (you)", "Anna")
    bob.close()
    expect_people(ann, "Anna (you)")


@in_one_mode
def test_a_room_that_one_leaves_is_left(server: Hazoom, open_window: OpenWindow) -> None:
    here, there = unique("here"), unique("there")
    ann, bob = open_window(server.url), open_window(server.url)
    enter(ann, "Ann", here)
    enter(bob, "Bob", here)
    say(ann, "in the first room")
    field(ann, "Room").fill(there)
    button(ann, "Join").click()
    expect_people(ann, "Ann (you)")
    expect_people(bob, "Bob (you)")
    say(ann, "in the second room")
    say(bob, "alone")
    expect_messages(ann, ("Ann", "in the second room"))
    expect_messages(bob, ("Ann", "in the first room"), ("Bob", "alone"))


def test_typing_is_shown_to_the_others_until_the_message_is_sent(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("team")
    ann, bob = open_window(server.url, prepare=lambda page: page.clock.install()), open_window(server.url)
    enter(ann, "Ann", room)
    enter(bob, "Bob", room)
    pause_clock(ann)
    field(ann, "Message").fill("hello")
    expect(bob.locator("#typing")).to_have_text("Ann is typing …")
    say(ann, "hello")
    expect_messages(bob, ("Ann", "hello"))
    expect(bob.locator("#typing")).to_be_empty()
    expect(ann.locator("#typing")).to_be_empty()


@in_one_mode
def test_typing_is_renewed_while_one_types_and_ends_when_one_stops(server: Hazoom, open_window: OpenWindow) -> None:
    sockets: list[WebSocket] = []

    def prepare(page: Page) -> None:
        page.clock.install()
        page.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108 - playwright has to mark it

    room = unique("team")
    ann, bob = open_window(server.url, prepare=prepare), open_window(server.url)
    enter(ann, "Ann", room)
    enter(bob, "Bob", room)
    pause_clock(ann)
    # The server ends an indicator after 5 s; the page once told it of the first key only.
    for text in ("a", "an", "and"):
        with sockets[-1].expect_event("framesent", lambda frame: '"is_typing":true' in frame):
            field(ann, "Message").fill(text)
        ann.clock.run_for(2500)
    expect(bob.locator("#typing")).to_have_text("Ann is typing …")
    ann.clock.run_for(2500)
    expect(bob.locator("#typing")).to_be_empty()
    expect(field(ann, "Message")).to_have_value("and")


def test_an_answer_of_the_ai_grows_in_every_window_and_is_the_same_later(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("team")
    ann, bob = open_window(server.url), open_window(server.url)
    for name, window in (("Ann", ann), ("Bob", bob)):
        enter(window, name, room)
        window.evaluate(RECORD_ANSWER)
    question = f"Why is the {MARKUP}sky blue?"
    field(ann, "Message").fill(question)
    button(ann, "Ask the AI").click()
    for window in (ann, bob):
        expect(window.locator("#messages .assistant")).to_contain_text("without --demo.")
    answer = ann.evaluate("window.seen.at(-1)")
    assert question in answer
    for window in (ann, bob):
        seen = window.evaluate("window.seen")
        assert len(set(seen)) > 5, "it came token by token"
        assert [text for text in seen if not answer.startswith(text)] == []
        assert sorted(seen, key=len) == seen
    carol = open_window(server.url)
    enter(carol, "Carol", room)
    for window in (ann, bob, carol):
        expect_messages(window, ("Ann", question), ("Assistant", answer))
        expect(window.locator("#messages .assistant")).to_have_count(1)
        expect_no_markup(window)
    expect(field(ann, "Message")).to_have_value("")


@in_one_mode
def test_markup_is_text_wherever_it_comes_from(server: Hazoom, open_window: OpenWindow) -> None:
    name, room, message = f"{MARKUP}Eve", unique(f"{MARKUP}room"), f"{MARKUP}message"
    eve, bob = open_window(server.url), open_window(server.url)
    enter(bob, "Bob", room)
    enter(eve, name, room)
    field(eve, "Message").press_sequentially(message)
    expect(bob.locator("#typing")).to_have_text(f"{name} is typing …")
    say(eve, message)
    for window in (eve, bob):
        expect_messages(window, (name, message))
        expect(field(window, "Room")).to_have_value(room)
        expect_no_markup(window)
    expect_people(bob, "Bob (you)", name)
    expect_people(eve, "Bob", f"{name} (you)")


def test_a_lost_connection_is_said_and_comes_back_by_itself(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    first = start_server(async_mode=async_mode)
    ann, bob = (open_window(first.url, may_log=CONNECTION_FAILURE) for _ in range(2))
    enter(ann, "Ann", "team")
    enter(bob, "Bob", "team")
    for text in ("one", "two"):
        say(ann, text)
    expect_messages(bob, ("Ann", "one"), ("Ann", "two"))
    field(bob, "Message").fill("half a thought")
    first.child.kill()
    for window in (ann, bob):
        expect(window.get_by_text("connection lost")).to_be_visible()
        expect(button(window, "Send")).to_be_disabled()
    start_server(async_mode=async_mode, port=first.port)
    for window in (ann, bob):
        expect(window.get_by_text("connected", exact=True)).to_be_visible()
        expect(window.locator("#count")).to_have_text("2")
        expect(window.locator("#problem")).to_be_empty()
    expect(field(bob, "Message")).to_have_value("half a thought")
    # The new server counts from 1 again: the page once hid what it took for old messages.
    say(bob, "three")
    say(ann, "four")
    for window in (ann, bob):
        expect(window.locator("#messages .gap")).to_have_count(1)
        expect(window.locator("#messages li:not(.gap)")).to_have_text(["Annone", "Anntwo", "Bobthree", "Annfour"])


def test_what_is_said_while_a_window_joins_stays_in_order(start_server: StartServer, open_window: OpenWindow) -> None:
    # It arrived before the history and once hid all of it.
    held: list[tuple[WebSocketRoute, str]] = []

    def hold_join(route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        route.on_message(lambda frame: held.append((server, frame)) if "join_room" in frame else server.send(frame))

    server = start_server()
    ann = open_window(server.url)
    say(ann, "one")
    bob = open_window(server.url, prepare=lambda page: page.route_web_socket("**", hold_join))
    expect(ann.locator("#count")).to_have_text("2")
    wait_until(lambda: bob.title() and held, "the second window asks to join")
    say(ann, "two")
    name = ann.locator("#people li").first.inner_text().removesuffix(" (you)")
    for connection, frame in held:
        connection.send(frame)
    expect_messages(bob, (name, "one"), (name, "two"))


@in_one_mode
def test_the_page_works_where_websockets_do_not(server: Hazoom, open_window: OpenWindow) -> None:
    def prepare(page: Page) -> None:
        elsewhere = 'constructor(url) { super(url.replace("/socket.io/", "/nowhere/")); }'
        page.add_init_script(f"window.WebSocket = class extends WebSocket {{ {elsewhere} }};")

    room = unique("team")
    ann = open_window(server.url, prepare=prepare, may_log="response code: 404")
    bob = open_window(server.url)
    enter(ann, "Ann", room)
    enter(bob, "Bob", room)
    say(ann, "over polling")
    say(bob, "over a WebSocket")
    for window in (ann, bob):
        expect_messages(window, ("Ann", "over polling"), ("Bob", "over a WebSocket"))


def test_a_refused_message_is_explained_and_stays_in_its_field(start_server: StartServer, open_window: OpenWindow) -> None:
    window = open_window(start_server(env={"HAZOOM_MESSAGE_LIMIT_BYTES": "10"}).url)
    field(window, "Message").fill("eleven char")
    button(window, "Send").click()
    expect(window.get_by_role("alert")).to_contain_text("the limit is 10")
    expect(field(window, "Message")).to_have_value("eleven char")
    expect_messages(window)
    say(window, "ten chars.")
    expect(window.get_by_role("alert")).to_be_empty()
    expect(window.locator("#messages li")).to_have_count(1)


def test_a_message_that_comes_too_fast_stays_in_its_field(start_server: StartServer, open_window: OpenWindow) -> None:
    limits = {"HAZOOM_RATE_LIMIT_PER_S": "0.01", "HAZOOM_RATE_LIMIT_BURST_COUNT": "1"}  # joining the room is the one
    window = open_window(start_server(env=limits).url)
    field(window, "Message").fill("hello")
    button(window, "Send").click()
    expect(window.get_by_role("alert")).to_contain_text("try again in")
    expect(field(window, "Message")).to_have_value("hello")
    expect_messages(window)


def test_who_asked_can_stop_the_answer(start_server: StartServer, open_window: OpenWindow) -> None:
    with django_runserver() as backend:
        server = start_server(llm_url=backend.url)
        ann, bob = open_window(server.url), open_window(server.url)
        enter(ann, "Ann", "team")
        enter(bob, "Bob", "team")
        expect(button(ann, "Stop")).to_be_hidden()
        question = f"do:endless {unique('stream')}"
        field(ann, "Message").fill(question)
        button(ann, "Ask the AI").click()
        for window in (ann, bob):
            expect(window.locator("#messages .assistant")).not_to_be_empty()
        expect(button(bob, "Stop")).to_be_hidden()
        button(ann, "Stop").click()
        expect(button(ann, "Stop")).to_be_hidden()
        wait_until(lambda: question not in backend.open_streams(), "Django's stream is closed")
        for window in (ann, bob):
            expect(window.locator("#messages li")).to_have_count(2)
            expect(window.get_by_role("alert")).to_be_empty()
        assert ann.locator("#messages .assistant").inner_text() == bob.locator("#messages .assistant").inner_text()


@in_one_mode
def test_a_room_tells_answers_that_are_pending_stopped_failed_and_whole_apart(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    with django_runserver() as backend:
        server = start_server(async_mode=async_mode, llm_url=backend.url)
        ann, bob = open_window(server.url), open_window(server.url)
        enter(ann, "Ann", "team")
        enter(bob, "Bob", "team")

        def ask(question: str) -> None:
            field(ann, "Message").fill(question)
            button(ann, "Ask the AI").click()

        def expect_answers(*states: str, windows: tuple[Page, ...] = (ann, bob)) -> None:
            for window in windows:
                expect(window.locator("#messages .assistant")).to_have_text([f"Assistant{state}" for state in states])

        stopped, gate = unique("gate"), unique("gate")
        ask(f"do:gated {stopped}")
        expect_answers("…")
        late = open_window(server.url)
        enter(late, "Late", "team")
        expect_answers("…", windows=(late,))
        button(ann, "Stop").click()
        expect_answers("stopped, no answer", windows=(ann, bob, late))
        ask(f"do:gated {gate}")
        backend.release(gate)
        expect(ann.locator("#messages .assistant").nth(1)).to_contain_text("Grüße")
        expect(button(ann, "Stop")).to_be_visible()
        button(ann, "Stop").click()
        expect(ann.locator("#messages .state").nth(1)).to_have_text("stopped")
        ask("do:no end")
        ask("do:status 500")
        expect(ann.get_by_role("alert")).to_contain_text("HTTP 500")
        ask("plain")
        whole = "Grüße aus  dem Café:\n🦆 \t👩‍🚀日本語 <b>fett</b>."
        expect(ann.locator("#messages .assistant").nth(4)).to_have_text(f"Assistant{whole}", use_inner_text=False)
        states = ["stopped, no answer", "stopped", "failed", "failed, no answer"]
        for window in (ann, bob, late):
            expect(window.locator("#messages .state")).to_have_text(states)
        reloaded = open_window(server.url)
        enter(reloaded, "Reloaded", "team")
        expect(reloaded.locator("#messages .state")).to_have_text(states)
        assert reloaded.locator("#messages").inner_text() == ann.locator("#messages").inner_text()


def test_what_was_seen_of_an_answer_that_died_with_the_server_stays_and_is_said_to_have_failed(
    async_mode: str, start_server: StartServer, open_window: OpenWindow, tmp_path: Path
) -> None:
    env, gate = {"HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3"}, unique("gate")
    with django_runserver() as backend:
        first = start_server(async_mode=async_mode, llm_url=backend.url, env=env)
        ann = open_window(first.url, may_log=CONNECTION_FAILURE)
        enter(ann, "Ann", "team")
        field(ann, "Message").fill(f"do:gated {gate}")
        button(ann, "Ask the AI").click()
        backend.release(gate)
        expect(ann.locator("#messages .assistant")).to_have_text("AssistantGrüße")
        first.child.kill()
        server = start_server(async_mode=async_mode, llm_url=backend.url, env=env, port=first.port)
        expect(ann.locator("#messages .assistant")).to_have_text("AssistantfailedGrüße")
        late = open_window(server.url)
        enter(late, "Late", "team")
        expect(late.locator("#messages .assistant")).to_have_text("Assistantfailed, no answer")
        expect(button(ann, "Stop")).to_be_hidden()
        for _ in range(20):
            backend.release(gate)


def test_an_answer_is_whole_for_who_comes_in_the_middle_and_who_was_cut_off(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    room, gate = unique("team"), unique("gate")
    with django_runserver() as backend:
        server = start_server(async_mode=async_mode, llm_url=backend.url)
        with tcp_proxy(server.port) as proxy:
            ann = open_window(proxy.url, may_log=CONNECTION_FAILURE)
            enter(ann, "Ann", room)
            field(ann, "Message").fill(f"do:gated {gate}")
            button(ann, "Ask the AI").click()
            for _ in range(3):
                backend.release(gate)
            expect(ann.locator("#messages .assistant")).to_have_text("AssistantGrüße aus  dem")
            bob = open_window(server.url)
            enter(bob, "Bob", room)
            expect(bob.locator("#messages .assistant")).to_have_text("AssistantGrüße aus  dem")
            proxy.go_down()
            expect(ann.get_by_text("connection lost")).to_be_visible()
            expect(button(ann, "Stop")).to_be_hidden()
            backend.release(gate)
            expect(bob.locator("#messages .assistant")).to_have_text("AssistantGrüße aus  dem Café")
            proxy.come_up()
            expect(ann.locator("#messages .assistant")).to_have_text("AssistantGrüße aus  dem Café")
            expect(button(ann, "Stop")).to_be_visible()
            for _ in range(20):
                backend.release(gate)
            for window in (ann, bob):
                expect(window.locator("#messages .assistant")).to_contain_text("<b>fett</b>.")
                expect(window.locator("#messages .assistant")).to_have_count(1)
            expect(button(ann, "Stop")).to_be_hidden()
            texts = [window.locator("#messages .assistant").text_content() for window in (ann, bob)]
            assert texts[0] == texts[1]


def test_an_ai_that_cannot_be_reached_is_said(start_server: StartServer, open_window: OpenWindow) -> None:
    window = open_window(start_server(llm_url=f"http://127.0.0.1:{free_port()}").url)
    field(window, "Message").fill("Why is the sky blue?")
    button(window, "Ask the AI").click()
    expect(window.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(window.locator("#messages li")).to_have_count(2)
    expect(window.locator("#messages .assistant")).to_have_text("Assistantfailed, no answer")
