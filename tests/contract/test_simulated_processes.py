"""scripts/bench/simulated.py: what it does to Redis, without clients, is what processes do, and can be counted."""

from collections.abc import Callable
from types import ModuleType

import pytest

from redis_server import Databases
from servers import ROOT


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "bench")
    import simulated

    return simulated


def test_two_simulated_processes_do_all_that_is_measured_and_all_of_it_is_heard(
    simulated: ModuleType, databases: Databases
) -> None:
    url, ears = databases.next_url(), simulated.Ears(databases.server.port)
    processes = [simulated.Process(number, url, ears, {4: ["both"]}, [f"visited {number}"]) for number in (0, 1)]
    try:
        hear_until(lambda: ears.subscribed_count == sum(process.subscribed_count for process in processes), ears)
        load = simulated.Load("messages", batch_count=2)
        # Each tells: that it lives, to itself; how it is, to both; two messages to both, and their end to itself; a tick of
        # each of three kinds to both; in a room that is new to it, that it is there and who comes; that this is kept, to
        # itself; the size of the room to both.
        for process in processes:
            process.do_keep(load, 1)
            process.do_messages(load, 1)
            process.do_events(load, 3)
            process.do_visits(load, 1)
            process.do_sizes(load, 1)
        told_count = 2 * (1 + 2 + 2 * 2 + 1 + 3 * 2 + 2 + 1 + 2)
        hear_until(lambda: ears.heard_count >= told_count, ears)
        assert ears.heard_count == told_count
        assert sum(process.messages_count for process in processes) == 4
    finally:
        for process in processes:
            process.close()
        ears.close()


def hear_until(is_so: Callable[[], bool], ears: object) -> None:
    for _ in range(100):
        if is_so():
            return
        assert ears.hear()
    raise AssertionError("that was not heard")


def test_what_a_process_has_in_memory_of_users_of_others_is_some_hundred_bytes_for_each(simulated: ModuleType) -> None:
    known_bytes = simulated.known_bytes()
    assert known_bytes.keys() == {"connected", "in a room"}
    assert all(100 < each < 2000 for each in known_bytes.values())
