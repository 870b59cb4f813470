"""The sizes of rooms on other processes."""

from typing import Any

import msgspec
import pytest

from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.chat.rooms import Rooms
from hazoom_ws.cluster import room_sizes as module
from hazoom_ws.cluster.room_sizes import INTERVAL_S, SIZES, RoomSizes
from hazoom_ws.message_log.peers import Heard
from hazoom_ws.settings import Settings


class Process:
    name = "me"

    def __init__(self) -> None:
        self.on_back: list[Any] = []
        self.now_s = 100.0
        self.published: list[dict[str, int]] = []
        self.rooms = Rooms(Settings(presence_grace_s=0), lambda _: None, wake=lambda: None)
        self.rooms.others = self
        self.sizes = RoomSizes(self, self.rooms, wake=lambda: None, clock=lambda: self.now_s)  # type: ignore[arg-type]

    def publish(self, _channel: str, kind: bytes, data: bytes) -> None:
        assert kind == SIZES
        self.published.append(msgspec.msgpack.decode(data))

    def hear(self, process: str, sizes: dict[str, int]) -> None:
        self.sizes.heard(Heard("processes", process, SIZES, msgspec.msgpack.encode(sizes)))

    # As `Others`
    def held(self, room: str, user: User, *, is_first: bool) -> None: ...
    def let_go(self, room: str, user: User, *, is_last: bool) -> None: ...

    def changed(self, room: str) -> None:
        self.sizes.changed(room)


def test_what_has_changed_is_told_once_in_a_while_and_only_that() -> None:
    process = Process()
    ann, bob = Connection("", User.named("Ann"), ""), Connection("", User.named("Bob"), "")
    process.rooms.enter(ann, "room", 0.0)
    assert process.sizes.run_due() is None
    process.rooms.enter(bob, "room", 0.0)
    process.rooms.enter(bob, "other", 0.0)
    process.rooms.leave(bob, "other", 0.0, has_dropped=False)
    assert process.sizes.run_due() == INTERVAL_S
    process.now_s += INTERVAL_S
    assert process.sizes.run_due() is None
    assert process.published == [{"room": 1}, {"room": 2}]
    process.sizes.tell_all("process:new")
    assert process.published[2:] == [{"": 0, "room": 2}]
    process.rooms.leave(ann, "room", 0.0, has_dropped=False)
    process.rooms.leave(bob, "room", 0.0, has_dropped=False)
    process.now_s += INTERVAL_S
    process.sizes.run_due()
    assert process.published[3:] == [{"room": 0}]


def test_rooms_of_others_are_listed_as_long_as_one_has_them_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_COUNT", 3)
    process = Process()
    ann = Connection("", User.named("Ann"), "")
    process.rooms.enter(ann, "own", 0.0)
    process.hear("a", {"b": 1, "c": 5})
    process.hear("b", {"c": 6})
    assert process.rooms.sizes() == {"own": 1, "b": 1, "c": 6}
    assert process.rooms.listed(ann, "", None, 10) == (["own", "b", "c"], None)
    process.hear("b", {"c": 0})
    assert process.rooms.user_count("c") == 5
    process.hear("a", {"": 0, "d": 1})
    assert process.rooms.listed(ann, "", None, 10) == (["own", "d"], None)
    process.hear("b", {str(number): 1 for number in range(10)})
    assert process.rooms.listed(ann, "", None, 10) == (["own", "0", "1", "d"], None)
    process.sizes.gone("a")
    process.sizes.gone("b")
    assert process.rooms.sizes() == {"own": 1}
    process.rooms.leave(ann, "own", 0.0, has_dropped=False)
    assert process.rooms.listed(ann, "", None, 10) == ([], None)
