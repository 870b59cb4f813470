"""What 1, 10 and 100 processes do to one Redis, simulated (bench/simulated.py), and what one Redis carries by that.

Redis runs alone on the server's core, with an append-only file as its default is, and the simulation on the load
client's. All numbers are Redis' own: publications, bytes and the CPU time of its main thread, which does everything one
after the other and so is what one Redis has; only what is heard is counted by who hears it. A table is of one load, which
comes on top of what the processes tell each other when nothing happens ("idle").

What is calculated is printed last. A message costs what a load took more than idling does, divided by its messages. What
processes tell each other is fitted to ``a x processes + b x processes squared``, through the two largest measured. Windows
are a multiple of 2 s, in which all happens that idling is.

A machine whose cores others use gives too small figures: a Redis that has to wait for its core finds more to do at
once, which costs less for each. So the CPU time of others is shown.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import environment
from bench.load import CLIENT_BOUND_SHARE, DISTURBED_SHARE
from bench.peers import HERE, BenchError, Cores, running_redis

PROCESSES_COUNTS = (1, 10, 100)
_PROJECTED_COUNTS = (50, 100, 200, 300, 500, 1000)
_LIMIT_S = 300.0
_BEHIND_SHARE = 0.95  # of the messages that were to be said; below it the simulation did not keep up

Result = dict[str, Any]  # what simulated.py prints


def simulate(cores: Cores, processes_count: int, window_s: float) -> Result:
    """Measure so many processes once. Raises `BenchError`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, running_redis(folder, cores.server) as redis:
        os.sched_setaffinity(0, {cores.load})
        command = [str(environment.PYTHON), str(HERE / "simulated.py"), f"port={redis.port}"]
        command += [f"processes={processes_count}", f"seconds={window_s}", f"cores={cores.server},{cores.load}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"not done within {_LIMIT_S:g} s") from None
        if done.returncode:
            raise BenchError((done.stderr.strip().splitlines() or [f"the simulation ended with {done.returncode}"])[-1])
        result: Result = json.loads(done.stdout)
        return result


def print_tables(results: Sequence[Result]) -> None:
    """Print a table for each load, then what is calculated from them."""
    by_count: dict[int, list[Result]] = {}
    for result in results:
        by_count.setdefault(result["processes"], []).append(result)
    print(
        f"\nscale: what processes do to one Redis {results[0]['redis']}, medians of {len(results) // len(by_count)} run(s)"
    )
    for name in results[0]["loads"]:
        print(f"\n  {name}")
        columns = ("publications/s", "heard/s", "in KB/s", "out KB/s", "CPU of Redis")
        print("    processes" + "".join(f"{column:>16}" for column in columns))
        for processes_count, runs in by_count.items():
            per_s = _medians([_rates(run["loads"][name]) for run in runs])
            values = (
                f"{per_s['publications']:,.0f}",
                f"{per_s['deliveries']:,.0f}",
                f"{per_s['in_bytes'] / 1024:,.0f}",
                f"{per_s['out_bytes'] / 1024:,.0f}",
                f"{per_s['redis_cpu_s']:.2%}",
            )
            print((f"    {processes_count:>9}" + "".join(f"{value:>16}" for value in values) + _notes(per_s)).rstrip())
    print()
    for processes_count, runs in by_count.items():
        one = runs[0]
        share = one["subscribed_memory_bytes"] / one["subscriptions"]
        print(
            f"  processes {processes_count}: {one['connections']} connections, {one['subscriptions']:,} subscriptions, "
            f"{share:.0f} bytes of Redis' memory for each"
        )
    connected, in_a_room = (results[0]["known_bytes"][name] for name in ("connected", "in a room"))
    print("  in the memory of each process, bytes for each user of another:")
    print(
        f"  {connected:.0f} if connected, the same for an address; {in_a_room:.0f} more for one in a room that is held here"
    )
    print("\n  calculated from that:")
    for line in _calculated(by_count):
        print(f"    {line}")


def _rates(load: Result) -> dict[str, float]:
    """Return what there was for each second of a window, and what was wanted."""
    rates = {name: value / load["at_s"] for name, value in load.items() if name != "wanted_messages_per_s"}
    return rates | {"wanted": load["wanted_messages_per_s"]}


def _medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: median(run[name] for run in runs) for name in runs[0]}


def _notes(per_s: dict[str, float]) -> str:
    notes = ["client-bound"] if per_s["client_cpu_s"] > CLIENT_BOUND_SHARE else []
    if per_s["messages"] < _BEHIND_SHARE * per_s["wanted"]:
        notes.append(f"only {per_s['messages']:,.0f} messages/s")
    if per_s["others_cpu_s"] > DISTURBED_SHARE:
        notes.append(f"others used {per_s['others_cpu_s']:.0%} of a core")
    return "  " + ", ".join(notes)


def _calculated(by_count: dict[int, list[Result]]) -> Iterator[str]:
    loads = {count: _loads(runs) for count, runs in by_count.items()}
    idle = {count: named["idle"]["redis_cpu_s"] for count, named in loads.items()}
    yield "CPU of Redis for each, us, and how many a second fill its core beside what processes tell each other:"
    yield f"{'processes':<62}" + "".join(f"{count:>18}" for count in loads)
    for name, per_s in loads[min(loads)].items():
        if per_s["things"]:
            cells = [
                _cost((named[name]["redis_cpu_s"] - idle[n]) / named[name]["things"], idle[n]) for n, named in loads.items()
            ]
            yield f"{name:<62}" + "".join(f"{cell:>18}" for cell in cells)
    small, large = sorted(idle)[-2:]
    b = max(0.0, (idle[large] / large - idle[small] / small) / (large - small))
    a = idle[large] / large - b * large
    yield f"what n processes tell each other takes {a * 1e6:,.0f} n + {b * 1e6:.2f} n x n us of each second of Redis:"
    yield ", ".join(f"{count:,}: {a * count + b * count * count:.0%} of its core" for count in _PROJECTED_COUNTS)


def _cost(each_s: float, idle_share: float) -> str:
    return f"{each_s * 1e6:.0f} us, {(1 - idle_share) / each_s:,.0f}/s" if each_s > 0 else "disturbed"


def _loads(runs: Sequence[Result]) -> dict[str, dict[str, float]]:
    return {name: _medians([_rates(run["loads"][name]) for run in runs]) for name in runs[0]["loads"]}


if __name__ == "__main__":
    sys.exit("this is measured by: python scripts/bench.py scale")
