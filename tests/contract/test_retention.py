"""What a file forgets, and what it does not forget for the reading of one clock or for a restart."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hazoom_ws.message_log.contract import MessageLog
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.settings import Settings

OpenLog = Callable[..., "contextmanager[MessageLog]"]
YEAR_S, DAY_S = 31_536_000.0, 86_400.0


class Clocks:
    """The time of day, which may jump, and the time that passes."""

    def __init__(self) -> None:
        self.wall_s = time.time()
        self.passed_s = 0.0

    def wall(self) -> float:
        return self.wall_s

    def passed(self) -> float:
        return self.passed_s

    def go_on(self, seconds: float) -> None:
        self.wall_s += seconds
        self.passed_s += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def opened(tmp_path: Path, clocks: Clocks) -> OpenLog:
    @contextmanager
    def make(**options: object) -> Iterator[MessageLog]:
        settings = Settings(log_url="sqlite:///log.sqlite3", **options)
        log = open_log(settings, tmp_path, wall_clock=clocks.wall, clock=clocks.passed)
        yield log
        log.close()

    return make


def say(log: MessageLog, clocks: Clocks, *said: str) -> None:
    for text in said:
        log.append(room="a", user="Ann", message=text, timestamp=clocks.wall())
    log.write(log.pop_batch())
    while log.is_untidy:
        log.tidy()


def count(log: MessageLog) -> int:
    """Return how many messages a room has in the file."""
    return log._writer._connection.execute("SELECT count(*) FROM messages WHERE message IS NOT NULL").fetchone()[0]


def test_a_clock_that_jumps_a_year_ahead_and_back_trims_nothing(opened, clocks):
    """All of the history of 90 days was gone."""
    with opened() as log:
        say(log, clocks, "1")
        for _ in range(30):
            clocks.go_on(60)
            say(log, clocks, "2")
        clocks.wall_s += YEAR_S
        for _ in range(5):
            say(log, clocks, "3")
            clocks.go_on(60)
        clocks.wall_s -= YEAR_S
        for _ in range(30):
            clocks.go_on(60)
            say(log, clocks, "4")
        assert count(log) == 66


def test_a_start_while_the_clock_is_a_year_ahead_trims_nothing(opened, clocks):
    with opened() as log:
        say(log, clocks, "1")
    clocks.wall_s += YEAR_S
    with opened() as log:
        say(log, clocks, "2")
        clocks.go_on(60)
        say(log, clocks, "3")
        assert count(log) == 3


def test_what_is_too_old_goes_when_the_clock_has_gone_on_as_time_did(opened, clocks):
    with opened() as log:
        say(log, clocks, "1")
    clocks.go_on(91 * DAY_S)
    with opened() as log:
        for _ in range(11):
            say(log, clocks, "2")
            assert count(log) > 1
            clocks.go_on(61)
        assert count(log) == 11


def test_a_room_keeps_to_its_bound_over_many_restarts(opened, clocks):
    """What it had grown by was forgotten with each: 1,280 were kept of 1,000."""
    for _ in range(40):
        with opened(history_room_limit_count=100) as log:
            say(log, clocks, *["x"] * 4)
            assert count(log) <= 104


def test_a_bound_that_was_lowered_holds_after_a_start(opened, clocks):
    with opened() as log:
        say(log, clocks, *["x"] * 50)
    with opened(history_room_limit_count=10) as log:
        say(log, clocks, "y")
        assert count(log) == 10
