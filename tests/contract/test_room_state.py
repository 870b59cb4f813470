"""What every message log promises of the state of rooms (`hazoom_ws.message_log.room_state`), over every store."""

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import EVERYTHING, Batch, MessageLog
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.room_state import StateChange, StateSize, StateValue
from hazoom_ws.message_log.sqlite.damage import DAMAGED
from hazoom_ws.message_log.sqlite.log import SqliteLog
from hazoom_ws.settings import Settings
from redis_server import Databases, Patient

FILE = "sqlite:///log.sqlite3"
REDIS = "redis://"  # one database of it
# Of the file: all that is used stays in memory; one room at a time does.
STORES = [("memory://", 10**7), (FILE, 10**7), (FILE, 1)]
IN_REDIS = [pytest.param((REDIS, size), marks=pytest.mark.redis) for size in (10**7, 1)]
KEPT = [(FILE, 10**7), *IN_REDIS]
START_S = 1_000_000.0
DAY_S = 86_400.0


class Clock:
    """The time, which tests set."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


class Store:
    """A log that is opened again and again."""

    def __init__(self, folder: Path, url: str, history_limit_bytes: int = 10**7, **options: Any) -> None:
        self.clock = Clock()
        self.is_kept = url != "memory://"
        self.is_file = url == FILE
        self._settings = Settings(log_url=url, history_limit_bytes=history_limit_bytes, **options)
        self._folder = folder
        self.log: MessageLog = self._open()

    def _open(self) -> MessageLog:
        log = open_log(self._settings, self._folder, wall_clock=self.clock, clock=self.clock)
        return Patient(log) if log.reads_beside else log

    def set(self, room: str = "a", user: str = "Ann", client_id: Any = UNSET, sender: Any = UNSET, **values: Any) -> Any:
        """Set keys to numbers, without writing it."""
        texts = {key: None if value is None else str(value).encode() for key, value in values.items()}
        return self.log.states.set(room, texts, user=user, timestamp=self.clock(), client_id=client_id, sender=sender)

    def write(self) -> None:
        self.log.write(self.log.pop_batch())

    def tidy(self) -> None:
        while self.log.is_untidy:
            self.log.tidy()

    def file(self) -> None:
        """Write and file all there is."""
        for _ in range(512):  # so much is filed for good
            self.log.append(room="filling", user="Ann", message="", timestamp=self.clock())
        self.write()
        self.tidy()

    def reopen(self) -> None:
        """Open the file anew, as after a kill: closing writes nothing."""
        if self.is_kept:
            self.log.close()
            self.log = self._open()

    def lose(self) -> None:
        """Let all be gone that it keeps, and go on with what is in memory."""
        self.log.problem = DAMAGED
        if not self.is_file:
            url = urlsplit(self._settings.log_url)
            with socket.create_connection((url.hostname or "", url.port or 0)) as connection:
                connection.sendall(f"SELECT {url.path[1:]}\r\nFLUSHDB\r\n".encode())
                assert connection.makefile("rb").readlines(8) == [b"+OK\r\n", b"+OK\r\n"]
        self.log.reopen()

    def values(self, room: str = "a", since: int | None = None) -> dict[str, Any]:
        values = self.log.states.read(room, since=since).values
        return {key: None if entry.value is None else int(entry.value) for key, entry in values.items()}


def named(request: pytest.FixtureRequest, kind: tuple[str, int]) -> tuple[str, int]:
    """Return a kind of store with the URL of a database that nobody has used."""
    return (request.getfixturevalue("databases").next_url(), kind[1]) if kind[0] == REDIS else kind


@pytest.fixture(params=[*STORES, *IN_REDIS], ids=lambda store: "-".join(map(str, store)))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, *named(request, request.param))
    yield store
    store.log.close()


@pytest.fixture(params=KEPT, ids=lambda store: "-".join(map(str, store)))
def kept_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, *named(request, request.param))
    yield store
    store.log.close()


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, FILE)
    yield store
    store.log.close()


def steps(store: Store) -> Iterator[None]:
    """Say that it is so before it is written, then, when it is filed, and after a restart."""
    yield
    store.write()
    yield
    store.reopen()
    yield
    store.set("elsewhere", x=1)
    store.file()
    yield
    store.reopen()
    yield


def test_what_was_set_is_read_at_once_and_after_it_is_kept(store: Store) -> None:
    change = store.set(x=1, y=2)
    assert change == StateChange(change.seq, "a", "Ann", START_S, {"x": b"1", "y": b"2"})
    for _ in steps(store):
        state = store.log.states.read("a")
        assert state.values == {"x": StateValue(b"1", change.seq, "Ann"), "y": StateValue(b"2", change.seq, "Ann")}
        assert (state.seq, state.complete) == (change.seq, True)
        assert store.log.states.get("a", "y") == StateValue(b"2", change.seq, "Ann")
        assert store.log.states.size("a") == StateSize(2, 4)


def test_a_room_of_which_nothing_was_set_is_empty(store: Store) -> None:
    state = store.log.states.read("a")
    assert (state.values, state.complete) == ({}, True)
    assert store.log.states.get("a", "x") is None
    assert store.log.states.size("a") == StateSize(0, 0)
    assert store.log.states.read("a", since=state.seq or None).complete


def test_changes_are_in_one_order_with_messages_and_no_messages(store: Store) -> None:
    log = store.log
    first = store.set(x=1)
    message = log.append(room="a", user="Ann", message="hi", timestamp=1.0)
    second = store.set("b", x=1)
    assert first.seq < message.seq < second.seq == log.last_seq
    for _ in steps(store):
        assert store.log.read("a", limit=9, newest=True, event_name=EVERYTHING).messages == [message]
    assert log.messages_total in {1, 513}  # the filling of the file


def test_a_batch_has_all_that_was_said_by_its_first_number(kept_store: Store) -> None:
    log = kept_store.log
    change = kept_store.set(x=1)
    message = log.append(room="a", user="Ann", message="hi", timestamp=1.0)
    number = log.documents.add_update("d", b"1").seq
    assert log.is_dirty
    assert log.is_pressing
    batch = log.pop_batch()
    assert [entry.seq for entry in batch.entries()] == [message.seq, change.seq, number]
    assert (batch.number, batch.things_count) == (change.seq, 3)
    assert not log.is_dirty


def test_of_each_key_the_newest_value_is_read_in_the_order_of_changes(store: Store) -> None:
    first = store.set(x=1, y=1)
    second = store.set(z=1, x=2, user="Bob")
    third = store.set(y=2)
    for _ in steps(store):
        assert store.values() == {"z": 1, "x": 2, "y": 2}
        assert list(store.values())[2] == "y"
        assert {key: entry.seq for key, entry in store.log.states.read("a").values.items()} == {
            "z": second.seq,
            "x": second.seq,
            "y": third.seq,
        }
        assert [entry.user for entry in store.log.states.read("a").values.values()] == ["Bob", "Bob", "Ann"]
        assert store.values(since=first.seq) == {"z": 1, "x": 2, "y": 2}
        assert store.values(since=second.seq) == {"y": 2}
        assert store.values(since=third.seq) == {}


def test_what_is_deleted_is_told_to_who_asks_what_has_changed(store: Store) -> None:
    first = store.set(x=1, y=1)
    store.set(x=None)
    for _ in steps(store):
        assert store.values() == {"y": 1}
        assert store.values(since=first.seq) == {"x": None}
        assert store.log.states.read("a", since=first.seq).complete
        assert store.log.states.get("a", "x") is None
        assert store.log.states.size("a") == StateSize(1, 2)
    store.set(x=3)
    for _ in steps(store):
        assert store.values(since=first.seq) == {"x": 3}
        assert store.log.states.size("a") == StateSize(2, 4)


def test_deleting_what_is_not_there_changes_nothing(store: Store) -> None:
    first = store.set(x=1)
    nothing = store.set(y=None)
    assert (nothing.values, nothing.seq > first.seq) == ({}, True)
    for _ in steps(store):
        assert store.values(since=first.seq - 1) == {"x": 1}
        assert store.log.states.read("a").seq == first.seq


def test_a_number_that_the_log_never_gave_gets_all_of_the_state(store: Store) -> None:
    first = store.set(x=1, y=1)
    last = store.set(x=None)
    for _ in steps(store):
        assert store.values() == {"y": 1}
        for since in (1, store.log.last_seq + 10**9):
            state = store.log.states.read("a", since=since)
            assert (list(state.values), state.complete) == (["y"], False)
        assert store.log.states.read("a", since=0).complete
        assert store.values(since=0) == {"y": 1}
        assert store.log.states.read("a", since=first.seq).seq == last.seq


def test_of_deleted_keys_a_thousand_are_remembered(store: Store) -> None:
    first = store.set(stays=1)
    changes = []
    for number in range(1500):
        store.set(**{str(number): 1})
        changes.append(store.set(**{str(number): None}))
        if number % 50 == 0:
            store.write()
    for _ in steps(store):
        state = store.log.states.read("a", since=changes[-1001].seq)
        assert (len(state.values), state.complete) == (1000, True)
        state = store.log.states.read("a", since=first.seq)
        assert (list(state.values), state.complete) == (["stays"], False), "what it does not tell is not there"


@pytest.mark.parametrize("url", ["memory://", FILE])
def test_text_is_kept_as_it_is(tmp_path: Path, url: str) -> None:
    store = Store(tmp_path, url)
    for text in ("ü 😀", "a\0b", "'; DROP TABLE state; --", " ", "\u2028"):
        value = f'{{"{text}": 1}}'.encode()
        store.log.states.set(text, {text: value}, user=text, timestamp=1.0, client_id=text, sender=text)
        store.file()
        store.reopen()
        entry = store.log.states.get(text, text)
        assert entry is not None
        assert (entry.value, entry.user) == (value, text)
        assert store.log.states.find_resent(text, "", text, text) == entry.seq
        assert store.log.states.size(text) == StateSize(1, len(text.encode()) + len(value))
    store.log.close()


def test_what_is_sent_again_is_known_by_its_sender_room_and_id(store: Store) -> None:
    find = store.log.states.find_resent
    of_name = store.set(x=1, client_id="c")
    of_guest = store.set(x=2, client_id="c", sender="guest:1")
    for _ in steps(store):
        find = store.log.states.find_resent
        assert find("a", "Ann", "c") == of_name.seq
        assert find("a", "whoever", "c", "guest:1") == of_guest.seq
        others = [
            ("b", "Ann", "c"),
            ("a", "Bob", "c"),
            ("a", "Ann", "d"),
            ("a", "Ann", "c", "guest:2"),
            ("a", "Ann", UNSET),
        ]
        assert [find(*other) for other in others] == [None] * len(others)
        assert store.log.find_resent("a", "Ann", "c") is None, "it is no message"


# What cannot be kept


def test_what_could_not_be_kept_is_taken_back(kept_store: Store) -> None:
    kept = kept_store.set(x=1, y=1)
    kept_store.write()
    kept_store.set(x=2, y=None, z=1, client_id="c")
    kept_store.set(x=3)
    batch = kept_store.log.pop_batch()
    kept_store.log.forget(batch)
    for _ in steps(kept_store):
        assert kept_store.values() == {"x": 1, "y": 1}
        assert kept_store.log.states.read("a").seq == kept.seq
        assert kept_store.log.states.find_resent("a", "Ann", "c") is None
        assert kept_store.log.states.size("a") == StateSize(2, 4)
        assert kept_store.values(since=kept.seq) == {}


def test_what_is_set_over_what_is_taken_back_stays(file_store: Store) -> None:
    first = file_store.set(x=1)
    file_store.write()
    file_store.set(x=2, y=2)
    lost = file_store.log.pop_batch()
    file_store.set(x=3)
    file_store.log.forget(lost)
    assert file_store.values(since=first.seq) == {"x": 3}
    lost = file_store.log.pop_batch()
    file_store.log.forget(lost)
    assert file_store.values() == {"x": 1}


def test_what_was_deleted_again_while_that_was_taken_back_is_deleted(kept_store: Store) -> None:
    first = kept_store.set(x=1)
    kept_store.write()
    kept_store.set(x=None)
    lost = kept_store.log.pop_batch()
    kept_store.set(x=None)
    kept_store.log.forget(lost)
    for _ in steps(kept_store):
        assert kept_store.values(since=first.seq) == {"x": None}


def test_many_deletions_that_could_not_be_kept_are_taken_back(kept_store: Store) -> None:
    """More than are remembered of those that were kept."""
    kept_store.set(**{str(number): 1 for number in range(1500)})
    kept_store.write()
    for number in range(1500):
        kept_store.set(**{str(number): None})
    kept_store.log.forget(kept_store.log.pop_batch())
    assert kept_store.log.states.size("a").keys_count == 1500
    assert kept_store.log.states.read("a", since=0).complete


def test_what_waits_while_a_file_is_opened_again_is_written_into_it(kept_store: Store) -> None:
    """It was taken for filed, as all else is then, and not found until it was."""
    kept_store.set(x=1)
    kept_store.log.problem = "the disk is full"
    kept_store.log.reopen()
    kept_store.write()
    assert kept_store.values() == {"x": 1}
    kept_store.reopen()
    assert kept_store.values() == {"x": 1}


def test_a_log_that_is_unwell_refuses_changes_and_shows_what_it_has(file_store: Store, tmp_path: Path) -> None:
    log = file_store.log
    assert isinstance(log, SqliteLog)
    file_store.set(x=1)
    file_store.write()
    file_store.set(x=2)
    with closing(sqlite3.connect(tmp_path / "log.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        batch = log.pop_batch()
        log._writer._connection.execute("PRAGMA busy_timeout = 0")
        assert not log.write_at_once(batch)
        log.problem = "the disk is full"
        with pytest.raises(LogUnavailable):
            log.write(batch)
        log.forget(batch)
        assert file_store.values() == {"x": 1}
        with pytest.raises(LogUnavailable):
            file_store.set(x=3)
        other.execute("ROLLBACK")
    log.reopen()
    assert log.problem is None
    assert file_store.values() == {"x": 1}
    file_store.set(x=4)
    file_store.write()
    file_store.reopen()
    assert file_store.values() == {"x": 4}


def test_what_memory_has_gets_into_the_file_that_follows_a_lost_one(file_store: Store, tmp_path: Path) -> None:
    log = file_store.log
    first = file_store.set(x=1, y=1, z=1, user="Bob")
    file_store.file()
    second = file_store.set(y=2, z=None)
    file_store.write()
    log.problem = DAMAGED
    log.reopen()
    assert log.problem is None
    for _ in range(2):
        assert file_store.values() == {"x": 1, "y": 2}
        entries = file_store.log.states.read("a").values
        assert (entries["x"], entries["y"]) == (StateValue(b"1", first.seq, "Bob"), StateValue(b"2", second.seq, "Ann"))
        state = file_store.log.states.read("a", since=first.seq)
        assert (list(state.values), state.complete) == (["x", "y"], False)
        file_store.reopen()


def test_what_was_not_written_gets_into_no_file_that_follows(file_store: Store) -> None:
    log = file_store.log
    file_store.set(x=1)
    file_store.write()
    file_store.set(x=2, y=2)
    log.problem = DAMAGED
    log.reopen()
    file_store.log.forget(log.pop_batch())
    assert file_store.values() == {"x": 1}
    file_store.reopen()
    assert file_store.values() == {"x": 1}


# Bounds


def count(folder: Path, statement: str) -> int:
    with closing(sqlite3.connect(folder / "log.sqlite3")) as connection:
        return connection.execute(statement).fetchone()[0]


@pytest.mark.parametrize("rows", [1, 2])
def test_old_values_leave_nothing_in_the_file(file_store: Store, tmp_path: Path, rows: int) -> None:
    """A hundred thousand sets of one key, or of one that is deleted again each time."""
    pages: list[int] = []
    for number in range(100_000):
        file_store.set(x=number if rows == 1 or number % 2 == 0 else None)
        if number % 500 == 499:
            file_store.write()
            file_store.tidy()
            if number % 10_000 == 9_999:
                pages.append(count(tmp_path, "PRAGMA page_count"))
    assert len(set(pages[2:])) == 1, pages
    assert count(tmp_path, "SELECT count(*) FROM state") == 1
    assert [count(tmp_path, f"SELECT count(*) FROM {table}") for table in ("messages", "state_resent")] == [0, 0]
    file_store.log.pop_batch()  # learns what was filed
    states = file_store.log.states
    assert not states._replaced
    assert len(states._unfiled) < 512
    assert states._held_bytes < 2000


def test_keys_that_come_and_go_leave_a_bounded_number_of_rows(file_store: Store, tmp_path: Path) -> None:
    for number in range(6000):
        file_store.set(**{str(number): 1})
        file_store.set(**{str(number): None})
        if number % 250 == 249:
            file_store.write()
            file_store.tidy()
    assert 1000 <= count(tmp_path, "SELECT count(*) FROM state") <= 1250
    assert count(tmp_path, "SELECT count(*) FROM state_trimmed") == 1
    assert 1000 <= len(file_store.log.states._rooms["a"].values) <= 1500


@pytest.mark.long
def test_what_is_a_day_old_goes_but_values_stay(file_store: Store, tmp_path: Path) -> None:
    file_store.set(x=1, y=1, z=1, client_id="c")
    deleted = file_store.set(x=None)
    file_store.set(y=None)
    file_store.file()
    later = file_store.set(z=2, client_id="d")
    for _ in range(100):
        file_store.clock.now_s += 1000
        file_store.file()
    assert file_store.log.states.find_resent("a", "Ann", "c") is None
    assert count(tmp_path, "SELECT count(*) FROM state") == 1
    assert count(tmp_path, "SELECT count(*) FROM state_resent") == 0
    file_store.reopen()
    assert file_store.values() == {"z": 2}
    assert file_store.log.states.read("a", since=deleted.seq).complete is False
    assert file_store.log.states.read("a", since=later.seq).complete is True
    other = file_store.log.states.read("other")
    assert file_store.log.states.read("other", since=other.seq).complete is True


def test_messages_that_go_take_no_state_with_them(tmp_path: Path) -> None:
    store = Store(tmp_path, FILE, history_room_limit_count=2, history_age_limit_s=100.0)
    store.set(x=1)
    for number in range(50):
        store.log.append(room="a", user="Ann", message=str(number), timestamp=store.clock())
        store.clock.now_s += 100
        store.file()
    store.reopen()
    assert store.values() == {"x": 1}
    store.log.close()


def test_memory_lets_go_of_the_room_that_was_used_least_lately(tmp_path: Path) -> None:
    store = Store(tmp_path, "memory://", 25_000)  # four times that
    first = store.set("0", x=10**4_000)
    for number in range(1, 40):
        store.set(str(number), x=10**4_000)
        store.log.states.get("1", "x")
    assert [bool(store.values(str(number))) for number in (0, 1, 2, 38, 39)] == [False, True, False, True, True]
    assert store.log.states.read("0", since=first.seq).complete is False
    assert store.log.states._held_bytes <= 100_000


def test_a_room_of_a_file_is_loaded_again_when_it_left_memory(tmp_path: Path) -> None:
    store = Store(tmp_path, FILE, 25_000)  # four times that
    for number in range(30):
        store.set(str(number), x=number, **{f"long {key}": 10**200 for key in range(20)})
        store.write()
    assert len(store.log.states._rooms) < 20
    for number in range(30):
        assert store.values(str(number))["x"] == number
    assert store.log.states._held_bytes <= 100_000
    store.log.close()


def test_a_room_of_a_file_that_is_not_used_leaves_memory(file_store: Store) -> None:
    for number in range(5):
        file_store.set(str(number), x=number)
        file_store.write()
        file_store.clock.now_s += 200
    file_store.values("1")
    file_store.clock.now_s += 100
    file_store.values("other")
    assert set(file_store.log.states._rooms) == {"3", "4", "1", "other"}, "who was used in the last ten minutes"
    assert file_store.values("0") == {"x": 0}


# Against a plain model

KEYS = st.sampled_from("xyz")
ROOMS = st.sampled_from("ab")
CHANGES = st.dictionaries(KEYS, st.none() | st.integers(0, 9), min_size=1, max_size=3)
STEPS = st.one_of(
    st.tuples(st.just("set"), ROOMS, CHANGES),
    st.tuples(st.sampled_from(["write", "fail", "fail_both", "fail_earlier", "file", "die", "heal", "lose"])),
)


class Model:
    """All changes that were not taken back, in a list."""

    def __init__(self) -> None:
        self.changes: list[StateChange] = []

    def forget(self, batch: Batch) -> None:
        lost = {entry.seq for entry in batch.entries()}
        self.changes = [change for change in self.changes if change.seq not in lost]

    def read(self, room: str, since: int) -> dict[str, StateValue]:
        found: dict[str, StateValue] = {}
        for change in self.changes:
            for key, value in change.values.items() if change.room == room else ():
                found.pop(key, None)
                found[key] = StateValue(value, change.seq, change.user)
        if not since:
            return {key: entry for key, entry in found.items() if entry.value is not None}
        return {key: entry for key, entry in found.items() if entry.seq > since}


class Story:
    """A store and its model, to which the same happens."""

    def __init__(self, folder: Path, kind: tuple[str, int]) -> None:
        self.store, self.model = Store(folder, *kind), Model()
        self._has_all_in_memory = kind[1] > 1
        self._is_lost = False

    def set(self, room: str, values: dict[str, int | None]) -> None:
        change = self.store.set(room, user=f"user {len(self.model.changes)}", **values)
        self.model.changes.append(change)

    def look(self) -> None:
        """Ask for all that can be asked for."""
        for room in "ab":
            values = self.model.read(room, 0)
            size = StateSize(len(values), sum(len(key) + len(entry.value or b"") for key, entry in values.items()))
            assert self.store.log.states.size(room) == size
            for since in (0, *(change.seq for change in self.model.changes)):
                state = self.store.log.states.read(room, since=since)
                assert state.complete or self._is_lost
                assert state.values == self.model.read(room, since if state.complete else 0)
                assert [entry.seq for entry in state.values.values()] == sorted(
                    entry.seq for entry in state.values.values()
                )

    def write(self) -> None:
        self.store.write()

    def fail(self) -> None:
        self._forget(self.store.log.pop_batch())

    def fail_earlier(self, *, both: bool = False) -> None:
        first = self.store.log.pop_batch()
        self.set("a", {"x": len(self.model.changes), "y": None})
        if both:
            self.fail()
        self._forget(first)

    def fail_both(self) -> None:
        self.fail_earlier(both=True)

    def file(self) -> None:
        self.store.file()

    def die(self) -> None:
        self.model.forget(self.store.log.pop_batch())
        self.store.reopen()

    def heal(self) -> None:
        """Open the file again, with what was not written yet."""
        self.store.log.problem = "the disk is full"
        self.store.log.reopen()

    def lose(self) -> None:
        """Begin a new file, with what was not written yet."""
        if self._has_all_in_memory:
            for room in "ab":
                self.store.log.states.read(room)  # what is not in memory is lost
            self.store.lose()
            self._is_lost = True

    def _forget(self, batch: Batch) -> None:
        self.model.forget(batch)
        self.store.log.forget(batch)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(steps=st.lists(STEPS, max_size=40), kind=st.sampled_from(STORES))
@pytest.mark.long
def test_states_are_as_a_plain_model_has_them(tmp_path_factory, steps, kind) -> None:
    """Whatever is written, fails, is filed, and whenever the file is opened anew or lost."""
    tell(tmp_path_factory, steps, kind)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(steps=st.lists(STEPS, max_size=40), size=st.sampled_from([1, 10**7]))
@pytest.mark.redis
def test_states_in_redis_are_as_a_plain_model_has_them(
    tmp_path_factory, databases: Databases, steps: list[Any], size: int
) -> None:
    tell(tmp_path_factory, steps, (databases.next_url(), size))


def tell(tmp_path_factory: pytest.TempPathFactory, steps: list[Any], kind: tuple[str, int]) -> None:
    story = Story(tmp_path_factory.mktemp("log"), kind)
    for step, *details in steps:
        if details or story.store.is_file:
            getattr(story, step)(*details)
        story.look()
    story.store.log.close()


# Killed in the middle

WRITES = """
import sys
from pathlib import Path
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.settings import Settings
log = open_log(Settings(log_url="sqlite:///log.sqlite3"), Path(sys.argv[1]))
number = 0
while True:
    number += 1
    text = str(number).encode()
    log.states.set("a", {"x": text, "y": text}, user="Ann", timestamp=1.0)
    log.append(room="a", user="Ann", message=str(number), timestamp=1.0)
    log.documents.add_update("d", text)
    log.write(log.pop_batch())
    print(number, flush=True)
    if number % 50 == 0:
        log.documents.save_snapshot("d", text, log.last_seq)
        while log.is_untidy:
            log.tidy()
"""


@pytest.mark.parametrize("after_count", [1, 40, 333])
def test_a_process_that_is_killed_has_kept_each_batch_whole(tmp_path: Path, after_count: int) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", WRITES, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= after_count:
                process.kill()
                break
        told = after_count
        for line in process.stdout:
            if line.strip().isdecimal() and line.endswith("\n"):
                told = int(line)
    store = Store(tmp_path, FILE)
    values = store.values()
    [newest] = store.log.read("a", limit=1, newest=True).messages
    assert values["x"] == values["y"] == int(newest.message) >= told
    document = store.log.documents.read("d")
    assert document is not None
    found = [int(data) for _, data in document.updates]
    assert max([*found, int(document.snapshot or b"0")]) == values["x"]
    assert found == list(range(int(document.snapshot or b"0") + 1, values["x"] + 1))
    store.log.close()
