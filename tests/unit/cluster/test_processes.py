"""Which process is dead: one without a lease, for who was well while it looked."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hazoom_ws.cluster.processes import CALM_S, MISSING_S, Processes
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.peers import Heard

GRACE_S = 10.0


class Others:
    """What Redis says of the others, and the time."""

    name = "me"

    def __init__(self) -> None:
        self.on_back: list[Callable[[], object]] = []
        self.living = {"me", "other"}
        self.holding = {"me", "other"}
        self.is_away = False
        self.fails: list[bool] = []  # the next tasks, for which no thread can be started
        self.now_s = 100.0
        self.told: list[str] = []
        self.problem: str | None = None
        self.processes = Processes(
            self,  # type: ignore[arg-type]
            self.run,
            problem=lambda: self.problem,
            grace_s=GRACE_S,
            clock=lambda: self.now_s,
        )
        self.processes.on_ended.append(lambda name: self.told.append(f"{name} ended"))
        self.processes.on_gone.append(lambda name: self.told.append(f"{name} gone"))
        self.looks = 0
        self.late: list[Callable[[], None]] | None = None  # what is to be called after scripts, if turns are late
        self.processes.on_looked.append(self.note_look)

    def run(self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        if self.fails and self.fails.pop(0):
            raise RuntimeError("can't start new thread")
        try:
            result = function()
        except LogUnavailable as error:
            done(None, error)
        else:
            if self.late is not None and isinstance(result, bool):
                self.late.append(partial(done, result, None))
            else:
                done(result, None)

    def note_look(self) -> None:
        self.looks += 1

    def alive(self) -> set[str]:
        return set(self.living)

    def ask(self, command: tuple[Any, ...]) -> list[Any]:
        assert command[0] == "SMEMBERS"
        if self.is_away:
            raise LogUnavailable("Redis cannot be reached")
        return [{name.encode() for name in self.holding}]

    def script(self, _text: str) -> Callable[[list[Any]], Any]:
        return lambda arguments: self.forget(*arguments)

    def forget(self, name: str, has_ended: str) -> int:
        if self.is_away:
            raise LogUnavailable("Redis cannot be reached")
        if has_ended == "0" and name in self.living:
            return 0
        self.living.discard(name)
        self.holding.discard(name)
        return 1

    def pass_time(self, seconds: float, step_s: float = 1.0) -> None:
        ends_at_s = self.now_s + seconds
        while self.now_s < ends_at_s:
            self.now_s += step_s
            self.processes.sweep(self.now_s)


def test_a_process_without_a_lease_is_dead_for_who_has_looked_all_the_time() -> None:
    others = Others()
    others.pass_time(CALM_S + 1)
    others.living.discard("other")
    others.pass_time(1)
    assert not others.told
    others.pass_time(MISSING_S)
    assert others.told == ["other ended", "other gone"]
    assert others.holding == {"me"}
    others.pass_time(60)
    assert len(others.told) == 2


def test_nobody_is_judged_soon_after_a_start_an_outage_or_a_pause_of_this_process() -> None:
    others = Others()
    others.living.discard("other")
    others.pass_time(CALM_S - 1)
    assert not others.told, "it has just started"
    others.living.add("other")
    others.pass_time(5)
    others.living.discard("other")
    others.pass_time(1)
    others.is_away = True
    looks = others.looks
    others.pass_time(30)
    assert others.looks == looks, "nothing was seen"
    others.is_away = False
    others.pass_time(CALM_S - 1)
    assert not others.told, "Redis was away"
    others.living.add("other")
    others.pass_time(5)
    others.now_s += 60
    others.living.discard("other")
    others.pass_time(CALM_S - 1)
    assert not others.told, "it was held up"
    for call in others.on_back:
        call()
    others.pass_time(CALM_S - 1)
    assert not others.told, "what it hears was cut off"
    others.pass_time(2)
    assert others.told == ["other ended", "other gone"]


def test_who_can_keep_nothing_judges_nobody() -> None:
    """A Redis that is full can be read, and nobody's lease can be renewed: all processes took each other for dead."""
    others = Others()
    others.pass_time(CALM_S + 1)
    others.problem = "Redis is full"
    others.living.clear()
    looks = others.looks
    others.pass_time(60)
    assert others.looks > looks, "what can be read is"
    others.problem = None
    others.pass_time(CALM_S - 1)
    assert not others.told, "there is space again, and the others take their leases again"
    others.pass_time(2)
    assert others.told == ["other ended", "other gone"], "it has died meanwhile"


def test_a_process_that_comes_back_while_it_is_forgotten_is_not_dead() -> None:
    others = Others()
    others.pass_time(CALM_S + 1)
    others.living.discard("other")
    forget = others.forget

    def forget_later(name: str, has_ended: str) -> int:
        others.living.add("other")  # it has taken its lease again
        return forget(name, has_ended)

    others.forget = forget_later  # type: ignore[method-assign]
    others.pass_time(10)
    assert not others.told
    assert others.holding == {"me", "other"}


@pytest.mark.parametrize("who_was_away", ["other", "me"])
def test_a_judgement_is_void_if_its_process_has_come_back_before_it_is_told(who_was_away: str) -> None:
    """What that one had just told anew, its users and their counts, was removed, and it did not tell it again."""
    others = Others()
    others.pass_time(CALM_S + 1)
    others.living.discard("other")
    others.late = []
    others.pass_time(3)
    [told_late] = others.late
    if who_was_away == "other":
        others.processes.heard_back("other")
    else:
        for call in others.on_back:  # and the other one answers
            call()
    told_late()
    assert not others.told
    assert "other" in others.processes.known
    others.late = None
    others.pass_time(CALM_S + 3)
    assert others.told == ["other ended", "other gone"], "it has no lease all the same"


def test_users_of_a_process_that_ends_calmly_are_waited_for() -> None:
    others = Others()
    others.pass_time(CALM_S + 1)
    others.processes.heard_end(Heard("processes", "other", b"e", b""))
    assert others.told == ["other ended"]
    others.pass_time(GRACE_S - 1)  # its lease may run out meanwhile, or not yet
    others.living.discard("other")
    assert others.told == ["other ended"]
    others.pass_time(2)
    assert others.told == ["other ended", "other gone"]
    others.pass_time(60)
    assert len(others.told) == 2


def test_a_moment_in_which_no_thread_can_be_started_does_not_end_the_looking() -> None:
    others = Others()
    others.pass_time(CALM_S + 1)
    others.living.discard("other")
    others.pass_time(MISSING_S)
    for fails in ([True], [False, True]):  # the look; then what forgets who is found to be dead
        others.fails = fails
        with pytest.raises(RuntimeError):
            others.pass_time(1)
    assert not others.told
    others.pass_time(2)
    assert others.told == ["other ended", "other gone"]


def test_a_process_looks_who_lives_as_soon_as_it_is_served() -> None:
    others = Others()
    others.processes.sweep(others.now_s)
    assert others.looks == 1
    others.processes.sweep(others.now_s + 0.9)
    assert others.looks == 1
