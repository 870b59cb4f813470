"""Scenarios of what is live: cursors, games, state, documents. Each is a generator, as in `bench.traffic`.

Node is socket.io with a plain broadcast of each item, as its users write it, and y-socket.io's own server for documents:
with LevelDB, as it offers, beside ours with a file, and without beside ours in memory. It stores an update after it has
sent it, and sends it to its sender too. A letter is one update, encoded as Yjs does it. The document of 1 MB is open
elsewhere while it is opened. Memory is over a server that has had 100 documents already, with documents that leave memory
after 0.2 s.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

import environment
from bench.load import run_load
from bench.peers import HERE, BenchError, Peer, Server, running
from bench.report import Sample
from bench.setting import NO_DEFAULT_ROOM, Setting

_VARIABLES = {
    **NO_DEFAULT_ROOM,
    "HAZOOM_DOCUMENT_IDLE_S": "0.2",
    "BENCH_LIVE": "1",
}
_DOCUMENT_BYTES = 1_000_000
_IDLE_COUNT = 1000
_SETTLED_WITHIN_S = 30
_STEADY_MB = 0.1


def live(setting: Setting, peer: Peer) -> Iterator[Sample]:
    """Cursors, games, state, documents."""
    if peer.name not in {"hazoom", "memory", "node"}:
        return  # the others know none of it
    yield from _cursors(setting, peer)
    yield from _games(setting, peer)
    if peer.name in {"hazoom", "memory"}:
        yield from _state(setting, peer)
    yield from _documents(setting, peer)


def _run(
    setting: Setting, peer: Peer, mode: str, variables: Mapping[str, str] = MappingProxyType({}), **options: object
) -> dict[str, Any]:
    with running(peer, setting.cores, **_VARIABLES, **variables) as server:
        raw: dict[str, Any] = run_load(
            setting.tools, setting.cores, server, mode, program=setting.tools.live, seconds=setting.window_s, **options
        )
    return raw


def _cursors(setting: Setting, peer: Peer) -> Iterator[Sample]:
    raw = _run(setting, peer, "relay", clients=50, rooms=1, rate=30)
    yield _cpu("50 cursors at 30 Hz: server CPU, % of a core", raw, "0.15 of Node")
    frames_per_s = raw["frames"] / raw["seconds"] / 50
    yield Sample("50 cursors at 30 Hz: events/s to each", frames_per_s, raw, lower_is_better=True, goal="at most 32")
    yield _age("50 cursors at 30 Hz: one-way time, p99: ms", raw, "p99", "50")
    raw = _run(setting, peer, "relay", clients=2, rooms=1, movers=1, rate=30)
    yield _age("a lone cursor: one-way time, p50: ms", raw, "p50")
    yield _age("a lone cursor: one-way time, p99: ms", raw, "p99", "5")


def _games(setting: Setting, peer: Peer) -> Iterator[Sample]:
    raw = _run(setting, peer, "relay", clients=400, rooms=100, rate=60)
    yield _cpu("100 games of 4 at 60 Hz: server CPU, % of a core", raw)
    yield _age("100 games of 4 at 60 Hz: one-way time, p50: ms", raw, "p50")
    yield _age("100 games of 4 at 60 Hz: one-way time, p99: ms", raw, "p99", "40")


def _state(setting: Setting, peer: Peer) -> Iterator[Sample]:
    rates = {}
    for event in ("message", "state_set"):
        raw = _run(setting, peer, "acked", clients=400, rooms=100, event=event)
        rates[event] = raw["acknowledgements"] / raw["seconds"]
        cpu_us = raw["server_cpu_s"] / raw["acknowledgements"] * 1e6
        yield Sample(f"100 rooms of 4, one {event} under way in each: {event}/s", rates[event], raw, cpu_us)
    ratio = rates["state_set"] / rates["message"]
    yield Sample("state_set/s as a share of message/s", ratio, {}, goal="at least 0.9")


def _documents(setting: Setting, peer: Peer) -> Iterator[Sample]:
    if peer.name != "memory":
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield _editors(setting, peer, "kept in a file", YPERSISTENCE=folder)
    if peer.name != "hazoom":
        yield _editors(setting, peer, "in memory")
    with running(peer, setting.cores, **_VARIABLES) as server:
        found = _with_yjs(setting, server, "open", _DOCUMENT_BYTES, 10)
    opened_ms = median(found["opened_ms"])
    yield Sample("a document of 1 MB is opened: ms", opened_ms, found, lower_is_better=True, goal="1.0 of Node")
    if peer.name == "node":
        return
    with running(peer, setting.cores, **_VARIABLES) as server:
        _with_yjs(setting, server, "idle", 100)
        before_mb = _settled_rss_mb(server)
        _with_yjs(setting, server, "idle", _IDLE_COUNT)
        grown_mb = _settled_rss_mb(server) - before_mb
    yield Sample(f"memory of {_IDLE_COUNT:,} idle documents: MB", grown_mb, {}, lower_is_better=True, goal="under 5")


def _editors(setting: Setting, peer: Peer, how_kept: str, **variables: str) -> Sample:
    raw = _run(setting, peer, "editors", variables, clients=200, rooms=50, rate=10)
    cpu_us = raw["server_cpu_s"] / raw["updates"] * 1e6 if raw["updates"] else None
    case = f"50 documents of 4 writers, 10 letters/s each, {how_kept}: CPU us of an update with its deliveries"
    return Sample(case, cpu_us or 0.0, raw, cpu_us, lower_is_better=True, goal="0.6 of Node")


def _with_yjs(setting: Setting, server: Server, *arguments: object) -> dict[str, Any]:
    """Run documents.cjs beside a server and return what it says. Raises `BenchError`."""
    mode, *numbers = map(str, arguments)
    command = [environment.node_command(), str(HERE / "documents.cjs"), mode, f"http://127.0.0.1:{server.port}", *numbers]
    os.sched_setaffinity(0, {setting.cores.load})
    variables = {**os.environ, "NODE_PATH": str(environment.NPM / "node_modules")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=variables)
    except subprocess.TimeoutExpired:
        raise BenchError(f"documents.cjs {mode} was not done within 120 s") from None
    if done.returncode:
        raise BenchError(f"documents.cjs {mode}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _settled_rss_mb(server: Server) -> float:
    """Return the memory of a server when it has stayed the same for a second. Raises `BenchError` after 30 s."""
    ends_at_s = time.monotonic() + _SETTLED_WITHIN_S
    last_mb, since_s = -1.0, 0.0
    while time.monotonic() < ends_at_s:
        now_mb, now_s = _rss_mb(server), time.monotonic()
        if abs(now_mb - last_mb) > _STEADY_MB:
            last_mb, since_s = now_mb, now_s
        elif now_s - since_s >= 1:
            return now_mb
        time.sleep(0.1)
    raise BenchError(f"the server's memory did not settle within {_SETTLED_WITHIN_S} s")


def _rss_mb(server: Server) -> float:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) for pid in server.pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _cpu(case: str, raw: dict[str, Any], goal: str = "") -> Sample:
    return Sample(case, 100 * raw["server_cpu_s"] / raw["seconds"], raw, lower_is_better=True, goal=goal)


def _age(case: str, raw: dict[str, Any], which: str, goal: str = "") -> Sample:
    return Sample(case, raw[f"{which}_ms"], raw, lower_is_better=True, goal=goal)
