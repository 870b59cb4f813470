"""What every message log promises (`hazoom_ws.message_log.contract`), over every store."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import MessageLog, Page, SessionChange, StoredSession, size_bytes
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.sqlite.damage import DAMAGED
from hazoom_ws.message_log.sqlite.migrations import MIGRATIONS
from hazoom_ws.settings import Settings, SettingsError
from redis_server import Patient

REDIS = "redis://"  # one database of it
MEMORY_AND_FILE = ("memory://", "sqlite:///log.sqlite3")
STORES = (*MEMORY_AND_FILE, pytest.param(REDIS, marks=pytest.mark.redis))
OpenLog = Callable[..., MessageLog]


class Clock:
    """The time, which tests set."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock, request: pytest.FixtureRequest) -> Iterator[OpenLog]:
    """Return a function that opens a store, and opens the same again once that one is closed."""
    opened: list[MessageLog] = []
    urls: dict[str, str] = {}

    def make(url: str, **options: object) -> MessageLog:
        if url == REDIS and url not in urls:
            urls[url] = request.getfixturevalue("databases").next_url()
        named = urls.get(url, url)
        log = open_log(Settings(log_url=named, **options), tmp_path, wall_clock=clock, clock=clock)
        opened.append(Patient(log) if log.reads_beside else log)
        return opened[-1]

    yield make
    for log in opened:
        log.close()


@pytest.fixture(params=STORES)
def log(request: pytest.FixtureRequest, open_store: OpenLog) -> MessageLog:
    return open_store(request.param)


FILED_COUNT = 512  # so many messages are filed for good


def say(log: MessageLog, room: str, *texts: str, user: str = "Ann", **fields: str) -> list[NewMessage]:
    """Append messages and write them."""
    entries = [log.append(room=room, user=user, message=text, timestamp=1_000_000.0, **fields) for text in texts]
    write(log)
    return entries


def write(log: MessageLog) -> None:
    """Write what was appended, and do all that can wait, as a log with little to do does."""
    log.write(log.pop_batch())
    while log.is_untidy:
        log.tidy()


def texts(page: Page) -> str:
    return "".join(entry.message for entry in page.messages)


def test_what_was_appended_is_read_before_and_after_it_is_written(log):
    entry = log.append(room="a", user="Ann", message="hi", timestamp=1.5, client_id="c", kind="prompt", request_id="r")
    assert log.read("a", limit=5, newest=True) == Page([entry], more=False, gap=False)
    log.write(log.pop_batch())
    assert log.read("a", limit=5, newest=True) == Page([entry], more=False, gap=False)
    assert not log.is_dirty


@pytest.mark.parametrize("url", STORES)
def test_what_is_kept_of_an_answer_says_how_it_ended(open_store, url):
    log = open_store(url)
    answer = {"room": "a", "user": "Assistant", "timestamp": 1.5, "kind": "assistant"}
    ends = [{"finish_reason": "failed", "code": "llm_failed"}, {"finish_reason": "stop"}, {}]
    entries = [log.append(message="", request_id=str(number), **answer, **end) for number, end in enumerate(ends)]
    for step in (lambda: None, lambda: log.write(log.pop_batch()), log.tidy):
        step()
        assert log.read("a", limit=5, newest=True).messages == entries
    if url != "memory://":
        log.close()
        assert open_store(url).read("a", limit=5, newest=True).messages == entries


def test_one_order_over_all_rooms(log):
    first, second = say(log, "a", "1")[0], say(log, "b", "2")[0]
    third = say(log, "a", "3")[0]
    assert first.seq < second.seq < third.seq == log.last_seq
    assert len({first.id, second.id, third.id}) == 3
    assert log.messages_total == 3


@pytest.mark.parametrize("url", STORES)
def test_numbers_go_on_above_those_of_an_earlier_process(open_store, clock, url):
    log = open_store(url)
    before = say(log, "a", "1")[0]
    log.close()
    clock.now_s += 1
    after = say(open_store(url), "a", "2")[0]
    assert after.seq > before.seq
    assert after.id != before.id


