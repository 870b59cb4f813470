"""What is not whole yet is bounded in bytes and time, and the oldest go first."""

from contextlib import nullcontext

import pytest

from hazoom_ws.transport.bounds.unfinished import TOO_LATE, TOO_MUCH, Unfinished


class Connection:
    def __init__(self) -> None:
        self.ended: list[str] = []

    def cut_off(self, why: str) -> None:
        self.ended.append(why)


@pytest.fixture
def unfinished() -> Unfinished:
    return Unfinished(100_000, 30.0, nullcontext())


def test_up_to_the_limit_all_stay_and_over_it_the_oldest_go_until_it_fits(unfinished):
    connections = [Connection() for _ in range(10)]
    for connection in connections:
        unfinished.hold(connection, 10_000, 0.0)
    assert not any(connection.ended for connection in connections)
    unfinished.hold(connections[0], 10_001, 0.0)
    assert [connection.ended for connection in connections] == [[TOO_MUCH]] + [[]] * 9
    assert unfinished.total_bytes == 90_000
    unfinished.hold(connections[9], 35_000, 0.0)
    assert [connection.ended for connection in connections] == [[TOO_MUCH]] * 3 + [[]] * 7
    assert unfinished.total_bytes == 95_000


def test_those_who_hold_little_are_spared_and_who_does_the_harm_may_be_the_one_to_go(unfinished):
    small = [Connection() for _ in range(20)]
    for connection in small:
        unfinished.hold(connection, 4096, 0.0)
    large = Connection()
    unfinished.hold(large, 100_000, 0.0)
    assert large.ended == [TOO_MUCH]
    assert not any(connection.ended for connection in small)
    assert unfinished.total_bytes == 20 * 4096


def test_time_counts_from_the_first_byte_and_more_bytes_give_no_more_of_it(unfinished):
    silent, slow = Connection(), Connection()
    unfinished.hold(silent, 0, 0.0)
    unfinished.hold(slow, 0, 0.0)
    unfinished.hold(slow, 1, 10.0)
    unfinished.hold(slow, 2, 39.0)
    unfinished.sweep(39.9)
    assert slow.ended == []
    unfinished.sweep(40.0)
    assert (slow.ended, silent.ended) == ([TOO_LATE], [])
    assert len(unfinished) == 1
    assert unfinished.total_bytes == 0


def test_who_is_released_has_its_time_anew_and_holds_nothing(unfinished):
    connection = Connection()
    unfinished.hold(connection, 50_000, 0.0)
    unfinished.release(connection)
    assert (len(unfinished), unfinished.total_bytes) == (0, 0)
    unfinished.release(connection)
    unfinished.hold(connection, 5, 20.0)
    unfinished.sweep(49.9)
    assert connection.ended == []
    unfinished.sweep(50.0)
    assert connection.ended == [TOO_LATE]


def test_the_oldest_goes_first_whether_it_has_begun_something_or_not(unfinished):
    connections = [Connection() for _ in range(3)]
    for number, connection in enumerate(connections):
        unfinished.hold(connection, number, 0.0)
    assert unfinished.cut_off_oldest("full")
    assert unfinished.cut_off_oldest("full")
    assert [connection.ended for connection in connections] == [["full"], ["full"], []]
    unfinished.release(connections[2])
    assert not unfinished.cut_off_oldest("full")


def test_who_is_cut_off_may_release_itself_in_the_middle_of_it(unfinished):
    class Releasing(Connection):
        def cut_off(self, why: str) -> None:
            super().cut_off(why)
            unfinished.release(self)

    connections = [Releasing() for _ in range(3)]
    for connection in connections:
        unfinished.hold(connection, 90_000, 0.0)
    assert [len(connection.ended) for connection in connections] == [1, 1, 0]
    assert unfinished.total_bytes == 90_000
