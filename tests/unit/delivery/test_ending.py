"""In which order an application ends, and how much time each step may take."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from hazoom_ws.chat.effects import Close
from hazoom_ws.delivery.ending import Ending, retry_after_ms
from hazoom_ws.events.connecting import Bye

GRACE_S = 8.0


class World:
    """An application that does as it is told; its clock moves when somebody sleeps."""

    def __init__(
        self,
        *,
        sessions: int = 3,
        answers_end_at_s: float = 0.0,
        upgrades_end_at_s: float = 0.0,
        words_end_at_s: float = 0.0,
    ) -> None:
        self.now_s = 0.0
        self.happened: list[str] = []
        self.sessions = [f"s{number}" for number in range(sessions)]
        self.byes: dict[str, Bye] = {}
        self.ended_at_s: dict[str, float] = {}
        self.is_log_stuck = False
        self._answers_end_at_s = answers_end_at_s
        self._upgrades_end_at_s = upgrades_end_at_s
        self._words_end_at_s = words_end_at_s
        self.ending = Ending(
            self,  # type: ignore[arg-type]
            refuse_new=(lambda: self.happened.append("refuse"),),
            sessions=lambda: list(self.sessions),
            hear_no_more=lambda session_id: self.happened.append(f"deaf {session_id}"),
            answers_count=lambda: int(self.now_s < self._answers_end_at_s),
            is_upgrading=lambda: self.now_s < self._upgrades_end_at_s,
            end_elsewhere=lambda: self.happened.append("end elsewhere"),
            is_all_heard=lambda: self.now_s >= self._words_end_at_s,
            grace_s=GRACE_S,
            clock=lambda: self.now_s,
            sleep=self._sleep,
        )

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds

    # What `Ending` asks of a `Delivery`

    def turn(self) -> Any:
        return nullcontext()

    def add(self, effect: Close) -> None:
        if not self.is_log_stuck:
            session_id = effect.connection_id
            self.happened.append(f"bye {session_id}")
            self.byes[session_id] = effect.bye
            self.ended_at_s[session_id] = self.now_s
            self.sessions.remove(session_id)

    def settle(self) -> None:
        self.happened.append("settle")


def test_nothing_new_then_everybody_in_order_then_the_log():
    world = World()
    world.ending.run()
    assert world.ending.is_begun
    assert world.happened == [
        "refuse",
        "deaf s0",
        "bye s0",
        "deaf s1",
        "bye s1",
        "deaf s2",
        "bye s2",
        "end elsewhere",
        "settle",
    ]
    assert {(bye.reason, bye.reconnect) for bye in world.byes.values()} == {("shutting_down", True)}
    assert world.now_s < 0.1, "there is nothing to wait for"


def test_answers_have_the_grace_but_what_it_takes_to_say_goodbye():
    world = World(answers_end_at_s=3.0)
    world.ending.run()
    assert world.ended_at_s["s0"] == pytest.approx(3.0, abs=0.1)
    world = World(answers_end_at_s=100.0)
    world.ending.run()
    assert 5.0 < world.ended_at_s["s0"] < 6.0
    assert world.now_s < GRACE_S


@pytest.mark.parametrize(("upgrades_end_at_s", "ended_at_s"), [(0.2, 0.2), (100.0, 0.5)])
def test_who_changes_the_transport_has_half_a_second_for_that(upgrades_end_at_s: float, ended_at_s: float):
    world = World(upgrades_end_at_s=upgrades_end_at_s)
    world.ending.run()
    assert world.ended_at_s["s0"] == pytest.approx(ended_at_s, abs=0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda: World(answers_end_at_s=100.0, upgrades_end_at_s=100.0, words_end_at_s=100.0),
        lambda: World(answers_end_at_s=100.0, words_end_at_s=100.0, sessions=5000),
    ],
)
def test_all_of_it_takes_the_grace_at_most_whatever_hangs(make: Callable[[], World]):
    for is_log_stuck in (False, True):
        world = make()
        world.is_log_stuck = is_log_stuck
        world.ending.run()
        assert "settle" in world.happened
        assert world.now_s < GRACE_S - 0.3, "the process has to end too"


def test_an_application_that_is_closed_says_goodbye_and_waits_for_nothing():
    world = World(answers_end_at_s=100.0)
    world.ending.let_go_now()
    assert list(world.byes) == ["s0", "s1", "s2"]
    assert world.now_s < 0.1


@pytest.mark.parametrize(("count", "spread_ms"), [(1, 2), (1000, 2000), (5000, 10_000), (20_000, 10_000)])
def test_each_client_has_a_moment_of_its_own_to_come_back(count: int, spread_ms: int):
    times_ms = [retry_after_ms(place, count) for place in range(count)]
    assert times_ms == sorted(times_ms)
    assert 1000 <= times_ms[0] <= times_ms[-1] < 1000 + spread_ms
    for place, time_ms in enumerate(times_ms):
        assert 0 <= time_ms - 1000 - int(place * spread_ms / count) <= max(1, spread_ms / count)
