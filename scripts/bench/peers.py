"""The servers that are compared, and how each is started: alone on one core, in a process group that is killed at the end.

Linux only. Nothing here knows what is measured.
"""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

import environment
from signing import signed

HERE = Path(__file__).resolve().parent
_START_LIMIT_S = 30.0
_SECRET = "of a server that is measured, which lives for seconds"  # noqa: S105 - nobody else has it
_READY = re.compile(r"ready on http://127\.0\.0\.1:(\d+)\s")


class BenchError(Exception):
    """Something that could not be measured; the text says why in one line."""


class Cores(NamedTuple):
    """One core for the server under test, one for the load client and for the harness, which sleeps meanwhile.

    ``others``: those for further processes of a server; where there are none, these take turns on the first two.
    """

    server: int
    load: int
    others: tuple[int, ...] = ()

    def of_process(self, number: int) -> int:
        """Return the core of the process with a number, from 0 on."""
        further = self.others or (self.load, self.server)
        return further[(number - 1) % len(further)] if number else self.server


class Server(NamedTuple):
    """A running server. ``pids``: all of its processes. ``auth``: as of its `Peer`.

    Where it is several on one Redis, ``ports`` are those of all, ``port`` is that of the first, ``last_pids`` are the
    processes of the last, and ``redis_pids`` those of Redis.
    """

    port: int
    pids: list[int]
    auth: str = ""
    ports: tuple[int, ...] = ()
    last_pids: tuple[int, ...] = ()
    redis_pids: tuple[int, ...] = ()


class Peer(NamedTuple):
    """A kind of server. ``speaks``: it does the handshakes of Socket.IO and answers ``GET /health``.

    ``auth``: what its clients say of themselves, as JSON, if not a name each. ``relays``: it relays the answers of an AI
    backend, in a way that no other peer does too. ``processes_count``: so many of it share one Redis.
    """

    name: str
    title: str
    command: list[str]
    variables: Mapping[str, str] = {}
    speaks: bool = True
    relays: bool = True
    auth: str = ""
    uses_redis: bool = False
    processes_count: int = 1


