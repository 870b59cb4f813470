"""Awareness: each says only of itself, who has gone is gone, and who comes back is seen and sees."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.live.documents.awareness import (
    ENTRIES_LIMIT_COUNT,
    STATE_LIMIT_BYTES,
    Awareness,
    Elsewhere,
    Entry,
    decode,
    encode,
)
from hazoom_ws.live.documents.errors import MalformedUpdate

numbers = st.integers(0, 2**53 - 1)


class YjsClient:
    """Awareness as y-protocols has it at a client, whose provider says whatever has changed, echoes among it."""

    def __init__(self, client_id: int) -> None:
        self.id = client_id
        self.clocks: dict[int, int] = {client_id: 0}
        self.states: dict[int, str] = {client_id: "{}"}
        self.said: list[list[Entry]] = []

    def entry(self, client_id: int) -> Entry:
        return Entry(client_id, self.clocks[client_id], self.states.get(client_id, "null"))

    def say(self, *client_ids: int) -> None:
        self.said.append([self.entry(client_id) for client_id in client_ids])

    def move(self, where: object) -> None:
        self.clocks[self.id] += 1
        self.states[self.id] = json.dumps({"cursor": where})
        self.say(self.id)

    def receive(self, update: bytes) -> None:
        changed: list[int] = []
        for client_id, clock, state in decode(update):
            known = self.clocks.get(client_id, 0)
            if not (known < clock or (known == clock and state == "null" and client_id in self.states)):
                if client_id not in self.clocks and clock == 0 and state != "null":
                    pass  # a clock of 0 that was never seen counts as known: `undefined` is 0 there
                continue
            if state == "null":
                if client_id == self.id:
                    clock += 1  # noqa: PLW2901 - never let another remove what is here
                else:
                    self.states.pop(client_id, None)
            else:
                self.states[client_id] = state
            self.clocks[client_id] = clock
            changed.append(client_id)
        if changed:
            self.say(*changed)

    def drop(self) -> None:
        """Lose the connection: the others' states go, their clocks stay."""
        for client_id in [other for other in self.states if other != self.id]:
            del self.states[client_id]
        self.said.clear()

    def connect(self) -> None:
        self.say(self.id)

    @property
    def others(self) -> dict[int, str]:
        return {client_id: state for client_id, state in self.states.items() if client_id != self.id}


class Room:
    """One awareness and those who are connected to it; everything arrives, in order. ``frames`` counts what was sent."""

    def __init__(self) -> None:
        self.awareness: Awareness[YjsClient] = Awareness()
        self.here: list[YjsClient] = []
        self.frames = 0

    def enter(self, client: YjsClient) -> None:
        snapshot = self.awareness.snapshot()
        self.here.append(client)
        if client.id in client.states:
            client.connect()
        if snapshot is not None:
            self.send(client, snapshot)

    def leave(self, client: YjsClient) -> None:
        self.here.remove(client)
        client.drop()
        self.tell(self.awareness.leave(client))

    def send(self, client: YjsClient, update: bytes) -> None:
        if client in self.here:
            self.frames += 1
            client.receive(update)

    def tell(self, told: dict[YjsClient, list[Entry]]) -> None:
        for client, entries in told.items():
            self.send(client, encode(entries))

    def pass_on(self, ours: list[Entry]) -> None:
        """Tell other processes, if there are any, what those here say."""

    def settle(self) -> int:
        """Pass on what is said until nobody says anything; return how many frames that took."""
        before = self.frames
        for _ in range(50):
            said = [(client, entries) for client in self.here for entries in client.said]
            for client in self.here:
                client.said = []
            for client, entries in said:
                self.tell(self.awareness.apply(client, decode(encode(entries))))
            if self.awareness.has_changed:
                update, speakers, ours = self.awareness.take()
                self.pass_on(ours)
                for client in self.here:
                    if client not in speakers:
                        self.send(client, update)
            elif not any(client.said for client in self.here):
                return self.frames - before
        raise AssertionError("they go on for ever")

    def all_see_each_other(self) -> bool:
        return all(
            client.others == {other.id: other.states[other.id] for other in self.here if other is not client}
            for client in self.here
        )


def room_of(*clients: YjsClient) -> Room:
    room = Room()
    for client in clients:
        client.move("start")
        client.said.clear()
        room.enter(client)
        room.settle()
    return room


def test_all_see_each_other_and_then_there_is_no_traffic() -> None:
    room = room_of(*(YjsClient(number) for number in range(1, 6)))
    assert room.all_see_each_other()
    assert room.settle() == 0
    room.here[0].move("there")
    assert room.settle() == 4, "each of the others gets it once; what they echo is not sent on"
    assert room.all_see_each_other()


