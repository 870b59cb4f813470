"""States of rooms and documents in files of the version before them, and in damaged ones."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hazoom_ws.message_log.contract import SessionChange, StoredSession
from hazoom_ws.message_log.documents import StoredDocument
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.sqlite.log import SqliteLog
from hazoom_ws.message_log.sqlite.migrations import MIGRATIONS
from hazoom_ws.settings import Settings

OpenFile = Callable[[], SqliteLog]
SESSION = StoredSession(user_id="u", user_name="Ann", conversation_id="s", since=1, rooms=["a"])


@pytest.fixture
def open_file(tmp_path: Path) -> Iterator[OpenFile]:
    """Return a function that opens the file, once it is closed."""
    opened: list[SqliteLog] = []

    def make() -> SqliteLog:
        log = open_log(Settings(log_url="sqlite:///log.sqlite3"), tmp_path)
        assert isinstance(log, SqliteLog)
        opened.append(log)
        return log

    yield make
    for log in opened:
        log.close()


@pytest.fixture
def change(tmp_path: Path) -> Callable[..., None]:
    """Return a function that changes the file while it is closed."""

    def change_file(statement: str, *values: Any) -> None:
        with closing(sqlite3.connect(tmp_path / "log.sqlite3", isolation_level=None)) as connection:
            assert connection.execute(statement, values).rowcount == 1

    return change_file


def write(log: SqliteLog, *, is_filed: bool = False) -> None:
    for _ in range(512 if is_filed else 0):
        log.append(room="filling", user="Ann", message="", timestamp=1.0)
    log.write(log.pop_batch())
    while is_filed and log.is_untidy:
        log.tidy()


def set_values(log: SqliteLog, room: str = "a", **values: bytes | None) -> int:
    return log.states.set(room, values, user="Ann", timestamp=1.0).seq


def found(log: SqliteLog, room: str = "a") -> dict[str, bytes | None]:
    return {key: entry.value for key, entry in log.states.read(room).values.items()}


def test_a_file_of_the_fourth_version_is_taken_over(open_file: OpenFile, tmp_path: Path) -> None:
    """As the release before left it when it was killed: with messages and sessions not filed yet, and a damaged row."""
    message = {"user": "Ann", "timestamp": 1.5, "room": "a"}
    filed, tail = ({**message, "message": text, "id": f"e-{seq}", "seq": seq} for seq, text in ((8, "1"), (9, "2")))
    tail |= {"client_id": "c", "sender": "guest:1"}
    with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection:
        connection.executescript(
            f"{''.join(MIGRATIONS[:4])} PRAGMA user_version = 4; PRAGMA application_id = {0x687A0004};"
            "CREATE TABLE places (id INTEGER PRIMARY KEY, mark INTEGER NOT NULL); INSERT INTO places VALUES (1, 20);"
            "CREATE TABLE damaged (found_at REAL NOT NULL, number INTEGER NOT NULL, messages BLOB, sessions BLOB, "
            "changes BLOB);"
            "INSERT INTO damaged VALUES (1.5, 3, 'x', 'y', 'z'); INSERT INTO about VALUES ('e', 7);"
        )
        connection.execute("INSERT INTO messages (seq, room, user, message, timestamp) VALUES (8, 'a', 'Ann', '1', 1.5)")
        connection.execute("INSERT INTO sessions VALUES ('k', ?)", (msgspec.json.encode(SESSION),))
        changes = msgspec.json.encode({"k": SessionChange(joined=["b"])}).decode()
        row = (9, msgspec.json.encode([tail]).decode(), "{}", changes)
        connection.execute("INSERT INTO tail (number, messages, sessions, changes) VALUES (?, ?, ?, ?)", row)
        connection.execute("INSERT INTO tail (number, messages) VALUES (10, 'no list')")
        connection.commit()
    log = open_file()
    assert [entry.id for entry in log.read("a", limit=5, newest=True).messages] == [filed["id"], tail["id"]]
    resent = log.find_resent("a", "whoever", "c", "guest:1")
    assert resent is not None
    assert resent.seq == 9
    assert dict(log.sessions()) == {"k": msgspec.structs.replace(SESSION, rooms=["a", "b"])}
    assert found(log) == {}
    assert log.states.read("a").complete
    assert log.documents.read("d") is None
    seq = set_values(log, x=b"1")
    assert seq > 20
    number = log.documents.add_update("d", b"1").seq
    write(log)
    log.close()
    log = open_file()
    assert found(log) == {"x": b"1"}
    assert log.documents.read("d") == StoredDocument(None, 0, [(number, b"1")])
    with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection:
        rows = connection.execute("SELECT number, messages, parts FROM damaged ORDER BY number").fetchall()
    assert rows == [(3, "x", None), (10, b"no list", None)]


def test_numbers_go_on_above_states_and_documents_when_the_mark_is_damaged(open_file: OpenFile, change: Any) -> None:
    log = open_file()
    for _ in range(100):
        log.next_offset()
    number = log.documents.add_update("d", b"1").seq
    seq = set_values(log, x=b"1")
    write(log)
    log.documents.save_snapshot("d", b"1", number)
    write(log, is_filed=False)
    log.close()
    log = open_file()
    log.close()
    change("UPDATE places SET mark = -1")
    change("UPDATE state SET seq = seq + 1000000000000 WHERE key = 'x'")
    log = open_file()
    assert log.last_seq >= seq + 1_000_000_000_000


@pytest.mark.parametrize(
    "damage",
    [
        "value = CAST('[2' AS BLOB)",
        "value = NULL",
        "value = 7",
        "user = 'Bob'",
        "user = CAST(x'ff' AS TEXT)",
        "seq = seq - 1",
        "seq = 'x'",
        "seq = 4e15",
        "seq = 9e18",
        "checksum = 0",
        "key = CAST(x'ff' AS TEXT)",
        "key = 'z'",
    ],
)
def test_a_value_that_is_damaged_is_left_out(open_file: OpenFile, change: Any, damage: str, caplog: Any) -> None:
    log = open_file()
    set_values(log, x=b"secret", y=b"1")
    write(log)
    log.close()
    open_file().close()
    change(f"UPDATE state SET {damage} WHERE key = 'x'")
    log = open_file()
    assert found(log) == {"y": b"1"}
    assert "1 values in the state of a room are damaged; they are left out" in caplog.text
    assert "secret" not in caplog.text
    set_values(log, x=b"3", z=b"4")
    write(log)
    log.close()
    assert found(open_file()) == {"y": b"1", "x": b"3", "z": b"4"}


def test_of_a_row_of_the_tail_that_is_damaged_all_else_is_read(open_file: OpenFile, tmp_path: Path, caplog: Any) -> None:
    log = open_file()
    message = log.append(room="a", user="Ann", message="hi", timestamp=1.0)
    set_values(log, x=b"1111")
    set_values(log, y=b"2222")
    numbers = [log.documents.add_update("d", data).seq for data in (b"3333", b"4444", b"5555")]
    write(log)
    path = tmp_path / "log.sqlite3"
    log.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        [[parts]] = connection.execute("SELECT parts FROM tail")
        damaged = parts.replace(b"1111", b"1x11").replace(b"4444", b"444")
        connection.execute("UPDATE tail SET parts = ?", (damaged,))
    log = open_file()
    assert log.read("a", limit=5, newest=True).messages == [message]
    assert found(log) == {"y": b"2222"}
    # What is shorter than it says ends what can be read: where the next begins is not known.
    assert log.documents.read("d") == StoredDocument(None, 0, [(numbers[0], b"3333")])
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT parts FROM damaged").fetchall() == [(damaged,)]
    assert "in the tail of the message log is damaged" in caplog.text


@pytest.mark.parametrize("parts", [b"", b"\xff", b"\xff" * 100, b"\0" * 100, "text", 7])
def test_a_row_of_the_tail_whose_parts_are_none_is_filed(open_file: OpenFile, change: Any, parts: object) -> None:
    log = open_file()
    message = log.append(room="a", user="Ann", message="hi", timestamp=1.0)
    set_values(log, x=b"1")
    write(log)
    log.close()
    change("UPDATE tail SET parts = ?", parts)
    log = open_file()
    assert log.problem is None
    assert log.read("a", limit=5, newest=True).messages == [message]
    assert found(log) == {}
    set_values(log, x=b"2")
    write(log, is_filed=True)
    assert found(log) == {"x": b"2"}


@pytest.mark.parametrize("damage", ["data = x'00'", "data = 'text'", "checksum = 0", "data = x''"])
def test_an_update_that_is_damaged_is_left_out_and_told(open_file: OpenFile, change: Any, damage: str, caplog: Any) -> None:
    log = open_file()
    first, second = (log.documents.add_update("d", data).seq for data in (b"1", b"2"))
    write(log)
    log.close()
    open_file().close()
    change(f"UPDATE document_updates SET {damage} WHERE seq = {first}")
    assert open_file().documents.read("d") == StoredDocument(None, 0, [(second, b"2")], is_damaged=True)
    assert "a part of a document in the message log is damaged" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE snapshots SET data = x'00' WHERE part = 1",
        "UPDATE snapshots SET checksum = 0 WHERE part = 0",
        "UPDATE snapshots SET through = through + 1 WHERE part = 2",
        "UPDATE snapshots SET through = 'x' WHERE part = 0",
        "UPDATE snapshots SET parts_count = 2 WHERE part = 2",
        "UPDATE snapshots SET part = 7 WHERE part = 2",
        "DELETE FROM snapshots WHERE part = 0",
        "DELETE FROM snapshots WHERE part = 2",
    ],
)
def test_a_snapshot_that_is_damaged_is_left_out_and_told(open_file: OpenFile, change: Any, damage: str) -> None:
    log = open_file()
    first, second = (log.documents.add_update("d", data).seq for data in (b"1", b"2"))
    write(log)
    log.documents.save_snapshot("d", bytes(1_200_000), first)
    write(log, is_filed=True)
    log.close()
    change(damage)
    log = open_file()
    assert log.documents.read("d") == StoredDocument(None, 0, [(second, b"2")], is_damaged=True)
    log.documents.save_snapshot("d", b"12", second + 1)
    write(log, is_filed=True)
    assert log.documents.read("d") == StoredDocument(b"12", second + 1, [])


def test_a_document_of_which_nothing_can_be_read_is_there(open_file: OpenFile, change: Any) -> None:
    log = open_file()
    log.documents.add_update("d", b"1")
    write(log)
    log.close()
    open_file().close()
    change("UPDATE document_updates SET checksum = 0")
    assert open_file().documents.read("d") == StoredDocument(None, 0, [], is_damaged=True)
