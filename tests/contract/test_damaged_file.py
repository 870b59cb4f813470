"""A file that is damaged: every start succeeds, what can be read is there, and nothing of its contents is told."""

import logging
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from file_modes import modes_hold
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import SessionChange, StoredSession
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.sqlite.damage import DAMAGED, GONE, LOCKED, NEWER
from hazoom_ws.message_log.sqlite.log import SqliteLog
from hazoom_ws.message_log.sqlite.marks import MARGIN
from hazoom_ws.message_log.sqlite.migrations import MIGRATIONS
from hazoom_ws.settings import Settings, SettingsError

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


def overwrite(file: Path, at: int, value: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(value)


@pytest.mark.parametrize(("at", "value"), [(18, b"\x09"), (19, b"\x09"), (56, b"\x00\x00\x00\x02")])
def test_a_damaged_header_is_damage(open_file, file, at, value):
    """A file that says that it is read-only, or in another encoding, was taken at its word."""
    log = open_file()
    say(log, "1")
    log.close()
    overwrite(file, at, value)
    log = open_file()
    assert log.problem is None
    say(log, "2")
    assert damaged_names(file)


VERSION_AT, MARK_AT = 60, 68  # PRAGMA user_version and application_id, four bytes each


@pytest.mark.parametrize("at", [*range(VERSION_AT, VERSION_AT + 4), *range(MARK_AT, MARK_AT + 4)])
@pytest.mark.parametrize("value", [0, 1, 5, 0x80, 0xFF])
def test_a_damaged_byte_of_the_version_costs_nothing(open_file, file, at, value):
    """With some of them the start was refused, as if the file were one of a newer version."""
    log = open_file()
    say(log, "1")
    log.close()
    overwrite(file, at, bytes([value]))
    log = open_file()
    assert log.problem is None
    assert texts(log) == ["1"]
    log.close()
    assert not damaged_names(file)
    header = file.read_bytes()
    assert [int.from_bytes(header[start : start + 4]) for start in (VERSION_AT, MARK_AT)] == [
        len(MIGRATIONS),
        0x687A0000 + len(MIGRATIONS),
    ]


NEXT = len(MIGRATIONS) + 1


def newer(version: int, mark: int) -> bytes:
    """Return what a file of that version has from `VERSION_AT` on."""
    return version.to_bytes(4) + bytes(4) + mark.to_bytes(4)


@pytest.mark.parametrize("mark", [0x687A0000 + NEXT, 0, 0x68010000 + NEXT], ids=["marked", "never marked", "mark damaged"])
def test_a_file_of_a_newer_version_is_left_alone(open_file, file, mark):
    open_file().close()
    overwrite(file, VERSION_AT, newer(NEXT, mark))
    before = file.read_bytes()
    with pytest.raises(SettingsError, match=f"schema version {NEXT}"):
        open_file()
    assert file.read_bytes() == before
    assert not damaged_names(file)


def test_a_file_of_a_newer_version_put_in_place_meanwhile_is_left_alone(open_file, file, clock, caplog):
    """It was a traceback each second."""
    log = open_file()
    say(log, "1")
    other = file.with_name("other")
    with closing(sqlite3.connect(other)) as connection:
        mark = 0x687A0000 + 99
        connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA user_version = 99; PRAGMA application_id = {mark};")
    other.replace(file)
    before = file.read_bytes()
    notice(log, clock)
    log.reopen()
    assert log.problem == NEWER
    assert file.read_bytes() == before
    file.unlink()
    log.reopen()
    assert log.problem is None
    log.close()
    assert texts(open_file()) == ["1"], "what memory has waits for a file of ours"


def test_a_file_of_an_earlier_release_is_marked(open_file, file, caplog):
    log = open_file()
    say(log, "1")
    log.close()
    overwrite(file, MARK_AT, bytes(4))
    log = open_file()
    assert texts(log) == ["1"]
    log.close()
    assert file.read_bytes()[MARK_AT : MARK_AT + 2] == b"hz"
    assert caplog.text == ""


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


def modes(file: Path) -> set[int]:
    """Return the modes of a file and of what SQLite keeps beside it."""
    return {path.stat().st_mode & 0o777 for path in file.parent.glob(f"{file.name}*") if path.is_file()}


@pytest.fixture
def read_only_file(open_file: OpenFile, file: Path) -> Iterator[Path]:
    """Return a file that says "1" and may not be written, though root runs the test."""
    log = open_file()
    say(log, "1")
    log.close()
    file.chmod(0o400)
    with modes_hold():
        yield file


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_read_only_file_is_used_as_soon_as_it_may_be_written(open_file, read_only_file, is_restarted):
    """SQLite had made what it keeps beside the file read-only too, and for that it stayed so, across restarts."""
    log = open_file()
    assert log.problem == "log.sqlite3 is read-only"
    with pytest.raises(LogUnavailable):
        say(log, "refused")
    log.reopen()
    assert log.problem == "log.sqlite3 is read-only"
    read_only_file.chmod(0o600)
    if is_restarted:
        log.close()
        log = open_file()
    else:
        log.reopen()
    assert log.problem is None
    say(log, "2")
    assert modes(read_only_file) == {0o600}
    log.close()
    assert texts(open_file()) == ["1", "2"]


def test_what_is_beside_the_file_and_stays_read_only_is_named(open_file, read_only_file, monkeypatch, caplog):
    """As where somebody else owns it."""
    log = open_file()
    read_only_file.chmod(0o600)

    def refuse(path: Path, _mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    with monkeypatch.context() as foreign:
        foreign.setattr(Path, "chmod", refuse)
        log.reopen()
    assert log.problem in ("log.sqlite3-shm is read-only", "log.sqlite3-wal is read-only")
    assert str(read_only_file.parent) not in caplog.text
    log.reopen()
    assert log.problem is None


def test_a_file_that_becomes_read_only_while_it_is_open_is_written_on(open_file, file):
    log = open_file()
    say(log, "1")
    with modes_hold():
        file.chmod(0o400)
        say(log, "2")
        log.reopen()
        assert log.problem == "log.sqlite3 is read-only"
        file.chmod(0o600)
        log.reopen()
        say(log, "3")
    log.close()
    assert texts(open_file()) == ["1", "2", "3"]


def test_a_file_in_a_folder_that_is_read_only_is_used_when_it_can_be(open_file, file, clock):
    log = open_file()
    say(log, "1")
    with modes_hold():
        file.parent.chmod(0o500)
        try:
            say(log, "2")
            log.close()  # which takes away what SQLite keeps beside the file
            file.parent.chmod(0o700)
            for suffix in ("-wal", "-shm"):
                Path(f"{file}{suffix}").unlink(missing_ok=True)
            file.parent.chmod(0o500)
            log = open_file()
            assert log.problem == "the folder of the file is read-only"
            log.reopen()
            assert log.problem == "the folder of the file is read-only"
        finally:
            file.parent.chmod(0o700)
        log.reopen()
        say(log, "3")
    log.close()
    assert texts(open_file()) == ["1", "2", "3"]


def test_a_file_whose_folder_was_moved_is_made_anew_and_locked(open_file, file, clock):
    """The lock went with the folder: a second process would have found none, and used the new file too."""
    folder = file.parent / "folder"
    log = open_log(Settings(log_url=f"sqlite:///{folder / file.name}"), folder, clock=clock)
    say(log, "1")
    folder.rename(file.parent / "elsewhere")
    notice(log, clock)
    log.reopen()
    assert log.problem is None
    say(log, "2")
    command = "from pathlib import Path; from hazoom_ws.message_log.sqlite.file import lock_file; "
    command += f"lock_file(Path({str(folder / file.name)!r}))"
    ended = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert "log_url: another hazoom_ws uses" in ended.stderr
    log.close()
    log = open_log(Settings(log_url=f"sqlite:///{folder / file.name}"), folder, clock=clock)
    assert texts(log) == ["1", "2"]
    log.close()


def test_a_lost_file_that_another_process_has_taken_is_left_to_it(open_file, file, clock):
    log = open_file()
    say(log, "1")
    for path in list(file.parent.iterdir()):
        path.unlink()
    notice(log, clock)
    with closing(sqlite3.connect(f"{file}.lock", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        log.reopen()
        assert log.problem == LOCKED
        assert not file.exists()
    log.reopen()
    assert log.problem is None
    assert texts(log) == ["1"]


@contextmanager
def full_disk(file: Path) -> Iterator[None]:
    """Let no file of this process grow in the body; the system says so like a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest_bytes = max(path.stat().st_size for path in file.parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_start_on_a_full_disk_refuses_messages_until_there_is_room(open_file, file):
    log = open_file()
    said = [f"{number} {'x' * 20_000}" for number in range(10)]
    say(log, *said)
    shutil.copytree(file.parent, file.parent / "copy")  # as a process that was killed leaves it
    log.close()
    for suffix in ("", "-wal", "-shm"):
        (file.parent / "copy" / f"{file.name}{suffix}").replace(f"{file}{suffix}")
    with full_disk(file):
        log = open_file()
        assert log.problem == "the disk fails, or is full"
        with pytest.raises(LogUnavailable):
            say(log, "refused")
        log.reopen()
        assert log.problem == "the disk fails, or is full"
    log.reopen()
    assert log.problem is None
    say(log, "after")
    log.close()
    assert texts(open_file()) == [*said, "after"]
    assert not damaged_names(file)


def restored(log: SqliteLog) -> int:
    """Write all that the log has to write; return how many batches those were."""
    batches_count = 0
    while log.is_dirty:
        log.write(log.pop_batch())
        batches_count += 1
    return batches_count


@pytest.mark.parametrize("how", ["deleted", "damaged"])
def test_sessions_are_saved_anew_in_a_file_that_is_made_anew(open_file, file, clock, how):
    """Who was connected when the file was lost could not come back after a restart."""
    log = open_file()
    known = {str(number): SESSION for number in range(1500)}
    for key, session in known.items():
        log.save_session(key, session)
    log.restore_from(lambda: iter(known.items()))
    say(log, "1")
    if how == "deleted":
        file.unlink()
        notice(log, clock)
    else:
        log.problem = DAMAGED
    log.reopen()
    assert log.is_dirty
    assert not log.is_pressing, "nobody waits for that"
    log.change_session("7", SessionChange(joined=["b"]))  # it is in no file yet
    known["7"] = replace(SESSION, rooms=["a", "b"])
    log.save_session("8", None)
    del known["8"]
    assert restored(log) > 1, "not all at once"
    log.close()
    assert dict(open_file().sessions()) == known


def test_sessions_are_saved_anew_once(open_file, file, clock):
    log = open_file()
    asked: list[int] = []
    log.restore_from(lambda: iter([asked.append(1) or ("key", SESSION)]))
    say(log, "1")
    log.reopen()
    assert not log.is_dirty
    assert asked == []
    file.unlink()
    notice(log, clock)
    log.reopen()
    restored(log)
    log.save_session("key", None)
    restored(log)
    assert asked == [1]
    log.close()
    assert dict(open_file().sessions()) == {}


def test_a_defect_that_keeps_the_file_from_being_opened_is_logged_once(open_file, caplog, monkeypatch):
    """It is no fault of the file, and nobody would know what it is."""
    log = open_file()
    say(log, "before")

    def defect(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("hazoom_ws.message_log.sqlite.log.SqliteWriter", defect)
    log.problem = "gone for a test"
    for _ in range(3):
        log.reopen()
        assert log.problem == "the file cannot be used"
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a defect"]
    monkeypatch.undo()
    log.reopen()
    assert (log.problem, texts(log)) == (None, ["before"])


def test_while_it_is_unwell_nothing_but_opening_it_again_uses_the_file(open_file):
    """That is done in a thread, beside which another must not tidy."""
    log = open_file()
    say(log, *("x" * 20_000 for _ in range(300)))
    assert log.is_untidy
    assert log.is_checkpoint_due
    log.problem = GONE
    assert not log.is_untidy
    assert not log.is_checkpoint_due
    assert not log.is_dirty
    log.reopen()
    assert log.problem is None
