"""The pure logic of relay: ticks, conflation, bounds, slow readers, who comes and who goes. The clock is a number."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec import UNSET

from hazoom_ws.chat.effects import Broadcast, Push
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.cluster.relay import RelayElsewhere
from hazoom_ws.errors import NoRoomForKeys, TooLarge
from hazoom_ws.events.live import Relayed
from hazoom_ws.live import relay_room
from hazoom_ws.live.relay import SLOW_FROM_BYTES, Relay
from hazoom_ws.live.relay_room import (
    CHUNK_BYTES,
    KEYS_LIMIT_BYTES,
    KEYS_LIMIT_COUNT,
    LOOSE_LIMIT_BYTES,
    LOOSE_LIMIT_COUNT,
)
from hazoom_ws.live.relayed_data import DATA_LIMIT_BYTES, relayed
from hazoom_ws.message_log.peers import Heard

ROOM = "board"
INTERVAL_S = 0.033


class Reader:
    """One connection, and what its client makes of what it gets: the newest value of each key."""

    def __init__(self, name: str) -> None:
        self.connection = Connection(name, User.named(name), "")
        self.backlog_bytes = 0
        self.events: list[Relayed] = []
        self.newest: dict[tuple[str, str, str], Any] = {}
        self.loose: list[Any] = []
        self.dropped_count = 0

    def get(self, event: Relayed) -> None:
        self.events.append(event)
        self.dropped_count += event.dropped or 0
        if event.snapshot is True:
            self.newest.clear()
        for item in event.items:
            data = item.data if type(item.data) is bytes else msgspec.json.decode(bytes(item.data))
            if item.key is UNSET:
                self.loose.append(data)
                continue
            self.newest.pop((item.client, item.channel, item.key), None)
            if data is not None:
                self.newest[item.client, item.channel, item.key] = data


class World:
    """Rooms whose members read as fast as the test says."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.wakes_count = 0
        self.readers: dict[Connection, Reader] = {}
        self.frames_count = 0
        self.relay = Relay(
            self._deliver,
            slow_in=self._slow_in,
            backlog_bytes=lambda connection: self.readers[connection].backlog_bytes,
            wake=self._wake,
            interval_s=INTERVAL_S,
            clock=lambda: self.now_s,
            wall_clock=lambda: 1000 + self.now_s,
        )

    def _wake(self) -> None:
        self.wakes_count += 1

    def members(self) -> Iterator[Reader]:
        return (reader for reader in self.readers.values() if ROOM in reader.connection.rooms)

    def _slow_in(self, _room: str, limit_bytes: int) -> list[Connection]:
        return [reader.connection for reader in self.members() if reader.backlog_bytes >= limit_bytes]

    def _deliver(self, effect: Any) -> None:
        self.frames_count += 1
        if isinstance(effect, Push):
            self.readers[effect.connection].get(effect.event)
            return
        assert isinstance(effect, Broadcast)
        for reader in self.members():
            if reader.connection not in effect.skip:
                reader.get(effect.event)

    def join(self, name: str) -> Reader:
        reader = Reader(name)
        self.readers[reader.connection] = reader
        self.enter(reader)
        return reader

    def enter(self, reader: Reader) -> None:
        reader.connection.rooms[ROOM] = None
        self.relay.enter(reader.connection, ROOM)

    def leave(self, reader: Reader) -> None:
        del reader.connection.rooms[ROOM]
        self.relay.leave(reader.connection, ROOM)

    def put(self, reader: Reader, data: Any, *, key: str | None = "k", channel: str = "c") -> None:
        self.relay.put(reader.connection, ROOM, channel, UNSET if key is None else key, relayed(data))

    def tick(self) -> float | None:
        self.now_s += INTERVAL_S
        return self.relay.run_due()

    def settle(self) -> None:
        """Let everybody take what they had, and time pass until nothing is due."""
        for reader in self.readers.values():
            reader.backlog_bytes = 0
        for _ in range(1000):
            if self.tick() is None:
                return
        raise AssertionError("something is due for ever")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ann(world: World) -> Reader:
    return world.join("Ann")


@pytest.fixture
def bob(world: World) -> Reader:
    return world.join("Bob")


def values(reader: Reader) -> list[Any]:
    return list(reader.newest.values())