def test_a_since_from_a_log_that_is_gone_is_told_as_a_gap(open_store, clock):
    before = say(open_store("memory://"), "a", "1")[0]
    clock.now_s += 1
    log = open_store("memory://")
    say(log, "a", "2")
    page = log.read("a", after=before.seq, limit=10, newest=True)
    assert (texts(page), page.gap) == ("2", True)


def test_text_is_kept_as_it_was_said(log):
    for text in ("ü 😀", "a\0b", "'; DROP TABLE messages; --", " ", "\u2028"):
        entry = say(log, text, text, user=text, client_id=text)[0]
        assert log.read(text, limit=1, newest=True).messages == [entry]
        assert log.find_resent(text, text, text) == entry


def test_a_batch_that_could_not_be_kept_is_taken_back(log):
    kept = say(log, "a", "1")[0]
    lost = log.append(room="a", user="Ann", message="2", timestamp=1.0, client_id="c")
    batch = log.pop_batch()
    log.forget(batch if batch.messages else batch._replace(messages=[lost]))
    assert log.read("a", limit=5, newest=True).messages == [kept]
    assert log.find_resent("a", "Ann", "c") is None
    assert say(log, "a", "3")[0].seq > lost.seq


def test_a_resent_message_is_found_by_its_sender_room_and_id(log):
    entry = say(log, "a", "1", client_id="c")[0]
    assert log.find_resent("a", "Ann", "c") == entry
    assert [log.find_resent(*other) for other in (("b", "Ann", "c"), ("a", "Bob", "c"), ("a", "Ann", "d"))] == [None] * 3


SPACES = [("memory://", 10**7), ("sqlite:///log.sqlite3", 10**7), ("sqlite:///log.sqlite3", 1)]
SPACES += [pytest.param(REDIS, space, marks=pytest.mark.redis) for space in (10**7, 1)]
ANN = {"user": "Ann", "client_id": "1"}


@pytest.mark.parametrize(("url", "history_limit_bytes"), SPACES)
def test_one_client_id_of_several_who_show_one_name_is_several_messages(open_store, url, history_limit_bytes):
    """A guest got the message of another who called himself the same as a duplicate of his own, and it was never shown."""
    log = open_store(url, history_limit_bytes=history_limit_bytes)
    senders = ["guest:1", "guest:2", msgspec.UNSET, "Ann"]
    fields = [ANN if sender is msgspec.UNSET else {**ANN, "sender": sender} for sender in senders]
    entries = [log.append(room="a", message=str(number), timestamp=1e6, **each) for number, each in enumerate(fields)]

    def are_found() -> bool:
        return [log.find_resent("a", "Ann", "1", sender) for sender in senders] == entries

    assert are_found()
    if url == MEMORY_AND_FILE[0]:
        return
    log.write(log.pop_batch())
    say(log, "b", "more", "and more")  # what memory may not hold leaves it
    assert are_found(), "while they are in the tail"
    log.close()
    log = open_store(url)
    assert are_found(), "when they are filed"
    assert log.read("a", limit=9, newest=True).messages == entries
    assert log.find_resent("a", "Ann", "1", "guest:3") is None


def test_who_sent_a_message_has_sent_it_whatever_name_is_shown(log):
    entry = say(log, "a", "1", sender="guest:1", client_id="c")[0]
    assert log.find_resent("a", "Bob", "c", "guest:1") == entry
    assert [log.find_resent(room, "Ann", "c", "guest:1") for room in "ab"] == [entry, None]


def test_who_sent_a_message_is_in_nothing_that_is_shown(log):
    [entry] = say(log, "a", "1", sender="guest:1", client_id="c")
    shown = [entry, log.read("a", limit=1, newest=True), log.find_resent("a", "Ann", "c", "guest:1")]
    assert b"guest:1" not in msgspec.json.encode(shown)


def test_what_a_sender_sent_is_taken_back_with_its_batch(log):
    kept = say(log, "a", "1", sender="guest:2", client_id="1")[0]
    lost = log.append(room="a", message="2", timestamp=1.0, sender="guest:1", **ANN)
    batch = log.pop_batch()
    log.forget(batch if batch.messages else batch._replace(messages=[lost]))
    assert log.find_resent("a", "Ann", "1", "guest:1") is None
    assert log.find_resent("a", "Ann", "1", "guest:2") == kept


