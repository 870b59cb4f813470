"""Which of the other processes have died: nobody is judged by one look."""

from collections.abc import Callable
from typing import Any

import pytest

from hazoom_ws.cluster.watch import Watch
from hazoom_ws.errors import LogUnavailable


class Peers:
    """Processes whose leases a test ends."""

    def __init__(self) -> None:
        self.on_back: list[Callable[[], object]] = []
        self.living: set[str] | None = {"one", "two"}

    def alive(self) -> set[str]:
        if self.living is None:
            raise LogUnavailable("away")
        return set(self.living)


class World:
    def __init__(self) -> None:
        self.peers = Peers()
        self.now_s = 100.0
        self.woken_count = 0
        self.known = {"one", "two"}
        self.watch = Watch(self.peers, run_beside=self.run_beside, wake=self.wake, clock=lambda: self.now_s)  # type: ignore[arg-type]
        self.watch.serve(lambda: self.known, self.known.discard)
        self.watch.begin()

    def run_beside(self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        try:
            result = function()
        except LogUnavailable as error:
            done(None, error)
        else:
            done(result, None)

    def wake(self) -> None:
        self.woken_count += 1

    def look(self, count: int = 1) -> None:
        for _ in range(count):
            self.now_s += 2.0
            self.watch.run_due()


@pytest.fixture
def world() -> World:
    return World()


def test_who_has_no_lease_twice_has_died(world: World) -> None:
    world.look(5)
    assert world.known == {"one", "two"}
    world.peers.living = {"one"}
    world.look()
    assert world.known == {"one", "two"}
    world.look()
    assert world.known == {"one"}


def test_who_is_missed_once_lives(world: World) -> None:
    world.peers.living = set()
    world.look()
    world.peers.living = {"one", "two"}
    world.look()
    world.peers.living = set()
    world.look()
    assert world.known == {"one", "two"}


def test_nobody_is_judged_while_leases_are_renewed_after_an_outage(world: World) -> None:
    world.peers.living = set()
    world.look()
    world.peers.living = None
    world.look()
    world.peers.living = set()
    for call in world.peers.on_back:
        call()
    world.look(4)
    assert world.known == {"one", "two"}
    world.look(3)
    assert world.known == set()


def test_nobody_looks_when_there_is_nobody_to_watch(world: World) -> None:
    world.known.clear()
    world.look()
    assert world.watch.run_due() is None
    world.known.add("one")
    world.watch.begin()
    assert world.woken_count == 2
    assert world.watch.run_due() == 2.0