def all_peers(floor: Path) -> dict[str, Peer]:
    """Return the peers by name; ``floor`` is the compiled floor.c."""
    python = str(environment.PYTHON)
    node_variables = {"NODE_ENV": "production", "NODE_PATH": str(environment.NPM / "node_modules")}
    peers = (
        Peer(
            "hazoom",
            "hazoom_ws, its defaults but for the rate limit, which is off",
            [python, "-m", "hazoom_ws", "--port", "0"],
            {"HAZOOM_RATE_LIMIT_PER_S": "0"},
        ),
        Peer(
            "memory",
            "hazoom_ws the same, but messages in memory only",
            [python, "-m", "hazoom_ws", "--port", "0"],
            {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_LOG_URL": "memory://"},
            relays=False,
        ),
        Peer(
            "redis",
            "hazoom_ws the same, but messages in a Redis beside the load client",
            [python, "-m", "hazoom_ws", "--port", "0"],
            {"HAZOOM_RATE_LIMIT_PER_S": "0"},
            relays=False,
            uses_redis=True,
        ),
        *(
            Peer(
                name,
                f"hazoom_ws, {count} processes on one Redis",
                [python, "-m", "hazoom_ws", "--port", "0"],
                {"HAZOOM_RATE_LIMIT_PER_S": "0"},
                relays=False,
                uses_redis=True,
                processes_count=count,
            )
            for name, count in (("two", 2), ("four", 4))
        ),
        *(
            Peer(
                name,
                f"socket.io 4.8.3 on Node, {count} processes with @socket.io/redis-adapter 8.3.0",
                [environment.node_command(), str(HERE / "node_server.cjs")],
                node_variables,
                relays=False,
                uses_redis=True,
                processes_count=count,
            )
            for name, count in (("node-two", 2), ("node-four", 4))
        ),
        Peer(
            "jwt",
            "hazoom_ws the same, but clients show a token (HS256)",
            [python, "-m", "hazoom_ws", "--port", "0"],
            {
                "HAZOOM_RATE_LIMIT_PER_S": "0",
                "HAZOOM_AUTH": "jwt",
                "HAZOOM_JWT_SECRET": _SECRET,
                "HAZOOM_CONNECTIONS_PER_USER_LIMIT": "100000",
            },
            auth=json.dumps({"token": signed({"sub": "ann", "name": "Ann", "exp": 4e9, "rooms": ["*"]}, _SECRET)}),
        ),
        Peer(
            "node",
            "socket.io 4.8.3 on Node, its defaults",
            [environment.node_command(), str(HERE / "node_server.cjs")],
            node_variables,
        ),
        Peer(
            "stock",
            "Flask-SocketIO on eventlet, as it comes",
            [python, str(HERE / "stock_server.py"), "{port}"],
        ),
        Peer(
            "floor",
            "a bare server in C: one recv() per message, one send() per delivery, and nothing else",
            [str(floor), "{clients}", "{rooms}"],
            speaks=False,
            relays=False,
        ),
    )
    return {peer.name: peer for peer in peers}


def choose_cores() -> Cores:
    """Return the first two cores that this process may use. Raises `BenchError`."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("two cores are needed, one for the server and one for the load client; this process may use one")
    return Cores(*cores[:2], tuple(cores[2:]))


def raise_file_limit() -> None:
    """Let this process and its children open as many files as the system allows, the same for every peer."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def running(peer: Peer, cores: Cores, *, clients: int = 0, rooms: int = 1, **variables: str) -> Iterator[Server]:
    """Run a server pinned to its core until the block ends. Raises `BenchError` if it does not get ready.

    A server that does no handshakes is told how many ``clients`` will come, to how many ``rooms``.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        running_redis(folder, cores.load) if peer.uses_redis else nullcontext(Redis("", 0, ())) as redis,
        ExitStack() as stack,
    ):
        own = {"HAZOOM_LOG_URL": redis.url or f"sqlite:///{folder}/messages.sqlite3"}  # as by default, but a new one
        own |= {"REDIS_URL": redis.url} if redis.url else {}
        started = []
        for number in range(peer.processes_count):
            command = [part.format(port=_free_port(), clients=clients, rooms=rooms) for part in peer.command]
            one = _process(peer, command, {**own, **peer.variables, **variables}, cores.of_process(number), cores)
            started.append(stack.enter_context(one))
        yield Server(
            started[0].port,
            [pid for one in started for pid in one.pids],
            peer.auth,
            tuple(one.port for one in started),
            tuple(started[-1].pids),
            redis.pids,
        )


class _Started(NamedTuple):
    port: int
    pids: list[int]


@contextmanager
def _process(peer: Peer, command: list[str], variables: Mapping[str, str], core: int, cores: Cores) -> Iterator[_Started]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HAZOOM_")}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        os.sched_setaffinity(0, {core})  # a child is born where its parent is
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**inherited, **variables},
                cwd=environment.ROOT,
                start_new_session=True,
            )
        finally:
            os.sched_setaffinity(0, {cores.load})
        try:
            port = _wait_until_ready(peer, process, output)
            yield _Started(port, _pids_of_group(process.pid))
            if process.poll() is not None:
                raise BenchError(f"the server ended by itself with status {process.returncode}: {_last_line(output)}")
        finally:
            _kill_group(process)


class Redis(NamedTuple):
    """A running Redis."""

    url: str
    port: int
    pids: tuple[int, ...]


@contextmanager
def running_redis(folder: str, core: int) -> Iterator[Redis]:
    """Run a Redis that keeps an append-only file, on a core."""
    os.sched_setaffinity(0, {core})
    port = _free_port()
    command = [environment.redis_command(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
    command += ["--save", "", "--appendonly", "yes"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        ends_at_s = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < ends_at_s:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield Redis(f"redis://127.0.0.1:{port}/0", port, (process.pid,))
    finally:
        _kill_group(process)


def _wait_until_ready(peer: Peer, process: subprocess.Popen, output: tempfile._TemporaryFileWrapper) -> int:
    ends_at_s = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < ends_at_s and process.poll() is None:
        output.seek(0)
        if ready := _READY.search(output.read()):
            port = int(ready[1])
            if not peer.speaks or _is_healthy(port):
                return port
        time.sleep(0.05)
    raise BenchError(f"the server did not get ready within {_START_LIMIT_S:g} s: {_last_line(output)}")


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def _last_line(output: tempfile._TemporaryFileWrapper) -> str:
    output.seek(0)
    lines = output.read().strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"


def _pids_of_group(group: int) -> list[int]:
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[2]) == group:
            pids.append(int(stat.parent.name))
    return pids


def _kill_group(process: subprocess.Popen) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