# Ticks


def test_the_first_item_of_a_quiet_room_leaves_at_once(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, 1)
    assert [event.at for event in bob.events] == [1000.0]
    assert values(bob) == [1]


def test_what_comes_within_a_tick_leaves_as_one_event(world: World, ann: Reader, bob: Reader) -> None:
    cid = world.join("Cid")
    world.put(ann, 0)
    for number in (1, 2, 3):
        world.put(ann, number)
    world.put(bob, 7)
    assert len(cid.events) == 1
    world.tick()
    assert len(cid.events) == 2
    assert [bytes(item.data) for item in cid.events[1].items] == [b"3", b"7"]
    assert ann.events == bob.events[1:] == cid.events[1:]  # one event for all: its senders find their own items in it


def test_a_tick_is_not_sent_to_who_alone_has_spoken_in_it(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, 1)
    world.put(ann, 2)
    world.settle()
    assert ann.events == []
    assert values(bob) == [2]


def test_a_room_with_nothing_to_say_costs_nothing(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, 1)
    assert world.wakes_count == 1
    assert world.tick() is None
    frames_count = world.frames_count
    world.settle()
    assert (world.frames_count, world.wakes_count) == (frames_count, 1)


def test_the_last_value_leaves_though_nobody_speaks_any_more(world: World, ann: Reader, bob: Reader) -> None:
    for number in range(100):
        world.put(ann, number)
    world.settle()
    assert values(bob) == [99]
    assert len(bob.events) == 2


def test_an_item_after_the_tick_was_due_leaves_at_once_though_the_timer_is_late(
    world: World, ann: Reader, bob: Reader
) -> None:
    world.put(ann, 1)
    world.put(ann, 2)
    world.now_s += INTERVAL_S
    world.put(ann, 3)
    assert values(bob) == [3]
    assert len(bob.events) == 2


def test_a_late_timer_does_not_put_off_the_ticks_that_follow(world: World, ann: Reader, bob: Reader) -> None:
    """A cursor that moves as often as a room has ticks came a little too early for each, and waited for a whole one."""
    world.put(ann, 1)
    world.put(ann, 2)
    world.now_s += INTERVAL_S + 0.004
    world.relay.run_due()
    assert values(bob) == [2]
    world.now_s += INTERVAL_S - 0.003
    world.put(ann, 3)
    assert values(bob) == [3], "it is due, though the one before was late"


def test_fifty_cursors_are_thirty_events_a_second_for_each(world: World) -> None:
    cursors = [world.join(f"user {number}") for number in range(50)]
    for turn in range(30):
        for number, cursor in enumerate(cursors):
            world.now_s = turn / 30 + number / 1501  # all of them within a thirtieth
            world.relay.run_due()
            world.put(cursor, {"x": turn})
    world.settle()
    for cursor in cursors:
        assert len(cursor.events) <= 32
        assert [data for (client, *_), data in cursor.newest.items() if client != cursor.connection.client] == [
            {"x": 29}
        ] * 49


# Keys


def test_keys_of_different_channels_and_senders_are_different(world: World, ann: Reader, bob: Reader) -> None:
    cid = world.join("Cid")
    for sender in (ann, bob):
        for channel in ("cursor", "stroke"):
            world.put(sender, channel, channel=channel)
    world.settle()
    assert len(cid.newest) == 4


def test_items_without_a_key_count_each_and_keep_their_order_among_the_others(
    world: World, ann: Reader, bob: Reader
) -> None:
    world.put(ann, 0, key=None)
    world.put(ann, "old")
    for number in (1, 1, 2):
        world.put(ann, number, key=None)
    world.put(ann, "new")
    world.tick()
    assert [bytes(item.data) for item in bob.events[1].items] == [b"1", b"1", b"2", b'"new"']


@pytest.mark.parametrize("over", [0, 1])
def test_of_items_without_a_key_the_oldest_go_when_they_are_too_many(
    world: World, ann: Reader, bob: Reader, over: int
) -> None:
    world.put(ann, "first", key=None)
    for number in range(LOOSE_LIMIT_COUNT + over):
        world.put(ann, number, key=None)
    world.settle()
    assert bob.loose == ["first", *range(over, LOOSE_LIMIT_COUNT + over)]
    assert bob.dropped_count == over


