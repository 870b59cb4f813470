"""What an offset says that a client has kept: a number, and which process has given it."""

import pytest

from hazoom_ws.events.connecting import numbered_by, offset_in


@pytest.mark.parametrize(
    ("offset", "number", "process"),
    [
        ("17", 17, ""),
        ("1764259200000000.0123456789abcdef", 1764259200000000, "0123456789abcdef"),
        ("0", 0, ""),
        ("17.", None, ""),
        (".ab", None, ""),
        ("1.a.b", None, ""),
        ("-1.ab", None, ""),
        ("1.a b", None, ""),
        ("٣", None, ""),
        ("9" * 17, None, ""),
        ("1." + "a" * 33, None, ""),
        ("1.ab\n", None, ""),
        (17, None, ""),
        (None, None, ""),
        ({}, None, ""),
    ],
)
def test_an_offset_is_a_number_and_may_name_its_process(offset: object, number: int | None, process: str) -> None:
    assert (offset_in(offset), numbered_by(offset)) == (number, process)