def test_who_drops_is_gone_for_the_others_and_is_seen_when_it_comes_back() -> None:
    ann, bob, cid = YjsClient(1), YjsClient(2), YjsClient(3)
    room = room_of(ann, bob, cid)
    room.leave(ann)
    room.settle()
    assert set(bob.others) == {3}
    room.enter(ann)
    room.settle()
    assert room.all_see_each_other(), "it has its old clock, and knows the others'"
    assert room.settle() == 0


def test_all_see_each_other_after_a_restart_of_the_server() -> None:
    ann, bob, cid = YjsClient(1), YjsClient(2), YjsClient(3)
    room_of(ann, bob, cid)
    for client in (ann, bob, cid):
        client.drop()
    room = Room()
    for client in (bob, ann, cid):
        room.enter(client)
        room.settle()
    assert room.all_see_each_other()


def test_a_late_echo_does_not_bring_back_who_has_gone() -> None:
    ann, bob = YjsClient(1), YjsClient(2)
    room = room_of(ann, bob)
    late = bob.entry(1)
    room.leave(ann)
    room.settle()
    room.tell(room.awareness.apply(bob, [late]))
    room.settle()
    assert bob.others == {}
    assert room.awareness.snapshot() == encode([bob.entry(2)])


def test_nobody_says_anything_of_others() -> None:
    """Another tab of the same browser hears of it first, and says it before the one whose id it is."""
    ann, bob, eve = YjsClient(1), YjsClient(2), YjsClient(3)
    room = room_of(ann, bob, eve)
    room.tell(room.awareness.apply(eve, [Entry(1, 99, '"forged"'), Entry(4, 1, '"new"'), Entry(2, 99, "null")]))
    room.settle()
    assert room.all_see_each_other()
    assert 4 not in ann.others


def test_an_id_that_another_connection_has_is_inherited_when_that_has_gone() -> None:
    """Who comes back before its earlier connection is known to be dead."""
    ann, bob = YjsClient(1), YjsClient(2)
    room = room_of(ann, bob)
    again = YjsClient(1)
    again.clocks[1], again.states[1] = ann.clocks[1], ann.states[1]
    room.enter(again)
    room.settle()
    room.leave(ann)
    room.settle()
    assert bob.others == {1: again.states[1]}
    assert room.all_see_each_other()


def test_who_has_nothing_to_say_at_first_says_it_later() -> None:
    """It echoes what it hears of others before it has said anything of itself."""
    ann, bob = YjsClient(1), YjsClient(2)
    room = room_of(ann)
    del bob.states[2]
    room.enter(bob)
    room.settle()
    bob.move("here")
    room.settle()
    assert room.all_see_each_other()


def test_who_says_that_it_goes_is_gone() -> None:
    ann, bob = YjsClient(1), YjsClient(2)
    room = room_of(ann, bob)
    room.tell(room.awareness.apply(ann, [Entry(1, ann.clocks[1] + 1, "null")]))
    room.settle()
    assert bob.others == {}


def test_a_connection_of_our_own_has_a_state_and_goes() -> None:
    ann = YjsClient(1)
    room = room_of(ann)
    ours = YjsClient(77)
    room.awareness.put(ours, 77, '"here"')
    room.settle()
    assert ann.others == {77: '"here"'}
    room.awareness.put(ours, 77, '"there"')
    room.settle()
    assert ann.others == {77: '"there"'}
    room.awareness.leave(ours)
    room.settle()
    assert ann.others == {}


@given(st.lists(st.builds(Entry, numbers, numbers, st.text(st.characters(exclude_categories=["Cs"])))))
def test_an_update_is_read_as_it_was_written(entries: list[Entry]) -> None:
    assert decode(encode(entries)) == entries


