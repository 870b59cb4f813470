"""The chat page with a great deal on it: ten thousand messages, a thousand tokens a second; and how large it is."""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Page, expect

from chat_windows import OpenWindow, StartServer, answers, ask, enter, in_one_mode, say
from servers import ROOT, Hazoom, django_runserver, unique, wait_until

MESSAGES_COUNT = 10_000
ROWS_LIMIT = 300  # in the page at once
LONG_TASK_MS = 50
PAGE_LIMIT_BYTES = 150_000  # compressed, without highlighting
STATIC = ROOT / "src" / "hazoom_ws" / "web" / "static"
FILL = """async ({ room, count }) => {
  const socket = io({ forceNew: true, auth: { user_name: "Filler" } });
  await socket.emitWithAck("join_room", { room });
  for (let i = 0; i < count; i += 250) {
    const say = (_, j) => socket.emitWithAck("message", { room, message: `message ${i + j}` });
    await Promise.all(Array.from({ length: 250 }, say));
  }
  socket.disconnect();
}"""
# Scrolls by steps, one a frame, until ``isThere`` says that it is enough; what was seen meanwhile.
SCROLL = """async ({ step, goal }) => {
  const scroller = document.getElementById("scroller");
  const list = document.getElementById("messages");
  const seen = new Set();
  let most = 0;
  const note = () => {
    most = Math.max(most, list.children.length);
    for (const text of list.querySelectorAll(".text")) seen.add(text.textContent);
  };
  const rows = new MutationObserver((records) => records.forEach(({ addedNodes }) => addedNodes.forEach((row) => {
    const text = row.querySelector?.(".text");
    if (text) seen.add(text.textContent);
  })));
  note();
  rows.observe(list, { childList: true });
  const isThere = () => document.getElementById("beginning").textContent.startsWith("This is where");
  for (let frame = 0; seen.size < goal || (step < 0 && !isThere()); frame += 1) {
    if (frame > 20000) throw new Error(`only ${seen.size} were seen`);
    await new Promise(requestAnimationFrame);
    scroller.scrollTop += step;
    most = Math.max(most, list.children.length);
  }
  rows.disconnect();
  return { count: seen.size, most, texts: [...list.querySelectorAll(".text")].map((text) => text.textContent) };
}"""
# How long frames take for a while.
WATCH_FRAMES = """async (framesCount) => {
  const text = () => document.getElementById("messages").textContent.length;
  const before = text();
  const gaps = [];
  let last = performance.now();
  const began = last;
  for (let i = 0; i < framesCount; i += 1) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    gaps.push(now - last);
    last = now;
  }
  return { longest_ms: Math.max(...gaps), chars: text() - before, seconds: (last - began) / 1000 };
}"""


@contextmanager
def busy_tasks(window: Page) -> Iterator[list[float]]:
    """Yield a list that has afterwards how long each task of the page's main thread took, longest first.

    In milliseconds of its processor's time: how much else the machine does is none of the page's business.
    """
    events: list[dict[str, Any]] = []
    ended: list[bool] = []
    tasks_ms: list[float] = []
    session = window.context.new_cdp_session(window)
    session.on("Tracing.dataCollected", lambda data: events.extend(data["value"]))
    session.on("Tracing.tracingComplete", lambda _: ended.append(True))
    categories = "disabled-by-default-devtools.timeline,__metadata"
    session.send("Tracing.start", {"categories": categories, "transferMode": "ReportEvents"})
    yield tasks_ms
    session.send("Tracing.end")
    wait_until(lambda: window.evaluate("1") and ended, "the trace is there")
    names = {(one["pid"], one["tid"]): one["args"]["name"] for one in events if one["name"] == "thread_name"}
    tasks = [one for one in events if one["name"] == "RunTask" and names.get((one["pid"], one["tid"])) == "CrRendererMain"]
    busiest = {}
    for one in tasks:
        busiest.setdefault(one["pid"], []).append(one.get("tdur", 0) / 1000)
    tasks_ms += sorted(max(busiest.values(), key=sum), reverse=True)


def expect_no_long_task(tasks_ms: list[float], limit_ms: float = LONG_TASK_MS) -> None:
    """Expect none over ``limit_ms``, of hundreds that were measured."""
    print(f"{len(tasks_ms)} tasks, the longest: {tasks_ms[:5]} ms")
    assert len(tasks_ms) > 100
    assert tasks_ms[0] > 0
    assert tasks_ms[0] <= limit_ms


