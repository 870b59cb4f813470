"""One attack on one fresh server: who does what when, and what is measured. Returns a `Row`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hostile.attack import Attack
from hostile.calm import CalmClient
from hostile.server import Server, prepare_child, running

_WARM_UP_S = 1.0
_SETTLING_S = 6.0  # longer than a user who has dropped is waited for (presence_grace_s)
_GIVING_UP_S = 10.0
_OVERTIME_S = 6.0  # what an attack may take beyond its seconds
_SAMPLE_S = 0.1
CALM_LIMIT_S = 0.05
MEMORY_LIMIT_BYTES = 20_000_000
PEAK_LIMIT_BYTES = 300_000_000  # the bound of all outboxes together, and some more
DESCRIPTORS_LIMIT = 5  # what the server may keep open that it has needed meanwhile


class Row(NamedTuple):
    """What one attack did. ``longest_s`` of a client that gave up is how long it had waited: ``gave_up``.

    ``broken``: the promises that it broke, in words. ``attacker``: what the attacking process has counted.
    """

    name: str
    item: str
    p99_s: float
    longest_s: float
    gave_up: bool
    is_connected: bool
    health: str
    memory_bytes: tuple[int, int, int]  # before, at most, after
    descriptors: tuple[int, int, int]
    logged_bytes: int
    written_bytes: int
    late_s: float
    starved_s: float
    broken: list[str]
    attacker: dict[str, Any]


def run(attack: Attack, python: Path, async_mode: str, seconds: float) -> Row:
    """Start a server, attack it, measure, kill it. Raises `ServerError`."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as backend:
        arguments = ["--async-mode", async_mode]
        variables = dict(attack.variables)
        if attack.has_backend:
            variables["HAZOOM_LLM_URL"] = f"http://127.0.0.1:{backend.getsockname()[1]}/chat/"
        else:
            arguments.append("--demo")
        with running(python, arguments, variables, file_limit=attack.file_limit) as server:
            return _measure(attack, server, backend, seconds)


def _measure(attack: Attack, server: Server, backend: socket.socket, seconds: float) -> Row:
    calm = CalmClient(server.port, attack.calm_auth)
    try:
        time.sleep(_WARM_UP_S)
        before = server.rss_bytes(), server.descriptors(), server.logged_bytes(), server.written_bytes()
        server.forget_peak()
        calm.begin()
        started_s, starved_before_s = time.monotonic(), server.starved_s()
        most_descriptors, report = _attack(attack, server, backend, seconds)
        backend.close()  # else who asks now would wait in its backlog
        settled_s = time.monotonic() + _SETTLING_S
        gives_up_s = max(settled_s, started_s + seconds + _GIVING_UP_S)
        while server.is_running() and calm.is_connected:
            now_s = time.monotonic()
            if now_s > gives_up_s or (now_s > settled_s and calm.waiting_s() < CALM_LIMIT_S):
                break
            most_descriptors = max(most_descriptors, server.descriptors())
            time.sleep(_SAMPLE_S)
        time.sleep(max(0.0, settled_s - time.monotonic()))
        waiting_s, is_connected = calm.waiting_s(), calm.is_connected
        after = server.rss_bytes(), server.descriptors(), server.logged_bytes(), server.written_bytes()
        peak_bytes, starved_s = server.peak_bytes(), server.starved_s() - starved_before_s
    finally:
        calm.stop()
    gave_up = is_connected and waiting_s > CALM_LIMIT_S
    waits_s = sorted([*calm.waits_s, *([waiting_s] if gave_up or not is_connected else [])]) or [waiting_s]
    row = Row(
        attack.name,
        attack.item,
        p99_s=waits_s[min(len(waits_s) - 1, len(waits_s) * 99 // 100)],
        longest_s=waits_s[-1],
        gave_up=gave_up and waits_s[-1] == waiting_s,
        is_connected=is_connected,
        health=calm.health_problems[0] if calm.health_problems else "yes",
        memory_bytes=(before[0], max(peak_bytes, before[0]), after[0]),
        descriptors=(before[1], max(most_descriptors, before[1]), after[1]),
        logged_bytes=after[2] - before[2],
        written_bytes=after[3] - before[3],
        late_s=calm.late_s,
        starved_s=starved_s,
        broken=list(report.get("broken", [])),
        attacker=report.get("counts", {}),
    )
    row.broken[:0] = _broken(row, server, calm)
    return row


def _attack(attack: Attack, server: Server, backend: socket.socket, seconds: float) -> tuple[int, dict[str, Any]]:
    """Run the attacking process to its end; return the most open descriptors, and what it reports."""
    command = [sys.executable, "-m", "hostile.attacker", attack.name, str(server.port), str(seconds)]
    attacker = subprocess.Popen(
        [*command, str(backend.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parent.parent,
        pass_fds=[backend.fileno()],
        start_new_session=True,
        preexec_fn=prepare_child,  # noqa: PLW1509 - it touches nothing that a thread may hold
    )
    most_descriptors = 0
    ends_at_s = time.monotonic() + seconds + _OVERTIME_S
    try:
        while attacker.poll() is None and time.monotonic() < ends_at_s:
            most_descriptors = max(most_descriptors, server.descriptors())
            time.sleep(_SAMPLE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(attacker.pid, signal.SIGKILL)
        output = attacker.communicate()[0]
    with suppress(ValueError):
        return most_descriptors, json.loads(output)
    return most_descriptors, {"counts": {"cut": 1}}


def _broken(row: Row, server: Server, calm: CalmClient) -> list[str]:
    broken = []
    if not server.is_running():
        broken.append("the server has ended")
    if row.longest_s > CALM_LIMIT_S:
        broken.append("calm")
    if row.memory_bytes[2] - row.memory_bytes[0] > MEMORY_LIMIT_BYTES:
        broken.append("memory")
    if row.memory_bytes[1] - row.memory_bytes[0] > PEAK_LIMIT_BYTES:
        broken.append("peak")
    if row.descriptors[2] - row.descriptors[0] > DESCRIPTORS_LIMIT:
        broken.append("descriptors")
    if not row.is_connected:
        broken.append("calm client disconnected")
    if row.health != "yes":
        broken.append("/health")
    if calm.refusals:
        broken.append(f"calm client refused {len(calm.refusals)} times: {', '.join(sorted(set(calm.refusals)))}")
    return broken
