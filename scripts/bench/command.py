"""The command line of scripts/bench.py: which servers and scenarios, how often, in which order; one benchmark at a time."""

import argparse
import fcntl
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import environment
from bench import behaviour, cluster, live, llm, scale, traffic
from bench.load import NoCompilerError, compile_tools
from bench.peers import BenchError, all_peers, choose_cores, raise_file_limit
from bench.report import REFERENCE, Record, print_table, write_json
from bench.setting import Setting

SCENARIOS = {
    "fanout": ("{clients:,} clients in one room, messages of 200 bytes, one sender", traffic.fanout),
    "rooms": ("rooms of 4 clients, one message in flight in each room", traffic.rooms),
    "latency": ("20 messages a second to {clients:,} clients in one room", traffic.latency),
    "connections": (
        "{connections:,} connections that offer deflate, rooms of 4, all but one dropped",
        behaviour.connections,
    ),
    "fairness": ("an acknowledged message every 5 ms in a room of its own, while others disturb", behaviour.fairness),
    "llm": ("10,000 tokens a second from an AI backend to those who asked", llm.llm),
    "live": ("cursors, games, shared state and documents", live.live),
    "cluster": ("rooms whose members are spread over 1, 2 and 4 processes on one Redis", cluster.cluster),
    "beside": ("20 messages a second to a room of 1,000, alone and beside 10,000 tokens a second", llm.beside),
}
PEERS = "hazoom,memory,node,stock,floor"
RESULT = environment.VENV / "bench" / "bench.json"
_LOCK_WAIT_S = 3600


def main(method: str) -> int:
    """Measure, print, write; return 2 for what the user can mend. ``method`` is what ``--help`` says."""
    options = _parse(method)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with _alone(), tempfile.TemporaryDirectory() as folder:
            return _scale(options) if options.scenario == "scale" else _measure(options, Path(folder))
    except (BenchError, NoCompilerError) as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return _refuse("interrupted; every server is stopped")


def _parse(method: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.py",
        description=method,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("scenario", nargs="?", default="all", choices=(*SCENARIOS, "scale", "all"))
    parser.add_argument("--runs", type=int, help="runs of each server (default 3)")
    parser.add_argument("--quick", action="store_true", help="one run, short windows, 2,000 connections: a first look")
    parser.add_argument("--only", help=f"servers, separated by commas (default {PEERS}; in cluster {cluster.PEERS})")
    parser.add_argument("--clients", type=int, default=1000, help="clients in fanout and latency (default 1000)")
    parser.add_argument("--connections", type=int, help="connections in connections (default 10000)")
    parser.add_argument("--json", type=Path, default=RESULT, help="file for all raw values (default in .venv/bench)")
    options = parser.parse_args()
    for name, value, least in (
        ("--runs", options.runs, 1),
        ("--clients", options.clients, 2),
        ("--connections", options.connections, 20),
    ):
        if value is not None and value < least:
            parser.error(f"{name} is at least {least}")
    return options


def _measure(options: argparse.Namespace, folder: Path) -> int:
    environment.install_python_packages()
    environment.install_npm_packages()
    cores = choose_cores()
    raise_file_limit()
    tools = compile_tools(folder)
    if not tools.inflates:
        print("zlib's headers are missing: clients offer no deflate")
    setting = Setting(
        tools,
        cores,
        clients=options.clients,
        connections=options.connections or (2000 if options.quick else 10_000),
        window_s=1.0 if options.quick else 4.0,
        idle_s=10.0 if options.quick else 25.0,
    )
    known = all_peers(tools.floor)
    if unknown := set((options.only or PEERS).split(",")) - set(known):
        raise BenchError(f"no server is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    runs = options.runs or (1 if options.quick else 3)
    chosen = list(SCENARIOS) if options.scenario == "all" else [options.scenario]
    print(f"server on core {cores.server}, load client on core {cores.load}; {runs} run(s), interleaved")
    records: list[Record] = []
    about = _about() | {"setting": setting._asdict() | {"tools": None}}
    for scenario in chosen:
        title, measure = SCENARIOS[scenario]
        is_cluster = scenario == "cluster"
        peers = [known[name] for name in (options.only or (cluster.PEERS if is_cluster else PEERS)).split(",")]
        for peer in peers:
            print(f"  {peer.name}: {peer.title}")
        for run in range(1, runs + 1):
            for peer in peers:
                _say(f"{scenario}, run {run} of {runs}: {peer.name}")
                try:
                    for sample in measure(setting, peer):  # one at a time: what came before a failure counts
                        records.append(Record(scenario, run, peer.name, sample))
                except BenchError as error:
                    records.append(Record(scenario, run, peer.name, None, str(error)))
        _say("")
        of_scenario = [record for record in records if record.scenario == scenario]
        reference = cluster.REFERENCE if is_cluster else REFERENCE
        print_table(f"{scenario}: {title.format(**setting._asdict())}", of_scenario, reference)
        write_json(options.json, about, records)
    print(f"\nraw values: {options.json}")
    return 0


def _scale(options: argparse.Namespace) -> int:
    """Measure Redis, and no server: so this is none of the scenarios that compare them."""
    environment.install_python_packages()
    cores = choose_cores()
    raise_file_limit()
    runs = options.runs or 1
    print(f"Redis on core {cores.server}, the simulation on core {cores.load}; {runs} run(s), interleaved")
    results = []
    for run in range(1, runs + 1):
        for processes_count in scale.PROCESSES_COUNTS:
            _say(f"scale, run {run} of {runs}: {processes_count} processes")
            results.append(scale.simulate(cores, processes_count, 2.0 if options.quick else 4.0))
    _say("")
    scale.print_tables(results)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({**_about(), "results": results}, indent=1), encoding="utf-8")
    print(f"\nraw values: {options.json}")
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other benchmark runs on this machine: two at once would measure each other."""
    ends_at_s = time.monotonic() + _LOCK_WAIT_S
    with (Path(tempfile.gettempdir()) / f"hazoom-bench-{os.getuid()}.lock").open("a") as lock:
        for attempt in count():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends_at_s:
                    raise BenchError(f"another benchmark has been running for {_LOCK_WAIT_S} s") from None
                if attempt == 0:
                    print("waiting for another benchmark on this machine to end", file=sys.stderr)
                time.sleep(1)
        yield


def _about() -> dict[str, Any]:
    return {"at_s": time.time(), "machine": platform.platform(), "load_average": os.getloadavg()}


def _say(text: str) -> None:
    """Show progress where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _refuse(problem: str) -> int:
    print(f"bench: {problem}", file=sys.stderr)
    return 2