@given(st.binary())
def test_whatever_comes_is_read_or_malformed(data: bytes) -> None:
    with suppress(MalformedUpdate):
        assert all(len(entry.state) <= STATE_LIMIT_BYTES for entry in decode(data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "middle"),
        (encode([Entry(1, 1, "{}")])[:-1], "middle"),
        (encode([Entry(1, 1, "{}")]) + b"x", "after its end"),
        (b"\x01\x01\x01\x01\xff", "no text"),
        (b"\xff" * 20, "2\\*\\*53"),
        (encode([Entry(1, 1, "x" * (STATE_LIMIT_BYTES + 1))]), "limit is 16384"),
        (encode([Entry(number, 1, "") for number in range(ENTRIES_LIMIT_COUNT + 1)]), "limit is 1000"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, why: str) -> None:
    with pytest.raises(MalformedUpdate, match=why):
        decode(data)


def test_the_limits_are_allowed() -> None:
    assert len(decode(encode([Entry(1, 1, "x" * STATE_LIMIT_BYTES)]))) == 1
    assert len(decode(encode([Entry(number, 1, "") for number in range(ENTRIES_LIMIT_COUNT)]))) == ENTRIES_LIMIT_COUNT


class Shared(Room):
    """One of several processes: what it says reaches the others, in order."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.others: list[Shared] = []

    def tell(self, told: dict) -> None:
        super().tell({client: entries for client, entries in told.items() if not isinstance(client, Elsewhere)})
        again = [entry for client, entries in told.items() if isinstance(client, Elsewhere) for entry in entries]
        for other in self.others if again else ():
            other.tell(other.awareness.say_again(decode(encode(again))))

    def pass_on(self, ours: list[Entry]) -> None:
        for other in self.others if ours else ():
            other.tell(other.awareness.hear(self.name, decode(encode(ours)), is_all=False))


def shared(*rooms: Shared) -> None:
    for room in rooms:
        room.others = [other for other in rooms if other is not room]


def settle(*rooms: Shared) -> None:
    for _ in range(20):
        if sum(room.settle() for room in rooms) == 0 and not any(room.awareness.has_changed for room in rooms):
            return
    raise AssertionError("they go on for ever")


def see_each_other(*rooms: Shared) -> bool:
    here = [client for room in rooms for client in room.here]
    return all(
        client.others == {other.id: other.states[other.id] for other in here if other is not client} for client in here
    )


def processes_of(*clients: YjsClient) -> list[Shared]:
    """Return as many processes, each of which one of the clients is connected to."""
    rooms = [Shared(f"p{number}") for number in range(len(clients))]
    shared(*rooms)
    for room, client in zip(rooms, clients, strict=True):
        client.move("start")
        client.said.clear()
        room.enter(client)
        settle(*rooms)
    return rooms


def test_all_processes_see_each_other_and_then_there_is_no_traffic() -> None:
    clients = [YjsClient(number) for number in range(1, 4)]
    rooms = processes_of(*clients)
    assert see_each_other(*rooms)
    settle(*rooms)
    frames = sum(room.frames for room in rooms)
    clients[0].move("there")
    settle(*rooms)
    assert sum(room.frames for room in rooms) == frames + 2
    assert see_each_other(*rooms)


def test_who_moves_to_another_process_is_seen_there_and_sees_the_others() -> None:
    ann, bob, cid = clients = [YjsClient(number) for number in range(1, 4)]
    rooms = processes_of(*clients)
    rooms[0].leave(ann)
    settle(*rooms)
    assert set(bob.others) == {3}
    rooms[1].enter(ann)
    settle(*rooms)
    assert see_each_other(*rooms)
    ann.move("there")
    settle(*rooms)
    assert cid.others[1] == ann.states[1]


def test_who_comes_back_before_its_process_is_known_to_be_dead_gets_its_id_when_it_is() -> None:
    ann, bob, cid = clients = [YjsClient(number) for number in range(1, 4)]
    first, *rest = processes_of(*clients)
    shared(*rest)
    ann.drop()
    rest[0].enter(ann)
    ann.move("here")
    settle(*rest)
    assert cid.others[1] != ann.states[1], "for all that is known the first process says that"
    for room in rest:
        room.tell(room.awareness.lose(first.name))
    settle(*rest)
    assert see_each_other(*rest)
    assert cid.others[1] == ann.states[1]
    assert bob.others[3] == cid.states[3]


def test_a_process_that_was_taken_for_dead_is_seen_again() -> None:
    clients = [YjsClient(number) for number in range(1, 4)]
    rooms = processes_of(*clients)
    for room in rooms[1:]:
        room.tell(room.awareness.lose(rooms[0].name))
    settle(*rooms)
    assert set(clients[1].others) == {3}
    for room in rooms[1:]:
        room.tell(room.awareness.hear(rooms[0].name, decode(rooms[0].awareness.ours()), is_all=True))
    settle(*rooms)
    assert see_each_other(*rooms)


def test_a_process_says_nothing_of_the_clients_of_another() -> None:
    clients = [YjsClient(number) for number in range(1, 3)]
    rooms = processes_of(*clients)
    forged = [Entry(1, 1000, json.dumps({"cursor": "forged"}))]
    rooms[0].tell(rooms[0].awareness.hear("p1", forged, is_all=False))
    settle(*rooms)
    assert see_each_other(*rooms)
    eve = YjsClient(1)
    eve.move("forged")
    rooms[1].enter(eve)
    eve.move("forged again")
    settle(*rooms)
    assert clients[1].others[1] == clients[0].states[1]
