"""WebSockets whose clients have gone: hundreds at once keep nobody waiting."""

from types import SimpleNamespace
from typing import Any

from hazoom_ws.transport.serving.endpoints import Leaving


class Ended:
    """A carrier whose session takes a while to end, by a clock that only moves then."""

    def __init__(self, clock: SimpleNamespace, takes_s: float) -> None:
        self.engine: Any = SimpleNamespace(reason=SimpleNamespace(TRANSPORT_CLOSE="transport close"))
        self.reasons: list[str] = []
        self._clock, self._takes_s = clock, takes_s

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)
        self._clock.now_s += self._takes_s


def test_of_a_crowd_that_goes_a_few_are_ended_in_a_turn_in_their_order() -> None:
    """When 690 clients went at once, those who stayed waited until all of them had left their rooms: 55 ms."""
    clock = SimpleNamespace(now_s=0.0)
    leaving = Leaving(lambda: clock.now_s)
    crowd = [Ended(clock, 0.0004) for _ in range(10)]
    for websocket in crowd:
        leaving.add(websocket)  # type: ignore[arg-type]
    turns = 0
    while leaving:
        leaving.end_some()
        turns += 1
        assert [len(websocket.reasons) for websocket in crowd] == [1] * min(3 * turns, 10) + [0] * max(0, 10 - 3 * turns)
    assert turns == 4
    assert crowd[0].reasons == ["transport close"]


def test_one_that_takes_long_is_ended_all_the_same() -> None:
    clock = SimpleNamespace(now_s=0.0)
    leaving = Leaving(lambda: clock.now_s)
    leaving.add(Ended(clock, 5.0))  # type: ignore[arg-type]
    leaving.end_some()
    assert not leaving
