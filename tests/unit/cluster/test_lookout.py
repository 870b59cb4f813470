"""When a process is judged to be gone, and when nobody is."""

from collections.abc import Callable
from typing import Any

from hazoom_ws.cluster.lookout import Lookout


class World:
    """A lookout of the process "me", whose looks are answered at once; ``alive`` None: Redis is away."""

    def __init__(self) -> None:
        self.name = "me"
        self.on_back: list[Callable[[], object]] = []
        self.now_s = 100.0
        self.leases: set[str] | None = {"me", "a", "b"}
        self.gone: list[str] = []
        self.lookout = Lookout(
            self,  # type: ignore[arg-type]
            seen=lambda: {"me", "a", "b"},
            known=set,
            on_gone=lambda process, _: self.gone.append(process),
            on_looked=lambda: None,
            run_beside=self._run,
            clock=lambda: self.now_s,
        )

    def alive(self) -> set[str]:
        if self.leases is None:
            raise OSError
        return self.leases

    def _run(self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        try:
            result = function()
        except OSError as error:
            done(None, error)
        else:
            done(result, None)

    def pass_s(self, seconds: int) -> list[str]:
        """Let time pass, and return who is found to be gone meanwhile."""
        self.gone.clear()
        for _ in range(seconds):
            self.now_s += 1
            self.lookout.sweep(self.now_s)
        return sorted(set(self.gone))


def test_who_has_no_lease_is_gone_after_a_grace_and_others_are_not():
    world = World()
    assert world.pass_s(60) == []
    world.leases = {"me", "b"}
    assert world.pass_s(4) == []
    assert world.pass_s(4) == ["a"]


def test_a_lease_that_comes_back_in_time_starts_the_grace_anew():
    world = World()
    for _ in range(5):
        world.leases = {"me", "b"}
        assert world.pass_s(4) == []
        world.leases = {"me", "a", "b"}
        assert world.pass_s(2) == []


def test_after_redis_was_away_nobody_is_judged_before_the_grace_is_over_again():
    world = World()
    world.leases = None
    assert world.pass_s(60) == []
    world.leases = set()  # all have ended meanwhile
    assert world.pass_s(4) == []
    for call in world.on_back:
        call()
    assert world.pass_s(4) == []
    world.leases = {"a"}
    assert world.pass_s(8) == ["b"]
