"""How a message looks in a terminal, whatever is in it."""

import pytest

from hazoom_ws.commands.tail import lines_of
from hazoom_ws.commands.terminal import shown

MESSAGE = {"user": "Ann", "message": "hello", "timestamp": 0.0, "room": "team", "id": "1", "seq": 1}


def line_of(**fields: object) -> str:
    return lines_of(MESSAGE | fields).split(" ", 2)[2]  # behind the date and the time, which are the reader's


def test_a_line_has_the_time_the_name_and_the_text() -> None:
    assert line_of() == "Ann: hello"
    assert line_of(kind="prompt", message="Why?") == "Ann asks the AI: Why?"
    assert line_of(kind="assistant", user="Assistant", finish_reason="stop") == "Assistant (AI): hello"
    assert line_of(kind="assistant", finish_reason="cancelled") == "Ann (AI): hello [cancelled]"
    assert line_of(kind="assistant", finish_reason="failed", code="llm_timeout") == "Ann (AI): hello [llm_timeout]"


def test_a_message_of_two_lines_does_not_look_like_two() -> None:
    assert line_of(message="one\n2026-11-27 12:00:00 Bob: two") == "Ann: one\n    2026-11-27 12:00:00 Bob: two"


@pytest.mark.parametrize(
    ("text", "as_shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb\x08", r"a\rb\x08"),
        ("\u202eabc", r"\u202eabc"),
        ("a\u2028b", r"a\u2028b"),
        ("a\tb\nc", "a\tb\nc"),
        ("Zoë 👩\u200d💻 مریم", "Zoë 👩\u200d💻 مریم"),
    ],
)
def test_nothing_that_drives_a_terminal_gets_there(text: str, as_shown: str) -> None:
    assert shown(text) == as_shown
    name = text.replace("\t", "").replace("\n", "")
    assert line_of(user=name) == f"{shown(name)}: hello"
