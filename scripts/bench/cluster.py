"""Several processes on one Redis, against one: throughput, CPU time, the time from one process to another, and what a
process costs that has nobody in a room.

Clients take turns among the processes, so that each room has members on all of them. A goal for throughput needs a core for
each process, one for the load client and Redis: with fewer they compete. Then what the growth would be is calculated from
the CPU time of all processes for each message or delivery: as many processes as there are, times that of the one, by
theirs. That is what the processes could do; what Redis can is another figure, and ``bench.py scale``.
"""

from collections.abc import Iterator

from bench.load import run_load
from bench.peers import Peer, Server, running
from bench.report import Sample
from bench.setting import NO_DEFAULT_ROOM, Setting

PEERS = "hazoom,redis,two,four,node,node-two,node-four"
REFERENCE = "redis"  # one process
_CLIENTS = 400  # in one room; so many are four in each of a hundred rooms too
_ROOMS = _CLIENTS // 4
_WINDOW = 16


def cluster(setting: Setting, peer: Peer) -> Iterator[Sample]:
    """Measure one peer once."""
    with running(peer, setting.cores, **NO_DEFAULT_ROOM) as server:
        yield from _fan_out(setting, server)
    with running(peer, setting.cores, **NO_DEFAULT_ROOM) as server:
        yield from _small_rooms(setting, server)
    with running(peer, setting.cores, **NO_DEFAULT_ROOM) as server:
        yield from _one_way(setting, server)
    if peer.processes_count > 1:
        with running(peer, setting.cores, **NO_DEFAULT_ROOM) as server:
            yield from _elsewhere(setting, server)


def _flood(setting: Setting, server: Server, **options: object) -> dict:
    result = run_load(setting.tools, setting.cores, server, "flood", clients=_CLIENTS, seconds=setting.window_s, **options)
    raw: dict = result["windows"][0]
    raw["processes"] = max(1, len(server.ports))
    return raw


def _fan_out(setting: Setting, server: Server) -> Iterator[Sample]:
    raw = _flood(setting, server, room="crowd", windows=_WINDOW)
    cpu_us = raw["server_cpu_s"] / (raw["deliveries"] or 1) * 1e6
    case = f"one room of {_CLIENTS}, {_WINDOW} messages in flight: deliveries/s"
    goal = "two processes 1.7 x one, four cores given"
    yield Sample(case, raw["deliveries"] / raw["seconds"], raw, cpu_us, goal=goal)


def _small_rooms(setting: Setting, server: Server) -> Iterator[Sample]:
    raw = _flood(setting, server, rooms=_ROOMS, windows=1)
    cpu_us = raw["server_cpu_s"] / (raw["messages"] or 1) * 1e6
    case = f"{_ROOMS} rooms of 4: messages/s"
    yield Sample(
        case, raw["messages"] / raw["seconds"], raw, cpu_us, goal="CPU at most 1.5 x that of hazoom, which is SQLite"
    )
    if server.redis_pids:
        raw = _flood(setting, server, rooms=_ROOMS, windows=1, pids=",".join(map(str, server.redis_pids)))
        redis_us = raw["server_cpu_s"] / (raw["messages"] or 1) * 1e6
        yield Sample("the same: CPU of Redis for each message, us", redis_us, raw, lower_is_better=True)


def _one_way(setting: Setting, server: Server) -> Iterator[Sample]:
    raw = run_load(
        setting.tools,
        setting.cores,
        server,
        "latency",
        clients=_CLIENTS // 4,
        room="crowd",
        rate=20,
        seconds=setting.window_s * 5 / 4,
        across=int(len(server.ports) > 1),
    )
    for name in ("p50", "p99"):
        goal = "across processes at most 2 x within one" if name == "p99" else ""
        case = f"one-way time to another process, where there is one, {name}: ms"
        yield Sample(case, raw[f"{name}_ms"], raw, lower_is_better=True, goal=goal)


def _elsewhere(setting: Setting, server: Server) -> Iterator[Sample]:
    """Talk in rooms that have all their members on the first process, and see what the last one does meanwhile."""
    alone = server._replace(ports=())
    raw = _flood(setting, alone, rooms=_ROOMS, windows=1, pids=",".join(map(str, server.last_pids)))
    share = raw["server_cpu_s"] / raw["seconds"] * 100
    yield Sample(
        "CPU of a process with nobody in the rooms where all is said: % of a core", share, raw, lower_is_better=True
    )