def test_of_items_without_a_key_the_oldest_go_when_they_are_too_large(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, "first", key=None)
    large = "x" * (DATA_LIMIT_BYTES - 2)
    for _ in range(100):
        world.put(ann, large, key=None)
    world.settle()
    kept_count = len(bob.loose) - 1
    assert bob.dropped_count == 100 - kept_count
    assert LOOSE_LIMIT_BYTES - 2 * DATA_LIMIT_BYTES < kept_count * DATA_LIMIT_BYTES <= LOOSE_LIMIT_BYTES


def test_a_client_has_so_many_keys_in_a_room_and_no_more(world: World, ann: Reader, bob: Reader) -> None:
    for number in range(KEYS_LIMIT_COUNT):
        world.put(ann, number, key=str(number))
    with pytest.raises(NoRoomForKeys, match="64 keys"):
        world.put(ann, 0, key="one more")
    world.put(ann, "again", key="0")
    world.put(bob, 0, key="of another")
    world.put(ann, None, key="1")
    world.put(ann, 0, key="one more")
    world.settle()
    assert len([place for place in bob.newest if place[0] == ann.connection.client]) == KEYS_LIMIT_COUNT


def test_the_values_of_a_client_have_a_bound(world: World, ann: Reader) -> None:
    large = "x" * (DATA_LIMIT_BYTES - 1000)
    for number in range(KEYS_LIMIT_BYTES // DATA_LIMIT_BYTES):
        world.put(ann, large, key=str(number))
    with pytest.raises(NoRoomForKeys, match=f"your keys have {KEYS_LIMIT_BYTES} bytes"):
        world.put(ann, large, key="one more")
    world.put(ann, large, key="0")  # in the place of the one before
    world.put(ann, None, key="1")
    world.put(ann, large, key="one more")


def test_the_values_of_a_room_have_a_bound(world: World, ann: Reader, bob: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_room, "ROOM_LIMIT_BYTES", 20_000)
    world.put(ann, "x" * 10_000)
    with pytest.raises(NoRoomForKeys, match="the keys of all have 20000 bytes"):
        world.put(bob, "x" * 10_000)
    world.leave(ann)
    world.put(bob, "x" * 10_000)


def test_null_takes_a_key_away(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, 1)
    world.put(ann, None)
    world.put(ann, None)
    world.put(ann, None, key="which never was")
    world.settle()
    assert values(bob) == []
    assert len(bob.events) == 2
    assert values(world.join("Cid")) == []


# Binary parts


def test_an_event_has_ten_binary_parts_and_no_more(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, 0)
    for number in range(25):
        world.put(ann, bytes([number]), key=None)
        world.put(ann, number, key=None)
    world.settle()
    assert bob.loose == [data for number in range(25) for data in (bytes([number]), number)]
    assert [len(event.split()[1]) for event in bob.events] == [0, 10, 10, 5]


def test_binary_parts_are_told_apart_from_json_by_placeholders(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, 0)
    for data in (b"one", {"x": 1}, b"two"):
        world.put(ann, data, key=None)
    world.settle()
    said, parts = bob.events[-1].split()
    assert parts == (b"one", b"two")
    shown = [item["data"] for item in msgspec.json.decode(msgspec.json.encode(said))["items"]]
    assert shown == [{"_placeholder": True, "num": 0}, {"x": 1}, {"_placeholder": True, "num": 1}]
    only_json = bob.events[0]
    assert only_json.split() == (only_json, ())


def test_a_snapshot_says_so_in_the_first_of_its_events(world: World, ann: Reader) -> None:
    for number in range(11):
        world.put(ann, bytes([number]), key=str(number))
    bob = world.join("Bob")
    assert [(event.snapshot, len(event.items)) for event in bob.events] == [(True, 10), (UNSET, 1)]
    assert values(bob) == [bytes([number]) for number in range(11)]


def test_a_binary_part_has_the_bound_of_json(world: World, ann: Reader) -> None:
    world.put(ann, bytes(DATA_LIMIT_BYTES))
    with pytest.raises(TooLarge, match="16385 bytes, the limit is 16384"):
        world.put(ann, bytes(DATA_LIMIT_BYTES + 1))


# Coming and going


def test_who_comes_gets_the_newest_value_of_every_key(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, 1)
    world.put(ann, 2)
    world.put(ann, "gone", key=None)
    world.put(bob, 3)
    cid = world.join("Cid")
    assert [(event.snapshot, len(event.items)) for event in cid.events] == [(True, 2)]
    assert values(cid) == [2, 3]


def test_who_comes_into_a_room_without_keys_is_told_nothing(world: World, ann: Reader) -> None:
    world.put(ann, 1, key=None)
    assert world.join("Bob").events == []


def test_the_keys_of_who_goes_are_null_for_the_others(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, 1)
    world.put(ann, 2, key="other")
    world.settle()
    world.leave(ann)
    world.settle()
    assert [bytes(item.data) for item in bob.events[-1].items] == [b"null", b"null"]
    assert values(bob) == []
    assert len(ann.events) == 0


def test_nothing_is_held_when_everybody_has_gone(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, 1)
    world.put(bob, 1)
    bob.backlog_bytes = SLOW_FROM_BYTES
    world.put(ann, 2)
    world.tick()
    world.leave(ann)
    world.leave(bob)
    world.settle()
    assert world.relay.is_empty


class Wire:
    """What two processes tell each other; each has somebody in the room."""

    def __init__(self, *worlds: World) -> None:
        self.published: list[Heard] = []
        self.rooms: Any = AllRooms()
        peers: list[Any] = [Peer(self, name) for name in "ab"]
        self.ends = [RelayElsewhere(peer, self.rooms, each.relay) for peer, each in zip(peers, worlds, strict=True)]

    def carry(self) -> None:
        while self.published:
            heard = self.published.pop(0)
            self.ends["ba".index(heard.process)].heard(heard)


class Peer(NamedTuple):
    wire: Wire
    name: str

    def publish(self, channel: str, kind: bytes, data: bytes) -> None:
        self.wire.published.append(Heard(channel, self.name, kind, data))


class AllRooms:
    are_others_there = True

    def is_elsewhere(self, _room: str) -> bool:
        return self.are_others_there

    def is_held(self, _room: str) -> bool:
        return True


def test_what_clients_of_another_process_relay_is_relayed_like_what_is_said_here(
    world: World, ann: Reader, bob: Reader
) -> None:
    there = World()
    cat = there.join("Cat")
    wire = Wire(world, there)
    wire.rooms.are_others_there = False
    there.put(cat, "nobody else is there")
    there.settle()
    assert not wire.published, "a room of one process costs nothing"
    wire.rooms.are_others_there = True
    for number in range(100):
        there.put(cat, number)
        there.put(cat, {"loose": number}, key=None)
    there.put(cat, b"bytes", key="part")
    there.tick()
    assert len(wire.published) == 2, "the first at once, then one for the tick"
    wire.carry()
    assert not wire.published, "what was heard is told to nobody again"
    world.settle()
    assert values(ann) == values(bob) == [99, b"bytes"]
    assert ann.loose == bob.loose == [{"loose": number} for number in range(100)]
    assert values(world.join("Dan")) == values(ann), "who comes gets them"
    # A slow reader gets the newest when it has taken what it had.
    bob.backlog_bytes = SLOW_FROM_BYTES
    for number in range(5):
        there.put(cat, number)
        there.tick()
        wire.carry()
        world.tick()
    assert values(bob)[0] == 99
    world.settle()
    assert values(bob)[-1] == values(ann)[-1] == 4


def test_what_another_process_has_is_said_as_a_whole_when_some_of_it_may_not_have_been_heard(
    world: World, ann: Reader, bob: Reader
) -> None:
    there = World()
    cat = there.join("Cat")
    wire = Wire(world, there)
    there.put(cat, 4)
    there.put(cat, b"bytes", key="part")
    there.settle()
    wire.carry()
    world.put(ann, "own")
    world.settle()
    wire.carry()
    there.settle()
    there.put(cat, b"newer", key="part")
    there.put(cat, None)
    there.settle()
    wire.published.clear()
    frames_count = world.frames_count
    wire.ends[0].replace(ROOM, "b", wire.ends[1].values_here(ROOM))
    world.settle()
    assert values(bob) == [b"newer", "own"] or values(bob) == ["own", b"newer"]
    assert values(cat) == ["own"]
    assert world.frames_count == frames_count + 1
    wire.ends[0].replace(ROOM, "b", wire.ends[1].values_here(ROOM))
    assert world.frames_count == frames_count + 1, "nothing has changed"
    wire.ends[0].ended("b")
    world.settle()
    assert values(bob) == ["own"]
    world.leave(ann)
    wire.carry()
    there.settle()
    assert values(cat) == []
    world.settle()
    assert world.relay.is_empty


def test_a_room_that_has_relayed_without_keys_holds_nothing_after_a_tick(world: World, ann: Reader) -> None:
    world.put(ann, 1, key=None)
    world.settle()
    assert world.relay.is_empty


def test_a_greeting_has_what_fits_and_the_rest_follows(world: World, ann: Reader) -> None:
    large = "x" * (DATA_LIMIT_BYTES - 1000)
    for number in range(4):
        other = world.join(f"other {number}")
        for key in range(8):
            world.put(other, large, key=str(key))
    world.settle()
    new = Reader("new")
    world.readers[new.connection] = new
    new.connection.rooms[ROOM] = None
    for event in world.relay.greeting(new.connection):
        new.get(event)
    assert [event.snapshot for event in new.events] == [True]
    assert 0 < len(new.newest) * DATA_LIMIT_BYTES < CHUNK_BYTES + DATA_LIMIT_BYTES
    world.settle()
    assert len(new.newest) == 32
    assert [event.snapshot for event in new.events] == [True, UNSET]


# Slow readers


def test_a_slow_reader_skips_ticks_and_then_gets_the_newest_values_not_a_queue(
    world: World, ann: Reader, bob: Reader
) -> None:
    world.put(ann, "before", key="other")
    bob.backlog_bytes = SLOW_FROM_BYTES
    seen_count = len(bob.events)
    for number in range(1000):
        world.put(ann, number)
        world.put(ann, number, key=None)
        world.tick()
    assert len(bob.events) == seen_count
    bob.backlog_bytes = 0
    world.tick()
    (event,) = bob.events[seen_count:]
    assert event.snapshot is UNSET
    assert [bytes(item.data) for item in event.items] == [b"999"]  # what has not changed meanwhile it knows
    world.put(ann, "after")
    world.settle()
    assert values(bob) == ["before", "after"]


def test_a_reader_with_less_waiting_is_not_slow(world: World, ann: Reader, bob: Reader) -> None:
    bob.backlog_bytes = SLOW_FROM_BYTES - 1
    world.put(ann, 1, key=None)
    assert bob.loose == [1]


def test_a_slow_reader_hears_of_keys_that_have_gone_meanwhile(world: World, ann: Reader, bob: Reader) -> None:
    world.put(ann, 1)
    world.tick()
    bob.backlog_bytes = SLOW_FROM_BYTES
    world.leave(ann)
    world.tick()
    assert values(bob) == [1]
    world.settle()
    assert values(bob) == []
    assert bob.events[-1].snapshot is UNSET
    assert world.relay.is_empty


def test_a_slow_reader_gets_what_changed_last_of_what_came_first(world: World, ann: Reader, bob: Reader) -> None:
    for key in ("first", "second"):
        world.put(ann, 1, key=key)
    world.tick()
    bob.backlog_bytes = SLOW_FROM_BYTES
    world.put(ann, 2, key="first")
    world.settle()
    assert {key: data for (*_, key), data in bob.newest.items()} == {"first": 2, "second": 1}


def test_who_leaves_in_the_turn_in_which_it_is_found_slow_is_not_waited_for(
    world: World, ann: Reader, bob: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.relay, "_slow_in", lambda *_: [bob.connection])  # its rooms are left at the turn's end
    world.leave(bob)
    world.put(ann, 1)
    assert bob.events == []
    world.leave(ann)
    world.settle()
    assert world.relay.is_empty


def test_a_slow_reader_who_has_missed_too_many_that_went_begins_anew(
    world: World, ann: Reader, bob: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_room, "_GONE_LIMIT_COUNT", 5)
    world.put(ann, 1)
    world.put(ann, 2, key="other")
    world.tick()
    bob.backlog_bytes = SLOW_FROM_BYTES
    world.put(ann, None)
    for number in range(6):
        other = world.join(f"other {number}")
        world.put(other, number)
        world.leave(other)
        world.tick()
    world.settle()
    assert bob.events[-1].snapshot is True
    assert values(bob) == [2]
    world.leave(ann)
    world.settle()
    assert world.relay.is_empty


def test_who_is_behind_gets_so_much_at_once(world: World, ann: Reader, bob: Reader) -> None:
    senders = [world.join(f"sender {number}") for number in range(6)]
    world.settle()
    bob.backlog_bytes = SLOW_FROM_BYTES
    for sender in senders:
        for key in range(8):
            world.put(sender, "x" * (DATA_LIMIT_BYTES - 1000), key=str(key))
        world.tick()
    while world.tick() is not None and len(ann.newest) < 48:
        pass
    bob.backlog_bytes = 0
    while world.tick() is not None:
        pass
    assert len(bob.newest) == 48
    for event in bob.events:
        assert sum(len(bytes(item.data)) for item in event.items) <= CHUNK_BYTES


# Any order


NAMES = ["Ann", "Bob", "Cid"]
KEYS = ["1", "2"]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order, every reader ends up with the newest value of every key of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.value = 0
        self.expected: dict[tuple[str, str, str], int] = {}
        self.readers = {name: self.world.join(name) for name in NAMES}

    @rule(name=st.sampled_from(NAMES), key=st.sampled_from([*KEYS, None]), size=st.sampled_from([1, 1, 15_000]))
    def put(self, name: str, key: str | None, size: int) -> None:
        reader = self.readers[name]
        if ROOM not in reader.connection.rooms:
            return
        self.value += 1
        data = [self.value, "x" * size]
        self.world.put(reader, data, key=key)
        if key is not None:
            self.expected[reader.connection.client, "c", key] = data

    @rule(name=st.sampled_from(NAMES), key=st.sampled_from(KEYS))
    def take_away(self, name: str, key: str) -> None:
        reader = self.readers[name]
        if ROOM in reader.connection.rooms:
            self.world.put(reader, None, key=key)
            self.expected.pop((reader.connection.client, "c", key), None)

    @rule()
    def tick(self) -> None:
        self.world.tick()

    @rule()
    def half_a_tick(self) -> None:
        self.world.now_s += INTERVAL_S / 2
        self.world.relay.run_due()

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        reader = self.readers[name]
        if ROOM in reader.connection.rooms:
            self.world.leave(reader)
            self.expected = {place: data for place, data in self.expected.items() if place[0] != reader.connection.client}

    @rule(name=st.sampled_from(NAMES), is_back=st.booleans())
    def join(self, name: str, is_back: bool) -> None:
        reader = self.readers[name]
        if ROOM in reader.connection.rooms:
            return
        if is_back:  # as another connection, by a greeting
            del self.world.readers[reader.connection]
            reader = self.readers[name] = Reader(name)
            self.world.readers[reader.connection] = reader
            reader.connection.rooms[ROOM] = None
            for event in self.world.relay.greeting(reader.connection):
                reader.get(event)
        else:
            reader.newest.clear()
            self.world.enter(reader)

    @rule(
        name=st.sampled_from(NAMES),
        backlog_bytes=st.sampled_from([0, SLOW_FROM_BYTES - 1, SLOW_FROM_BYTES, SLOW_FROM_BYTES]),
    )
    def read(self, name: str, backlog_bytes: int) -> None:
        self.readers[name].backlog_bytes = backlog_bytes

    @invariant()
    def nobody_is_waited_for_who_is_not_here(self) -> None:
        for room in self.world.relay._rooms.values():
            assert all(ROOM in connection.rooms for connection in room.behind)

    def teardown(self) -> None:
        self.world.settle()
        for reader in self.world.members():
            of_others = {place: data for place, data in self.expected.items() if place[0] != reader.connection.client}
            told = {place: data for place, data in reader.newest.items() if place[0] != reader.connection.client}
            assert told == of_others
        for reader in list(self.world.members()):
            self.world.leave(reader)
        self.world.settle()
        assert self.world.relay.is_empty


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=200, stateful_step_count=40)
