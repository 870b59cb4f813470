"""Answers of the AI on the chat page: how they grow, end, fail, wait, stay private, and come back after a drop."""

from pathlib import Path

from playwright.sync_api import Page, expect

from chat_windows import (
    CONNECTION_FAILURE,
    OpenWindow,
    StartServer,
    answer_texts,
    answers,
    ask,
    button,
    enter,
    expect_messages,
    expect_no_problem,
    expect_state,
    field,
    in_one_mode,
    rows,
    say,
)
from servers import Hazoom, django_runserver, free_port, unique, wait_until
from tcp_proxy import tcp_proxy

WHOLE = "Grüße aus dem Café:🦆 👩‍🚀日本語 <b>fett</b>."  # a line break is an element, no white space
MARKDOWN = """# Title

Some **bold**, `code` and a [link](https://example.com/).

- one
- two
  - three

1. first

| a | b |
|---|--:|
| 1 | 2 |

```python
def f(x):
    return "<b>"
```

> quoted

- [x] done

![a picture](https://example.com/a.png)"""
# Notes what the first answer said after each change of the page.
RECORD_ANSWER = """() => {
  window.seen = [];
  const list = document.getElementById("messages");
  new MutationObserver(() => {
    const answer = list.querySelector(".answer .text");
    if (answer) window.seen.push(answer.textContent.trim());
  }).observe(list, { childList: true, characterData: true, subtree: true });
}"""
# Notes what a screen reader is told, and which parts of the page speak for themselves.
RECORD_SPEECH = """() => {
  window.spoken = [];
  const news = document.getElementById("news");
  new MutationObserver(() => spoken.push(news.textContent)).observe(news, { childList: true });
}"""


def test_an_answer_of_the_ai_grows_in_every_window_and_is_the_same_later(server: Hazoom, open_window: OpenWindow) -> None:
    room = unique("team")
    ann, bob = (enter(open_window, server.url, name, room) for name in ("Ann", "Bob"))
    for window in (ann, bob):
        window.evaluate(RECORD_ANSWER)
        window.evaluate(RECORD_SPEECH)
    question = "Why is the <b>sky blue</b>?"
    ask(ann, question, level="quantum")
    for window in (ann, bob):
        expect(answer_texts(window)).to_contain_text("without --demo.")
        expect(answers(window).locator(".level")).to_have_text("Quantum")
        expect(answers(window).locator(".figures")).to_contain_text("first token after")
    answer = ann.evaluate("window.seen.at(-1)")
    assert question in answer
    for window in (ann, bob):
        seen = window.evaluate("window.seen")
        assert len(set(seen)) > 5, "it came token by token"
        assert [text for text in seen if not answer.startswith(text)] == []
        assert sorted(seen, key=len) == seen
        # A screen reader hears that it begins and ends, and not each token.
        assert window.evaluate("spoken.filter((text) => text.includes('AI'))") == [
            "The AI is answering",
            "The AI has answered",
        ]
        expect(window.locator("#scroller :is([aria-live=polite], [role=log])")).to_have_count(0)
    carol = enter(open_window, server.url, "Carol", room)
    for window in (ann, bob, carol):
        expect_messages(window, ("Ann", question), ("Assistant", answer))
        expect(window.locator("b")).to_have_count(0)


