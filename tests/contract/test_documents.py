"""What every message log promises of documents (`hazoom_ws.message_log.documents`), over every store."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log import pending_documents
from hazoom_ws.message_log.contract import MessageLog
from hazoom_ws.message_log.documents import StoredDocument
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.sqlite.damage import DAMAGED
from hazoom_ws.settings import Settings
from redis_server import Patient

FILE = "sqlite:///log.sqlite3"
IN_REDIS = pytest.param("redis://", marks=pytest.mark.redis)  # one database of it
URLS = ["memory://", FILE]
FILED_COUNT = 512  # so much is filed for good


class Store:
    """A log that is opened again and again."""

    def __init__(self, folder: Path, url: str, **options: Any) -> None:
        self.is_file = url == FILE
        self.is_kept = url != "memory://"
        self._settings = Settings(log_url=url, **options)
        self._folder = folder
        self.log: MessageLog = self._open()

    def _open(self) -> MessageLog:
        log = open_log(self._settings, self._folder)
        return Patient(log) if log.reads_beside else log

    def add(self, *updates: bytes, document: str = "d") -> list[int]:
        added = [self.log.documents.add_update(document, update) for update in updates]
        if self.log.peers is not None:
            self.write()  # which gives the numbers
        return [update.seq for update in added]

    def write(self) -> None:
        self.log.write(self.log.pop_batch())

    def tidy(self) -> None:
        while self.log.is_untidy:
            self.log.tidy()

    def file(self) -> None:
        for _ in range(FILED_COUNT):
            self.log.append(room="filling", user="Ann", message="", timestamp=1.0)
        self.write()
        self.tidy()

    def reopen(self) -> None:
        if self.is_kept:
            self.log.close()
            self.log = self._open()

    def read(self, document: str = "d") -> tuple[bytes | None, list[bytes]] | None:
        stored = self.log.documents.read(document)
        return None if stored is None else (stored.snapshot, [data for _, data in stored.updates])

    def count(self, table: str) -> int:
        with closing(sqlite3.connect(self._folder / "log.sqlite3")) as connection:
            return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    def pages_count(self) -> int:
        with closing(sqlite3.connect(self._folder / "log.sqlite3")) as connection:
            return connection.execute("PRAGMA page_count").fetchone()[0]


def opened(request: pytest.FixtureRequest, folder: Path) -> Store:
    url = request.param
    return Store(folder, request.getfixturevalue("databases").next_url() if url == "redis://" else url)


@pytest.fixture(params=[*URLS, IN_REDIS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = opened(request, tmp_path)
    yield store
    store.log.close()


@pytest.fixture(params=[FILE, IN_REDIS])
def kept_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = opened(request, tmp_path)
    yield store
    store.log.close()


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, FILE)
    yield store
    store.log.close()


def steps(store: Store) -> Iterator[None]:
    """Say that it is so when it is written, after a restart, when it is filed, and after another one."""
    store.write()
    yield
    store.reopen()
    yield
    store.file()
    yield
    store.reopen()
    yield


def test_what_was_never_written_does_not_exist(store: Store) -> None:
    assert store.read() is None
    store.add(b"1", document="other")
    for _ in steps(store):
        assert store.read() is None


def test_updates_are_kept_as_they_are_in_their_order(store: Store) -> None:
    numbers = store.add(b"", b"\0\xff", b"text")
    store.add(b"elsewhere", document="\u00e9 ?#,/ \0")
    numbers += store.add(b"x" * 4_194_304)
    expected = list(zip(numbers, [b"", b"\0\xff", b"text", b"x" * 4_194_304], strict=True))
    assert numbers == sorted(numbers)
    for _ in steps(store):
        assert store.log.documents.read("d") == StoredDocument(None, 0, expected)
        assert store.read("\u00e9 ?#,/ \0") == (None, [b"elsewhere"])
    assert store.log.documents.read("d").updates_bytes == 4_194_304 + 6


def test_updates_are_in_one_order_with_messages(store: Store) -> None:
    log = store.log
    before = log.append(room="a", user="Ann", message="1", timestamp=1.0)
    [number] = store.add(b"1")
    after = log.append(room="a", user="Ann", message="2", timestamp=1.0)
    assert before.seq < number < after.seq
    for _ in steps(store):
        assert store.log.read("a", limit=9, newest=True).messages == [before, after]


def test_an_update_is_read_when_it_is_kept_and_never_if_it_could_not_be(kept_store: Store) -> None:
    kept_store.log.documents.add_update("d", b"1")
    assert kept_store.log.is_pressing
    batch = kept_store.log.pop_batch()
    kept_store.log.forget(batch)
    [kept] = kept_store.add(b"2")
    for _ in steps(kept_store):
        assert kept_store.log.documents.read("d") == StoredDocument(None, 0, [(kept, b"2")])


def test_a_snapshot_replaces_what_is_in_it(store: Store) -> None:
    _, second, third = store.add(b"1", b"2", b"3")
    store.write()
    store.log.documents.save_snapshot("d", b"12", second)
    store.tidy()
    for _ in steps(store):
        assert store.log.documents.read("d") == StoredDocument(b"12", second, [(third, b"3")])
    if store.is_file:
        assert [store.count(table) for table in ("snapshots", "document_updates")] == [1, 1]
    [fourth] = store.add(b"4")
    store.write()
    store.log.documents.save_snapshot("d", b"123", third)
    store.tidy()
    for _ in steps(store):
        assert store.log.documents.read("d") == StoredDocument(b"123", third, [(fourth, b"4")])


def test_a_snapshot_replaces_no_newer_one(store: Store) -> None:
    first, second = store.add(b"1", b"2")
    store.write()
    store.log.documents.save_snapshot("d", b"12", second)
    store.log.documents.save_snapshot("d", b"1", first)
    store.file()
    store.log.documents.save_snapshot("d", b"1", first)
    store.tidy()
    assert store.log.documents.read("d") == StoredDocument(b"12", second, [])


def test_a_snapshot_that_nothing_else_is_written_with_is_written(kept_store: Store) -> None:
    """Its batch is empty: who writes it looks afterwards whether there is something to tidy."""
    [number] = kept_store.add(b"1")
    kept_store.file()
    assert not kept_store.log.is_dirty
    kept_store.log.documents.save_snapshot("d", b"s", number)
    assert kept_store.log.is_dirty
    assert not kept_store.log.is_pressing
    kept_store.write()
    assert not kept_store.log.is_dirty
    assert kept_store.log.is_untidy
    kept_store.tidy()
    kept_store.reopen()
    assert kept_store.read() == (b"s", [])


def test_snapshots_are_written_when_too_much_of_them_waits(file_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_documents, "_QUEUED_LIMIT_BYTES", 1000)
    [number] = file_store.add(b"1")
    file_store.file()
    file_store.log.documents.save_snapshot("d", b"s" * 1001, number)
    file_store.add(b"2")
    batch = file_store.log.pop_batch()
    assert not file_store.log.write_at_once(batch), "that is for a thread"
    file_store.log.write(batch)
    assert file_store.count("snapshots") == 1
    assert file_store.read() == (b"s" * 1001, [b"2"])


def test_a_snapshot_waits_until_all_that_it_replaces_is_filed(file_store: Store) -> None:
    numbers = []
    for number in range(FILED_COUNT + 100):
        numbers += file_store.add(b"%d" % number)
        file_store.write()
    file_store.log.documents.save_snapshot("d", b"s", numbers[-1])
    file_store.tidy()
    assert [file_store.count(table) for table in ("snapshots", "document_updates", "tail")] == [1, 0, 0]


def test_a_snapshot_that_comes_while_an_older_one_is_written_is_written_too() -> None:
    queued = pending_documents.QueuedSnapshots()
    older, newer = b"older", b"newer"
    queued.put("d", older, 1)
    assert queued.first() == ("d", older, 1)
    queued.put("d", newer, 2)
    queued.done("d", older)
    assert queued.first() == ("d", newer, 2)
    queued.done("d", newer)
    assert queued.first() is None


def test_a_snapshot_that_is_not_written_loses_nothing(kept_store: Store) -> None:
    [number] = kept_store.add(b"1")
    kept_store.write()
    kept_store.log.documents.save_snapshot("d", b"s", number)
    kept_store.reopen()
    assert kept_store.read() == (None, [b"1"])


def test_a_large_snapshot_is_read_as_it_was(kept_store: Store) -> None:
    snapshot = bytes(range(256)) * 131_072  # 32 MB
    [number] = kept_store.add(b"1")
    kept_store.write()
    kept_store.log.documents.save_snapshot("d", snapshot, number)
    kept_store.tidy()
    kept_store.reopen()
    assert kept_store.log.documents.read("d") == StoredDocument(snapshot, number, [])


def test_a_document_that_is_compacted_does_not_grow(file_store: Store) -> None:
    """Its updates of before are gone, and their places in the file are used again."""
    pages: list[int] = []
    for round_ in range(40):
        numbers = file_store.add(*[b"x" * 50] * 500)
        file_store.write()
        file_store.log.documents.save_snapshot("d", b"s" * 20_000, numbers[-1])
        file_store.tidy()
        if round_ >= 5:
            pages.append(file_store.pages_count())
    assert [file_store.count(table) for table in ("snapshots", "document_updates")] == [1, 0]
    assert max(pages) <= pages[0] + 2, pages


def test_a_log_that_is_unwell_takes_and_gives_nothing(kept_store: Store) -> None:
    kept_store.add(b"1")
    kept_store.write()
    kept_store.log.problem = "the disk is full"
    with pytest.raises(LogUnavailable):
        kept_store.add(b"2")
    with pytest.raises(LogUnavailable):
        kept_store.read()
    kept_store.log.reopen()
    kept_store.add(b"3")
    kept_store.write()
    assert kept_store.read() == (None, [b"1", b"3"])


def test_a_file_that_is_gone_is_not_read_and_none_is_made(file_store: Store, tmp_path: Path) -> None:
    file_store.add(b"1")
    file_store.write()
    for path in tmp_path.glob("log.sqlite3*"):
        path.unlink()
    with pytest.raises(LogUnavailable):
        file_store.read()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_turns_out_damaged_when_a_document_is_read_is_set_aside(file_store: Store, tmp_path: Path) -> None:
    file_store.add(b"x" * 100_000)
    file_store.file()
    file_store.reopen()
    with (tmp_path / "log.sqlite3").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (file_store.pages_count() - 1) * 4096)
    with pytest.raises(LogUnavailable):
        file_store.read()
    assert file_store.log.problem == DAMAGED
    file_store.log.reopen()
    assert file_store.log.problem is None
    assert file_store.read() is None
    assert any(".damaged-" in path.name for path in tmp_path.iterdir())


def test_updates_wait_up_to_a_bound(kept_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_documents, "PENDING_LIMIT_BYTES", 1000)
    for _ in range(2):
        kept_store.log.documents.add_update("d", b"x" * 500)
    with pytest.raises(LogUnavailable):
        kept_store.log.documents.add_update("d", b"x")
    kept_store.write()
    kept_store.add(b"x" * 1000)


def test_who_holds_documents_is_told_that_a_file_was_lost(file_store: Store) -> None:
    [number] = file_store.add(b"1")
    file_store.write()
    assert file_store.log.documents.losses_count == 0
    file_store.log.problem = DAMAGED
    file_store.log.reopen()
    assert file_store.log.documents.losses_count == 1
    assert file_store.read() is None
    file_store.log.documents.save_snapshot("d", b"1", number)
    file_store.write()
    file_store.tidy()
    file_store.reopen()
    assert file_store.read() == (b"1", [])


def test_memory_lets_go_of_the_document_that_was_written_least_lately(tmp_path: Path) -> None:
    store = Store(tmp_path, "memory://", history_limit_bytes=1000)  # eight times that
    for number in range(5):
        store.add(b"x" * 1500, document=str(number))
    store.add(b"y", document="1")
    store.add(b"x" * 1500, document="5")
    assert [store.read(str(number)) is not None for number in range(6)] == [False, True, False, True, True, True]
    store.add(b"x" * 20_000, document="6")
    assert store.read("6") is not None
    assert store.read("1") is None


def test_a_document_is_whole_whatever_is_written_while_it_is_read(file_store: Store) -> None:
    """It is read in a thread, beside batches, filing and snapshots."""
    kept = 0
    is_done = threading.Event()
    missing: list[object] = []

    def read() -> None:
        while not is_done.is_set():
            expected = kept
            stored = file_store.log.documents.read("d")
            found = {int(data) for _, data in stored.updates} if stored else set()
            found |= set(range(1, int(stored.snapshot or b"0") + 1)) if stored else set()
            if not found >= set(range(1, expected + 1)):
                missing.append((expected, stored))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 1500):
            seqs = file_store.add(str(number).encode())
            file_store.write()
            kept = number
            if number % 7 == 0:
                file_store.log.documents.save_snapshot("d", str(number).encode(), seqs[-1])
            if number % 5 == 0:
                file_store.tidy()
    finally:
        is_done.set()
        for thread in threads:
            thread.join()
    assert missing == []


STEPS = st.sampled_from(["add", "add", "add", "write", "fail", "file", "snapshot", "tidy", "die"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(steps=st.lists(STEPS, max_size=40), url=st.sampled_from(URLS))
@pytest.mark.long
def test_no_update_that_was_kept_is_ever_missing(tmp_path_factory, steps, url) -> None:
    """A snapshot is the names of the updates in it: those in memory, as of who has the document open."""
    store = Store(tmp_path_factory.mktemp("log"), url)
    kept: dict[int, bytes] = {}
    waiting: dict[int, bytes] = {}
    for number, step in enumerate(steps):
        if step == "add":
            update = b"%d," % number
            [seq] = store.add(update)
            (waiting if store.is_file else kept)[seq] = update
        elif step == "snapshot" and kept:
            store.log.documents.save_snapshot("d", b"".join(kept.values()), max(kept))
        elif step == "fail":
            store.log.forget(store.log.pop_batch())
            waiting.clear()
        elif step == "die":
            store.reopen()
            waiting.clear()
        elif step in ("write", "file"):
            getattr(store, step)()
            kept |= waiting
            waiting.clear()
        elif step == "tidy":
            store.tidy()
        found = store.read()
        snapshot, updates = found or (b"", [])
        assert {*(snapshot or b"").split(b",")[:-1], *(update[:-1] for update in updates)} == {
            update[:-1] for update in kept.values()
        }
    store.log.close()
