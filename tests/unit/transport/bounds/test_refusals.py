"""What strangers are refused makes a bounded number of log lines."""

import logging

import pytest

from hazoom_ws.transport.bounds.refusals import Refusals

LOGGER = "hazoom_ws.transport.bounds.refusals"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock, caplog: pytest.LogCaptureFixture) -> Refusals:
    caplog.set_level(logging.DEBUG, LOGGER)
    return Refusals(clock=clock)


def test_the_first_of_a_reason_is_logged_at_once_with_its_detail_and_the_others_are_counted(refusals, clock, caplog):
    for number in range(1000):
        refusals.note("a packet is none", f"number {number}")
    refusals.note("a head is too long")
    assert caplog.messages == ["a packet is none: number 0", "a head is too long"]
    clock.now_s += 59.9
    refusals.sweep(clock.now_s)
    assert len(caplog.messages) == 2
    clock.now_s += 0.1
    refusals.sweep(clock.now_s)
    assert caplog.messages[2:] == ["a packet is none: 999 more in the last minute"]


def test_a_reason_has_one_line_a_minute_as_long_as_it_goes_on(refusals, clock, caplog):
    for second in range(10 * 60):
        clock.now_s = 1000.0 + second
        refusals.sweep(clock.now_s)
        refusals.note("x")
    assert len(caplog.messages) == 10


def test_a_reason_that_ceased_for_a_minute_is_logged_at_once_when_it_comes_again(refusals, clock, caplog):
    refusals.note("x", "1")
    clock.now_s += 60
    refusals.sweep(clock.now_s)
    refusals.note("x", "2")
    assert caplog.messages == ["x: 1", "x: 2"]


def test_the_sum_has_the_highest_level_of_what_it_sums_up(refusals, clock, caplog):
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.INFO):
        refusals.note("x", level=level)
    refusals.sweep(clock.now_s + 60)
    assert [record.levelno for record in caplog.records] == [logging.DEBUG, logging.WARNING]


def test_a_detail_stays_in_its_line_and_is_cut(refusals, caplog):
    refusals.note("x", "a\r\nforged: line\x1b[2J\u2028ü" + "z" * 1_000_000)
    assert len(caplog.messages[0]) < 300
    assert caplog.messages[0].startswith("x: a\\r\\nforged: line\\x1b[2J\\u2028üzzz")


def test_reasons_without_end_share_a_line(refusals, clock, caplog):
    for number in range(10_000):
        refusals.note(f"reason {number}")
    assert len(caplog.messages) == 101
    assert caplog.messages[-1] == "something else was refused"
    clock.now_s += 60
    refusals.sweep(clock.now_s)
    assert caplog.messages[101:] == ["something else was refused: 9899 more in the last minute"]
