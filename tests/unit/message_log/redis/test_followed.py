"""Which rooms a process follows, and when it lets them go."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from hazoom_ws.message_log.contract import NotLoaded
from hazoom_ws.message_log.redis.followed import Followed


class Unsearchable(list[str]):
    """Rooms as a list, in which nothing is looked for: for each of thousands of rooms that would take too long."""

    def __contains__(self, _: object) -> bool:
        raise AssertionError("each room is searched for in all others")


class Bus:
    """Hears nothing, and knows what is listened to."""

    def __init__(self) -> None:
        self.channels: set[str] = set()

    def follow(self, channels: list[str]) -> None:
        self.channels.update(channels)

    def drop(self, channels: list[str]) -> None:
        self.channels.difference_update(channels)

    def barrier(self, call: Callable[[], object]) -> None:
        call()


def test_rooms_that_nobody_is_in_are_let_go_and_none_is_searched_for_in_all_that_are_used() -> None:
    now_s, bus = 0.0, Bus()
    replica = SimpleNamespace(check=lambda: None, tell_all=lambda: None, move_on=lambda _: None)
    store, states = SimpleNamespace(last_seq=lambda: 1), SimpleNamespace(forget_room=lambda _: None)
    parts: Any = (replica, bus, store, states)
    followed = Followed(*parts, clock=lambda: now_s)
    with pytest.raises(NotLoaded) as raised:
        followed.require(["used", "left"])
    raised.value.load()
    followed.used = lambda: Unsearchable(["used"])
    now_s = 60.0
    followed.let_go()
    assert bus.channels == {"room:used"}
    assert followed.is_followed("used")
    assert not followed.is_followed("left")