def test_a_room_keeps_its_newest_messages(open_store, clock):
    for url in MEMORY_AND_FILE:
        log = open_store(url, history_room_limit_count=3)
        entries = say(log, "a", *"1234")
        clock.now_s += 3600
        for text in "567":
            entries += say(log, "a", text)
        clock.now_s += 3600
        entries += say(log, "a", "8")
        page = log.read("a", limit=10, newest=True)
        assert texts(page) in {"678", "78"}
        assert log.read("a", after=entries[0].seq, limit=10, newest=True).gap is True
        assert log.read("a", after=entries[6].seq, limit=10, newest=True).gap is False


@pytest.mark.parametrize(("letter", "letter_bytes"), [("x", 1), ("\N{SNOWMAN}", 3), ("\N{GRINNING FACE}", 4), ("\x01", 6)])
def test_a_page_ends_at_the_bytes_that_it_has_on_the_wire(log, letter, letter_bytes):
    """Of a page that was counted in characters, up to six times as much went to a client, which was closed as slow."""
    entries = say(log, "a", *[letter * 100] * 10)
    assert size_bytes(entries[0]) == letter_bytes * 100 + 500
    limit_bytes = 3 * size_bytes(entries[0])
    for newest in (True, False):
        page = log.read("a", limit=10, newest=newest, limit_bytes=limit_bytes)
        assert (page.messages, page.more) == (entries[-3:] if newest else entries[:3], True)
        assert len(log.read("a", limit=10, newest=newest, limit_bytes=limit_bytes - 1).messages) == 2
    assert log.read("a", limit=10, newest=True, limit_bytes=1).messages == entries[-1:]


@pytest.mark.parametrize("letter", ["\N{GRINNING FACE}", "\0"])
def test_a_room_is_bounded_in_bytes_not_in_characters(open_store, clock, letter):
    """SQLite counts the characters of a text, and ends at the first NUL: a room could hold four times its bound, or all."""
    for url in MEMORY_AND_FILE:
        log = open_store(url, history_room_limit_bytes=25_000, history_limit_bytes=1)
        for _ in range(40):
            clock.now_s += 3600
            say(log, "a", letter * 4000)
        log.close()
        log = open_store(url, history_limit_bytes=1)
        assert len(log.read("a", limit=100, newest=True).messages) <= 25_000 // (len(letter.encode()) * 4000 + 500)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_a_page_is_the_same_whatever_keeps_it(tmp_path_factory, data):
    """Against a list, with a part of the messages only in the file and not in memory."""
    clock = Clock()
    folder = tmp_path_factory.mktemp("log")
    said: dict[str, list[NewMessage]] = {"memory": [], "sqlite": []}
    logs: list[MessageLog] = []
    for url in MEMORY_AND_FILE:
        log = open_log(Settings(log_url=url), folder, wall_clock=clock)
        logs.append(log)
    memory, sqlite = logs
    rooms = data.draw(st.lists(st.sampled_from("ab"), max_size=12))
    reopen_at = data.draw(st.integers(0, 12))
    for number, room in enumerate(rooms):
        if number == reopen_at:
            sqlite.close()
            sqlite = open_log(Settings(log_url=MEMORY_AND_FILE[1]), folder, wall_clock=clock)
        said["memory"] += say(memory, room, str(number % 10))
        said["sqlite"] += say(sqlite, room, str(number % 10))  # which numbers go on higher when it is opened again
    edges = st.none() | st.integers(0, len(rooms) + 1)

    def seq_at(name: str, edge: int | None) -> int | None:
        seqs = [0, *(entry.seq for entry in said[name])]
        return None if edge is None else [*seqs, seqs[-1] + 1][edge]

    for _ in range(5):
        room = data.draw(st.sampled_from("ab"))
        after, before = data.draw(edges), data.draw(edges)
        limit = data.draw(st.integers(0, 13))
        newest = data.draw(st.booleans())
        if after is not None and after > len(rooms):
            continue  # what no log has counted yet
        expected = [
            entry.message
            for edge, entry in enumerate(said["memory"], 1)
            if entry.room == room and (after is None or edge > after) and (before is None or edge < before)
        ]
        page = expected[max(0, len(expected) - limit) :] if newest else expected[:limit]
        for name, log in (("memory", memory), ("sqlite", sqlite)):
            span = {"after": seq_at(name, after), "before": seq_at(name, before)}
            found = log.read(room, **span, limit=limit, newest=newest)
            assert [entry.message for entry in found.messages] == page
            assert found.more is (len(page) < len(expected))
    memory.close()
    sqlite.close()


