import unicodedata

import pytest

from hazoom_ws.names import composed, escaped, has_controls, is_blank

SHOWS_NOTHING = [
    "",
    " ",
    "\t\n",
    "\x00",
    "\x7f",
    "\u200b",
    "\u3164",
    "\u2800",
    "\u202e\u2066",
    "\u00ad",
    "\u034f",
    "\ufeff",
    "\ufe0f",
    "\U000e0041",
]


@pytest.mark.parametrize("text", SHOWS_NOTHING)
def test_what_shows_nothing_is_blank(text: str) -> None:
    assert is_blank(text)
    assert is_blank("".join(SHOWS_NOTHING) + text)
    assert not is_blank(f"{text}x{text}")


@pytest.mark.parametrize("text", ["a", "0", "-", "\u00e9", "\u0915", "\u4f60", "\U0001f600", "\u0301", "\u0600", "\ue000"])
def test_what_shows_something_is_not_blank(text: str) -> None:
    assert not is_blank(text)


def test_all_white_space_and_control_characters_are_blank_and_no_letter_is() -> None:
    for number in range(0x11_0000):
        char = chr(number)
        category = unicodedata.category(char)
        if category in ("Zs", "Zl", "Zp", "Cc"):
            assert is_blank(char), hex(number)
        elif category[0] in "LNPS" and char not in "\u115f\u1160\u3164\uffa0\u2800":
            assert not is_blank(char), hex(number)


def test_controls_and_what_turns_the_direction_are_found() -> None:
    for name in ("a\nb", "\x1b[31m", "a\u202eb", "\u2066", "\u200f", "\u061c"):
        assert has_controls(name)
    for name in ("Ann", "Zo\u00eb", "\u0645\u0631\u06cc\u0645", "\U0001f469\u200d\U0001f4bb", "a b"):
        assert not has_controls(name)


def test_composed_names_are_equal_texts() -> None:
    assert composed("cafe\u0301") == "caf\u00e9"
    assert composed("Ann") == "Ann"


def test_what_drives_a_terminal_is_an_escape_and_all_else_stays() -> None:
    assert escaped("\x1b[31m\x9b\u202e\n") == r"\x1b[31m\x9b\u202e\n"
    for text in ("Zo\u00eb", "\U0001f469\u200d\U0001f4bb", "a b", r"\x1b"):
        assert escaped(text) == text
