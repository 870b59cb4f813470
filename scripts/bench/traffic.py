"""Scenarios of traffic: fan-out into one room, many small rooms, and the one-way time of a message.

Each scenario is a generator: it runs one peer once and yields its samples, so that what was measured before a failure
stays.
"""

from collections.abc import Iterator
from typing import Any

from bench.load import run_load
from bench.peers import Peer, Server, running
from bench.report import Sample
from bench.setting import NO_DEFAULT_ROOM, Setting

_WINDOWS = "1,4,16"


def fanout(setting: Setting, peer: Peer) -> Iterator[Sample]:
    """One room, one sender, 1, 4 and 16 messages in flight; then the same with clients that offer permessage-deflate."""
    for deflate in (False, True) if peer.speaks else (False,):
        if deflate and not setting.tools.inflates:
            return
        with running(peer, setting.cores, clients=setting.clients) as server:
            result = run_load(
                setting.tools,
                setting.cores,
                server,
                "flood",
                clients=setting.clients,
                room="general",
                windows=_WINDOWS,
                seconds=setting.window_s,
                deflate=int(deflate),
                bare=int(not peer.speaks),
            )
        for raw in result["windows"]:
            offer = "clients offer deflate" if deflate else "no deflate offered"
            used = " (compressed)" if result["deflate_negotiated"] else ""
            raw["deflate_negotiated"] = result["deflate_negotiated"]
            yield _rate(f"window {raw['window']}, {offer}: deliveries/s", raw, "deliveries", used)


def rooms(setting: Setting, peer: Peer) -> Iterator[Sample]:
    """Rooms of four, one message in flight in each."""
    for count in (100, 1000):
        with running(peer, setting.cores, clients=4 * count, rooms=count, **NO_DEFAULT_ROOM) as server:
            result = run_load(
                setting.tools,
                setting.cores,
                server,
                "flood",
                clients=4 * count,
                rooms=count,
                windows="1",
                seconds=setting.window_s,
                bare=int(not peer.speaks),
            )
        yield _rate(f"{count:,} rooms of 4: messages/s", result["windows"][0], "messages")


def latency(setting: Setting, peer: Peer) -> Iterator[Sample]:
    """20 messages a second into one room: the time from the sender's write to each receiver's read."""
    with running(peer, setting.cores, clients=setting.clients) as server:
        raw = chat(setting, server, bare=not peer.speaks)
    deliveries = raw["samples"] or 1
    cpu_us = raw["server_cpu_s"] / deliveries * 1e6
    for name in ("p50", "p99", "max"):
        yield Sample(f"one-way time, {name}: ms", raw[f"{name}_ms"], raw, cpu_us, lower_is_better=True)


def chat(setting: Setting, server: Server, *, bare: bool = False) -> dict[str, Any]:
    """Send 20 messages a second into one room and return what that measured."""
    raw: dict[str, Any] = run_load(
        setting.tools,
        setting.cores,
        server,
        "latency",
        clients=setting.clients,
        room="general",
        rate=20,
        seconds=setting.window_s * 5 / 4,
        bare=int(bare),
    )
    return raw


def _rate(case: str, raw: dict[str, Any], unit: str, _note: str = "") -> Sample:
    count = raw[unit]
    return Sample(case, count / raw["seconds"], raw, raw["server_cpu_s"] / count * 1e6 if count else None)
