"""What a client that dropped has missed, and whether it is shown once and in order."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec import structs

from hazoom_ws.chat.effects import Broadcast, Close, Effect, Push, place_of
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.chat.recovery import RecoverableSessions
from hazoom_ws.chat.replay import Missed, missed
from hazoom_ws.events.connecting import Bye
from hazoom_ws.events.rooms import NewMessage, RoomJoined
from hazoom_ws.message_log.contract import Page, StoredSession
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.settings import Settings

ROOMS = ("a", "b", "c")
LIMIT_BYTES = 10_000


def entry(seq: int, room: str = "a", message: str = "m") -> NewMessage:
    return NewMessage(user="Bob", message=message, timestamp=0.0, room=room, id=str(seq), seq=seq)


class World:
    """A hub in which Bob talks, and Ann, whose connection loses what was on its way when it is cut."""

    def __init__(self, **settings: Any) -> None:
        self.now_s = 1000.0
        self.effects: list[Effect] = []
        self.log = MemoryLog(room_limit_count=1000, limit_bytes=10**7, start_seq=10**9)
        self.settings = Settings(**{"default_room": "", "rooms_per_connection_limit": 10} | settings)
        self.hub = self.open_hub()
        self.bob = self.hub.connect("bob", "Bob")
        for room in ROOMS:
            self.hub.join(self.bob, room, since=None, history=0)
        self.number = 0
        self.ann = self.hub.connect("ann 0", "Ann", may_return=True)
        self.pid = self.ann.pid or ""
        self.offset = self.log.last_seq  # what ``status`` says
        self.shown: list[NewMessage] = []
        self.on_its_way: list[tuple[NewMessage | RoomJoined, int]] = []
        self.effects.clear()

    def open_hub(self) -> Hub:
        clock = lambda: self.now_s  # noqa: E731
        return Hub(self.settings, self.log, self.effects.append, wake=lambda: None, clock=clock, wall_clock=clock)

    def collect(self) -> None:
        """Put what was sent on its way to Ann."""
        for effect in self.effects:
            if isinstance(effect, Broadcast) and isinstance(effect.event, NewMessage) and effect.room in self.ann.rooms:
                self.on_its_way.append((effect.event, effect.event.seq))
            elif isinstance(effect, Push) and effect.connection is self.ann and isinstance(effect.event, RoomJoined):
                self.on_its_way.append((effect.event, effect.offset))
        self.effects.clear()

    def arrive(self, count: int) -> None:
        """Let ``count`` of what is on its way reach Ann."""
        for event, offset in self.on_its_way[:count]:
            self.shown += [event] if isinstance(event, NewMessage) else event.messages
            self.offset = offset or self.offset
        del self.on_its_way[:count]

    def say(self, room: str) -> NewMessage:
        self.hub.publish(self.bob, room, "hi")
        said = next(e.event for e in self.effects if isinstance(e, Broadcast) and isinstance(e.event, NewMessage))
        self.collect()
        return said

    def cut(self) -> None:
        self.on_its_way.clear()
        self.hub.disconnect(self.ann)
        self.collect()

    def come_back(self) -> bool:
        self.number += 1
        ann = self.hub.recover(f"ann {self.number}", self.pid, "Ann")
        self.effects.clear()
        if ann is None:
            return False
        self.ann = ann
        self.on_its_way = [(numbered[0], place_of(numbered)) for numbered in self.hub.catch_up(ann, self.offset)]
        return True


@given(st.data())
def test_every_message_is_shown_once_and_in_order_however_often_a_client_drops(data):
    world = World()
    said: list[NewMessage] = []
    joined_at: dict[str, int] = {}
    is_away = False
    for _ in range(data.draw(st.integers(0, 30))):
        action = data.draw(st.sampled_from(["say", "say", "say", "arrive", "join", "cut", "take over"]))
        if action == "say":
            said.append(world.say(data.draw(st.sampled_from(ROOMS))))
        elif action == "arrive":
            world.arrive(data.draw(st.integers(1, 5)))
        elif action == "join" and not is_away:
            room = data.draw(st.sampled_from(ROOMS))
            if room not in joined_at:
                world.hub.join(world.ann, room, since=None, history=0)
                joined_at[room] = world.log.last_seq
                world.collect()
        elif action == "cut" and not is_away:
            world.arrive(data.draw(st.integers(0, len(world.on_its_way))))
            world.cut()
            is_away = True
        elif action == "take over":
            # Back, possibly before the server knew that it was gone.
            world.arrive(data.draw(st.integers(0, len(world.on_its_way))))
            world.on_its_way.clear()
            assert world.come_back()
            is_away = False
    if is_away:
        assert world.come_back()
    world.arrive(len(world.on_its_way))
    shown = [one.seq for one in world.shown]
    assert shown == sorted(set(shown))
    assert set(shown) >= {one.seq for one in said if one.room in joined_at and one.seq > joined_at[one.room]}
    # Who never heard that it had joined gets what was said in the room since it last heard of anything.
    assert {one.room for one in world.shown} <= joined_at.keys()


def test_a_connection_that_still_holds_the_session_is_ended():
    world = World()
    first = world.ann
    world.hub.recover("another", world.pid, "Ann")
    assert Close(first.id, Bye(reason="replaced", reconnect=False)) in world.effects
    assert not first.is_open


def test_a_session_ends_with_its_window_and_not_before():
    world = World(recovery_window_s=10.0)
    world.cut()
    world.now_s += 9.9
    world.hub.run_due()
    assert world.come_back()
    world.cut()
    world.now_s += 10.1
    world.hub.run_due()
    assert not world.come_back()


def test_so_many_may_come_back_and_no_more(monkeypatch):
    monkeypatch.setattr("hazoom_ws.chat.recovery.AWAY_LIMIT_COUNT", 2)
    world = World()
    pids = []
    for number in range(3):
        connection = world.hub.connect(f"c{number}", f"user {number}", may_return=True)
        pids.append(connection.pid)
        world.hub.disconnect(connection)
    assert [bool(world.hub.recover(pid, pid, f"user {number}")) for number, pid in enumerate(pids)] == [False, True, True]


class FileWorld(World):
    """One whose log is a file, which knows when it was written."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/log.sqlite3"
        super().__init__(**settings)

    def open_hub(self) -> Hub:
        self.log = open_log(Settings(log_url=self.url), self.folder)
        return super().open_hub()

    def write(self) -> None:
        """Write what there is, and do all that can wait."""
        self.log.press()
        while self.log.is_dirty:
            self.log.write(self.log.pop_batch())
        while self.log.is_untidy:
            self.log.tidy()

    def written_bytes(self) -> int:
        """Return what was written since the log was opened: there has been no checkpoint."""
        self.write()
        return (self.folder / "log.sqlite3-wal").stat().st_size

    def lose_file(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            (self.folder / f"log.sqlite3{suffix}").unlink()
        self.log.reopen()
        assert self.log.problem is None

    def restart(self) -> None:
        self.write()
        self.log.close()
        self.hub = self.open_hub()

    def recovered_rooms(self) -> list[str]:
        """Return where Ann is after the server has died now."""
        self.restart()
        assert self.come_back()
        return list(self.ann.rooms)


LONG_NAMES = [f"{number:03}" + "\N{GRINNING FACE}" * 125 for number in range(121)]


def test_coming_and_going_writes_what_has_changed_and_not_all_rooms(tmp_path: Path) -> None:
    """Each event of 600 bytes wrote 250 KB into the file for a client in 120 rooms of long names."""
    world = FileWorld(tmp_path, rooms_per_connection_limit=128)
    for room in LONG_NAMES[:-1]:
        world.hub.join(world.ann, room, since=None, history=0)
    before_bytes = world.written_bytes()
    for _ in range(100):
        world.hub.join(world.ann, LONG_NAMES[7], since=None, history=0)
    assert world.written_bytes() == before_bytes, "nothing has changed"
    count = 0
    for _ in range(400):
        for verb in ("leave", "join", "join"):
            room = LONG_NAMES[-1] if verb == "leave" or count % 2 else LONG_NAMES[count % 100]
            if verb == "leave" and room not in world.ann.rooms:
                room = LONG_NAMES[count % 100]
            if verb == "leave" and room not in world.ann.rooms:
                continue
            if verb == "leave":
                world.hub.leave(world.ann, room)
            else:
                world.hub.join(world.ann, room, since=None, history=0)
            world.effects.clear()
            world.write()
            count += 1
    assert (world.written_bytes() - before_bytes) / count < 20_000  # of which a page is the least that is written
    rooms = list(world.ann.rooms)
    assert len(rooms) > 100
    assert world.recovered_rooms() == rooms
    with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection:
        [[changes_bytes]] = connection.execute("SELECT total(length(change)) FROM session_changes")
        [[whole_bytes]] = connection.execute("SELECT total(length(session)) FROM sessions")
    assert changes_bytes < whole_bytes + 2000, "it does not grow without end"
    world.log.close()


def test_when_the_file_is_lost_the_new_one_has_whoever_is_there_or_away_and_answers_that_go_on(tmp_path: Path) -> None:
    """It had nothing but what changed after that."""
    world = FileWorld(tmp_path, rooms_per_connection_limit=128, recovery_window_s=100.0)
    for room in LONG_NAMES[:100]:
        world.hub.join(world.ann, room, since=None, history=0)
    world.hub.recoverable.save_shared_answer("over", "a")
    world.hub.recoverable.save_shared_answer("on", "a")
    rooms = list(world.ann.rooms)
    world.cut()
    world.write()
    world.lose_file()
    world.hub.recoverable.forget_shared_answer("over")
    assert world.recovered_rooms() == rooms
    assert world.hub.recoverable.died_answers == {"on": "a"}
    world.log.close()


@given(st.data())
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_restart_finds_sessions_large_and_small_as_they_were(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    world = FileWorld(tmp_path_factory.mktemp("log"), rooms_per_connection_limit=128)
    names = LONG_NAMES[:12]
    for _ in range(data.draw(st.integers(1, 30))):
        action = data.draw(st.sampled_from(["join", "join", "leave", "ask", "cut", "write", "lose", "restart"]))
        if action in ("join", "leave"):
            for room in data.draw(st.lists(st.sampled_from(names), max_size=6)):
                if action == "join":
                    world.hub.join(world.ann, room, since=None, history=0)
                elif room in world.ann.rooms:
                    world.hub.leave(world.ann, room)
                world.effects.clear()
        elif action == "ask":
            if not world.ann.answers.pop("1", None):
                world.ann.answers["1"] = ""
            world.hub.recoverable.save_answers(world.ann)
        elif action == "cut":
            world.cut()
            assert world.come_back()
        elif action == "write":
            world.write()
        elif action == "lose":
            world.lose_file()
        else:
            rooms, asked = list(world.ann.rooms), set(world.ann.answers) | set(world.ann.died_answers)
            assert world.recovered_rooms() == rooms
            assert set(world.ann.died_answers) == asked
    rooms = list(world.ann.rooms)
    assert world.recovered_rooms() == rooms
    world.log.close()


def test_clients_that_may_come_back_hold_a_bounded_number_of_bytes():
    """98 rooms of long names are 177 KB as they come, kept for two minutes for each connection that a stranger drops."""
    world = World(rooms_per_connection_limit=128, recovery_limit_bytes=1_000_000)
    held, pids = [], []
    for number in range(6):
        connection = world.hub.connect(f"c{number}", f"user {number}", may_return=True)
        for room in LONG_NAMES[:100]:
            world.hub.join(connection, f"{number}{room}"[:128], since=None, history=0)
        pids.append(connection.pid)
        world.hub.disconnect(connection)
        world.effects.clear()
        held.append(world.hub.recoverable._away_bytes)
    assert max(held) <= 250_000 < 6 * held[0], "a quarter, for such sessions"
    kept = [bool(world.hub.recover(pid, pid, f"user {number}")) for number, pid in enumerate(pids)]
    assert kept == sorted(kept), "who left first may not come back"
    assert 2 <= sum(kept) <= 5
    assert world.hub.recoverable._away_bytes == 0


def test_sessions_in_very_many_rooms_push_no_usual_ones_out() -> None:
    """A stranger who dropped 250 of them took from everybody who was away the way back."""
    world = World(rooms_per_connection_limit=128, recovery_limit_bytes=1_000_000)
    pids = []
    for number in range(100):
        connection = world.hub.connect(f"c{number}", f"user {number}", may_return=True)
        world.hub.join(connection, f"room {number}", since=None, history=0)
        pids.append(connection.pid)
        world.hub.disconnect(connection)
    for number in range(20):
        stranger = world.hub.connect(f"s{number}", f"stranger {number}", may_return=True)
        for room in LONG_NAMES[:100]:
            world.hub.join(stranger, f"{number}{room}"[:128], since=None, history=0)
        world.hub.disconnect(stranger)
        world.effects.clear()
    assert world.hub.recoverable._rare_bytes <= 250_000
    assert all(world.hub.recover(pid, pid, f"user {number}") for number, pid in enumerate(pids))
    world.now_s += 121
    while world.hub.run_due() == 0:
        pass
    assert world.hub.recoverable._away_bytes == world.hub.recoverable._rare_bytes == 0


def test_ten_thousand_usual_users_may_all_come_back() -> None:
    world = World(default_room="general", recovery_window_s=120.0)
    connections, pids = [], []
    for number in range(10_000):
        connection = world.hub.connect(f"connection {number}", f"Somebody with a name {number}", may_return=True)
        for room in range(2):
            world.hub.join(connection, f"the room of project {(number * 7 + room) % 2000}", since=None, history=0)
        world.effects.clear()
        connections.append(connection)
        pids.append(connection.pid or "")
    while connections:
        world.hub.disconnect(connections.pop())
        world.effects.clear()
    world.now_s += 10
    for _ in range(100):
        world.hub.run_due()
        world.effects.clear()
    assert all(
        world.hub.recover(f"again {number}", pid, f"Somebody with a name {number}") for number, pid in enumerate(pids)
    )


def test_what_they_hold_is_bounded_after_a_restart_too(tmp_path: Path) -> None:
    world = FileWorld(tmp_path, rooms_per_connection_limit=128)
    pids = []
    for number in range(6):
        connection = world.hub.connect(f"c{number}", f"user {number}", may_return=True)
        for room in LONG_NAMES[:100]:
            world.hub.join(connection, f"{number}{room}"[:128], since=None, history=0)
        pids.append(connection.pid)
        if number != 2:
            world.hub.disconnect(connection)
            world.now_s += 1
        world.effects.clear()
    world.settings = structs.replace(world.settings, recovery_limit_bytes=680_000)
    world.restart()
    assert world.hub.recoverable._away_bytes <= 170_000
    kept = [bool(world.hub.recover(pid, pid, f"user {number}")) for number, pid in enumerate(pids)]
    assert kept == [False, False, True, False, True, True], "who had not left when the server died has left last"
    world.log.close()


def test_rooms_beyond_a_limit_that_was_lowered_are_left():
    world = World()
    for number in range(5):
        world.hub.join(world.ann, f"room {number}", since=None, history=0)
    world.cut()
    world.hub._settings = structs.replace(world.settings, rooms_per_connection_limit=3)
    assert world.come_back()
    assert list(world.ann.rooms) == ["room 0", "room 1", "room 2"]


def test_a_session_is_its_users():
    world = World()
    world.cut()
    for name in ("Bob", "", "ann"):
        assert world.hub.recover("thief", world.pid, name) is None
    assert world.come_back()


def test_without_a_window_nobody_gets_a_pid():
    assert World(recovery_window_s=0).ann.pid is None


def test_sessions_of_a_process_that_died_begin_to_end_when_the_next_one_starts(monkeypatch):
    stored = StoredSession(user_id="name:Ann", user_name="Ann", conversation_id="s", since=1, rooms=["a"])
    world = World(recovery_window_s=10.0)
    [key] = world.hub.recoverable._by_key
    late = {"late": StoredSession(user_id="x", user_name="x", conversation_id="s", since=1, rooms=[], ends_at=999.0)}
    monkeypatch.setattr(world.log, "sessions", ({key: stored} | late).items)
    world.hub = world.open_hub()
    world.now_s += 9
    assert world.come_back()
    assert list(world.ann.rooms) == ["a"]
    assert world.ann.conversation_id == "s"


def missed_of(pages: dict[str, Page]) -> Missed:
    return missed(pages, lambda room, _limit_count, _limit_bytes: pages[room], LIMIT_BYTES)


def test_what_is_replayed_is_in_one_order_over_all_rooms():
    pages = {"a": Page([entry(1), entry(4)], more=False, gap=False), "b": Page([entry(2, "b")], more=False, gap=False)}
    assert [one.seq for one in missed_of(pages).replayed] == [1, 2, 4]
    assert missed_of(pages).incomplete == {}


def test_a_room_of_which_something_is_gone_is_told_apart():
    pages = {
        "more": Page([entry(1, "more")], more=True, gap=False),
        "gap": Page([entry(2, "gap")], more=False, gap=True),
        "whole": Page([entry(3, "whole")], more=False, gap=False),
    }
    found = missed_of(pages)
    assert [one.seq for one in found.replayed] == [3]
    assert {room: [one.seq for one in messages] for room, messages in found.incomplete.items()} == {"more": [1], "gap": [2]}


def test_what_is_replayed_has_a_bound():
    large = entry(1, message="x" * (LIMIT_BYTES - 1000))
    pages = {"a": Page([large], more=False, gap=False), "b": Page([entry(2, "b", "x" * 1000)], more=False, gap=False)}
    found = missed_of(pages)
    assert (found.replayed, found.incomplete) == ([large], {"b": []})


def test_when_there_is_no_place_left_a_room_costs_a_look_and_no_more():
    """A page of up to 256 KB was read for each of 128 rooms, to find out that none of them could be sent."""
    world = World(outbox_limit_bytes=4 * 600 * 2)
    rooms = [f"room {number}" for number in range(6)]
    for room in rooms:
        world.hub.join(world.ann, room, since=None, history=0)
        world.hub.join(world.bob, room, since=None, history=0)
    world.collect()
    world.arrive(len(world.on_its_way))
    world.cut()
    for room in rooms[:-1]:
        for _ in range(3):
            world.hub.publish(world.bob, room, "x" * 100)
        world.effects.clear()
    read, asked, found = world.log.read, [], []

    def count(room: str, **options: Any) -> Page:
        asked.append(room)
        page = read(room, **options)
        found.append(len(page.messages))
        return page

    world.log.read = count
    assert world.come_back()
    assert (asked, found) == (rooms, [3, 1, 1, 1, 1, 0])
    world.arrive(len(world.on_its_way))
    assert [one.room for one in world.shown] == ["room 0"] * 3 + ["room 1"]


def test_all_in_its_room_have_to_hear_of_an_answer_that_died_with_the_server_once(tmp_path: Path) -> None:
    def restart() -> RecoverableSessions:
        nonlocal log
        log.write(log.pop_batch())
        log.close()
        log = open_log(settings, tmp_path)
        return RecoverableSessions(120.0, log, wall_now_s=1000.0, now_s=0.0, limit_bytes=10**7)

    def come(name: str) -> Connection:
        connection = Connection(name, User(name, name), "conversation")
        sessions.start(connection)
        connection.rooms["r"] = None
        sessions.save(connection)
        return connection

    def waits_for(connection: Connection) -> dict[str, str]:
        session = sessions.find(connection.pid or "")
        assert session is not None
        return session.died_answers

    settings = Settings(log_url=f"sqlite:///{tmp_path}/log.sqlite3")
    log = open_log(settings, tmp_path)
    sessions = RecoverableSessions(120.0, log, wall_now_s=1000.0, now_s=0.0, limit_bytes=10**7)
    ann, bob = come("Ann"), come("Bob")
    ann.answers |= {"shared": "r", "private": ""}
    sessions.save_answers(ann)
    sessions = restart()
    assert waits_for(ann) == {"shared": "r", "private": ""}
    assert waits_for(bob) == {"shared": "r"}
    session = sessions.find(bob.pid or "")
    assert session is not None
    back = Connection("Bob again", bob.user, "conversation")
    sessions.resume(session, bob.pid or "", back)
    back.died_answers.clear()  # it was told
    sessions.save_answers(back)
    cid = come("Cid")
    sessions = restart()
    assert waits_for(ann) == {"shared": "r", "private": ""}
    assert waits_for(back) == waits_for(cid) == {}


def test_answers_of_rooms_that_ended_with_the_process_are_known_to_the_next_one_once(tmp_path: Path) -> None:
    world = FileWorld(tmp_path)
    sessions = world.hub.recoverable
    for number in range(3):
        sessions.save_shared_answer(f"r{number}", "a")
    sessions.forget_shared_answer("r1")
    world.hub.join(world.ann, "a", since=None, history=0)
    world.restart()
    assert world.hub.recoverable.died_answers == {"r0": "a", "r2": "a"}
    assert world.come_back(), "who was there is told, whoever had asked"
    assert set(world.ann.died_answers) == {"r0", "r2"}
    world.restart()
    assert world.hub.recoverable.died_answers == {}


def test_a_user_is_awaited_while_a_client_of_theirs_may_come_back() -> None:
    world = World(recovery_window_s=10.0)
    ann, sessions = world.ann.user, world.hub.recoverable
    assert not sessions.is_awaited(ann)
    other = world.hub.connect("other", "Ann", may_return=True)
    world.cut()
    assert sessions.is_awaited(ann)
    world.hub.disconnect(other, may_return=False)
    assert sessions.is_awaited(ann)
    assert world.come_back()
    assert not sessions.is_awaited(ann)
    world.cut()
    world.now_s += 10.1
    world.hub.run_due()
    assert not sessions.is_awaited(ann)
    assert not sessions._away_counts


def test_answers_of_a_session_from_another_process_count_in_what_it_holds() -> None:
    answers = {f"r{number}": "room" for number in range(100)}
    stored = StoredSession(
        user_id="name:Bob",
        user_name="Bob",
        conversation_id="s",
        since=1,
        rooms=["a"],
        answers=answers,
        died_answers={"d": "a"},
    )
    world = World(recovery_limit_bytes=100_000)
    sessions = world.hub.recoverable
    sessions.adopt("key", stored, wall_now_s=1000.0, now_s=0.0)
    assert 100 * 300 < sessions._away_bytes < 100_000
    assert dict(sessions._states())["key"].answers == answers
    cramped = World(recovery_limit_bytes=1000).hub.recoverable
    cramped.adopt("key", stored, wall_now_s=1000.0, now_s=0.0)
    assert cramped._away_bytes == 0, "it has no place, and that is all"
