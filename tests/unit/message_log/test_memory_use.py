"""What a log takes of the process's memory, whatever is said: in a process of its own, as the system counts it."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from hazoom_ws.message_log.memory import MemoryLog

pytestmark = pytest.mark.long

MB = 2**20

# Batch after batch, as under a load that never pauses: nothing is ever filed before it has to be.
LOAD = """
import sys, time, uuid
from pathlib import Path
import psutil
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.settings import Settings

kind, folder = sys.argv[1:]
log = open_log(Settings(log_url="sqlite:///log.sqlite3"), Path(folder))
before, most = psutil.Process().memory_info().rss, 0
for number in range(60_000 if kind != "wide" else 600):
    room = {"long names": f"{number}" + chr(0x1F600) * 120, "rooms": f"room {number}"}.get(kind, f"room {number % 100}")
    text = "x" * 60_000 + chr(0x1F600) if kind == "wide" else chr(97 + number % 26) * 400
    log.append(room=room, user="Ann", message=text, timestamp=time.time(), client_id=uuid.uuid4().hex)
    if number % 50 == 49 or kind == "wide":
        batch = log.pop_batch()
        if not log.write_at_once(batch):
            log.write(batch)
        if log.is_checkpoint_due:
            log.checkpoint()
        most = max(most, psutil.Process().memory_info().rss)
entry = next(iter(log.read("room 7", after=0, limit=1, newest=False).messages), None)
assert entry or kind in ("long names",)
while log.is_untidy:
    log.tidy()
print(max(most, psutil.Process().memory_info().rss) - before)
"""


@pytest.mark.parametrize("kind", ["plain", "rooms", "long names", "wide"])
def test_a_load_that_never_pauses_takes_no_more_memory_for_it(tmp_path: Path, kind: str) -> None:
    """Messages stayed in memory until they were filed: 100,000 of 400 bytes took 150 MB."""
    command = [sys.executable, "-c", LOAD, kind, str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(output) < 42 * MB


LOAD_OF_STATES = """
import sys, time, uuid
from pathlib import Path
import psutil
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.settings import Settings

kind, folder = sys.argv[1:]
log = open_log(Settings(log_url="sqlite:///log.sqlite3", history_limit_bytes=2**22), Path(folder))
before, most = psutil.Process().memory_info().rss, 0
for number in range({"plain": 27_000, "wide": 6000}.get(kind, 60_000)):
    room = f"room {number}" if kind == "rooms" else f"room {number % 100}"
    value = b'"' + b"x" * (16_000 if kind == "wide" else 400) + b'"'
    if kind == "updates":
        log.documents.add_update(room, value)
    else:
        key = str(number // 100 % 1000)
        log.states.set(room, {key: value}, user="Ann", timestamp=time.time(), client_id=uuid.uuid4().hex)
    if number % 50 == 49:
        log.write(log.pop_batch())
        if log.is_checkpoint_due:
            log.checkpoint()
        most = max(most, psutil.Process().memory_info().rss)
print(most - before)
"""


@pytest.mark.parametrize("kind", ["plain", "rooms", "wide", "updates"])
def test_a_load_of_states_and_updates_that_never_pauses_takes_bounded_memory(tmp_path: Path, kind: str) -> None:
    """Two bounds add up: of the rooms that are in memory, and of what is not filed yet."""
    command = [sys.executable, "-c", LOAD_OF_STATES, kind, str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(output) < 60 * MB


@pytest.mark.parametrize("kind", ["plain", "wide", "deleted", "rooms", "long names"])
def test_what_states_take_in_memory_is_counted_as_it_is_there(kind: str) -> None:
    log = MemoryLog(room_limit_count=10**6, limit_bytes=MB)  # four times that of states
    tracemalloc.start()
    for number in range(30_000):
        key = f"{number:06}" + ("x" * 100 if kind == "long names" else "")
        room = f"{key} {number}" if kind in ("rooms", "long names") else f"room {number % 100}"
        value = b"1" * (4000 if kind == "wide" else 100)
        log.states.set(room, {key: value}, user="Ann", timestamp=1.0)
        if kind == "deleted":
            log.states.set(room, {key: None}, user="Ann", timestamp=1.0)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1 * MB < held_bytes < 6 * MB


@pytest.mark.parametrize("size_bytes", [10, 4000, 100_000])
def test_what_documents_take_in_memory_is_counted_as_it_is_there(size_bytes: int) -> None:
    log = MemoryLog(room_limit_count=10**6, limit_bytes=MB)  # eight times that of documents
    tracemalloc.start()
    for number in range(100_000 if size_bytes == 10 else 5000):
        log.documents.add_update(f"document {number % 1000}", bytes(size_bytes))
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 5 * MB < held_bytes < 10 * MB


@pytest.mark.parametrize("kind", ["plain", "short", "rooms", "long names", "wide", "guests"])
def test_what_is_held_in_memory_is_counted_as_it_is_there(kind: str) -> None:
    """Names of long rooms did not count, nor that one emoji makes a text four times as wide."""
    log = MemoryLog(room_limit_count=10**6, limit_bytes=4 * MB)
    tracemalloc.start()
    for number in range(10_000):
        room = {"long names": f"{number}" + "\N{GRINNING FACE}" * 120, "rooms": f"room {number}"}.get(kind, "room")
        text = {"plain": "x" * 400, "wide": "x" * 2000 + "\N{GRINNING FACE}"}.get(kind, "x") + str(number)
        fields = {"sender": f"guest:{number:024}"} if kind == "guests" else {}
        named = {"user": f"user {number}", "client_id": f"{number:036}"}
        log.append(room=room, message=text, timestamp=float(number), **named, **fields)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1 * MB < held_bytes < 6.5 * MB