@in_one_mode
def test_ten_thousand_messages_are_scrolled_through_smoothly_and_in_order(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("large")
    ann = enter(open_window, server.url, "Ann", room)
    ann.evaluate(FILL, {"room": room, "count": MESSAGES_COUNT})
    expect(ann.locator("#messages .text").last).to_have_text(f"message {MESSAGES_COUNT - 1}")
    assert ann.locator("#messages > li").count() <= ROWS_LIMIT
    window = enter(open_window, server.url, "Bob", room)
    with busy_tasks(window) as tasks_ms:
        up = window.evaluate(SCROLL, {"step": -1500, "goal": MESSAGES_COUNT})
    assert up["count"] == MESSAGES_COUNT
    assert up["most"] <= ROWS_LIMIT
    assert up["texts"] == [f"message {number}" for number in range(len(up["texts"]))]
    expect_no_long_task(tasks_ms)
    # Down again by pages, while something new is said; then to the end.
    down = window.evaluate(SCROLL, {"step": 1500, "goal": 2000})
    assert down["most"] <= ROWS_LIMIT
    first = int(down["texts"][0].split()[1])
    assert down["texts"] == [f"message {number}" for number in range(first, first + len(down["texts"]))]
    say(ann, "said meanwhile")
    expect(window.locator("#jump")).to_have_text("1 new")
    window.locator("#jump").click()
    expect(window.locator("#messages .text").last).to_have_text("said meanwhile")
    expect(window.locator("#messages .text").last).to_be_in_viewport()
    assert window.locator("#messages > li").count() <= ROWS_LIMIT


@in_one_mode
def test_ten_answers_of_a_thousand_tokens_a_second_leave_the_page_its_frames(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    limits = {"HAZOOM_LLM_STREAMS_PER_USER_LIMIT": "10", "HAZOOM_RATE_LIMIT_PER_S": "0"}
    with django_runserver() as backend:
        server = start_server(async_mode=async_mode, llm_url=backend.url, env=limits)
        ann = enter(open_window, server.url, "Ann", "team")
        for _ in range(10):
            ask(ann, f"do:endless {unique('stream')}")
        expect(answers(ann).locator(".text:not(:empty)")).to_have_count(10)
        with busy_tasks(ann) as tasks_ms:
            watched: dict[str, Any] = ann.evaluate(WATCH_FRAMES, 120)
        print(watched)
        assert watched["chars"] > 0
        expect_no_long_task(tasks_ms)
        for stop in ann.get_by_role("button", name="Stop", exact=True).all()[::-1]:
            stop.dispatch_event("click")  # with text above it that grows, a pointer may miss it
        wait_until(lambda: not backend.open_streams(), "all are stopped")


# For which a Markdown library takes quadratic time, or nests too deep, if it gets all of them at once.
HARD = [
    "_a",
    "**a",
    "`a",
    "a*b_",
    "<",
    "<a ",
    "[",
    "![",
    "[a](",
    "[a]: ",
    "> ",
    "- ",
    "1. a\n",
    "|a|b|\n|-|-|\n",
    "```\n",
    "```js\nx",
    "\\",
    "&",
]
HARD_CHARS = 40_000
HARD_TASK_MS = 200  # all of it at once takes seconds
SHOW_HARD = """async ({ units, chars }) => {
  const { MarkdownView } = await import("/static/chat/markdown.js");
  const shown = {};
  for (const unit of units) {
    const element = document.createElement("div");
    document.getElementById("messages").append(element);
    const view = new MarkdownView(element);
    const text = unit.repeat(chars / unit.length);
    view.show(text.slice(0, chars / 2), false);
    for (let isShown = false; !isShown; isShown = view.show(text, true)) await new Promise(requestAnimationFrame);
    shown[unit] = element.textContent.length;
    element.remove();
  }
  return shown;
}"""


@in_one_mode
def test_texts_that_are_hard_to_read_do_not_stop_the_page(server: Hazoom, open_window: OpenWindow) -> None:
    ann = enter(open_window, server.url, "Ann", None)
    with busy_tasks(ann) as tasks_ms:
        shown = ann.evaluate(SHOW_HARD, {"units": HARD, "chars": HARD_CHARS})
    assert shown["_a"] >= HARD_CHARS
    expect_no_long_task(tasks_ms, HARD_TASK_MS)


def imported_by(module: Path) -> set[str]:
    """Return a module and all that it imports, as paths below the folder of static files."""
    found, left = set[Path](), [module]
    while left:
        path = left.pop().resolve()
        if path not in found:
            found.add(path)
            left += [
                path.parent / name
                for name in re.findall(r'^import [^;]*"(\.[^"]+)";', path.read_text("utf-8"), re.MULTILINE)
            ]
    return {path.relative_to(STATIC.resolve()).as_posix() for path in found}


def test_the_page_and_its_libraries_are_small(server: Hazoom) -> None:
    page = requests.get(server.url, timeout=20).text
    paths = set(re.findall(r'(?:src|href)="/static/([^"?]+)', page))
    assert imported_by(STATIC / "chat" / "main.js") <= paths, "each is asked for at once, and not when another one is there"
    sizes = {path: len(gzip.compress((STATIC / path).read_bytes(), 9)) for path in paths}
    total = sum(sizes.values()) + len(gzip.compress(page.encode(), 9))
    assert "vendor/highlight.min.js" not in sizes
    assert total < PAGE_LIMIT_BYTES, sizes
    print(f"{total} bytes compressed")
