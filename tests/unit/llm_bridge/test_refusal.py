"""What a backend says when it does not answer: safe for a log, and believed within bounds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.llm_bridge.refusal import error_in, reason_in, refusal, retry_after_s

NOW_S = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"error": "quota exceeded for key 7"}', "quota exceeded for key 7"),
        (b'{"error": {"message": "no such model", "code": 7}}', "no such model"),
        (b'{"error": 7}', '{"error": 7}'),
        (b'{"detail": "Not found."}', '{"detail": "Not found."}'),
        (b"<h1>Server Error\r\n(500)</h1>\x00\x1b[31m", "<h1>Server Error (500)</h1> [31m"),
        (b'{"error": "one\\ntwo\\u202ethree\\u0007"}', "one two three"),
        (b'{"error": "' + b"x" * 20_000, '{"error": "' + "x" * 489),
        (json.dumps({"error": "y" * 9000}).encode(), "y" * 500),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", ""),
    ],
)
def test_a_reason_is_one_short_line(content: bytes, reason: str) -> None:
    assert reason_in(content) == reason


@given(st.binary(max_size=3000))
def test_whatever_comes_is_a_line_that_harms_no_log(content: bytes) -> None:
    reason = reason_in(content)
    assert len(reason) <= 500
    assert reason.isprintable()


def test_what_may_be_an_answer_is_no_reason() -> None:
    assert error_in(b'{"answer": "private"}') == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30),
        (" 1.5 ", 1.5),
        ("0", 0),
        ("3600", 3600),
        ("3601", 3600),
        ("9" * 5000, 3600),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:12:20 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("-1", None),
        ("soon", None),
        ("nan", None),
        ("", None),
        (None, None),
    ],
)
def test_a_moment_to_come_back_is_taken_in_either_form_within_an_hour(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW_S) == seconds


def test_the_reason_is_for_the_log_only() -> None:
    fault = refusal(500, b'{"error": "quota exceeded for key 7"}', None)
    assert "quota" not in str(fault)
    assert "HTTP 500: quota exceeded for key 7" in repr(fault.__cause__)