def test_who_asked_can_stop_the_answer_and_ask_again(start_server: StartServer, open_window: OpenWindow) -> None:
    with django_runserver() as backend:
        server = start_server(llm_url=backend.url)
        ann, bob = (enter(open_window, server.url, name, "team") for name in ("Ann", "Bob"))
        question = f"do:endless {unique('stream')}"
        ask(ann, question)
        for window in (ann, bob):
            expect(answer_texts(window)).not_to_be_empty()
        expect(button(bob, "Stop")).to_be_hidden()
        button(ann, "Stop").click()
        expect(button(ann, "Stop")).to_be_hidden()
        wait_until(lambda: question not in backend.open_streams(), "Django's stream is closed")
        for window in (ann, bob):
            expect(rows(window)).to_have_count(2)
            expect(answers(window).locator(".state")).to_have_text("stopped")
            expect_no_problem(window)
        assert answer_texts(ann).inner_text() == answer_texts(bob).inner_text()
        button(bob, "Ask again").click()
        for window in (ann, bob):
            expect(rows(window)).to_have_count(4)
            expect(rows(window).locator(".sender")).to_have_text(["Ann", "Assistant", "Bob", "Assistant"])
        expect(button(ann, "Stop")).to_be_hidden()
        # Who asked can still stop it after a reload.
        bob.reload()
        button(bob, "Stop").click()
        expect(answers(ann).locator(".state")).to_have_text(["stopped", "stopped"])


