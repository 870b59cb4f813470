"""The chat page as people use it: in several windows at once, over both ways to run the server."""

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, WebSocket, WebSocketRoute, expect

from chat_windows import (
    CONNECTION_FAILURE,
    OpenWindow,
    StartServer,
    button,
    enter,
    expect_entered,
    expect_messages,
    expect_no_problem,
    expect_people,
    expect_state,
    field,
    in_one_mode,
    join,
    page_of,
    pause_clock,
    rename,
    rows,
    say,
)
from servers import Hazoom, unique, wait_until
from tcp_proxy import tcp_proxy


def test_two_windows_see_each_others_messages_once_and_in_order(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("team")
    ann, bob = (enter(open_window, server.url, name, room) for name in ("Ann", "Bob"))
    expected = []
    for number in range(3):
        for name, window in (("Ann", ann), ("Bob", bob)):
            say(window, f"{name}'s message {number}")
            expected.append((name, f"{name}'s message {number}"))
            for each in (ann, bob):
                expect_messages(each, *expected)
    for window in (ann, bob):
        expect_no_problem(window)
    # The sender's are marked as sent, and what is grouped has one head.
    expect(ann.locator("#messages .is-own .mark")).to_have_count(3)
    say(bob, "and\n  one more\n")
    expect(ann.locator("#messages .message:not(.is-first)")).to_have_count(1)
    assert ann.locator("#messages .message .text").last.text_content() == "and\n  one more\n"


def test_who_is_here_follows_windows_that_come_and_go(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("team")
    ann = enter(open_window, server.url, "Ann", room)
    expect_people(ann, "Ann (you)")
    bob = enter(open_window, server.url, "Bob", room)
    expect_people(ann, "Ann (you)", "Bob")
    expect_people(bob, "Ann", "Bob (you)")
    rename(ann, "Anna")
    expect_people(bob, "Bob (you)", "Anna")
    bob.close()
    expect_people(ann, "Anna (you)")


@in_one_mode
def test_a_room_that_one_leaves_is_left(server: Hazoom, open_window: OpenWindow) -> None:
    here, there = unique("here"), unique("there")
    ann, bob = (enter(open_window, server.url, name, here) for name in ("Ann", "Bob"))
    say(ann, "in the first room")
    expect_messages(bob, ("Ann", "in the first room"))
    join(ann, there)
    expect_people(ann, "Ann (you)")
    say(ann, "in the second room")
    join(ann, here)
    button(ann, "Menu").click()
    button(ann, "Leave this room").click()
    expect_people(bob, "Bob (you)")
    say(bob, "alone")
    expect_messages(ann, ("Ann", "in the second room"))
    expect(ann.locator("#rooms .name")).to_have_text([there])
    expect_messages(bob, ("Ann", "in the first room"), ("Bob", "alone"))
    ann.reload()
    expect_people(ann, "Ann (you)")
    expect(ann.locator("#rooms .name")).to_have_text([there])


@in_one_mode
def test_the_side_bar_tells_what_is_new_in_other_rooms_and_who_names_one(server: Hazoom, open_window: OpenWindow) -> None:
    here, there = unique("here"), unique("there")
    ann, bob = enter(open_window, server.url, "Ann", here), enter(open_window, server.url, "Bob", there)
    join(ann, there)
    say(ann, "hello")
    expect_messages(bob, ("Ann", "hello"))
    join(ann, here)
    entry = ann.locator(f"#rooms a[data-room={there}]")
    expect(entry.locator(".badge")).to_be_hidden()
    say(bob, "one")
    say(bob, "Anna is not named, nor is hannah")
    expect(entry.locator(".badge [aria-hidden]")).to_have_text("2")
    expect(entry.locator(".last")).to_contain_text("Bob: Anna is not named")
    expect(ann).to_have_title(f"(2) {here} – hazoom_ws")
    say(bob, "but you are, @ann!")
    expect(entry.locator(".badge.is-mention [aria-hidden]")).to_have_text("@3")
    # What was not read is still not read after a reload.
    ann.reload()
    expect(entry.locator(".badge.is-mention [aria-hidden]")).to_have_text("@3")
    entry.click()
    expect_messages(
        ann, ("Ann", "hello"), ("Bob", "one"), ("Bob", "Anna is not named, nor is hannah"), ("Bob", "but you are, @ann!")
    )
    expect(ann.locator("#messages .new-line:visible")).to_have_count(1)
    expect(ann.locator("#messages .is-mention")).to_have_count(1)
    expect(entry.locator(".badge")).to_be_hidden()
    expect(ann).to_have_title(f"{there} – hazoom_ws")
    # Other rooms that there are can be seen and joined.
    lone = unique("lone")
    enter(open_window, server.url, "Carol", lone)
    ann.reload()
    suggestion = ann.locator("#other-rooms a", has_text=lone)
    expect(suggestion.locator(".count")).to_have_text("1")
    suggestion.click()
    expect_people(ann, "Carol", "Ann (you)")


@in_one_mode
def test_the_room_is_in_the_address_and_the_browsers_buttons_lead_back(server: Hazoom, open_window: OpenWindow) -> None:
    rooms = [unique(name) for name in ("a & b", "größer", "третья")]
    ann = enter(open_window, server.url, "Ann", None)
    expect(ann).to_have_title("general – hazoom_ws")
    for room in rooms:
        join(ann, room)
        assert parse_qs(urlsplit(ann.url).query)["room"] == [room]
        expect(ann).to_have_title(f"{room} – hazoom_ws")
    ann.go_back()
    expect(ann.locator("#room")).to_have_text(rooms[1])
    ann.go_forward()
    expect(ann.locator("#room")).to_have_text(rooms[2])
    assert parse_qs(urlsplit(ann.locator("#board").get_attribute("href")).query)["room"] == [rooms[2]]
    bob = open_window(ann.url)
    expect(bob.locator("#room")).to_have_text(rooms[2])
    expect(bob.locator("#count")).to_have_text("2")
    expect(bob.locator("#rooms .name")).to_have_text([rooms[2]])


def test_typing_is_shown_to_the_others_until_the_message_is_sent(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("team")
    ann = enter(open_window, server.url, "Ann", room, prepare=lambda page: page.clock.install())
    bob = enter(open_window, server.url, "Bob", room)
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
    ann, bob = enter(open_window, server.url, "Ann", room, prepare=prepare), enter(open_window, server.url, "Bob", room)
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


def test_a_lost_connection_is_said_and_comes_back_by_itself(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    first = start_server(async_mode=async_mode)
    ann, bob = (enter(open_window, first.url, name, "team", may_log=CONNECTION_FAILURE) for name in ("Ann", "Bob"))
    expect_state(ann, "Connected")
    for text in ("one", "two"):
        say(ann, text)
    expect_messages(bob, ("Ann", "one"), ("Ann", "two"))
    field(bob, "Message").fill("half a thought")
    first.child.kill()
    for window in (ann, bob):
        expect_state(window, "Offline")
    start_server(async_mode=async_mode, port=first.port)
    for window in (ann, bob):
        expect_state(window, "Connected")
        expect(window.locator("#count")).to_have_text("2")
        expect_no_problem(window)
    expect(field(bob, "Message")).to_have_value("half a thought")
    # The new server counts from 1 again: the page once hid what it took for old messages.
    say(bob, "three")
    expect_messages(ann, ("Ann", "one"), ("Ann", "two"), ("Bob", "three"))
    say(ann, "four")
    for window in (ann, bob):
        expect(window.locator("#messages .gap")).to_have_count(1)
        expect_messages(window, ("Ann", "one"), ("Ann", "two"), ("Bob", "three"), ("Ann", "four"))


@in_one_mode
def test_what_is_sent_while_offline_is_sent_later_once_and_in_order_after_a_reload_too(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    server = start_server(async_mode=async_mode)
    bob = enter(open_window, server.url, "Bob", "team")
    with tcp_proxy(server.port) as proxy:
        guest = enter(open_window, proxy.url, None, "team", may_log=CONNECTION_FAILURE)
        name = guest.locator("#my-name").inner_text()
        say(guest, "zero")
        expect_messages(guest, (name, "zero"))
        proxy.go_down()
        expect_state(guest, "Offline")
        for text in ("one", "two"):
            say(guest, text)
        expect(guest.locator("#pending .status")).to_have_text(["Waits for the connection"] * 2)
        proxy.come_up()
        expect_messages(guest, (name, "zero"), (name, "one"), (name, "two"))
        expect_messages(bob, (name, "zero"), (name, "one"), (name, "two"))
        # It has been kept, and the page has not heard of it when it is loaded again.
        guest.add_init_script("sessionStorage.held && sessionStorage.setItem('hazoom_ws.unsent', sessionStorage.held)")
        proxy.go_down()
        expect_state(guest, "Offline")
        say(guest, "three")
        guest.evaluate("sessionStorage.held = sessionStorage.getItem('hazoom_ws.unsent')")
        proxy.come_up()
        expect(rows(bob)).to_have_count(4)
        guest.reload()
        say(guest, "four")
        for window in (guest, bob):
            expect_messages(window, *((name, text) for text in ("zero", "one", "two", "three", "four")))


@in_one_mode
def test_what_was_missed_for_too_long_is_a_gap_that_can_be_opened(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    limits = {"HAZOOM_RECOVERY_WINDOW_S": "0", "HAZOOM_RATE_LIMIT_PER_S": "0"}
    server = start_server(async_mode=async_mode, env=limits)
    bob = enter(open_window, server.url, "Bob", "team")
    with tcp_proxy(server.port) as proxy:
        ann = enter(open_window, proxy.url, "Ann", "team", may_log=CONNECTION_FAILURE)
        say(ann, "before")
        expect_messages(ann, ("Ann", "before"))
        proxy.go_down()
        expect_state(ann, "Offline")
        expect_people(bob, "Bob (you)")
        missed = [f"missed {number}" for number in range(120)]
        bob.evaluate(
            """async (texts) => {
              const socket = io({ forceNew: true, auth: { user_name: "Carol" } });
              await socket.emitWithAck("join_room", { room: "team" });
              for (const message of texts) await socket.emitWithAck("message", { room: "team", message });
              socket.disconnect();
            }""",
            missed,
        )
        proxy.come_up()
        expect(ann.locator("#messages .text")).to_have_text(["before", *missed[-50:]])
        expect(ann.locator("#messages .gap")).to_have_count(1)
        for count in (100, 120):
            button(ann, "Show them").click()
            expect(ann.locator("#messages .text")).to_have_text(["before", *missed[-count:]])
        expect(ann.locator("#messages .gap")).to_have_count(0)
        say(ann, "after")
        for window in (ann, bob):
            expect(window.locator("#messages .text")).to_have_text(["before", *missed, "after"])


def test_what_is_said_while_a_window_joins_stays_in_order(start_server: StartServer, open_window: OpenWindow) -> None:
    # It arrived before the history and once hid all of it.
    held: list[tuple[WebSocketRoute, str]] = []

    def hold_join(route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        route.on_message(lambda frame: held.append((server, frame)) if "join_room" in frame else server.send(frame))

    server = start_server()
    ann = enter(open_window, server.url, None, None)
    say(ann, "one")
    bob = open_window(server.url, prepare=lambda page: page.route_web_socket("**", hold_join))
    expect(ann.locator("#count")).to_have_text("2")
    wait_until(lambda: bob.title() and held, "the second window asks to join")
    say(ann, "two")
    name = ann.locator("#my-name").inner_text()
    for connection, frame in held:
        connection.send(frame)
    expect_messages(bob, (name, "one"), (name, "two"))


@in_one_mode
def test_the_page_works_where_websockets_do_not(server: Hazoom, open_window: OpenWindow) -> None:
    def prepare(page: Page) -> None:
        elsewhere = 'constructor(url) { super(url.replace("/socket.io/", "/nowhere/")); }'
        page.add_init_script(f"window.WebSocket = class extends WebSocket {{ {elsewhere} }};")

    room = unique("team")
    ann = enter(open_window, server.url, "Ann", room, prepare=prepare, may_log="response code: 404")
    bob = enter(open_window, server.url, "Bob", room)
    say(ann, "over polling")
    expect_messages(bob, ("Ann", "over polling"))
    say(bob, "over a WebSocket")
    for window in (ann, bob):
        expect_messages(window, ("Ann", "over polling"), ("Bob", "over a WebSocket"))


def test_a_message_that_is_too_long_is_explained_and_stays_in_its_field(
    start_server: StartServer, open_window: OpenWindow
) -> None:
    window = enter(open_window, start_server(env={"HAZOOM_MESSAGE_LIMIT_BYTES": "10"}).url, None, None)
    field(window, "Message").fill("eleven char")
    expect(window.locator("#length")).to_have_text("1 bytes too long")
    button(window, "Send").click()
    expect(window.get_by_role("alert")).to_contain_text("the limit is 10")
    expect(field(window, "Message")).to_have_value("eleven char")
    expect(rows(window)).to_have_count(0)
    say(window, "ten chars.")
    expect_no_problem(window)
    expect(rows(window)).to_have_count(1)


def test_a_message_that_is_refused_says_why_and_can_be_sent_again_changed_or_deleted(
    start_server: StartServer, open_window: OpenWindow
) -> None:
    limits = {"HAZOOM_RATE_LIMIT_PER_S": "0.01", "HAZOOM_RATE_LIMIT_BURST_COUNT": "1"}  # joining the room is the one
    window = enter(open_window, start_server(env=limits).url, None, None)
    say(window, "hello\nworld")
    expect(window.locator("#pending .status")).to_contain_text("try again in")
    expect(rows(window)).to_have_count(0)
    button(window, "Try again").click()
    expect(window.locator("#pending .status")).to_contain_text("try again in")
    button(window, "Edit").click()
    expect(field(window, "Message")).to_have_value("hello\nworld")
    expect(window.locator("#pending > li")).to_have_count(0)
    field(window, "Message").press("Enter")
    button(window, "Delete").click()
    expect(window.locator("#pending > li")).to_have_count(0)
    window.reload()
    expect(window.locator("#messages")).to_be_attached()
    assert window.evaluate("sessionStorage.getItem('hazoom_ws.unsent')") is None


@in_one_mode
def test_a_guest_is_the_same_one_after_a_reload_and_the_others_hear_nothing_of_it(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    server = start_server(async_mode=async_mode, env={"HAZOOM_PRESENCE_GRACE_S": "60"})
    guest = enter(open_window, server.url, None, "team")
    bob = enter(open_window, server.url, "Bob", "team")
    name = guest.locator("#my-name").inner_text()
    assert re.fullmatch(r"Guest-\w{4}", name)
    bob.evaluate(
        "window.heard = []; new MutationObserver(() => heard.push(document.getElementById('people').innerText))"
        ".observe(document.getElementById('people'), { childList: true })"
    )
    guest.reload()
    expect_entered(guest, name)
    other = guest.context.new_page()
    other.goto(guest.url)
    expect_entered(other, name)
    other.locator("#board").click()
    expect(other.locator("#people")).to_contain_text(f"{name} (you)")
    say(guest, "still me")
    expect_messages(bob, (name, "still me"))
    assert bob.evaluate("window.heard") == []
    expect_people(bob, name, "Bob (you)")


@in_one_mode
def test_ones_own_message_brings_one_to_the_end_and_those_of_others_do_not(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("team")
    ann, bob = (enter(open_window, server.url, name, room) for name in ("Ann", "Bob"))
    for number in range(3):
        say(ann, "\n".join(f"{number}, line {line}" for line in range(40)))
    expect(rows(bob)).to_have_count(3)
    expect(bob.locator("#jump")).to_be_hidden()
    bob.locator("#scroller").evaluate("(scroller) => scroller.scrollTo(0, 100)")
    expect(bob.locator("#jump")).to_be_visible()
    say(ann, "something new")
    expect(bob.locator("#jump")).to_have_text("1 new")
    expect(bob.locator("#messages .text").last).to_have_text("something new")
    expect(bob.locator("#messages .text").last).not_to_be_in_viewport()
    bob.locator("#jump").click()
    expect(bob.locator("#messages .text").last).to_be_in_viewport()
    expect(bob.locator("#jump")).to_be_hidden()
    bob.locator("#scroller").evaluate("(scroller) => scroller.scrollTo(0, 100)")
    expect(bob.locator("#jump")).to_be_visible()
    say(bob, "my own")
    expect(bob.locator("#messages .text").last).to_have_text("my own")
    expect(bob.locator("#messages .text").last).to_be_in_viewport()


@in_one_mode
def test_links_can_be_clicked_and_tell_nothing_of_the_page(server: Hazoom, open_window: OpenWindow) -> None:
    ann = enter(open_window, server.url, "Ann", unique("team"))
    say(
        ann,
        "See (https://example.com/a_(b)?c=d#e), http://x.y/z. or mailto:a@b.c! javascript:alert(1) ftp://x ://y https://",
    )
    links = ann.locator("#messages a")
    expect(links).to_have_text(["https://example.com/a_(b)?c=d#e", "http://x.y/z", "mailto:a@b.c"])
    for link in links.all():
        assert link.get_attribute("target") == "_blank"
        assert {"noopener", "noreferrer"} <= set(link.get_attribute("rel").split())


@in_one_mode
def test_sound_and_notifications_come_only_when_asked_for_and_one_does_not_look(
    server: Hazoom, open_window: OpenWindow
) -> None:
    record = """
      window.calls = [];
      window.Notification = class extends EventTarget {
        static permission = "granted";
        static requestPermission = async () => "granted";
        constructor(title, { body }) { super(); calls.push(`${title}: ${body}`); }
      };
      window.AudioContext = class {
        createOscillator() { calls.push("sound"); return { frequency: {}, connect: (to) => to, start() {}, stop() {} }; }
        createGain() { return { gain: { setValueAtTime() {}, exponentialRampToValueAtTime() {} }, connect() {} }; }
      };
    """
    here, there = unique("here"), unique("there")
    ann = enter(open_window, server.url, "Ann", here, prepare=lambda page: page.add_init_script(record))
    bob = enter(open_window, server.url, "Bob", there)
    join(ann, there)
    join(ann, here)
    badge = ann.locator(f"#rooms a[data-room={there}] .badge [aria-hidden]")
    say(bob, "Ann, nothing was asked for")
    expect(badge).to_have_text("@1")
    assert ann.evaluate("calls") == []
    ann.locator("#me").click()
    ann.get_by_label("Show a notification").check()
    ann.get_by_label("Play a sound").check()
    button(ann, "Done").click()
    assert ann.evaluate("calls.splice(0)") == ["sound"], "this is how it sounds"
    say(bob, "nobody is named")
    expect(badge).to_have_text("@2")
    say(bob, "Ann, come here")
    expect(badge).to_have_text("@3")
    notified = f"Bob in {there}: Ann, come here"
    wait_until(lambda: notified in ann.evaluate("calls"), "the notification")
    assert set(ann.evaluate("calls.splice(0)")) <= {"sound", notified}
    join(ann, there)
    say(bob, "Ann looks")
    expect(rows(ann)).to_have_count(4)
    assert ann.evaluate("calls") == []
    ann.evaluate("Object.defineProperty(document, 'visibilityState', { get: () => 'hidden' })")
    say(bob, "for whoever is away")
    wait_until(lambda: f"Bob in {there}: for whoever is away" in ann.evaluate("calls"), "another one")
    expect(ann).to_have_title(f"(1) {there} – hazoom_ws")
    ann.reload()
    ann.locator("#me").click()
    expect(ann.get_by_label("Show a notification")).to_be_checked()
    expect(ann.get_by_label("Play a sound")).to_be_checked()


@in_one_mode
def test_a_room_that_one_may_not_enter_is_said_and_others_can_be_chosen(server: Hazoom, open_window: OpenWindow) -> None:
    ann = open_window(f"{server.url}/{page_of('x' * 200)}")
    expect(ann.locator("#refused")).to_contain_text("128")
    join(ann, unique("team"))
    expect_entered(ann)
    expect(ann.locator("#refused")).to_be_hidden()
    say(ann, "here I am")
    expect(rows(ann)).to_have_count(1)
    # Who leaves the only room is in none, and can come back.
    for _ in range(2):
        button(ann, "Menu").click()
        button(ann, "Leave this room").click()
    expect(ann.locator("#refused")).to_contain_text("left")