@pytest.mark.parametrize("url", [MEMORY_AND_FILE[1], pytest.param(REDIS, marks=pytest.mark.redis)])
class TestKept:
    """What those promise that keep it beyond the process."""

    def test_everything_is_there_after_a_restart(self, open_store, url):
        log = open_store(url)
        entries = say(log, "a", "1") + say(log, "a", "2", client_id="c")
        session = StoredSession(user_id="u", user_name="Ann", conversation_id="s", since=1, rooms=["a"])
        log.save_session("k", session)
        log.save_session("gone", session)
        write(log)
        log.save_session("gone", None)
        write(log)
        log.close()
        log = open_store(url)
        assert log.read("a", limit=5, newest=True) == Page(entries, more=False, gap=False)
        assert log.find_resent("a", "Ann", "c") == entries[1]
        assert dict(log.sessions()) == {"k": session}

    def test_of_each_session_the_newest_state_is_there_after_a_restart(self, open_store, url):
        log = open_store(url)
        first = StoredSession(user_id="u", user_name="Ann", conversation_id="s", since=1, rooms=[])
        then = msgspec.structs.replace(first, rooms=["a"])
        for key in ("changed", "ended", "same"):
            log.save_session(key, first)
        write(log)
        for number in range(600):
            log.save_session(str(number), None)
        write(log)
        while log.is_untidy:
            log.tidy()
        for key, state in (("changed", then), ("ended", None)):
            log.save_session(key, state)
            write(log)
        log.close()
        assert dict(open_store(url).sessions()) == {"changed": then, "same": first}

    def test_a_resent_message_is_known_for_a_day_after_it_was_trimmed(self, open_store, clock, url):
        log = open_store(url, history_room_limit_count=2)
        entry = log.append(room="a", user="Ann", message="1", timestamp=clock(), client_id="c")
        write(log)
        log._recent.forget(log.pop_batch()._replace(messages=[entry]))
        for text in "234":
            clock.now_s += 3600
            say(log, "a", text)
        found = log.find_resent("a", "Ann", "c")
        assert (found.id, found.seq) == (entry.id, entry.seq)
        assert "1" not in texts(log.read("a", limit=10, newest=True))

    def test_old_messages_go(self, open_store, clock, url):
        log = open_store(url, history_age_limit_s=100.0)
        log.append(room="a", user="Ann", message="old", timestamp=clock(), client_id="c")
        write(log)
        clock.now_s += 1000
        log.append(room="b", user="Ann", message="new", timestamp=clock())
        write(log)
        log.close()
        log = open_store(url)
        assert texts(log.read("a", limit=5, newest=True)) == ""
        found = log.find_resent("a", "Ann", "c")
        assert (found is None) if url != REDIS else (found.message == ""), "Redis knows for a day what was sent"
        assert texts(log.read("b", limit=5, newest=True)) == "new"

    def test_what_is_not_filed_yet_is_read_whatever_memory_may_hold(self, open_store, url):
        log = open_store(url, history_limit_bytes=1)
        say(log, "a", *map(str, range(10)))
        assert texts(log.read("a", limit=20, newest=True)) == "0123456789"
        log.close()
        log = open_store(url, history_limit_bytes=1)
        say(log, "a", "x")
        assert texts(log.read("a", limit=20, newest=True)) == "0123456789x"

    def test_a_room_that_memory_let_go_talks_on(self, open_store, url):
        log = open_store(url, history_limit_bytes=1)
        say(log, "a", "1", "2")
        say(log, "b", *["x"] * FILED_COUNT)
        say(log, "b", "y")
        say(log, "a", "3")
        assert texts(log.read("a", limit=5, newest=True)) == "123"


