"""A file that is damaged: every start succeeds, what can be read is there, and nothing of its contents is told."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import SessionChange, StoredSession
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.sqlite.damage import DAMAGED, GONE
from hazoom_ws.message_log.sqlite.log import SqliteLog
from hazoom_ws.message_log.sqlite.marks import MARGIN
from hazoom_ws.settings import Settings

OpenFile = Callable[..., SqliteLog]
SESSION = StoredSession(user_id="u", user_name="Ann", conversation_id="s", since=1, rooms=["a"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite3"


class Clock:
    """Seconds since the epoch, and those that pass, which tests set."""

    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_file(file: Path, clock: Clock) -> Iterator[OpenFile]:
    """Return a function that opens the file with nothing in memory, and again once that log is closed."""
    opened: list[SqliteLog] = []

    def make(*, wall_clock: Callable[[], float] = time.time, **options: object) -> SqliteLog:
        settings = Settings(log_url=f"sqlite:///{file}", **options)
        log = open_log(settings, file.parent, wall_clock=wall_clock, clock=clock)
        assert isinstance(log, SqliteLog)
        opened.append(log)
        return log

    yield make
    for log in opened:
        log.close()


def say(log: SqliteLog, *said: str, room: str = "a") -> None:
    for text in said:
        log.append(room=room, user="Ann", message=text, timestamp=time.time())
    log.write(log.pop_batch())


def texts(log: SqliteLog, room: str = "a") -> list[str]:
    return [entry.message for entry in log.read(room, limit=500, newest=True).messages]


def change(file: Path, statement: str, *parameters: object) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        assert connection.execute(statement, parameters).rowcount > 0


def damaged_names(file: Path) -> list[str]:
    return [path.name for path in file.parent.iterdir() if ".damaged-" in path.name]


def is_told(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    """Return whether the log says that once, without a traceback."""
    assert all(record.exc_info is None for record in caplog.records)
    return sum(words in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(("old", "new"), [("secret", 'sec"et'), ("secret", b"sec\xff\xfe\xfd"), ('"seq":', '"sex":')])
def test_of_a_damaged_row_of_the_tail_the_other_messages_are_kept(open_file, file, caplog, old, new):
    """It was a DecodeError at every start."""
    log = open_file()
    say(log, "1", "secret", "3")
    say(log, "4")
    log.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        number, row = connection.execute("SELECT number, CAST(messages AS BLOB) FROM tail ORDER BY number").fetchone()
        start = row.index(b"secret") if old == "secret" else row.index(b'"seq"', row.index(b"secret"))
        new = new if isinstance(new, bytes) else new.encode()
        row = row[:start] + new + row[start + len(new) :]
        connection.execute("UPDATE tail SET messages = CAST(? AS TEXT) WHERE number = ?", (row, number))
    log = open_file()
    assert log.problem is None
    assert texts(log) == ["1", "3", "4"]
    assert is_told(caplog, "in the tail of the message log is damaged; it is kept in the table 'damaged'")
    assert "sec" not in caplog.text
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT messages FROM damaged").fetchall() == [(row,)]


@pytest.mark.parametrize("column", ["sessions", "changes"])
def test_of_damaged_sessions_in_the_tail_none_is_left_as_it_was_before(open_file, file, caplog, column):
    log = open_file()
    log.save_session("key", SESSION)
    log.save_session("other", SESSION)
    say(log, "1")
    log.tidy()
    if column == "sessions":
        log.save_session("key", SESSION)
    else:
        log.change_session("key", SessionChange(joined=["b"]))
    say(log, "2")
    log.close()
    change(file, f"UPDATE tail SET {column} = replace({column}, ':[', ':(')")
    log = open_file()
    assert texts(log) == ["1", "2"]
    assert dict(log.sessions()) == {"other": SESSION}
    assert is_told(caplog, "in the tail of the message log is damaged")


@pytest.mark.parametrize("session", [b'{"user_id":', b"\xff\xfe\xfd", 7, None])
def test_a_damaged_session_is_left_out(open_file, file, caplog, session):
    log = open_file()
    for key in ("1", "2"):
        log.save_session(key, SESSION)
    say(log, "1")
    log.tidy()
    log.close()
    if session is None:
        change(file, "UPDATE sessions SET key = CAST(x'fffefd' AS TEXT), session = '' WHERE key = '1'")
    else:
        change(file, "UPDATE sessions SET session = ? WHERE key = '1'", session)
    log = open_file()
    assert dict(log.sessions()) == {"2": SESSION}
    assert is_told(caplog, "1 sessions in the message log are damaged")


def test_a_damaged_change_leaves_its_session_out(open_file, file):
    """Without the change it would lack a room, and its client would not notice."""
    log = open_file()
    for key in ("1", "2"):
        log.save_session(key, SESSION)
    say(log, "1")
    log.tidy()
    log.change_session("1", SessionChange(joined=["b"]))
    say(log, "2")
    log.tidy()
    log.close()
    change(file, "UPDATE session_changes SET change = x'7bff'")
    assert dict(open_file().sessions()) == {"2": SESSION}


@pytest.mark.parametrize("column", ["message", "user", "client_id"])
@pytest.mark.parametrize("value", ["CAST(x'736563fffefd' AS TEXT)", "x'00ff'"])
@pytest.mark.parametrize("newest", [True, False])
def test_a_damaged_message_is_left_out_of_pages(open_file, file, caplog, column, value, newest):
    """Everything that asked for it was refused for good, and ``/ready`` showed its text."""
    log = open_file()
    say(log, "1", "2", "3")
    log.tidy()
    log.close()
    change(file, f"UPDATE messages SET {column} = {value} WHERE message = '2'")
    log = open_file()
    for _ in range(2):
        assert [entry.message for entry in log.read("a", limit=9, newest=newest).messages] == ["1", "3"]
    assert log.problem is None
    assert is_told(caplog, "in the log is damaged; it is left out")
    assert "sec" not in caplog.text


def test_a_room_whose_name_is_no_text_hinders_nothing(open_file, file, clock):
    """Trimming failed for it, so that nothing was kept any more."""
    log = open_file(wall_clock=clock)
    say(log, "1")
    say(log, "2", room="b")
    log.tidy()
    log.close()
    change(file, "UPDATE messages SET room = CAST(x'fffefd' AS TEXT) WHERE room = 'a'")
    log = open_file(wall_clock=clock, history_age_limit_s=1000.0)
    for _ in range(3):
        say(log, "3", room="b")
        while log.is_untidy:
            log.tidy()
        assert log.problem is None
        clock.now_s += 700
    assert "2" not in texts(log, "b")


def test_a_damaged_index_is_built_anew(open_file, file, caplog):
    """A room would lack messages without a word."""
    log = open_file()
    say(log, "1", "2", "3")
    log.tidy()
    log.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        [[root]] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'messages_by_room'")
        [[page_bytes]] = connection.execute("PRAGMA page_size")
    content = bytearray(file.read_bytes())
    content[(root - 1) * page_bytes + 3 : (root - 1) * page_bytes + 5] = (2).to_bytes(2, "big")  # cells: one less
    file.write_bytes(content)
    assert texts(open_file()) == ["1", "2", "3"]
    assert is_told(caplog, "an index of the message log was damaged")


def test_a_damage_that_reading_comes_upon_begins_a_new_file(open_file, file, caplog):
    """That room answered ``internal`` for ever, ``/ready`` was 200 and the log empty."""
    log = open_file()
    say(log, *["secret" * 2000] * 20)
    log.tidy()
    log.close()
    log = open_file()
    content = bytearray(file.read_bytes())
    with closing(sqlite3.connect(file)) as connection:
        [[root]] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'messages'")
    content[(root - 1) * 4096 : root * 4096] = b"secret" * 682 + b"secr"
    with file.open("r+b") as opened:
        opened.write(content)
    with pytest.raises(LogUnavailable):
        log.read("a", limit=5, newest=True)
    assert log.problem == DAMAGED
    log.reopen()
    assert log.problem is None
    say(log, "new")
    assert texts(log) == ["new"]
    assert damaged_names(file)
    assert is_told(caplog, "a new one begins")
    assert "secret" not in caplog.text


def test_a_damaged_file_that_cannot_be_renamed_refuses_messages_and_names_no_path(open_file, file, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    file.write_bytes(b"no database at all" * 100)
    monkeypatch.setattr(Path, "rename", refuse)
    log = open_file()
    assert log.problem == "the file is damaged and cannot be renamed: Permission denied"
    with pytest.raises(LogUnavailable):
        say(log, "1")
    monkeypatch.undo()
    log.reopen()
    assert log.problem is None
    say(log, "2")


@pytest.mark.parametrize(
    ("at", "value"), [(18, b"\x09"), (19, b"\x09"), (56, b"\x00\x00\x00\x02"), (60, b"\x7f\x00\x00\x04"), (63, b"\x00")]
)
def test_a_damaged_header_is_damage(open_file, file, at, value):
    """A file that says that it is read-only, or of another version, was taken at its word."""
    log = open_file()
    say(log, "1")
    log.close()
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(value)
    log = open_file()
    assert log.problem is None
    say(log, "2")
    assert damaged_names(file)


def test_a_damaged_schema_is_damage(open_file, file, caplog):
    """What SQLite says of it quotes it, and Python could not decode that: another exception than all others."""
    log = open_file()
    say(log, "1")
    log.close()
    content = file.read_bytes()
    for name in (b"TABLE places", b"TABLE about", b"TABLE sessions"):
        content = content.replace(name, name.replace(b"TABLE ", b"TABLE \xff"))
    file.write_bytes(content)
    log = open_file()
    assert log.problem is None
    assert is_told(caplog, "a new one begins")
    say(log, "2")


def test_a_damaged_mark_costs_nothing(open_file, file):
    log = open_file()
    say(log, "1")
    log.close()
    change(file, "UPDATE places SET mark = 'x'")
    log = open_file()
    say(log, "2")
    assert texts(log) == ["1", "2"]


def test_what_is_wrong_is_said_without_what_the_file_holds(open_file, file, caplog):
    log = open_file()
    say(log, "secret")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("DROP TABLE tail")
    with caplog.at_level(logging.INFO), pytest.raises(LogUnavailable):
        say(log, "secret")
    assert log.problem == "the file cannot be used"
    log.reopen()
    assert log.problem is None
    assert damaged_names(file)


def notice(log: SqliteLog, clock: Clock) -> None:
    """Let the log look at its file, as it does once a second."""
    clock.now_s += 1
    log.look()
    assert log.problem == GONE
    with pytest.raises(LogUnavailable):
        say(log, "refused")


@pytest.mark.parametrize("also", [(), ("-wal", "-shm")])
def test_a_deleted_file_is_noticed_and_made_anew_with_what_memory_has(open_file, file, clock, caplog, also):
    """Messages were acknowledged, and lost with the process."""
    log = open_file()
    say(log, *"123")
    ids = [entry.id for entry in log.read("a", limit=9, newest=True).messages]
    for suffix in ("", *also):
        Path(f"{file}{suffix}").unlink()
    say(log, "4")
    notice(log, clock)
    log.reopen()
    assert log.problem is None
    assert is_told(caplog, "the 4 messages that memory has are in a file again")
    say(log, "5")
    log.close()
    log = open_file()
    assert texts(log) == [*"12345"]
    assert [entry.id for entry in log.read("a", limit=9, newest=True).messages][:3] == ids


def test_writing_notices_that_the_file_is_gone(open_file, file, clock):
    log = open_file()
    say(log, "1")
    file.unlink()
    clock.now_s += 1
    log.append(room="a", user="Ann", message="2", timestamp=time.time())
    batch = log.pop_batch()
    assert not log.write_at_once(batch)
    with pytest.raises(LogUnavailable):
        log.write(batch)
    assert log.problem == GONE


def test_reading_notices_that_the_file_is_gone(open_file, file):
    log = open_file()
    say(log, "1")
    file.unlink()
    with pytest.raises(LogUnavailable):
        log.read("a", limit=5, newest=True)
    assert log.problem == GONE
    log.reopen()
    assert texts(log) == ["1"]


def test_what_sqlite_keeps_beside_the_file_is_missed_too(open_file, file, clock):
    log = open_file()
    say(log, "1")
    Path(f"{file}-wal").unlink()
    say(log, "2")
    notice(log, clock)
    log.reopen()
    say(log, "3")
    log.close()
    assert texts(open_file()) == ["1", "2", "3"]


def test_a_backup_put_in_place_gets_what_memory_has_beyond_it(open_file, file, clock):
    log = open_file()
    say(log, "1")
    log.close()
    backup = file.read_bytes()
    log = open_file()
    say(log, "2", "3")
    other = file.with_name("other")
    other.write_bytes(backup)
    other.replace(file)
    notice(log, clock)
    log.reopen()
    assert texts(log) == ["1", "2", "3"]
    log.close()
    assert texts(open_file()) == ["1", "2", "3"]


def test_what_memory_has_is_kept_when_the_file_turns_out_damaged(open_file):
    log = open_file()
    say(log, "1", "2")
    log.problem = DAMAGED
    log.reopen()
    say(log, "3")
    log.close()
    assert texts(open_file()) == ["1", "2", "3"]


def test_a_file_that_cannot_be_made_anew_yet_gets_what_memory_has_later(open_file, file, clock, monkeypatch):
    log = open_file()
    say(log, "1")
    file.unlink()
    notice(log, clock)
    with monkeypatch.context() as broken:
        broken.setattr("hazoom_ws.message_log.sqlite.log.make_private", lambda path: path.mkdir())
        log.reopen()
    assert log.problem == "the file cannot be opened"
    file.rmdir()
    log.reopen()
    assert log.problem is None
    log.close()
    assert texts(open_file()) == ["1"]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_no_number_is_given_twice_if_the_clock_is_set_back_across_a_restart(open_file, file, clock, is_damaged):
    """Of what was not kept, such as tokens, the numbers were given again: a client missed 49 messages, and was told
    that nothing was missing.
    """
    log = open_file(wall_clock=clock)
    say(log, "1")
    given = max(log.next_offset() for _ in range(100))
    log.close()
    if is_damaged:
        change(file, "UPDATE about SET epoch = x'ff'")
    clock.now_s -= 60
    log = open_file(wall_clock=clock)
    assert log.next_offset() > given
    assert is_damaged == bool(damaged_names(file))


def test_the_mark_is_moved_on_for_places_that_nothing_is_kept_of(open_file, clock):
    log = open_file(wall_clock=clock)
    log._recent.last_seq += MARGIN - 1
    assert not log.is_dirty
    log._recent.last_seq += 2
    assert log.is_dirty
    assert not log.is_pressing
    log.write(log.pop_batch())
    assert not log.is_dirty
    given = log._recent.last_seq = log._recent.last_seq + MARGIN - 1
    log.close()
    assert open_file(wall_clock=clock).next_offset() > given


def test_opening_a_file_many_times_hardly_leaves_the_clock_behind(open_file, clock):
    before = clock.now_s * 1e6
    for _ in range(20):
        log = open_file(wall_clock=clock)
        clock.now_s += 60
        log.close()
    assert log.last_seq < before + 20 * 60e6
