"""Who is in a room, by any number of processes: whatever happens in whatever order, all come to know the same."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hazoom_ws.chat.effects import Broadcast, Effect
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.chat.rooms import Rooms
from hazoom_ws.cluster import presence as module
from hazoom_ws.cluster.presence import Presence
from hazoom_ws.cluster.processes import FORGET_USERS
from hazoom_ws.cluster.relay import RelayElsewhere
from hazoom_ws.events.rooms import UserJoined, UserLeft
from hazoom_ws.live.relay import Relay
from hazoom_ws.message_log.peers import Heard, OnFollow
from hazoom_ws.settings import Settings

ROOM = "room"
GRACE_S = 10


class Network:
    """What Redis is for the processes: sets and hashes, and one order of what is published."""

    def __init__(self) -> None:
        self.published: list[Heard] = []
        self.sets: defaultdict[str, set[str]] = defaultdict(set)
        self.hashes: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def run(self, command: str, *arguments: Any) -> None:
        if command == "SADD":
            self.sets[arguments[0]].update(arguments[1:])
        elif command == "SREM":
            self.sets[arguments[0]].discard(arguments[1])
        elif command == "HSET":
            key, *pairs = arguments
            self.hashes[key].update(zip(pairs[::2], pairs[1::2], strict=True))
        elif command == "HDEL":
            self.hashes[arguments[0]].pop(arguments[1], None)
        elif command == "SCRIPT":
            assert arguments[1] == FORGET_USERS
        else:
            assert command == "EVALSHA"
            for room in self.sets.pop(f"{{hazoom}}:present:{arguments[2]}", ()):
                self.sets[f"{{hazoom}}:there:{room}"].discard(arguments[2])
                self.hashes.pop(f"{{hazoom}}:present:{arguments[2]}:{room}", None)

    def who_is_there(self, rooms: list[str]) -> list[Any]:
        return [[self.answer(room, name) for name in self.sets[f"{{hazoom}}:there:{room}"]] for room in rooms]

    def answer(self, room: str, name: str) -> list[Any]:
        users = self.hashes[f"{{hazoom}}:present:{name}:{room}"]
        return [name.encode(), [text.encode() for pair in users.items() for text in pair]]


class Process:
    """One process: its rooms, and what its clients were told. ``is_away``: what it publishes and tells is lost."""

    def __init__(self, network: Network, name: str) -> None:
        self.name = name
        self.network = network
        self.is_away = False
        self.on_back: list[Callable[[], object]] = []
        self.on_follow: list[OnFollow] = []
        self.on_unfollow: list[Callable[[list[str]], object]] = []
        self.follows: set[str] = {"processes", f"process:{name}"}
        self.heard_count = len(network.published)
        self.now_s = 0.0
        self.connections: dict[str, list[Connection]] = defaultdict(list)
        self.seen: set[str] | None = None  # who is there as its clients were told, None if there is none
        self.rooms = Rooms(Settings(presence_grace_s=GRACE_S), self.deliver, wake=lambda: None)
        relay = Relay(
            lambda _: None,
            slow_in=lambda *_: (),
            backlog_bytes=lambda _: 0,
            wake=lambda: None,
            interval_s=1,
            clock=lambda: 0.0,
            wall_clock=lambda: 0.0,
        )
        self.presence = Presence(
            self,  # type: ignore[arg-type]
            self.rooms,
            RelayElsewhere(self, self.rooms, relay),  # type: ignore[arg-type]
            wake=lambda: None,
            clock=lambda: self.now_s,
        )
        self.rooms.others = self.presence
        self.on = {
            module.CAME: self.presence.heard_came,
            module.WENT: self.presence.heard_went,
            module.ASKED: self.presence.heard_question,
            module.ANSWERED: self.presence.heard_answers,
            module.BACK: self.presence.heard_back,
        }

    # As `Peers`

    def publish(self, channel: str, kind: bytes, data: bytes) -> None:
        if not self.is_away:
            self.network.published.append(Heard(channel, self.name, kind, data))

    def tell(self, *command: Any) -> None:
        if not self.is_away:
            self.network.run(*command)

    def script(self, text: str) -> Callable[[list[Any]], Any]:
        assert text == module._WHO_IS_THERE
        return self.network.who_is_there

    # What happens

    def step(self, what: str, argument: Any) -> None:
        if what == "enter":
            self.follow(0)
            self.enter(argument)
        elif what in ("leave", "drop"):
            self.leave(argument, has_dropped=what == "drop")
        elif what == "cut":
            self.is_away = True
        elif what == "wait":
            self.now_s += GRACE_S
            self.rooms.run_due(self.now_s)
            self.forget_seen()
        else:
            does = {"follow": self.follow, "hear": self.hear, "unfollow": self.unfollow, "back": self.come_back}[what]
            does(*([argument] if argument is not None else []))

    def hear(self, count: int) -> None:
        for heard in self.network.published[self.heard_count : self.heard_count + count]:
            self.heard_count += 1
            if heard.channel in self.follows and heard.process != self.name and not self.is_away:
                self.on[heard.kind](heard)
                self.forget_seen()

    def hear_all(self) -> None:
        self.hear(len(self.network.published) - self.heard_count)

    def follow(self, heard_meanwhile: int) -> None:
        """Begin to follow the room, as `Followed` does."""
        if f"room:{ROOM}" in self.follows or self.is_away:
            return
        self.hear_all()
        self.follows.add(f"room:{ROOM}")
        take = self.on_follow[0]([ROOM])
        self.hear(heard_meanwhile)
        take()

    def unfollow(self) -> None:
        if f"room:{ROOM}" in self.follows and not self.rooms.is_held(ROOM):
            self.follows.discard(f"room:{ROOM}")
            self.on_unfollow[0]([ROOM])

    def enter(self, user: str) -> None:
        if f"room:{ROOM}" in self.follows:
            connection = Connection("", User.named(user), "")
            self.rooms.enter(connection, ROOM, self.now_s)
            self.connections[user].append(connection)
            if self.seen is None:
                self.seen = self.users()

    def leave(self, user: str, *, has_dropped: bool) -> None:
        if self.connections[user]:
            self.rooms.leave(self.connections[user].pop(), ROOM, self.now_s, has_dropped=has_dropped)
            self.forget_seen()

    def come_back(self) -> None:
        if self.is_away:
            self.is_away = False
            self.heard_count = len(self.network.published)
            for call in self.on_back:
                call()

    def deliver(self, effect: Effect) -> None:
        if isinstance(effect, Broadcast):
            event = effect.event
            assert isinstance(event, UserJoined | UserLeft)
            assert event.user_count == self.rooms.user_count(ROOM)
            if self.seen is not None:
                assert (event.user in self.seen) == isinstance(event, UserLeft), "nobody comes twice, or leaves twice"
                self.seen.symmetric_difference_update({event.user})

    def forget_seen(self) -> None:
        if not self.rooms.is_held(ROOM):
            self.seen = None

    def users(self) -> set[str]:
        return {user.name for user in self.rooms.users(ROOM)}

    def here(self) -> set[str]:
        return {user for user, connections in self.connections.items() if connections}


USERS = st.sampled_from(["Ann", "Bob"])
STEPS = st.tuples(
    st.integers(0, 2),
    st.one_of(
        st.tuples(st.just("enter"), USERS),
        st.tuples(st.just("leave"), USERS),
        st.tuples(st.just("drop"), USERS),
        st.tuples(st.just("follow"), st.integers(0, 3)),
        st.tuples(st.just("hear"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["unfollow", "cut", "back", "wait"]), st.none()),
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_all_processes_know_the_same_when_all_is_heard(steps: list[tuple[int, tuple[str, Any]]]) -> None:
    network = Network()
    processes = [Process(network, name) for name in "abc"]
    for number, (what, argument) in steps:
        processes[number].step(what, argument)
    for process in processes:
        process.come_back()
    settle(network, processes)
    for process in processes:
        process.step("wait", None)
    settle(network, processes)
    users = set().union(*(process.here() for process in processes))
    for process in processes:
        if f"room:{ROOM}" in process.follows:
            assert process.users() == users
            assert process.rooms.user_count(ROOM) == len(users)
        assert process.seen in (None, users), "its clients know it too"
        assert process.rooms.is_held(ROOM) == bool(process.here())
        assert {user.name for user in process.rooms.users_held(ROOM)} == process.here()
    kept = {
        (name, user)
        for name in network.sets[f"{{hazoom}}:there:{ROOM}"]
        for user in network.hashes[f"{{hazoom}}:present:{name}:{ROOM}"]
    }
    assert kept == {(process.name, f"name:{user}") for process in processes for user in process.here()}


def settle(network: Network, processes: list[Process]) -> None:
    while any(process.heard_count < len(network.published) for process in processes):
        for process in processes:
            process.hear_all()
