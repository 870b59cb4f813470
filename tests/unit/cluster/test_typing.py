"""Who types on another process: what ends that."""

from typing import Any

import msgspec

from hazoom_ws.chat.presence import Connection, StandIn, User
from hazoom_ws.chat.rooms import Rooms
from hazoom_ws.chat.typing import TypingKey
from hazoom_ws.cluster.typing import TYPED, TypingElsewhere
from hazoom_ws.message_log.peers import Heard
from hazoom_ws.settings import Settings

EXPIRY_S = 5.0


class Process:
    """One with Ann in a room, and what she is told: who types, or has stopped to."""

    name = "me"

    def __init__(self) -> None:
        self.now_s = 0.0
        self.told: list[tuple[str, bool]] = []
        self.published: list[tuple[str, list[Any]]] = []
        self.rooms = Rooms(Settings(), lambda _: None, wake=lambda: None)
        self.rooms.others = Others()
        self.ann = Connection("", User.named("Ann"), "")
        self.rooms.enter(self.ann, "room", 0.0)
        self.typing = TypingElsewhere(
            self,  # type: ignore[arg-type]
            self.rooms,
            lambda effect: self.told.append((effect.event.user, effect.event.is_typing)),  # type: ignore[union-attr]
            expiry_s=EXPIRY_S,
            wake=lambda: None,
            wake_ticker=lambda: None,
            clock=lambda: self.now_s,
        )

    def publish(self, channel: str, _kind: bytes, data: bytes) -> None:
        self.published.append((channel, msgspec.msgpack.decode(data)))

    def hear(self, name: str, *, is_typing: bool, process: str = "other") -> None:
        data = msgspec.msgpack.encode([((f"name:{name}", name), is_typing)])
        self.typing.heard(Heard("room:room", process, TYPED, data))


class Others:
    def held(self, room: str, user: User, *, is_first: bool) -> None: ...
    def let_go(self, room: str, user: User, *, is_last: bool) -> None: ...
    def changed(self, room: str) -> None: ...


def test_it_ends_with_its_word_with_a_message_with_the_process_and_when_nothing_is_heard_any_more() -> None:
    process = Process()
    for name in ("Bob", "Cat", "Dan", "Eve"):
        process.hear(name, is_typing=True, process="dying" if name == "Dan" else "other")
    process.hear("Bob", is_typing=False)
    process.hear("Bob", is_typing=False)
    process.typing.stop("room", "Cat")
    process.typing.ended("dying")
    begun = [("Bob", True), ("Cat", True), ("Dan", True), ("Eve", True)]
    assert process.told == [*begun, ("Bob", False), ("Cat", False), ("Dan", False)]
    process.now_s = EXPIRY_S + 1
    assert process.typing.run_due() == 1.0
    process.now_s = EXPIRY_S + 2
    assert process.typing.run_due() is None
    assert process.told[-1] == ("Eve", False)
    process.rooms.leave(process.ann, "room", 0.0, has_dropped=False)
    process.hear("Bob", is_typing=True)
    assert process.told[-1] == ("Eve", False), "nobody is here"


def test_a_tick_is_told_as_one_and_only_where_others_are() -> None:
    process = Process()
    key = TypingKey(process.ann, "room", "Ann")
    process.typing.typed(key, is_typing=True)
    process.typing.tell()
    assert process.published == []
    process.rooms.add_elsewhere("room", StandIn("other", User.named("Bob")), 0.0)
    for is_typing in (True, False, True):
        process.typing.typed(key, is_typing=is_typing)
        process.typing.typed(TypingKey(process.ann, "room", "A."), is_typing=not is_typing)
    process.typing.tell()
    process.typing.tell()
    assert process.published == [("room:room", [[["name:Ann", "Ann"], True], [["name:Ann", "A."], False]])]
