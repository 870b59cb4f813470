"""The load clients: compiled from C into a folder that the caller removes, run on their own core, read as JSON."""

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from bench.peers import HERE, BenchError, Cores, Server

CLIENT_BOUND_SHARE = 0.9  # of its core; above it the load client may be what was measured
DISTURBED_SHARE = 0.05  # of either core, used by others


class NoCompilerError(Exception):
    """There is no C compiler, or it cannot compile."""


class Tools(NamedTuple):
    """The compiled programs. ``inflates``: the load client can read compressed frames."""

    load: Path
    streams: Path
    live: Path
    floor: Path
    inflates: bool


def compile_tools(folder: Path) -> Tools:
    """Compile load.c, streams.c, live.c and floor.c into ``folder``. Raises `NoCompilerError`."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise NoCompilerError("the load client is written in C and no C compiler was found; install cc, gcc or clang")
    load, streams, live, floor = folder / "load", folder / "streams", folder / "live", folder / "floor"

    def compile_one(source: str, target: Path, *options: str) -> str:
        command = [compiler, "-O2", "-o", str(target), str(HERE / source), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else done.stderr or "?"

    inflates = not compile_one("load.c", load, "-lz")
    problem = "" if inflates else compile_one("load.c", load, "-DNO_ZLIB")
    problem = problem or compile_one("streams.c", streams) or compile_one("live.c", live, "-DNO_ZLIB")
    problem = problem or compile_one("floor.c", floor)
    if problem:
        raise NoCompilerError(f"{compiler} cannot compile the load client: {problem.strip().splitlines()[0]}")
    return Tools(load, streams, live, floor, inflates)


def run_load(
    tools: Tools,
    cores: Cores,
    server: Server,
    mode: str,
    *,
    limit_s: float = 300,
    backend: socket.socket | None = None,
    program: Path | None = None,
    **options: object,
) -> Any:
    """Run the load client in ``mode`` against ``server`` and return what it measured. Raises `BenchError`.

    ``program`` is the load client, load.c by default. ``backend`` listens already: on it streams.c, which then is the load
    client, answers what the server asks.
    """
    pids = ",".join(map(str, server.pids))
    known: dict[str, object] = {
        "port": server.port,
        "pids": pids,
        "server_core": cores.server,
        "load_core": cores.load,
        "limit": limit_s,
    }
    program, files = program or tools.load, ()
    if server.auth and program is tools.load:
        known["auth"] = server.auth
    if len(server.ports) > 1 and program is tools.load:
        known["ports"] = ",".join(map(str, server.ports))
    if backend is not None:
        program, files = tools.streams, (backend.fileno(),)
        known["listener"] = backend.fileno()
    command = [str(program), mode, *(f"{name}={value}" for name, value in {**known, **options}.items())]
    os.sched_setaffinity(0, {cores.load})
    process = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=files)
    if process.returncode == 0:
        return json.loads(process.stdout)
    if process.returncode == -signal.SIGALRM:  # it has set itself an alarm
        raise BenchError(f"not done within {limit_s:g} s")
    raise BenchError(process.stderr.strip() or f"the load client ended with status {process.returncode}")
