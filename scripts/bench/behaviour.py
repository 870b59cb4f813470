"""Scenarios of behaviour: what a connection costs, what mass disconnects cost, what one client's load does to another.

Each scenario is a generator: it runs one peer once and yields its samples, so that what was measured before a failure
stays.
"""

from collections.abc import Iterator
from typing import Any

from bench.load import run_load
from bench.peers import BenchError, Peer, running
from bench.report import Sample
from bench.setting import NO_DEFAULT_ROOM, Setting

_DISTURBANCES = {
    "none": ("undisturbed", 2),
    "big": ("65,000 bytes every 50 ms into another room", 5),
    "burst": ("20,000 messages at once from another client", 2),
    "slow": ("200 messages/s of 2 KB to 50 clients, one of which has stopped reading", 52),
}


def connections(setting: Setting, peer: Peer) -> Iterator[Sample]:
    """Open connections that offer deflate, put four in a room, let them idle, and drop all but one at once."""
    if not peer.speaks:
        return
    count = setting.connections
    marks = sorted({count // 5, count * 3 // 5, count * 4 // 5, count})
    with running(peer, setting.cores, **NO_DEFAULT_ROOM) as server:
        raw = run_load(
            setting.tools,
            setting.cores,
            server,
            "connections",
            limit_s=400,
            clients=count,
            rooms=count // 4,
            marks=",".join(map(str, marks)),
            deflate=int(setting.tools.inflates),
            idle=setting.idle_s,
        )
    at = {mark["count"]: mark for mark in raw["marks"]}
    yield from (_opening(at[first], at[last]) for first, last in ((0, marks[0]), (marks[1], marks[2])))
    memory_kb = (raw["idle"]["rss_mb"] - at[0]["rss_mb"]) * 1024 / count
    yield Sample(f"memory per connection, {count:,} open and in their rooms: KB", memory_kb, raw, lower_is_better=True)
    idle = raw["idle"]
    busy = idle["server_cpu_s"] / idle["seconds"] * 100
    yield Sample(f"{count:,} idle for {setting.idle_s:g} s: % of a core", busy, idle, lower_is_better=True)
    drop = raw["drop"]
    if not drop["stayed"]:
        raise BenchError(
            f"when {count - 1:,} dropped, the server closed the one who stayed, after {drop['settled_s']:.1f} s"
        )
    if drop["left"] != 1:
        raise BenchError(f"{drop['settled_s']:.0f} s after {count - 1:,} dropped, {drop['left']:,} were still there")
    case = f"{count - 1:,} dropped at once"
    yield Sample(f"{case}: s until /health says 1", drop["settled_s"], drop, drop["server_cpu_s"] / count * 1e6, True)
    yield Sample(f"{case}: longest wait of the one who stays, ms", raw["during"]["max_ms"], drop, None, True)


def fairness(setting: Setting, peer: Peer) -> Iterator[Sample]:
    """Probe with an acknowledged message every 5 ms, in a room of one's own, while others disturb."""
    if not peer.speaks:
        return
    for disturbance, (title, clients) in _DISTURBANCES.items():
        with running(peer, setting.cores, **NO_DEFAULT_ROOM) as server:
            raw = run_load(
                setting.tools,
                setting.cores,
                server,
                "fair",
                disturb=disturbance,
                clients=clients,
                seconds=setting.window_s * 5 / 4,
            )
        for name in ("p99", "max"):
            yield Sample(f"{title}: {name} round trip, ms", raw["during"][f"{name}_ms"], raw, None, True)
        if disturbance == "burst":
            yield Sample("the burst itself: s until all is echoed", raw["last_echo_s"], raw, None, True)
        if disturbance == "slow":
            yield Sample("the reader that stopped: memory growth, MB", raw["rss_growth_mb"], raw, None, True)


def _opening(first: dict[str, Any], last: dict[str, Any]) -> Sample:
    count = last["count"] - first["count"]
    used = {name: last[name] - first[name] for name in ("server_cpu_s", "client_cpu_s")}
    raw = {"seconds": last["at_s"] - first["at_s"], **used, "marks": [first, last]}
    cpu_us = used["server_cpu_s"] / count * 1e6
    case = f"connect and join, number {first['count']:,} to {last['count']:,}: us of CPU"
    return Sample(case, cpu_us, raw, cpu_us, lower_is_better=True)
