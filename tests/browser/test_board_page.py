"""The whiteboard as people use it: in several windows, with mouse, touch and keyboard, through drops and restarts."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from chat_windows import AXE, CONNECTION_FAILURE, PHONE, OpenWindow, StartServer, in_one_mode, join
from servers import Hazoom, unique, wait_until
from tcp_proxy import tcp_proxy

Point = tuple[float, float]

MARKUP = "<img src=x onerror=ran=1><script>ran=1</script>"
PEN = {"type": "pen", "color": "red", "width": 4, "order": 1, "points": [100, 100, 300, 200]}
# A client without a page joins a room and calls; the replies.
CALL = """async ({ room, user, calls }) => {
  const socket = io({ forceNew: true, auth: { user_name: user } });
  const replies = [await socket.emitWithAck("join_room", { room })];
  for (const [event, payload] of calls) replies.push(await socket.emitWithAck(event, { room, ...payload }));
  window.strangers = [...(window.strangers ?? []), socket];
  return replies.slice(1);
}"""


def board(url: str, room: str) -> str:
    return f"{url}/board?room={room}"


def named(name: str) -> Callable[[Page], None]:
    """Let a window have a name in its storage, as from an earlier visit."""
    return lambda page: page.add_init_script(
        f"localStorage.getItem('hazoom_ws.name') ?? localStorage.setItem('hazoom_ws.name', '{name}')"
    )


def expect_loaded(window: Page) -> Page:
    expect(window.locator("#surface[data-is-loaded]")).to_be_visible()
    return window


def choose(window: Page, *titles: str) -> None:
    """Choose tools, colors and widths by what they are called."""
    for title in titles:
        radio = window.get_by_role("radio", name=title, exact=True)
        radio.locator("xpath=..").click()
        expect(radio).to_be_checked()


def drag(window: Page, *points: Point, is_released: bool = True) -> None:
    window.mouse.move(*points[0])
    window.mouse.down()
    for point in points[1:]:
        window.mouse.move(*point)
    if is_released:
        window.mouse.up()


def write(window: Page, point: Point, text: str) -> None:
    choose(window, "Text")
    window.mouse.click(*point)
    window.get_by_role("textbox", name="Text on the board").fill(text)
    window.keyboard.press("Enter")


def draw_everything(window: Page) -> int:
    """Draw a shape of each kind, and return how many these are."""
    choose(window, "Pen", "Blue")
    drag(window, (200, 200), (260, 240), (300, 210), (380, 260))
    choose(window, "Line", "Red", "Thick")
    drag(window, (200, 300), (300, 340), (400, 300))
    choose(window, "Rectangle", "Green", "Thin")
    drag(window, (200, 380), (240, 400), (320, 460))
    choose(window, "Ellipse", "Orange", "Very thick")
    drag(window, (400, 380), (440, 400), (520, 460))
    choose(window, "Purple", "Medium")
    write(window, (500, 200), f"Plan {MARKUP}")
    return 5


def clear(window: Page, answer: str = "Clear") -> None:
    window.get_by_role("button", name="Menu", exact=True).click()
    window.get_by_role("button", name="Clear the board").click()
    window.get_by_role("dialog").get_by_role("button", name=answer, exact=True).click()
    expect(window.get_by_role("dialog")).to_be_hidden()


def shapes(window: Page) -> Locator:
    return window.locator("#surface .shapes > *")


def drawing(window: Page) -> list[str]:
    """Return what a window shows, in its order from the bottom to the top."""
    return shapes(window).evaluate_all("(all) => all.map((one) => one.outerHTML)")


def expect_same_drawing(windows: list[Page], count: int) -> None:
    for window in windows:
        expect(shapes(window)).to_have_count(count)
    expected = drawing(windows[0])
    for window in windows[1:]:
        wait_until(lambda window=window: drawing(window) == expected, "both windows show the same")


def expect_state(window: Page, text: str) -> None:
    expect(window.locator("#connection")).to_have_text(text)


def place(window: Page) -> Point:
    """Return where the first shape is, in pixels of the window."""
    x, y = shapes(window).first.evaluate("(shape) => { const { x, y } = shape.getBoundingClientRect(); return [x, y]; }")
    return round(x), round(y)


def call(window: Page, room: str, *calls: tuple[str, dict[str, Any]], user: str = "Stranger") -> list[dict[str, Any]]:
    """Call events in a room as a client of its own, from the page of a window."""
    return window.evaluate(CALL, {"room": room, "user": user, "calls": [list(one) for one in calls]})


@pytest.fixture
def pair(server: Hazoom, open_window: OpenWindow) -> tuple[Page, Page]:
    """Two windows, Ann's and Bob's, on one empty board."""
    room = unique("board")
    ann, bob = (open_window(board(server.url, room), prepare=named(name)) for name in ("Ann", "Bob"))
    return expect_loaded(ann), expect_loaded(bob)


def test_everybody_sees_every_shape_who_comes_late_and_who_reloads_too(
    server: Hazoom, pair: tuple[Page, Page], open_window: OpenWindow
) -> None:
    ann, bob = pair
    count = draw_everything(ann)
    expect_same_drawing([ann, bob], count)
    choose(bob, "Line")
    drag(bob, (600, 500), (620, 520), (700, 520))
    late = open_window(ann.url)
    expect_same_drawing([ann, bob, late], count + 1)
    ann.reload()
    expect_same_drawing([bob, ann], count + 1)
    for window in (ann, bob, late):
        assert window.evaluate("typeof ran") == "undefined"
        expect(window.locator("#surface img, #surface script")).to_have_count(0)
        expect(window.locator("#problem")).to_be_hidden()


def test_strokes_and_cursors_are_seen_while_they_move_and_go_with_who_made_them(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    live, cursor = bob.locator("#surface .live > *"), bob.locator(".cursor")
    drag(ann, (300, 300), (340, 320), (400, 300), is_released=False)
    expect(live).to_have_count(1)
    expect(cursor).to_have_text("Ann")
    wait_until(lambda: (box := cursor.bounding_box()) and (round(box["x"]), round(box["y"])) == (400, 300), "it is there")
    expect(shapes(bob)).to_have_count(0)
    expect(ann.locator(".cursor")).to_have_count(0)
    ann.mouse.up()
    expect(live).to_have_count(0)
    expect_same_drawing([ann, bob], 1)
    drag(ann, (500, 300), (540, 320), is_released=False)
    expect(live).to_have_count(1)
    ann.context.close()
    expect(live).to_have_count(0)
    expect(cursor).to_have_count(0)
    expect(shapes(bob)).to_have_count(1)


@in_one_mode
def test_cursors_are_sent_thirty_times_a_second_at_most_and_only_while_they_move(
    server: Hazoom, pair: tuple[Page, Page], open_window: OpenWindow
) -> None:
    frames: list[str] = []

    def note(frame: str | bytes) -> None:
        if '"cursor"' in str(frame):
            frames.append(str(frame))

    def prepare(page: Page) -> None:
        page.clock.install()
        page.on("websocket", lambda socket: socket.on("framesent", note))

    bob = pair[1]
    window = expect_loaded(open_window(bob.url, prepare=prepare))
    window.clock.pause_at(window.evaluate("Date.now()") / 1000 + 10)
    cursor = bob.locator(".cursor")

    def expect_cursor_at(x: int) -> None:
        wait_until(lambda: cursor.count() and (box := cursor.bounding_box()) and round(box["x"]) == x, f"it is at {x}")

    for x in range(300, 400, 10):
        window.mouse.move(x, 300)
    expect_cursor_at(300)
    assert len(frames) == 1
    window.clock.run_for(40)
    expect_cursor_at(390)
    assert len(frames) == 2
    window.clock.run_for(2000)
    window.mouse.move(500, 300)
    expect_cursor_at(500)
    assert len(frames) == 3


def test_the_board_works_where_websockets_do_not(server: Hazoom, pair: tuple[Page, Page], open_window: OpenWindow) -> None:
    def prepare(page: Page) -> None:
        elsewhere = 'constructor(url) { super(url.replace("/socket.io/", "/nowhere/")); }'
        page.add_init_script(f"window.WebSocket = class extends WebSocket {{ {elsewhere} }};")
        named("Polly")(page)

    ann, _ = pair
    polly = expect_loaded(open_window(ann.url, prepare=prepare, may_log="response code: 404"))
    drag(polly, (300, 300), (340, 320), (400, 300), is_released=False)
    expect(ann.locator("#surface .live > *")).to_have_count(1)
    expect(ann.locator(".cursor")).to_have_text("Polly")
    polly.mouse.up()
    drag(ann, (300, 400), (340, 420), (400, 400))
    expect_same_drawing([ann, polly], 2)
    expect(polly.locator(".cursor")).to_have_text("Ann")


@in_one_mode
def test_ones_own_cursor_is_not_shown_where_others_move_too(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    server = start_server(async_mode=async_mode, env={"HAZOOM_RELAY_INTERVAL_MS": "500"})
    ann, bob = (expect_loaded(open_window(board(server.url, "plan"), prepare=named(name))) for name in ("Ann", "Bob"))
    for x in (300, 400):  # the second ones leave together, with the next tick
        for window in (bob, ann):
            window.mouse.move(x, 300)
    for window, other in ((ann, "Bob"), (bob, "Ann")):
        cursor = window.locator(".cursor")
        wait_until(
            lambda cursor=cursor: (box := cursor.last.bounding_box()) and round(box["x"]) == 400, "the last position"
        )
        expect(cursor).to_have_text([other])


@in_one_mode
def test_a_cursor_that_is_refused_is_no_news_and_what_is_drawn_is_kept_later(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    refusals: list[str] = []

    def note(frame: str | bytes) -> None:
        if "rate_limited" in str(frame):
            refusals.append(str(frame))

    limits = {"HAZOOM_RATE_LIMIT_BYTES_PER_S": "300", "HAZOOM_RATE_LIMIT_BURST_BYTES": "1500"}
    server = start_server(async_mode=async_mode, env=limits)
    prepare = lambda page: page.on("websocket", lambda socket: socket.on("framereceived", note))  # noqa: E731
    ann = expect_loaded(open_window(board(server.url, "plan"), prepare=prepare))
    bob = expect_loaded(open_window(board(server.url, "plan")))

    def move() -> bool:
        ann.mouse.move(300 + len(refusals) % 2, 300)
        ann.mouse.move(320, 300)
        return bool(refusals)

    wait_until(move, "a cursor is refused")
    choose(ann, "Line")
    drag(ann, (200, 200), (300, 200))
    expect_same_drawing([ann, bob], 1)
    expect(ann.get_by_role("alert")).to_be_hidden()


@in_one_mode
def test_a_long_stroke_is_seen_whole_before_it_ends_and_kept_in_pieces_that_fit(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    choose(ann, "Pen")
    scribble = [(100 + 37 * i % 900, 150 + 53 * i % 500) for i in range(700)]
    drag(ann, *scribble, is_released=False)
    expect(bob.locator("#surface .live > *")).to_have_count(7)
    ann.mouse.up()
    expect(bob.locator("#surface .live > *")).to_have_count(0)
    expect_same_drawing([ann, bob], 2)
    ann.keyboard.press("Control+z")
    expect_same_drawing([ann, bob], 0)


@in_one_mode
def test_undo_and_redo_are_of_ones_own_and_leave_what_others_did_alone(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    undo, redo = (ann.get_by_role("button", name=name, exact=True) for name in ("Undo", "Redo"))
    expect(undo).to_be_disabled()
    choose(ann, "Rectangle")
    drag(ann, (200, 200), (250, 250))
    drag(ann, (300, 200), (350, 250))
    choose(bob, "Ellipse")
    drag(bob, (400, 200), (450, 250))
    expect_same_drawing([ann, bob], 3)
    undo.click()
    expect_same_drawing([ann, bob], 2)
    redo.click()
    expect_same_drawing([ann, bob], 3)
    ann.locator("#surface").focus()
    ann.keyboard.press("Control+z")
    ann.keyboard.press("Control+z")
    expect_same_drawing([ann, bob], 1)
    expect(undo).to_be_disabled()
    ann.keyboard.press("Control+Shift+z")
    ann.keyboard.press("Control+y")
    expect_same_drawing([ann, bob], 3)
    # Bob moves Ann's second rectangle: her undo passes over it and takes the first.
    choose(bob, "Select")
    drag(bob, (300, 225), (310, 260), (320, 300))
    expect_same_drawing([bob, ann], 3)
    undo.click()
    expect_same_drawing([bob, ann], 2)
    expect(undo).to_be_disabled()


@in_one_mode
def test_what_is_selected_moves_before_everybodys_eyes_and_is_erased(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    choose(ann, "Rectangle")
    drag(ann, (200, 200), (300, 300))
    drag(ann, (600, 200), (700, 300))
    expect_same_drawing([ann, bob], 2)
    choose(ann, "Select")
    drag(ann, (250, 250), (280, 260), (350, 350), is_released=False)
    moving = shapes(bob).first
    expect(moving).to_have_attribute("transform", "translate(100 100)")
    ann.mouse.up()
    expect(moving).to_have_attribute("x", "300")
    expect(bob.locator("[transform]:not(g)")).to_have_count(0)
    expect_same_drawing([ann, bob], 2)
    # An area takes what is wholly inside; a color that is chosen is theirs then.
    drag(ann, (150, 150), (400, 400), (800, 600))
    expect(ann.locator("#surface .frame")).to_have_count(2)
    choose(ann, "Red")
    expect(bob.locator("#surface .shapes .color-red")).to_have_count(2)
    choose(ann, "Eraser")
    drag(ann, (450, 350), (380, 350), is_released=False)
    expect(shapes(bob)).to_have_count(2)
    expect(ann.locator(".faded")).to_have_count(1)
    ann.mouse.move(650, 280)
    ann.mouse.up()
    expect_same_drawing([ann, bob], 0)
    ann.keyboard.press("Control+z")
    expect_same_drawing([ann, bob], 2)


@in_one_mode
def test_a_text_is_changed_where_it_stands_and_may_be_given_up(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    write(ann, (300, 300), "Helo")
    expect(shapes(bob)).to_have_text(["Helo"])
    choose(ann, "Select")
    ann.mouse.dblclick(315, 312)
    field = ann.get_by_role("textbox", name="Text on the board")
    expect(field).to_have_value("Helo")
    field.fill("Hello")
    field.press("Shift+Enter")
    field.press_sequentially("v p z")  # these are no tools here
    field.press("Enter")
    expect(shapes(bob).locator("tspan")).to_have_text(["Hello", "v p z"])
    choose(ann, "Text")
    ann.mouse.click(500, 500)
    field.fill("no")
    field.press("Escape")
    expect(field).to_have_count(0)
    ann.mouse.click(500, 500)
    field.fill("  ")
    ann.mouse.click(700, 500)  # somewhere else
    field.fill("kept")
    choose(ann, "Pen")
    expect_same_drawing([ann, bob], 2)


@in_one_mode
def test_clearing_asks_first_and_can_be_undone(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    count = draw_everything(ann)
    expect_same_drawing([ann, bob], count)
    for answer, left in (("Cancel", count), ("Clear", 0)):
        clear(ann, answer)
        expect_same_drawing([ann, bob], left)
    ann.get_by_role("button", name="Undo", exact=True).click()
    expect_same_drawing([ann, bob], count)


def test_a_restarted_server_has_the_board_and_the_windows_come_back(
    async_mode: str, start_server: StartServer, open_window: OpenWindow, tmp_path: Path
) -> None:
    env = {"HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3"}
    first = start_server(async_mode=async_mode, env=env)
    ann, bob = (open_window(board(first.url, "plan"), may_log=CONNECTION_FAILURE) for _ in range(2))
    count = draw_everything(expect_loaded(ann))
    expect_same_drawing([ann, expect_loaded(bob)], count)
    first.child.kill()
    for window in (ann, bob):
        expect_state(window, "Offline")
    choose(ann, "Rectangle")
    drag(ann, (600, 400), (700, 500))
    server = start_server(async_mode=async_mode, env=env, port=first.port)
    expect_same_drawing([ann, bob], count + 1)
    expect_same_drawing([ann, open_window(board(server.url, "plan"))], count + 1)
    for window in (ann, bob):
        expect(window.locator("#count")).to_have_text("3")


@pytest.mark.parametrize("recovery_window_s", ["120", "0"])
@in_one_mode
def test_who_was_offline_gets_what_was_missed_and_gives_what_was_drawn_meanwhile(
    async_mode: str, start_server: StartServer, open_window: OpenWindow, recovery_window_s: str
) -> None:
    server = start_server(async_mode=async_mode, env={"HAZOOM_RECOVERY_WINDOW_S": recovery_window_s})
    with tcp_proxy(server.port) as proxy:
        ann = expect_loaded(open_window(board(proxy.url, "plan"), may_log=CONNECTION_FAILURE))
        bob = expect_loaded(open_window(board(server.url, "plan")))
        choose(bob, "Rectangle")
        drag(bob, (200, 200), (300, 300))
        drag(bob, (400, 200), (500, 300))
        expect_same_drawing([ann, bob], 2)
        proxy.go_down()
        expect_state(ann, "Offline")
        choose(ann, "Ellipse", "Red")
        drag(ann, (200, 400), (300, 500))
        expect(shapes(ann)).to_have_count(3)
        choose(bob, "Eraser")
        drag(bob, (190, 250), (210, 250))
        choose(bob, "Line")
        drag(bob, (600, 300), (700, 400))
        expect_same_drawing([bob], 2)
        proxy.come_up()
        expect_same_drawing([ann, bob], 3)
        expect(ann.locator("#surface .shapes ellipse.color-red")).to_have_count(1)
        ann.keyboard.press("Control+z")
        expect_same_drawing([ann, bob], 2)


@in_one_mode
def test_a_server_that_lost_its_memory_has_an_empty_board_which_can_be_drawn_on(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    first = start_server(async_mode=async_mode)
    ann = expect_loaded(open_window(board(first.url, "plan"), may_log=CONNECTION_FAILURE))
    for x in (200, 300, 400):
        choose(ann, "Line")
        drag(ann, (x, 200), (x + 50, 300))
    expect(ann.locator("body.is-pending")).to_have_count(0)
    first.child.kill()
    expect_state(ann, "Offline")
    server = start_server(async_mode=async_mode, port=first.port)
    expect_same_drawing([ann], 0)
    drag(ann, (200, 400), (300, 500))
    bob = open_window(board(server.url, "plan"))
    expect_same_drawing([ann, bob], 1)
    drag(expect_loaded(bob), (200, 300), (300, 300))
    expect_same_drawing([ann, bob], 2)


HOSTILE_SHAPES: list[Any] = [
    "text",
    7,
    True,
    [],
    {},
    {**PEN, "type": "script"},
    {**PEN, "type": "toString"},
    {**PEN, "type": ["pen"]},
    {**PEN, "color": "url(http://127.0.0.1/)"},
    {**PEN, "color": {"toString": 1}},
    {**PEN, "width": 1e300},
    {**PEN, "width": "4"},
    {**PEN, "order": -1},
    {**PEN, "order": 1.5},
    {**PEN, "order": 1e300},
    {**PEN, "points": "100 100"},
    {**PEN, "points": []},
    {**PEN, "points": [1, 2, 3]},
    {**PEN, "points": [1, "2"]},
    {**PEN, "points": [1, None]},
    {**PEN, "points": [[1, 2], [3, 4]]},
    {**PEN, "points": [1, 1e300]},
    {**PEN, "points": [0, 1] * 3000},
    {**PEN, "type": "rectangle", "points": [1, 2, 3, 4, 5, 6]},
    {**PEN, "type": "text", "points": [1, 2]},
    {**PEN, "type": "text", "points": [1, 2], "text": 5},
    {**PEN, "type": "text", "points": [1, 2], "text": " \n"},
    {**PEN, "type": "text", "points": [1, 2], "text": "\x01\x02"},
    {**PEN, "type": "text", "points": [1, 2], "text": "x" * 1001},
]
HOSTILE_ITEMS: list[dict[str, Any]] = [
    {"channel": channel, "key": key, "data": data}
    for channel, key in (("cursor", "me"), ("cursor", "other"), ("stroke", "0-0"), ("move", "me"), ("nothing", "me"))
    for data in (
        "x",
        5,
        [],
        {},
        {"x": "1", "y": 2},
        {"x": None},
        {"shape:good": ["a", 1]},
        {"shape:good": 5},
        {"shape:good": [1e308, 1]},
        {"x": 1e308, "y": 1e308},
        {MARKUP: [1, 2]},
    )
]


@in_one_mode
def test_values_that_are_no_shapes_are_ignored_and_text_is_only_text(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    room = ann.locator("#room").inner_text()
    text = {**PEN, "type": "text", "points": [300, 300], "text": f"{MARKUP}\x00\x1b\r\nsecond", "href": "javascript:ran=1"}
    good = {"shape:good": PEN, "shape:text": text}
    bad = {f"shape:bad-{number}": value for number, value in enumerate(HOSTILE_SHAPES)}
    foreign = {"score": 5, "shape": PEN, "shape:": PEN, f"shape:{MARKUP}": PEN, "shape:" + "x" * 100: PEN}
    sets = [("state_set", {"values": {key: value}}) for key, value in (bad | foreign | good).items()]
    items = [("relay", item) for item in HOSTILE_ITEMS]
    replies = call(bob, room, *sets, *items, user=f"{MARKUP}Eve")
    assert {reply["ok"] for reply in replies} == {True}
    for window in (ann, bob):
        expect(shapes(window)).to_have_count(2)
        expect(shapes(window).nth(1).locator("tspan")).to_have_text([MARKUP, "second"])
        expect(window.locator("[transform]:not(g)")).to_have_count(0)
    call(bob, room, ("relay", {"channel": "cursor", "key": "me", "data": {"x": 500, "y": 300}}), user=f"{MARKUP}Eve")
    expect(ann.locator(".cursor")).to_have_text([f"{MARKUP}Eve"])
    expect(ann.locator("#surface .live > *")).to_have_count(0)
    ann.locator("#people-button").click()
    expect(ann.locator("#people")).to_contain_text(f"{MARKUP}Eve")
    assert ann.evaluate("typeof ran") == "undefined"
    expect(ann.locator("img, #surface script")).to_have_count(0)
    # Who comes later gets the same, and what was never a shape can be cleared away; what is not the board's stays.
    bob.reload()
    expect_same_drawing([ann, bob], 2)
    ann.keyboard.press("Escape")
    clear(ann)
    expect_same_drawing([ann, bob], 0)
    expect(ann.locator("body.is-pending")).to_have_count(0)
    (page,) = call(bob, room, ("state_get", {}))
    assert page["values"] == foreign


@in_one_mode
def test_a_full_board_says_so_and_keeps_what_is_there(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    room = ann.locator("#room").inner_text()
    values = {f"shape:{number}": {**PEN, "points": [number, 300, number + 5, 350]} for number in range(1000)}
    (reply,) = call(bob, room, ("state_set", {"values": values}))
    assert reply["ok"]
    expect_same_drawing([ann, bob], 1000)
    choose(ann, "Rectangle")
    drag(ann, (500, 500), (600, 600))
    expect(ann.get_by_role("alert")).to_contain_text("board is full")
    expect_same_drawing([ann, bob], 1000)
    choose(ann, "Eraser")
    drag(ann, (200, 325), (230, 325))
    expect(ann.get_by_role("alert")).to_be_hidden()
    choose(ann, "Rectangle")
    drag(ann, (500, 500), (600, 600))
    expect(bob.locator("#surface .shapes rect")).to_have_count(1)
    expect(ann.get_by_role("alert")).to_be_hidden()
    # All of it goes, and comes back in as many events as it takes.
    count = shapes(ann).count()
    clear(ann)
    expect_same_drawing([ann, bob], 0)
    ann.get_by_role("button", name="Undo", exact=True).click()
    expect_same_drawing([ann, bob], count)


@in_one_mode
def test_what_is_drawn_too_fast_is_sent_a_little_later(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    limits = {"HAZOOM_RATE_LIMIT_PER_S": "10", "HAZOOM_RATE_LIMIT_BURST_COUNT": "4"}
    server = start_server(async_mode=async_mode, env=limits)
    ann, bob = (expect_loaded(open_window(board(server.url, "plan"))) for _ in range(2))
    choose(ann, "Line")
    for y in range(200, 440, 20):
        drag(ann, (200, y), (300, y))
    expect_same_drawing([ann, bob], 12)
    expect(ann.locator("#problem")).to_be_hidden()


@in_one_mode
def test_the_name_is_kept_in_the_browser_and_shown_to_the_others(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    expect(bob.locator("#count")).to_have_text("2")
    ann.locator("#people-button").click()
    field = ann.get_by_role("textbox", name="Your name")
    expect(field).to_have_value("Ann")
    field.fill("Assistant")
    field.press("Enter")
    expect(ann.get_by_role("alert")).to_contain_text("name")
    expect_state(ann, "Not connected")
    field.fill("Anna")
    field.press("Enter")
    expect_state(ann, "Connected")
    expect(ann.get_by_role("alert")).to_be_hidden()
    ann.reload()
    bob.locator("#people-button").click()
    expect(bob.locator("#people li")).to_have_text(["Bob (you)", "Anna"])
    ann.mouse.move(400, 400)
    expect(bob.locator(".cursor")).to_have_text("Anna")


@in_one_mode
def test_the_board_and_the_chat_of_a_room_lead_to_each_other(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("Büro & Co")
    window = open_window(server.url)
    expect(window.locator("#people")).to_contain_text("(you)")
    join(window, room)
    window.get_by_role("link", name="Whiteboard").click()
    expect_loaded(window)
    expect(window).to_have_title(f"{room} – whiteboard")
    expect(window.get_by_role("heading", name=room)).to_be_visible()
    window.get_by_role("link", name="Chat of this room").click()
    expect(window.get_by_role("heading", name=room, exact=True)).to_be_visible()
    expect(window.locator("#people")).to_contain_text("(you)")
    long = open_window(board(server.url, "x" * 129))
    expect(long.get_by_role("alert")).to_contain_text("128")
    expect_state(long, "Not connected")
    without_name = expect_loaded(open_window(f"{server.url}/board"))
    assert without_name.url.endswith("/board?room=general")


@in_one_mode
def test_the_keyboard_draws_selects_moves_and_deletes(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    surface = ann.locator("#surface")
    surface.focus()
    ann.keyboard.press("r")
    expect(ann.get_by_role("radio", name="Rectangle", exact=True)).to_be_checked()
    ann.keyboard.press("Enter")
    expect(surface).to_have_attribute("aria-label", "Whiteboard with 1 shape")
    expect_same_drawing([ann, bob], 1)
    before = place(bob)
    ann.keyboard.press("ArrowRight")
    ann.keyboard.press("Shift+ArrowDown")
    wait_until(lambda: place(bob) == (before[0] + 10, before[1] + 1), "it has moved")
    ann.keyboard.press("Escape")
    ann.keyboard.press("t")
    ann.keyboard.press("Enter")
    ann.keyboard.type("hello")
    ann.keyboard.press("Enter")
    expect(bob.locator("#surface .shapes text")).to_have_text("hello")
    expect(surface).to_be_focused()
    ann.keyboard.press("n")
    expect(ann.locator("#news")).to_have_text("black rectangle selected, 1 of 2")
    ann.keyboard.press("n")
    expect(ann.locator("#news")).to_contain_text("hello")
    ann.keyboard.press("Delete")
    expect_same_drawing([ann, bob], 1)
    ann.keyboard.press("Control+z")
    expect_same_drawing([ann, bob], 2)
    # The tools are one group of radio buttons: the arrow keys go through it.
    ann.get_by_role("radio", name="Text", exact=True).focus()
    ann.keyboard.press("ArrowRight")
    expect(ann.get_by_role("radio", name="Eraser", exact=True)).to_be_checked()


@in_one_mode
def test_on_a_phone_one_finger_draws_and_two_move_the_paper(pair: tuple[Page, Page], open_window: OpenWindow) -> None:
    ann, _ = pair
    phone = expect_loaded(open_window(ann.url, **PHONE))
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    for control in phone.locator("#toolbar label, #toolbar button, #top button, #top a").all():
        box = control.bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
        assert min(box["width"], box["height"]) >= 32
    fingers = phone.context.new_cdp_session(phone)

    def touch(kind: str, *points: Point) -> None:
        at = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    phone.get_by_role("radio", name="Red", exact=True).locator("xpath=..").tap()
    touch("touchStart", (100, 300))
    for x in range(110, 250, 10):
        touch("touchMove", (x, 300 + x % 30))
    expect(ann.locator("#surface .live > *")).to_have_count(1)
    expect(ann.locator(".cursor")).to_have_count(1)
    touch("touchEnd")
    expect(ann.locator("#surface .shapes path.color-red")).to_have_count(1)
    expect(ann.locator(".cursor")).to_have_count(0)
    zoom = phone.locator("#zoom")
    expect(zoom).to_have_text("100 %")
    touch("touchStart", (150, 400))
    touch("touchStart", (150, 400), (250, 400))
    for far in range(10, 60, 10):
        touch("touchMove", (150 - far, 400), (250 + far, 400))
    touch("touchEnd")
    expect(zoom).to_have_text("200 %")
    expect_same_drawing([phone, ann], 1)
    expect(ann.locator("#surface .live > *")).to_have_count(0)
    assert phone.evaluate("visualViewport.scale") == 1, "the page itself is not zoomed"


@in_one_mode
def test_wheels_and_buttons_zoom_and_move_the_paper_and_everything_can_be_shown(pair: tuple[Page, Page]) -> None:
    ann, bob = pair
    choose(ann, "Rectangle")
    drag(ann, (200, 200), (300, 300))
    expect(shapes(bob)).to_have_count(1)
    bob.mouse.move(250, 250)
    bob.mouse.wheel(0, 3000)
    expect(shapes(bob)).not_to_be_in_viewport()
    bob.locator("#surface").focus()
    bob.keyboard.press("0")
    expect(shapes(bob)).to_be_in_viewport(ratio=1)
    before = place(bob)
    bob.get_by_role("button", name="Zoom in", exact=True).click()
    expect(bob.locator("#zoom")).to_have_text("125 %")
    bob.mouse.move(*before)
    bob.keyboard.down("Control")
    bob.mouse.wheel(0, -30)
    bob.keyboard.up("Control")
    expect(bob.locator("#zoom")).not_to_have_text("125 %")
    # While the camera moves it is what was painted that moves; at rest it is painted in the same place.
    before = place(bob)
    expect(bob.locator("#surface > svg").first).to_have_css("transform", "none")
    assert place(bob) == pytest.approx(before, abs=1)
    bob.locator("#surface").focus()
    bob.keyboard.down("Space")
    drag(bob, (600, 400), (620, 420), (700, 500))
    bob.keyboard.up("Space")
    drag(bob, (600, 400), (620, 420), (700, 500))
    expect_same_drawing([ann, bob], 2)


@in_one_mode
def test_the_board_is_saved_as_svg_and_png_with_texts_as_texts(pair: tuple[Page, Page]) -> None:
    ann, _ = pair
    count = draw_everything(ann)
    files = {}
    for kind in ("SVG", "PNG"):
        ann.get_by_role("button", name="Menu", exact=True).click()
        with ann.expect_download() as download:
            ann.get_by_role("button", name=f"Save as {kind}").click()
        assert download.value.suggested_filename.endswith(f".{kind.lower()}")
        files[kind] = download.value.path().read_bytes()
    root = ET.fromstring(files["SVG"])
    assert len(root) == 1 + count
    assert "".join(root[-1].itertext()) == f"Plan {MARKUP}"
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
        *("svg", "rect", "path", "line", "ellipse", "text", "tspan")
    }
    assert files["PNG"].startswith(b"\x89PNG")
    assert int.from_bytes(files["PNG"][16:20]) == pytest.approx(2 * float(root.attrib["width"]), abs=1)


GEOMETRY = """async () => {
  const { boundsOf, simplify, split, touches } = await import("/static/board/geometry.js");
  const { POINTS_LIMIT, parseShape } = await import("/static/board/shapes.js");
  const wave = [];
  for (let i = 0; i < 2000; i += 1) wave.push(i, 200 * Math.sin(i / 50));
  const kept = simplify(wave, 0.5);
  const line = { type: "pen", width: 0, points: kept };
  const pieces = split(kept, 50);
  const far = -99999.9;
  const longest = { type: "pen", color: "purple", width: 16, order: 1e9, points: Array(2 * POINTS_LIMIT).fill(far) };
  return {
    count: kept.length / 2,
    ends: [...kept.slice(0, 2), ...kept.slice(-2)],
    isNear: wave.every((x, i) => i % 2 || touches(line, x, wave[i + 1], 0.6)),
    isFar: touches(line, 0, 50, 5),
    pieces: pieces.map((piece) => piece.length / 2),
    isJoined: pieces.every((piece, i) => i === 0 || String(piece.slice(0, 2)) === String(pieces[i - 1].slice(-2))),
    dot: split([1, 2], 50),
    bounds: boundsOf([1, 2, 5, -3], 1),
    bytes: JSON.stringify(parseShape(longest)).length,
  };
}"""


@in_one_mode
def test_a_stroke_is_simplified_within_its_tolerance_and_split_so_that_it_fits(pair: tuple[Page, Page]) -> None:
    found = pair[0].evaluate(GEOMETRY)
    assert found["count"] < 300
    assert found["ends"] == [0, 0, 1999, pytest.approx(164.2, abs=40)]
    assert found["isNear"]
    assert not found["isFar"]
    assert max(found["pieces"]) == 50
    assert found["isJoined"]
    assert found["dot"] == [[1, 2]]
    assert found["bounds"] == {"left": 0, "top": -4, "right": 6, "bottom": 3}
    assert found["bytes"] < 16_384


@pytest.mark.parametrize("scheme", ["light", "dark"])
@in_one_mode
def test_axe_finds_nothing_to_complain_about(pair: tuple[Page, Page], open_window: OpenWindow, scheme: str) -> None:
    ann, _ = pair
    draw_everything(ann)
    phone = expect_loaded(open_window(ann.url, color_scheme=scheme, **PHONE))
    desktop = expect_loaded(open_window(ann.url, color_scheme=scheme))
    ann.mouse.move(300, 300)
    for window in (desktop, phone):
        expect(window.locator(".cursor")).to_have_count(1)
        for opener in (None, "#people-button", "[popovertarget=menu]", "#clear"):
            if opener:
                window.locator(opener).click()
            window.evaluate(AXE.read_text(encoding="utf-8"))
            violations = window.evaluate("axe.run().then(({ violations }) => violations)")
            assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == []
