"""Files with random bytes changed: no value of a room's state and no update of a document is read that was not written."""

import random
import re
from typing import NamedTuple

import pytest

from damaged_files import FILES_COUNT, changed, open_file
from hazoom_ws.errors import LogUnavailable

ROOMS = DOCUMENTS = ("first", "second", "third")
TEXT = re.compile(rb"text-(\d+)-[xy]+")
FILED_COUNT, TAIL_COUNT = 300, 60


class Original(NamedTuple):
    """A file, and what is in it by room and key, and by document.

    ``values``: all that a key ever had. When the row of the tail with the newest is damaged, the table has the one before.
    """

    content: bytes
    values: dict[tuple[str, str], list[bytes]]
    updates: dict[str, list[bytes]]
    snapshots: dict[str, bytes]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """Return a file with all of that in its tables and in its tail."""
    folder = tmp_path_factory.mktemp("original")
    log = open_file(folder)
    values: dict[tuple[str, str], list[bytes]] = {}
    updates: dict[str, list[bytes]] = {document: [] for document in DOCUMENTS}
    snapshots: dict[str, bytes] = {}
    for number in range(FILED_COUNT + TAIL_COUNT):
        room, key = ROOMS[number % 3], f"key {number % 100}"
        value = b'"text-%d-%s"' % (number, b"x" * (number * 7 % 400 + 5))
        values.setdefault((room, key), []).append(value)
        log.states.set(room, {key: value}, user="Ann", timestamp=1.0, client_id=str(number))
        log.states.set(room, {"gone": b"1"}, user="Ann", timestamp=1.0)
        log.states.set(room, {"gone": None}, user="Ann", timestamp=1.0)
        updates[room].append(b"text-%d-%s" % (number, b"y" * (number * 11 % 300 + 5)))
        seq = log.documents.add_update(room, updates[room][-1]).seq
        if number == FILED_COUNT // 2:
            snapshots[room] = b"|".join(updates[room]) + b"|" + bytes(530_000 if room == "first" else 2000)
            updates[room].clear()
            log.documents.save_snapshot(room, snapshots[room], seq)
        log.write(log.pop_batch())
        while number < FILED_COUNT and log.is_untidy:
            log.tidy()
    log.close()
    return Original((folder / "log.sqlite3").read_bytes(), values, updates, snapshots)


def harmed(content: bytes, places: list[tuple[int, int]]) -> set[bytes]:
    """Return the numbers of the texts that are near a place, wherever they are."""
    return {
        match.group(1)
        for match in TEXT.finditer(content)
        if any(match.start() - 600 < end and start < match.end() + 1500 for start, end in places)
    }


def number_of(text: bytes) -> bytes:
    match = TEXT.search(text)
    assert match is not None
    return match.group(1)


@pytest.mark.parametrize("seed", range(FILES_COUNT))
def test_what_is_read_of_a_damaged_file_was_written(tmp_path, original: Original, caplog, seed: int) -> None:
    damaged, places = changed(original.content, random.Random(seed))
    (tmp_path / "log.sqlite3").write_bytes(damaged)
    log = open_file(tmp_path)
    hit = harmed(original.content, places)
    is_set_aside = False
    found: set[bytes] = set()
    try:
        for room in ROOMS:
            values = {key: entry.value for key, entry in log.states.read(room).values.items()}
            assert all(value in original.values[room, key] for key, value in values.items())
            found |= {number_of(value) for value in values.values() if value is not None}
        for document in DOCUMENTS:
            stored = log.documents.read(document)
            if stored is None:
                continue
            assert stored.snapshot in {None, original.snapshots.get(document)}
            assert {data for _, data in stored.updates} <= set(original.updates[document])
            found |= {number_of(data) for _, data in stored.updates}
    except LogUnavailable:
        is_set_aside = True
    for number in range(3):
        if log.problem is not None:
            log.reopen()
        log.states.set("first", {"after": b"%d" % number}, user="Ann", timestamp=1.0)
        log.documents.add_update("after", b"%d" % number)
        log.write(log.pop_batch())
        while log.is_untidy:
            log.tidy()
    is_set_aside |= any(".damaged-" in path.name for path in tmp_path.iterdir())
    log.close()
    assert not any(record.exc_info for record in caplog.records)
    assert "text-" not in caplog.text
    if not is_set_aside:
        expected = {number_of(values[-1]) for values in original.values.values()}
        expected |= {number_of(data) for updates in original.updates.values() for data in updates}
        assert expected - found <= hit
