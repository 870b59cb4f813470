"""Which rooms may be entered: patterns in which only ``*`` means something."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.chat.rights import EVERYTHING, Rights


@pytest.mark.parametrize(
    ("pattern", "room", "is_allowed"),
    [
        ("team", "team", True),
        ("team", "teams", False),
        ("team", "Team", False),
        ("team-*", "team-", True),
        ("team-*", "team-a*b", True),
        ("team-*", "teams", False),
        ("*", "", True),
        ("*", "anything", True),
        ("*-*", "a-b", True),
        ("*-*", "ab", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*a", "abba", True),
        ("a*b*a", "aba", True),
        ("a*b*a", "aa", False),
        ("a*bc*bcd", "abcbcd", True),
        ("a*bc*bcd", "abcd", False),
        ("team?", "teams", False),
        ("[a-z]", "a", False),
        ("te.m", "team", False),
        ("team\\*", "team*", False),
        (unicodedata.normalize("NFD", "caf\u00e9*"), "caf\u00e9 noir", True),
    ],
)
def test_a_pattern_allows_rooms(pattern: str, room: str, is_allowed: bool) -> None:
    assert Rights([pattern]).may_enter(room) is is_allowed
    assert Rights(["other", pattern, "another-*"]).may_enter(room) is is_allowed


def test_no_patterns_allow_no_room_and_without_them_all_are() -> None:
    assert not Rights([]).may_enter("general")
    assert EVERYTHING.may_enter("general")
    assert (EVERYTHING.may_ask, Rights(may_ask=False).may_ask) == (True, False)


def test_what_may_be_seen_is_worked_out_once_for_the_same_rooms() -> None:
    rights, sizes = Rights(["team-*", "a*b*c", "one"]), {"team-1": 2, "abc": 1, "one": 3, "other": 4}
    visible = rights.visible(sizes)
    assert visible == {"team-1": 2, "abc": 1, "one": 3}
    assert rights.visible(sizes) is visible
    assert rights.visible({"other": 1}) == {}
    assert EVERYTHING.visible(sizes) is sizes


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=10))
def test_patterns_are_those_of_the_shell_without_its_other_signs(pattern: str, room: str) -> None:
    def matches(pattern: str, room: str) -> bool:
        if not pattern:
            return not room
        if pattern[0] == "*":
            return matches(pattern[1:], room) or (bool(room) and matches(pattern, room[1:]))
        return bool(room) and room[0] == pattern[0] and matches(pattern[1:], room[1:])

    assert Rights([pattern]).may_enter(room) is matches(pattern, room)
