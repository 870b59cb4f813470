"""Events of features in a message log: in one order with the messages, and shown to nobody who asks for messages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import EVERYTHING, MessageLog
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.settings import Settings
from redis_server import Patient

FILED_COUNT = 512  # so many are filed for good

# Of the file: all of it in memory too; none, and filed; none, and not filed yet.
STORES = [("memory://", 10**7, 0), ("sqlite:///log.sqlite3", 10**7, 0), ("sqlite:///log.sqlite3", 1, FILED_COUNT)]
STORES.append(("sqlite:///log.sqlite3", 1, 0))
IN_REDIS = [pytest.param(("redis://", size, 0), marks=pytest.mark.redis) for size in (10**7, 1)]


class Store:
    """A log that is opened again and again, with messages of other rooms between."""

    def __init__(self, folder: Path, url: str, history_limit_bytes: int, others_count: int, **options: Any) -> None:
        self._others_count = others_count
        self._settings = Settings(log_url=url, history_limit_bytes=history_limit_bytes, **options)
        self._folder = folder
        self.log: MessageLog = self._open()

    def _open(self) -> MessageLog:
        log = open_log(self._settings, self._folder)
        return Patient(log) if log.reads_beside else log

    def say(self, *texts: str) -> list[NewMessage]:
        """Keep messages, and of those which begin with a letter and a colon events of that name."""
        entries = []
        for text in texts:
            name, _, json = text.rpartition(":")
            fields = {"event_name": name} if name else {}
            entries.append(self.log.append(room="a", user="Ann", message=json, timestamp=1.5, **fields))
        for number in range(self._others_count):
            self.log.append(room="b", user="Bob", message=str(number), timestamp=1.5)
        self.log.write(self.log.pop_batch())
        while self.log.is_untidy:
            self.log.tidy()
        return entries

    def read(self, event_name: str | None = "", **range_: Any) -> tuple[str, bool]:
        page = self.log.read("a", **{"limit": 50, "newest": True, "event_name": event_name} | range_)
        return "".join(entry.message for entry in page.messages), page.more

    def reopen(self) -> None:
        self.log.close()
        self.log = self._open()


@pytest.fixture(params=[*STORES, *IN_REDIS], ids=lambda store: "-".join(map(str, store)))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url, *sizes = request.param
    store = Store(tmp_path, request.getfixturevalue("databases").next_url() if url == "redis://" else url, *sizes)
    yield store
    store.log.close()


def test_events_are_in_the_order_and_shown_only_when_asked_for(store: Store) -> None:
    before = store.log.messages_total
    entries = store.say("1", "v:2", "v:3", "4", "w:5", "6")
    assert store.log.messages_total - before - store._others_count == 3
    assert [entry.seq - entries[0].seq for entry in entries] == [0, 1, 2, 3, 4, 5]
    assert store.read() == store.read() == ("146", False)
    assert store.read(EVERYTHING) == store.read(EVERYTHING) == ("123456", False)
    assert (store.read("v"), store.read("w"), store.read("x")) == (("23", False), ("5", False), ("", False))
    assert store.log.read("a", limit=50, newest=True, event_name=None).messages == entries
    assert store.say("7") != []
    assert (store.read(), store.read("v"), store.read(EVERYTHING)) == (("1467", False), ("23", False), ("1234567", False))


def test_pages_are_of_what_was_asked_for(store: Store) -> None:
    entries = store.say("1", "v:2", "3", "v:4", "v:5")
    assert store.read(limit=1) == ("3", True)
    assert store.read(limit=2) == ("13", False)
    assert store.read("v", limit=2) == ("45", True)
    assert store.read("v", limit=3) == ("245", False)
    assert store.read("v", before=entries[3].seq) == ("2", False)
    assert store.read("v", after=entries[1].seq, limit=1, newest=False) == ("4", True)
    assert store.read(after=entries[2].seq) == ("", False)
    assert store.read(EVERYTHING, after=entries[1].seq, limit=2, newest=False) == ("34", True)


def test_a_restart_changes_nothing(store: Store) -> None:
    store.say("1", "v:2", "3")
    if store._settings.log_url == "memory://":
        return
    for _ in range(2):
        store.reopen()
        assert (store.read(), store.read("v"), store.read(EVERYTHING)) == (("13", False), ("2", False), ("123", False))
    store.say("4", "v:5")
    assert (store.read(), store.read("v"), store.read(EVERYTHING)) == (("134", False), ("25", False), ("12345", False))


def test_an_event_that_is_sent_again_is_found_and_no_message(store: Store) -> None:
    fields = {"room": "a", "user": "Ann", "timestamp": 1.5, "client_id": "c", "sender": "v name:Ann"}
    event = store.log.append(message="{}", event_name="v", **fields)
    store.say("1")
    for _ in range(2):
        assert store.log.find_resent("a", "Ann", "c", "v name:Ann") == event
        assert store.log.find_resent("a", "Ann", "c") is None
        if store._settings.log_url != "memory://":
            store.reopen()


def test_events_count_for_the_bounds_of_their_room(tmp_path: Path) -> None:
    store = Store(tmp_path, "memory://", 10**7, 0, history_room_limit_count=3)
    store.say("1", *(f"v:{number}" for number in range(2, 9)))
    assert (store.read(), store.read("v")) == (("", False), ("678", False))


def test_an_event_that_could_not_be_kept_is_taken_back(store: Store) -> None:
    if store._settings.log_url == "memory://":
        return
    store.say("1", "v:2")
    store.log.append(room="a", user="Ann", message="3", timestamp=1.5, event_name="v")
    store.log.forget(store.log.pop_batch())
    assert (store.read("v"), store.read(EVERYTHING)) == (("2", False), ("12", False))
