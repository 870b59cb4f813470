"""Files with random bytes changed: every one starts, tells nothing of its contents, and lacks no message that is whole."""

import random
import re
import sqlite3
import time
from contextlib import closing

import msgspec
import pytest
import requests

from damaged_files import FILES_COUNT, changed, open_file
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import SessionChange, StoredSession
from hazoom_ws.message_log.sqlite.log import SqliteLog
from servers import DEADLINE_S, OfficialClient, hazoom, wait_until

SERVERS_COUNT = FILES_COUNT // 10
ROOMS = ("first", "second", "third")
FILED_COUNT, TAIL_COUNT = 300, 60
TEXT = re.compile(r"text-\d+-[x\u00e4]+")
SESSION = StoredSession(user_id="u", user_name="Ann", conversation_id="s", since=1, rooms=["first"])


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[str, str]]]:
    """Return a file with messages and sessions in all its tables, and its messages: room and text."""
    folder = tmp_path_factory.mktemp("original")
    log = open_file(folder)
    said = []
    for number in range(FILED_COUNT + TAIL_COUNT):
        room = ROOMS[number % 3]
        said.append((room, f"text-{number}-{'xä'[number % 2] * (number * 7 % 400 + 5)}"))
        client_id = f"client-{number}"
        log.append(room=room, user="Ann", message=said[-1][1], timestamp=time.time(), client_id=client_id)
        log.save_session(str(number % 20), SESSION)
        log.write(log.pop_batch())
        if number < FILED_COUNT:
            log.change_session(str(number % 10), SessionChange(joined=["second"]))
            log.write(log.pop_batch())
            log.tidy()
    log.close()
    with closing(sqlite3.connect(folder / "log.sqlite3")) as connection:
        assert [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("messages", "tail")] == [
            FILED_COUNT,
            TAIL_COUNT,
        ]
    return (folder / "log.sqlite3").read_bytes(), said


def harmed(content: bytes, places: list[tuple[int, int]]) -> set[str]:
    """Return the texts near which something was changed, be it in the record around them: as a number, their beginning.

    A record is no longer than its text and 400 bytes on either side; what a page says of itself is where SQLite notices.
    """
    found = set()
    for match in re.finditer(rb"text-(\d+)-", content):
        start, end = match.start() - 400, match.end() + 1300
        if any(start < changed_end and changed_start < end for changed_start, changed_end in places):
            found.add(match.group(1).decode())
    return found


@pytest.mark.parametrize("seed", range(FILES_COUNT))
def test_a_file_with_random_bytes_changed_starts(tmp_path, original, caplog, seed):
    content, _ = original
    damaged, places = changed(content, random.Random(seed))
    (tmp_path / "log.sqlite3").write_bytes(damaged)
    log = open_file(tmp_path)
    problems = [log.problem]
    list(log.sessions())
    found = {entry.message for room in ROOMS for entry in read(log, room, problems)}
    for number in range(3):
        if log.problem is not None:
            log.reopen()
        log.append(room="first", user="Ann", message=f"after {number}", timestamp=time.time())
        log.write(log.pop_batch())
        while log.is_untidy:
            log.tidy()
        problems.append(log.problem)
    is_set_aside = any(".damaged-" in path.name for path in tmp_path.iterdir())
    log.close()
    told = caplog.text + str(problems)
    assert not any(record.exc_info for record in caplog.records)
    assert not TEXT.search(told)
    assert "client-" not in told
    if not is_set_aside:
        assert not missing(original, found, places)


def missing(original: tuple[bytes, list[tuple[str, str]]], found: set[str], places: list[tuple[int, int]]) -> list[str]:
    """Return the beginnings of the messages that nothing was changed near, and that were not found."""
    content, said = original
    hit = harmed(content, places)
    return [text[:12] for _, text in said if text not in found and text.split("-")[1] not in hit]


@pytest.mark.parametrize("seed", range(10_000, 10_000 + SERVERS_COUNT))
def test_a_server_starts_with_such_a_file_and_tells_nothing_of_it(tmp_path, original, seed):
    damaged, places = changed(original[0], random.Random(seed))
    (tmp_path / "log.sqlite3").write_bytes(damaged)
    env = {"HAZOOM_LOG_URL": f"sqlite:///{tmp_path / 'log.sqlite3'}", "HAZOOM_RATE_LIMIT_PER_S": "0"}
    told, found = [], set()
    with hazoom(env=env) as server, OfficialClient() as client:

        def is_ready() -> bool:
            ready = requests.get(f"{server.url}/ready", timeout=DEADLINE_S)
            told.append(ready.text)
            return ready.ok

        wait_until(is_ready, "it is ready")
        ann = client.connect(server.url, auth={"user_name": "Ann"})
        for room in ROOMS:
            ann.emit("join_room", {"room": room, "history": 0})
            page = ann.emit("get_history", {"room": room, "after": 0, "limit": 500})
            found |= {entry["message"] for entry in page.get("messages", ())}
        is_ready()
        wait_until(lambda: ann.emit("message", {"message": "after", "room": "first"})["ok"], "a message is kept")
        wait_until(is_ready, "it is ready")
        assert server.child.stop() == 0
        told.append(server.child.output)
    assert not TEXT.search("".join(told))
    assert "client-" not in "".join(told)
    if not any(".damaged-" in path.name for path in tmp_path.iterdir()):
        assert not missing(original, found, places)


def read(log: SqliteLog, room: str, problems: list[str | None]) -> list:
    try:
        messages, before = [], None
        while True:
            page = log.read(room, before=before, limit=500, newest=True)
            messages += page.messages
            msgspec.json.encode(page.messages)
            if not page.more:
                return messages
            before = page.messages[0].seq
    except LogUnavailable:
        problems.append(log.problem)
        return []
