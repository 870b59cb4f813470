"""What a log in one file costs with a thousand messages in it and with a million: ``python scripts/bench/history.py``.

The times are those of single calls of the log, in this process: the page that a joining client gets (the newest 50, from
the file), a page from the middle, finding out that a client_id is new, and a batch of 100 messages. Each is repeated; the
median and the slowest are printed. Nothing is measured of what the system's page cache does not hold.
"""

import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hazoom_ws.message_log.sqlite.log import SqliteLog
from hazoom_ws.settings import Settings

ROOMS = 20
REPEATS = 300
BATCH = 100
TEXT = "a message of ordinary length, as people write them when they talk to each other about the day, and some more words"


def fill(log: SqliteLog, count: int) -> None:
    start_s = time.time() - 7 * 86_400
    for number in range(count):
        log.append(
            room=f"room {number % ROOMS}",
            user=f"user {number % 1000}",
            message=TEXT,
            timestamp=start_s + number * 0.6,
            client_id=f"{number:032x}",
        )
        if number % 5000 == 4999:
            write(log)
    write(log)


def write(log: SqliteLog) -> None:
    log.write(log.take_batch())
    while log.is_untidy:
        log.tidy()


def measure(call: Callable[[], object]) -> str:
    times_us = []
    for _ in range(REPEATS):
        from_s = time.perf_counter()
        call()
        times_us.append((time.perf_counter() - from_s) * 1e6)
    return f"{statistics.median(times_us):8.0f} us, slowest {max(times_us):8.0f} us"


def report(count: int, folder: Path) -> None:
    path = folder / "messages.sqlite3"
    settings = Settings()
    log = SqliteLog(path, settings)
    from_s = time.perf_counter()
    fill(log, count)
    filled_s = time.perf_counter() - from_s
    log.close()
    from_s = time.perf_counter()
    log = SqliteLog(path, settings)  # with nothing of it in memory
    opened_ms = (time.perf_counter() - from_s) * 1000
    middle = log.last_seq - count // 2
    client_ids = map("new {}".format, itertools.count())

    def room() -> str:
        return f"room {random.randrange(ROOMS)}"  # noqa: S311

    def append() -> None:
        for _ in range(BATCH):
            log.append(room=room(), user="user", message=TEXT, timestamp=time.time(), client_id=next(client_ids))
        write(log)

    size_mb = path.stat().st_size / 2**20
    print(
        f"{count:,} messages in {ROOMS} rooms: written in {filled_s:.1f} s, {size_mb:.0f} MB, opened in {opened_ms:.1f} ms"
    )
    print(f"  newest 50 of a room    {measure(lambda: log.read(room(), limit=50, newest=True))}")
    print(f"  50 from the middle     {measure(lambda: log.read(room(), before=middle, limit=50, newest=True))}")
    print(f"  a client_id is new     {measure(lambda: log.find_resent(room(), 'user', 'never'))}")
    print(f"  append and write {BATCH}   {measure(append)}")
    log.close()


def main() -> int:
    for count in (1000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            report(count, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