class TestFile:
    """What only a file can promise, or suffer."""

    URL = MEMORY_AND_FILE[1]

    def test_a_backup_that_is_put_in_place_is_looked_at_anew(self, open_store, tmp_path, clock):
        log = open_store(self.URL)
        say(log, "a", "1")
        log.close()
        file, backup = tmp_path / "log.sqlite3", tmp_path / "backup.sqlite3"
        backup.write_bytes(file.read_bytes())
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("DELETE FROM messages")
        clock.now_s += 1
        log = open_store(self.URL)
        assert texts(log.read("a", limit=5, newest=True)) == ""
        log.problem = "disk I/O error"
        log._disconnect()
        backup.replace(file)
        log.reopen()
        assert texts(log.read("a", limit=5, newest=True)) == "1"

    @pytest.mark.skipif(os.name != "posix", reason="there are no such modes")
    @pytest.mark.parametrize("is_there", [False, True])
    def test_only_its_owner_may_read_the_file_and_what_is_beside_it(self, open_store, tmp_path, is_there):
        """They were 0644, so that every account of the machine could read what was said."""
        names = ["log.sqlite3", "log.sqlite3-shm", "log.sqlite3-wal", "log.sqlite3.lock"]
        before = os.umask(0o022)
        try:
            if is_there:
                log = open_store(self.URL)
                say(log, "a", "1")
                copies = {name: (tmp_path / name).read_bytes() for name in names}  # as a process that was killed left them
                log.close()
                for name, copy in copies.items():
                    (tmp_path / name).write_bytes(copy)
                    (tmp_path / name).chmod(0o644)
            log = open_store(self.URL)
            say(log, "a", "2")
            assert texts(log.read("a", limit=5, newest=True)) == ("12" if is_there else "2")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        finally:
            os.umask(before)
        assert modes.keys() >= set(names)
        assert set(modes.values()) == {0o600}

    @pytest.mark.skipif(os.name != "posix", reason="there are no such modes")
    def test_a_file_that_is_put_in_place_or_linked_to_becomes_its_owners_too(self, open_store, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "log.sqlite3").symlink_to(tmp_path / "elsewhere" / "real.sqlite3")
        log = open_store(self.URL)
        say(log, "a", "1")
        (tmp_path / "elsewhere" / "real.sqlite3").chmod(0o644)
        log.reopen()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "elsewhere").iterdir()}
        assert modes["real.sqlite3"] == 0o600
        assert set(modes.values()) == {0o600}

    def test_a_second_user_is_refused(self, open_store):
        open_store(self.URL)
        with pytest.raises(SettingsError, match="another application of this process uses"):
            open_store(self.URL)

    def test_a_second_process_is_refused(self, open_store, tmp_path):
        open_store(self.URL)
        imports = "from pathlib import Path; from hazoom_ws.message_log.sqlite.file import lock_file; "
        command = [sys.executable, "-c", f"{imports}lock_file(Path({str(tmp_path / 'log.sqlite3')!r}))"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "log_url: another hazoom_ws uses" in ended.stderr

    def test_a_damaged_file_is_kept_aside(self, open_store, tmp_path):
        (tmp_path / "log.sqlite3").write_bytes(b"no database at all" * 100)
        log = open_store(self.URL)
        assert log.problem is None
        assert texts(log.read("a", limit=5, newest=True)) == ""
        say(log, "a", "1")
        kept = [path for path in tmp_path.iterdir() if ".damaged-" in path.name]
        assert [path.read_bytes() for path in kept] == [b"no database at all" * 100]

    def test_a_file_that_turns_out_damaged_is_kept_aside_when_it_is_opened_again(self, open_store, tmp_path):
        log = open_store(self.URL)
        say(log, "a", "1")
        log.problem = DAMAGED  # SQLite has come upon a page that is none
        log.reopen()
        assert log.problem is None
        assert say(log, "a", "2")[0].seq > 0
        [kept] = [
            path
            for path in tmp_path.iterdir()
            if path.name.endswith(tuple("0123456789abcdef")) and ".damaged-" in path.name
        ]
        with closing(sqlite3.connect(kept)) as connection:
            assert connection.execute("SELECT message FROM messages").fetchall() == [("1",)]

    def test_a_file_of_the_first_version_is_taken_over(self, open_store, tmp_path):
        with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection:
            connection.executescript(f"{MIGRATIONS[0]} PRAGMA user_version = 1; INSERT INTO about VALUES ('e', 7);")
            row = ("a", "Ann", "hi", 999_999.0, "c", None, None)
            connection.execute("INSERT INTO messages VALUES (8, ?, ?, ?, ?, ?, ?, ?)", (*row[:4], None, *row[5:]))
            connection.execute("INSERT INTO tail VALUES (9, ?, ?, ?, ?, ?, ?, ?)", row)
            connection.commit()
        log = open_store(self.URL)
        page = log.read("a", limit=5, newest=True)
        assert [(entry.id, entry.message) for entry in page.messages] == [("e-8", "hi"), ("e-9", "hi")]
        assert log.find_resent("a", "Ann", "c") == page.messages[1]

    def test_a_file_of_the_second_version_is_taken_over(self, open_store, tmp_path):
        entry = say(open_store("memory://"), "a", "hi")[0]
        tail = msgspec.json.encode([msgspec.structs.replace(entry, id="e-9", seq=9)]).decode()
        with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection:
            connection.executescript(f"{MIGRATIONS[0]} {MIGRATIONS[1]} PRAGMA user_version = 2;")
            connection.execute("INSERT INTO about VALUES ('e', 7)")
            connection.execute("INSERT INTO tail VALUES (9, ?)", (tail,))
            session = StoredSession(user_id="u", user_name="Ann", conversation_id="s", since=1, rooms=["a"])
            connection.execute("INSERT INTO sessions VALUES ('k', ?)", (msgspec.json.encode(session),))
            connection.commit()
        log = open_store(self.URL)
        assert dict(log.sessions()) == {"k": session}
        assert [(kept.id, kept.message) for kept in log.read("a", limit=5, newest=True).messages] == [("e-9", "hi")]
        assert say(log, "a", "2")[0].seq > 9

    def test_a_file_of_the_third_version_is_taken_over(self, open_store, tmp_path):
        entry = say(open_store("memory://"), "a", "hi")[0]
        first, second = (
            msgspec.json.encode([msgspec.structs.replace(entry, id=f"e-{seq}", seq=seq)]).decode() for seq in (8, 9)
        )
        session = StoredSession(user_id="u", user_name="Ann", conversation_id="s", since=1, rooms=["a"])
        sessions = msgspec.json.encode({"k": session, "gone": None}).decode()
        with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection:
            connection.executescript(f"{' '.join(MIGRATIONS[:3])} PRAGMA user_version = 3;")
            connection.execute("INSERT INTO about VALUES ('e', 7)")
            connection.executemany(
                "INSERT INTO tail (messages, sessions) VALUES (?, ?)", [(first, "{}"), ("[]", sessions), (second, "{}")]
            )
            connection.execute("INSERT INTO sessions VALUES ('gone', ?)", (msgspec.json.encode(session),))
            connection.commit()
        log = open_store(self.URL)
        assert dict(log.sessions()) == {"k": session}
        assert [kept.id for kept in log.read("a", limit=5, newest=True).messages] == ["e-8", "e-9"]
        log.change_session("k", SessionChange(joined=["b"]))
        new = say(log, "a", "2")[0]
        log.close()
        log = open_store(self.URL)
        assert dict(log.sessions()) == {"k": msgspec.structs.replace(session, rooms=["a", "b"])}
        assert log.read("a", limit=1, newest=True).messages == [new]

    def test_a_file_of_the_third_version_is_taken_over_with_its_answers(self, open_store, tmp_path):
        with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection:
            connection.executescript(f"{''.join(MIGRATIONS[:3])} PRAGMA user_version = 3;")
            connection.execute("INSERT INTO about VALUES ('e', 7)")
            row = (8, "a", "Assistant", "because", 999_999.0, None, "assistant", "r")
            connection.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            connection.commit()
        [kept] = open_store(self.URL).read("a", limit=5, newest=True).messages
        assert (kept.message, kept.kind, kept.request_id) == ("because", "assistant", "r")
        assert (kept.finish_reason, kept.code) == (msgspec.UNSET, msgspec.UNSET)

    def test_what_a_file_of_the_third_version_holds_was_sent_by_the_user_of_the_name_shown(self, open_store, tmp_path):
        """Filed or not. A guest who shows that name is another: he would lose a message, at worst one is there twice."""
        [tail] = say(open_store("memory://"), "a", "2", client_id="c2")
        tail = msgspec.json.encode([msgspec.structs.replace(tail, id="e-9", seq=9)]).decode()
        with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection:
            connection.executescript(f"{''.join(MIGRATIONS[:3])} PRAGMA user_version = 3;")
            connection.execute("INSERT INTO about VALUES ('e', 7)")
            row = (8, "a", "Ann", "1", 999_999.0, "c1", None, None)
            connection.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute("INSERT INTO tail (number, messages) VALUES (9, ?)", (tail,))
            connection.commit()
        log = open_store(self.URL)
        found = [log.find_resent("a", "Ann", client_id) for client_id in ("c1", "c2")]
        assert found == log.read("a", limit=5, newest=True).messages
        assert [log.find_resent("a", "Ann", client_id, "guest:1") for client_id in ("c1", "c2")] == [None, None]
        entries = [say(log, "a", "mine", sender="guest:1", client_id=client_id)[0] for client_id in ("c1", "c2")]
        log.close()
        assert open_store(self.URL).read("a", limit=5, newest=True).messages == [*found, *entries]

    def test_what_a_new_file_gets_of_a_lost_one_has_its_senders(self, open_store, tmp_path):
        log = open_store(self.URL)
        entries = [say(log, "a", sender, sender=sender, client_id="1")[0] for sender in ("guest:1", "guest:2")]
        log.problem = DAMAGED
        log.reopen()
        log.close()
        log = open_store(self.URL)
        assert [log.find_resent("a", "Ann", "1", sender) for sender in ("guest:1", "guest:2")] == entries

    def test_a_file_of_a_later_version_is_refused(self, open_store, tmp_path):
        open_store(self.URL).close()
        connection = sqlite3.connect(tmp_path / "log.sqlite3")
        connection.executescript(f"PRAGMA user_version = 99; PRAGMA application_id = {0x687A0000 + 99};")
        connection.close()
        before = (tmp_path / "log.sqlite3").read_bytes()
        for _ in range(2):  # the first refusal leaves nothing locked
            with pytest.raises(SettingsError, match="schema version 99"):
                open_store(self.URL)
        assert (tmp_path / "log.sqlite3").read_bytes() == before
        assert not [path.name for path in tmp_path.iterdir() if "damaged" in path.name]

    def test_a_locked_file_refuses_messages_until_it_is_free(self, open_store, tmp_path, monkeypatch):
        monkeypatch.setattr("hazoom_ws.message_log.sqlite.writer._BUSY_TIMEOUT_S", 0)
        log = open_store(self.URL)
        say(log, "a", "1")
        other = sqlite3.connect(tmp_path / "log.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        log.append(room="a", user="Ann", message="2", timestamp=1.0)
        batch = log.pop_batch()
        with pytest.raises(LogUnavailable):
            log.write(batch)
        log.forget(batch)
        assert "locked" in log.problem
        assert texts(log.read("a", limit=1, newest=True)) == "1", "what is in memory needs no file"
        with pytest.raises(LogUnavailable):
            log.append(room="a", user="Ann", message="3", timestamp=1.0)
        log.reopen()
        assert "locked" in log.problem
        other.execute("ROLLBACK")
        other.close()
        log.reopen()
        assert log.problem is None
        say(log, "a", "4")
        assert texts(log.read("a", limit=5, newest=True)) == "14"
