"""Files of messages with random bytes changed, for tests of what becomes of them."""

import os
import random
from pathlib import Path

from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.sqlite.log import SqliteLog
from hazoom_ws.settings import Settings

FILES_COUNT = int(os.environ.get("HAZOOM_TEST_DAMAGED_FILES", "40"))


def open_file(folder: Path) -> SqliteLog:
    """Open the file that a test has in a folder."""
    log = open_log(Settings(log_url="sqlite:///log.sqlite3"), folder)
    assert isinstance(log, SqliteLog)
    return log


def changed(content: bytes, chance: random.Random) -> tuple[bytes, list[tuple[int, int]]]:
    """Return a file with a run of other bytes in one to five places, and those places."""
    damaged, places = bytearray(content), []
    for _ in range(chance.randint(1, 5)):
        length = chance.choice((1, 1, 3, 60, 300))
        start = chance.randrange(len(content) - length)
        damaged[start : start + length] = chance.randbytes(length)
        places.append((start, start + length))
    return bytes(damaged), places
