"""The command line of scripts/soak.py, and the soak itself."""

import argparse
import json
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import requests

import environment
from hostile.server import Server, ServerError, running
from soak import cycles
from soak.people import People

MIXED = {
    "say": 40,
    "type": 20,
    "history": 4,
    "rejoin": 3,
    "stats": 2,
    "ask": 2,
    "ask_room": 2,
    "ask_whole": 1,
    "cancel": 2,
    "drop": 3,
    "ask_and_drop": 2,
    "leave": 2,
    "vanish": 2,
}
_PAUSE_MS = (200, 600)
WINDOWS = {
    "HAZOOM_RECOVERY_WINDOW_S": "10",
    "HAZOOM_LLM_RESUME_WINDOW_S": "10",
    "HAZOOM_LLM_USER_GRACE_S": "5",
    "HAZOOM_PRESENCE_GRACE_S": "2",
}
_LEAVING_LIMIT_S = 30.0
_GROWTH_LIMIT_BYTES = 3_000_000
_DESCRIPTORS_LIMIT = 5


def main(method: str) -> int:
    """Run, and print; return 1 if something is left or has grown, 2 for what the user can mend."""
    options = _parse(method)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        if options.gc:
            return cycles.search(options.python, options.async_mode, options.minutes * 60, options.clients)
        return _soak(options)
    except ServerError as error:
        print(f"soak: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("soak: interrupted; every process is stopped", file=sys.stderr)
    return 2


def _parse(method: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="soak.py", description=method, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--minutes", type=float, help="how long (default 10; with --gc 2, shared by its actions)")
    parser.add_argument("--clients", type=int, default=60, help="clients at once (default %(default)s)")
    parser.add_argument("--gc", action="store_true", help="look for reference cycles, action by action")
    parser.add_argument("--async-mode", choices=("eventlet", "threading"), default="eventlet", help="the server's")
    parser.add_argument("--python", type=Path, default=environment.PYTHON, help="soak the hazoom_ws of this Python")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the samples and counts there")
    options = parser.parse_args()
    options.python = options.python.absolute()
    options.minutes = options.minutes or (2.0 if options.gc else 10.0)
    if options.minutes < 0.1 or options.clients < 1:
        parser.error("--minutes is at least 0.1, --clients at least 1")
    return options


def _soak(options: argparse.Namespace) -> int:
    with running(options.python, ["--demo", "--async-mode", options.async_mode], WINDOWS) as server:
        time.sleep(1)
        before = server.descriptors()
        samples: list[int] = []
        with People(server.port, options.clients, options.minutes * 60, MIXED, _PAUSE_MS) as people:
            while people.are_here():
                samples.append(server.rss_bytes())
                time.sleep(1)
            counts = people.counts()
        left = _wait_until_empty(server, before)
        return _report(options, samples, counts, left, server)


def _wait_until_empty(server: Server, descriptors_before: int) -> dict[str, Any]:
    """Return what is still there when the windows are over, by name; nothing if all has gone."""
    ends_at_s = time.monotonic() + _LEAVING_LIMIT_S
    while True:
        status = _get(server, "/api/v1/status")
        left = {
            "connections": _get(server, "/health")["active_connections"],
            "users": status["active_users"],
            "rooms": len(status["rooms"]),
            "answers running": status["llm"]["active"],
            "questions waiting": status["llm"]["queued"],
        }
        left = {name: count for name, count in left.items() if count}
        more = server.descriptors() - descriptors_before
        if more > _DESCRIPTORS_LIMIT:
            left["descriptors more than at the start"] = more
        if not left or time.monotonic() > ends_at_s:
            return left
        time.sleep(0.5)


def _get(server: Server, path: str) -> dict[str, Any]:
    answer = requests.get(f"http://127.0.0.1:{server.port}{path}", headers={"Connection": "close"}, timeout=10)
    answer.raise_for_status()
    return answer.json()


def _report(
    options: argparse.Namespace, samples: list[int], counts: dict[str, int], left: dict[str, Any], server: Server
) -> int:
    quarter = max(1, len(samples) // 4)
    second, last = statistics.fmean(samples[quarter : 2 * quarter] or samples), statistics.fmean(samples[-quarter:])
    growth = last - second
    at = [f"{size / 1e6:.1f} MB" for size in (samples[0], second, last, server.rss_bytes())]
    print(f"memory: {at[0]} at first, {at[1]} in the second quarter, {at[2]} in the last, {at[3]} with everybody gone")
    print(f"growth from the second quarter to the last: {growth / 1e6:+.1f} MB (goal: under 3 MB)")
    for name, count in sorted(counts.items()):
        print(f"  {name:36} {count:>9,}")
    print(f"left: {', '.join(f'{count} {name}' for name, count in left.items()) or 'nothing'}")
    print(f"log: {server.logged_bytes() / 1000:.1f} KB")
    if options.json:
        found = {"rss_bytes": samples, "counts": counts, "left": left, "growth_bytes": growth}
        options.json.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return 1 if left or growth > _GROWTH_LIMIT_BYTES else 0
