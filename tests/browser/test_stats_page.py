"""The live charts as people look at them: after traffic, through drops and restarts, by mouse, keyboard and ear."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from servers import ROOT, Hazoom, OfficialClient, free_port, unique, wait_until
from tcp_proxy import tcp_proxy

OpenWindow = Callable[..., Page]
StartServer = Callable[..., Hazoom]

CONNECTION_FAILURE = "ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|WebSocket connection to"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
AXE = ROOT / "scripts" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
CARDS = [
    "Connections",
    "Rooms",
    "Messages",
    "Deliveries",
    "Relay",
    "AI answers",
    "AI tokens",
    "Time to first token",
    "Loop lag",
    "CPU",
    "Memory",
    "Refusals",
]
# How many pixels of a chart have the color of its first line, about: its edges are smoothed.
PAINTED = """(plot) => {
  const canvas = plot.querySelector("canvas");
  const [copy, probe] = [canvas, { width: 1, height: 1 }].map(({ width, height }) =>
    new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true }));
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--first");
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  const near = (at) => Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue) < 40;
  let count = 0;
  for (let at = 0; at < data.length; at += 4)
    if (near(at) && data[at + 3] > 100) count += 1;
  return count;
}"""


def card(window: Page, title: str):
    return window.get_by_role("region", name=title, exact=True)


def expect_live(window: Page) -> Page:
    expect(window.locator("#connection")).to_have_text("Live")
    expect(card(window, "Connections").locator("b").first).not_to_have_text("–")
    return window


def most(window: Page, title: str, name: str) -> float:
    """Return the largest number of a chart, as who hears the page is told it."""
    said = card(window, title).locator(".unseen").text_content()
    found = re.search(rf"{name}: now \S+(?: \w+)?, least \S+(?: \w+)?, most (\d+(?:\.\d+)?)", said)
    return float(found[1]) if found else 0.0


def expect_no_violations(window: Page) -> None:
    window.evaluate(AXE.read_text(encoding="utf-8"))
    violations = window.evaluate("axe.run().then(({ violations }) => violations)")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == []


@pytest.fixture(scope="module", params=["eventlet"])
def async_mode(request: pytest.FixtureRequest) -> str:
    """The page does the same however the server runs."""
    return request.param


def test_the_charts_show_what_happens(server: Hazoom, open_window: OpenWindow) -> None:
    window = expect_live(open_window(f"{server.url}/stats"))
    assert window.locator("h2").all_text_contents() == CARDS
    with OfficialClient() as client:
        ann = client.connect(server.url, auth={"user_name": "Ann"})
        room = unique("room")
        assert ann.emit("join_room", {"room": room})["ok"]
        for _ in range(20):
            assert ann.emit("message", {"room": room, "message": "hello"})["ok"]
        ann.emit("relay", {"room": room, "channel": "cursors", "key": "ann", "data": [1, 2]})
        assert not ann.emit("no_such_event")["ok"]
        assert ann.emit("llm_request", {"message": "hello"})["ok"]
        ann.wait_for("llm_complete")
        shown = [
            ("Messages", "a second"),
            ("Deliveries", "a second"),
            ("Relay", "frames a second"),
            ("AI tokens", "a second"),
        ]
        shown += [("AI answers", "running"), ("Refusals", "in the last second"), ("Time to first token", "median")]
        for title, name in shown:
            wait_until(lambda title=title, name=name: most(window, title, name) > 0, f"{title} has moved")
        wait_until(lambda: most(window, "Connections", "connections") >= 2, "both are counted")
        expect(card(window, "Refusals").get_by_role("row", name="unknown_event")).to_be_visible()
        ann.disconnect()
    for title in CARDS:
        plot = card(window, title).locator(".plot")
        wait_until(lambda plot=plot: plot.evaluate(PAINTED), f"{title} is drawn")  # short lines may hide each other
    expect(window.locator("#about")).to_contain_text("version")
    expect(window.locator("#process-choice")).to_be_hidden()


def test_a_moment_is_shown_in_all_charts_by_mouse_and_by_keyboard(server: Hazoom, open_window: OpenWindow) -> None:
    window = expect_live(open_window(f"{server.url}/stats"))
    wait_until(lambda: most(window, "Memory", "resident") > 0, "there are samples")
    over = card(window, "Memory").locator(".u-over")
    width = over.evaluate("(over) => over.clientWidth")
    over.hover(position={"x": width - 1, "y": 20})
    for title in CARDS:
        expect(card(window, title).locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    window.mouse.move(0, 0)
    expect(card(window, "CPU").locator("time")).to_have_text("")

    slider = card(window, "Connections").get_by_role("slider")
    slider.focus()
    expect(slider).to_have_attribute("aria-valuetext", "now")
    window.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^\d\d:\d\d:\d\d: \d+ connections, \d+ users$"))
    expect(card(window, "CPU").locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    window.keyboard.press("Escape")
    expect(card(window, "CPU").locator("time")).to_have_text("")
    window.get_by_role("radio", name="2 min").focus()
    window.keyboard.press("ArrowRight")
    expect(window.get_by_role("radio", name="5 min", exact=True)).to_be_checked()


def test_it_says_when_the_connection_drops_and_fills_the_gap(server: Hazoom, open_window: OpenWindow) -> None:
    with tcp_proxy(server.port) as proxy:
        window = expect_live(open_window(f"{proxy.url}/stats", may_log=CONNECTION_FAILURE))
        proxy.go_down()
        expect(window.locator("#connection")).to_have_text(re.compile("^No connection"))
        with OfficialClient() as client:
            ann = client.connect(server.url, auth={"user_name": "Ann"})
            asked = ann.emit("llm_cancel", {"request_id": "nobody's"})
            assert asked["error"]["code"] == "not_found"
            ann.disconnect()
        row = card(window, "Refusals").get_by_role("row", name="not_found")
        expect(row).to_have_count(0)
        proxy.come_up()
        expect_live(window)
        expect(row).to_be_visible()


def test_it_goes_on_when_the_server_was_started_again(start_server: StartServer, open_window: OpenWindow) -> None:
    port = free_port()
    server = start_server(port=port)
    window = expect_live(open_window(f"{server.url}/stats", may_log=CONNECTION_FAILURE))
    plot = card(window, "Memory").locator(".plot")
    wait_until(lambda: int(plot.get_attribute("aria-valuemax")) >= 2, "there are samples")
    assert server.child.stop() == 0
    expect(window.locator("#connection")).to_have_text(re.compile("^No connection"))
    before = int(plot.get_attribute("aria-valuemax"))
    start_server(port=port)
    expect_live(window)
    wait_until(lambda: int(plot.get_attribute("aria-valuemax")) > before + 1, "the lines go on")
    expect(window.locator("#process-choice")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_about(server: Hazoom, open_window: OpenWindow, scheme: str) -> None:
    for options in ({}, PHONE):
        window = expect_live(open_window(f"{server.url}/stats", color_scheme=scheme, **options))
        expect_no_violations(window)
        assert window.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is beside the screen"
        for title in CARDS:
            box = card(window, title).locator("canvas").bounding_box()
            assert min(box["width"] / 200, box["height"] / 80) > 1, title


def test_several_processes_have_a_choice_and_missing_samples_a_gap(server: Hazoom, open_window: OpenWindow) -> None:
    window = expect_live(open_window(f"{server.url}/stats"))
    found = window.evaluate("""async () => {
      const { Samples } = await import("/static/stats/samples.js");
      const samples = new Samples();
      for (const at of [1, 2, 3, 9, 10]) samples.add("one", { at });
      const gap = samples.of("one", 900).map((sample) => sample?.at ?? null);
      samples.add("two", { at: 10.5 });
      const two = samples.processes();
      samples.addHistory({ process: "one", samples: { at: [2, 9, 11, 12] } });
      for (let at = 13; at < 30; at += 1) samples.add("two", { at });
      const filled = samples.of("one", 900).map((sample) => sample?.at ?? null);
      return { gap, two, filled, left: samples.processes(), newest: samples.newest() };
    }""")
    assert found == {
        "gap": [1, 2, 3, None, 9, 10],
        "two": ["one", "two"],
        "filled": [1, 2, 3, None, 9, 10, 11, 12],
        "left": ["two"],
        "newest": 29,
    }


def test_who_has_several_processes_can_choose_one(server: Hazoom, open_window: OpenWindow) -> None:
    """As with several processes behind one address: here each tick comes a second time, as from another one."""

    def double(route: WebSocketRoute) -> None:
        behind = route.connect_to_server()

        def forward(message: str | bytes) -> None:
            route.send(message)
            if isinstance(message, str) and '"stats_tick"' in message:
                route.send(re.sub(r'"process":"\w+"', '"process":"other"', message))

        behind.on_message(forward)

    def prepare(page: Page) -> None:
        page.route_web_socket(re.compile("/socket.io/"), double)

    window = expect_live(open_window(f"{server.url}/stats", prepare=prepare))
    choice = window.get_by_role("combobox", name="Process")
    expect(choice).to_be_visible()
    expect(choice.get_by_role("option")).to_have_count(2)
    choice.select_option("other")
    wait_until(lambda: most(window, "Memory", "resident") > 0, "the other one's samples are shown")
    expect(choice).to_have_value("other")


def test_who_is_logged_in_in_this_tab_sees_them_where_a_key_is_asked_for(
    start_server: StartServer, open_window: OpenWindow
) -> None:
    key = "k" * 40
    server = start_server(env={"HAZOOM_AUTH": "api_key", "HAZOOM_API_KEYS": key})
    stranger = open_window(f"{server.url}/stats")
    expect(stranger.get_by_role("dialog", name="Log in")).to_be_visible()
    expect_no_violations(stranger)
    stranger.get_by_label("API key or token").fill(key)
    stranger.get_by_label("Remember it").check()
    stranger.get_by_role("button", name="Log in").click()
    expect_live(stranger)
    stranger.reload()
    expect_live(stranger)
    expect_live(open_window(f"{server.url}/stats?api_key={key}"))
    assert key not in server.log