@in_one_mode
def test_a_room_tells_answers_that_are_pending_stopped_failed_and_whole_apart(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    with django_runserver() as backend:
        server = start_server(async_mode=async_mode, llm_url=backend.url)
        ann, bob = (enter(open_window, server.url, name, "team") for name in ("Ann", "Bob"))

        def expect_answers(*texts: str, windows: tuple[Page, ...] = (ann, bob)) -> None:
            for window in windows:
                expect(answers(window)).to_have_count(len(texts))
                for index, text in enumerate(texts):
                    expect(answers(window).nth(index)).to_contain_text(text)

        stopped, gate = unique("gate"), unique("gate")
        ask(ann, f"do:gated {stopped}")
        # There is a sign of it before the first token, also for who comes in.
        expect_answers("Thinking …")
        late = enter(open_window, server.url, "Late", "team")
        expect_answers("Thinking …", windows=(late,))
        button(ann, "Stop").click()
        expect_answers("stopped, no answer", windows=(ann, bob, late))
        ask(ann, f"do:gated {gate}")
        backend.release(gate)
        expect_answers("stopped, no answer", "Grüße", windows=(ann, bob, late))
        button(ann, "Stop").click()
        for window in (ann, bob, late):
            expect(answers(window).nth(1).locator(".state")).to_have_text("stopped")
        ask(ann, "do:no end")
        ask(ann, "do:status 500")
        # A failure is told at the answer, to everybody the same, and alarms nobody.
        for window in (ann, bob, late):
            expect(answers(window).nth(2).locator(".state")).to_contain_text("failed")
            expect(answers(window).nth(3).locator(".state")).to_contain_text("failed, no answer: ")
            expect(answers(window).nth(3).locator(".state")).to_contain_text("HTTP 500")
            expect_no_problem(window)
        ask(ann, "plain")
        expect(answer_texts(ann).nth(4)).to_have_text(WHOLE)
        reloaded = enter(open_window, server.url, "Reloaded", "team")
        expect(answers(reloaded).locator(".state")).to_contain_text(
            ["stopped, no answer", "stopped", "failed", "failed, no answer"]
        )
        for window in (ann, bob, late):
            expect(answer_texts(window).nth(4)).to_have_text(WHOLE)
            assert answer_texts(reloaded).all_inner_texts() == answer_texts(window).all_inner_texts()


def test_what_was_seen_of_an_answer_that_died_with_the_server_stays_and_is_said_to_have_failed(
    async_mode: str, start_server: StartServer, open_window: OpenWindow, tmp_path: Path
) -> None:
    env, gate = {"HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3"}, unique("gate")
    with django_runserver() as backend:
        first = start_server(async_mode=async_mode, llm_url=backend.url, env=env)
        ann = enter(open_window, first.url, "Ann", "team", may_log=CONNECTION_FAILURE)
        ask(ann, f"do:gated {gate}")
        backend.release(gate)
        expect(answer_texts(ann)).to_have_text("Grüße")
        first.child.kill()
        expect(button(ann, "Stop")).to_be_hidden()
        server = start_server(async_mode=async_mode, llm_url=backend.url, env=env, port=first.port)
        expect(answers(ann).locator(".state")).to_contain_text("failed")
        expect(answer_texts(ann)).to_have_text("Grüße")
        late = enter(open_window, server.url, "Late", "team")
        expect(answers(late).locator(".state")).to_have_text("failed, no answer")
        expect(button(ann, "Stop")).to_be_hidden()
        for _ in range(20):
            backend.release(gate)


def test_an_answer_is_whole_for_who_comes_in_the_middle_and_who_was_cut_off(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    room, gate, private = unique("team"), unique("gate"), unique("gate")
    with django_runserver() as backend:
        server = start_server(async_mode=async_mode, llm_url=backend.url)
        with tcp_proxy(server.port) as proxy:
            ann = enter(open_window, proxy.url, "Ann", room, may_log=CONNECTION_FAILURE)
            ask(ann, f"do:gated {gate}")
            for _ in range(3):
                backend.release(gate)
            expect(answer_texts(ann)).to_have_text("Grüße aus dem")
            ask(ann, f"do:gated {private}", scope="private")
            backend.release(private)
            expect(answer_texts(ann)).to_have_text(["Grüße aus dem", "Grüße"])
            bob = enter(open_window, server.url, "Bob", room)
            expect(answer_texts(bob)).to_have_text("Grüße aus dem")
            proxy.go_down()
            expect_state(ann, "Offline")
            expect(button(ann, "Stop")).to_have_count(0)
            for one in (gate, private):
                backend.release(one)
            expect(answer_texts(bob)).to_have_text("Grüße aus dem Café")
            proxy.come_up()
            expect(answer_texts(ann)).to_have_text(["Grüße aus dem Café", "Grüße aus"])
            expect(button(ann, "Stop")).to_have_count(2)
            for _ in range(20):
                backend.release(gate)
            for window in (ann, bob):
                expect(answer_texts(window).first).to_have_text(WHOLE)
            expect(answers(bob)).to_have_count(1)
            expect(button(ann, "Stop")).to_have_count(1)
            assert answer_texts(ann).first.text_content() == answer_texts(bob).text_content()
            for _ in range(20):
                backend.release(private)
            expect(answer_texts(ann)).to_have_text([WHOLE, WHOLE])
            expect(button(ann, "Stop")).to_have_count(0)


@in_one_mode
def test_a_private_answer_is_its_askers_alone_marked_so_and_there_after_a_reload(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    gate = unique("gate")
    with django_runserver() as backend:
        server = start_server(async_mode=async_mode, llm_url=backend.url)
        ann, bob = (enter(open_window, server.url, name, "team") for name in ("Ann", "Bob"))
        ask(ann, "plain", scope="private")
        expect(answer_texts(ann)).to_have_text(WHOLE)
        expect(answers(ann).locator(".private")).to_be_visible()
        expect(ann.locator("#messages .prompt .tag")).to_contain_text("you alone")
        ask(ann, f"do:gated {gate}")
        backend.release(gate)
        expect(answer_texts(ann)).to_have_text([WHOLE, "Grüße"])
        say(ann, "for all")
        expect_messages(bob, ("Ann", "for all"))
        ann.reload()
        expect(answer_texts(ann)).to_have_text([WHOLE, "Grüße"])
        for _ in range(20):
            backend.release(gate)
        expect(answer_texts(ann)).to_have_text([WHOLE, WHOLE])
        expect_messages(bob, ("Ann", "for all"))
        expect(answers(ann).locator(".private:visible")).to_have_count(2)


@in_one_mode
def test_a_place_in_the_queue_is_shown_until_the_answer_begins(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    first, second = unique("gate"), unique("gate")
    with django_runserver() as backend:
        server = start_server(async_mode=async_mode, llm_url=backend.url, env={"HAZOOM_LLM_STREAMS_PER_USER_LIMIT": "1"})
        ann = enter(open_window, server.url, "Ann", "team")
        ask(ann, f"do:gated {first}")
        expect(answers(ann)).to_have_count(1)
        ask(ann, f"do:gated {second}")
        expect(answers(ann).nth(1).locator(".waiting")).to_have_text("The AI is busy: number 1 in the queue")
        # It was overwritten within a millisecond, by whatever came next.
        say(ann, "what comes next")
        expect(rows(ann)).to_have_count(5)
        expect(answers(ann).nth(1).locator(".waiting")).to_have_text("The AI is busy: number 1 in the queue")
        for _ in range(20):
            backend.release(first)
        expect(answers(ann).nth(1).locator(".waiting")).to_have_text("Thinking …")
        backend.release(second)
        expect(answers(ann).nth(1).locator(".waiting")).to_be_hidden()
        expect(answer_texts(ann)).to_have_text([WHOLE, "Grüße"])
        for _ in range(20):
            backend.release(second)


def test_an_ai_that_cannot_be_reached_is_said(start_server: StartServer, open_window: OpenWindow) -> None:
    window = enter(open_window, start_server(llm_url=f"http://127.0.0.1:{free_port()}").url, None, None)
    ask(window, "Why is the sky blue?")
    expect(answers(window).locator(".state")).to_contain_text("cannot be reached")
    expect(rows(window)).to_have_count(2)
    expect(button(window, "Ask again")).to_be_visible()


@in_one_mode
def test_markdown_is_shown_as_it_streams_and_ends_the_same_as_when_it_is_read_at_once(
    async_mode: str, start_server: StartServer, open_window: OpenWindow
) -> None:
    with django_runserver() as backend:
        server = start_server(async_mode=async_mode, llm_url=backend.url)
        ann = enter(open_window, server.url, "Ann", "team", permissions=["clipboard-read", "clipboard-write"])
        ask(ann, f"do:echo {MARKDOWN}")
        text = answer_texts(ann)
        expect(text.locator("td")).to_have_text(["1", "2"])
        expect(answers(ann).locator(".copy")).to_be_visible()
        expect(text.locator(".hljs-keyword").first).to_have_text("def")
        late = enter(open_window, server.url, "Late", "team")
        expect(answer_texts(late).locator(".hljs-keyword").first).to_have_text("def")
        assert text.inner_html() == answer_texts(late).inner_html()
        for selector, content in {
            "h3": "Title",
            "strong": "bold",
            "p > code": "code",
            "ul ul li": "three",
            "ol li": "first",
            "td[align=right]": "2",
            "figure code": 'def f(x):\n    return "<b>"',
            "blockquote": "quoted",
        }.items():
            expect(text.locator(selector)).to_have_text([content])
        expect(text.locator("a")).to_have_attribute("rel", "noopener noreferrer nofollow")
        expect(text).to_contain_text("☑ done")
        expect(text).to_contain_text("a picture")
        expect(text.locator("img, input, .tail")).to_have_count(0)
        button(ann, "Copy code").click()
        expect(button(ann, "Copy code")).to_have_text("Copied")
        assert ann.evaluate("navigator.clipboard.readText()") == 'def f(x):\n    return "<b>"'
        answers(ann).locator(".copy").click()
        wait_until(lambda: ann.evaluate("navigator.clipboard.readText()") == MARKDOWN, "the Markdown is copied")


@in_one_mode
def test_pasted_code_keeps_its_lines_and_keys_ask_and_break_lines(server: Hazoom, open_window: OpenWindow) -> None:
    ann = enter(open_window, server.url, "Ann", unique("team"))
    message = field(ann, "Message")
    message.press_sequentially("if x:")
    message.press("Shift+Enter")
    message.press_sequentially("    y")
    assert message.input_value() == "if x:\n    y"
    message.press("Enter")
    expect(ann.locator("#messages .text")).to_have_text("if x:\n    y")
    assert ann.locator("#messages .text").inner_text() == "if x:\n    y"
    message.fill("why?")
    message.press("Control+Enter")
    expect(answer_texts(ann)).to_contain_text("demo")
    # A word that is put together (in Japanese, say) is not sent by the key that completes it.
    message.fill("日本")
    message.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    expect(message).to_have_value("日本")
