"""A real Redis for the tests, and a log in one that is read as if a turn could wait."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from hazoom_ws.message_log.contract import NotLoaded
from servers import DEADLINE_S, ROOT, free_port, program, wait_until

DATABASES_COUNT = 5000


class RedisServer:
    """One Redis on a port of its own, which can be killed and started again with what it has on its disk."""

    def __init__(self, folder: Path, *options: str, password: str = "", configuration: Path | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.password = password
        self._configuration = [] if configuration is None else [str(configuration)]
        self._options = [*options, *(["--requirepass", password] if password else [])]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            program("TEST_REDIS", "redis-server"),
            *self._configuration,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
        ]
        command += ["--databases", str(DATABASES_COUNT), "--save", "", "--loglevel", "warning", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.is_up, "Redis answers")

    def is_up(self) -> bool:
        try:
            return self.ask("PING") in (b"+PONG", b"-NOAUTH Authentication required.")
        except OSError:
            return False

    def ask(self, *arguments: str) -> bytes:
        """Send one command, and return the first line of its answer."""
        return self.send(_encoded(*arguments), needs_password=arguments != ("PING",))

    def send(self, command: bytes, *, needs_password: bool = True) -> bytes:
        """Send the bytes of one command, and return the first line of its answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S) as connection:
            if self.password and needs_password:
                connection.sendall(_encoded("AUTH", self.password))
                connection.recv(100)
            connection.sendall(command)
            return connection.makefile("rb").readline().strip()

    def client(self) -> "redis.Redis":
        """Return redis-py's client, for what has longer answers."""
        return redis.Redis(port=self.port, password=self.password or None)

    def url(self, database: int = 0, *, account: str = "") -> str:
        """``account``: user and password, for another one than the default user."""
        account = f"{account}@" if account else f":{self.password}@" if self.password else ""
        return f"redis://{account}127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        """Let it hang."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def _encoded(*arguments: str) -> bytes:
    parts = [f"${len(argument.encode())}\r\n{argument}\r\n" for argument in arguments]
    return f"*{len(parts)}\r\n{''.join(parts)}".encode()


@contextmanager
def running_redis(*options: str, password: str = "", configuration: Path | None = None) -> Iterator[RedisServer]:
    """``configuration``: a file whose settings hold where neither the options nor the tests have others."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = RedisServer(Path(folder), *options, password=password, configuration=configuration)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def running_sentinel(master: RedisServer, *lines: str, master_port: int | None = None) -> Iterator[int]:
    """Run a Sentinel that watches a Redis as "mymaster", and alone decides that it is gone; yield its port.

    ``lines`` are added to its configuration. ``master_port``: where it reaches the Redis, if that has several ports.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        configuration = Path(folder) / "sentinel.conf"
        watched = [f"monitor mymaster 127.0.0.1 {master_port or master.port} 1", "down-after-milliseconds mymaster 1500"]
        watched += [
            "failover-timeout mymaster 2000",
            *([f'auth-pass mymaster "{master.password}"'] * bool(master.password)),
        ]
        said = [f"port {port}", "bind 127.0.0.1", f"dir {folder}", *(f"sentinel {line}" for line in watched), *lines]
        configuration.write_text("\n".join(said), encoding="utf-8")
        command = [program("TEST_REDIS", "redis-server"), str(configuration), "--sentinel"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _answers(port), "the Sentinel answers")
            yield port
        finally:
            process.kill()
            process.wait(DEADLINE_S)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
            connection.sendall(_encoded("PING"))
            return bool(connection.recv(100))
    except OSError:
        return False


SLOTS_COUNT = 16384


@contextmanager
def running_cluster(count: int) -> Iterator[list[RedisServer]]:
    """Run a Redis Cluster of masters, each of which has an equal part of the slots."""
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(running_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port())))
            for _ in range(count)
        ]
        for number, node in enumerate(nodes):
            first, last = number * SLOTS_COUNT // count, (number + 1) * SLOTS_COUNT // count - 1
            assert node.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)) == b"+OK"
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            with node.client() as client:
                bus_port = client.config_get("cluster-port")["cluster-port"]
            assert nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", str(node.port), bus_port) == b"+OK"
        wait_until(lambda: all(_knows_all(node, count) for node in nodes), "the cluster is up")
        yield nodes


def _knows_all(node: RedisServer, count: int) -> bool:
    with node.client() as client:
        is_up = client.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
        return is_up and len(client.execute_command("CLUSTER", "SLOTS")) == count


class Databases:
    """Databases of one Redis, each of which is used by one test only, as the user of ``config/redis.conf``."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._number = 0

    def next_url(self) -> str:
        self._number += 1
        return self.server.url(self._number, account=ACCOUNT)


ACCOUNT = "hazoom:a-long-password-of-your-own"


CONFIGURATION = ROOT / "config" / "redis.conf"


def user_of_configuration() -> list[str]:
    """Return the user whom ``config/redis.conf`` has for us, as an option of redis-server."""
    [line] = re.findall(r"^# (user hazoom .*)$", CONFIGURATION.read_text(encoding="utf-8"), re.MULTILINE)
    name, *values = line.split()
    return [f"--{name}", *values]


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Return databases of a Redis that is started for all tests. For import into a conftest.py.

    In all of these tests hazoom_ws is the user whom ``config/redis.conf`` has for it: what that may not do fails.
    """
    with running_redis(*user_of_configuration()) as server:
        yield Databases(server)


def loaded(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what ``call`` returns when all is loaded that it needs, as the door does beside turns."""
    ends_at_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            return call(*arguments, **options)
        except NotLoaded as missing:
            assert time.monotonic() < ends_at_s, "it is loaded again and again"
            missing.load()()


class Patient:
    """A log, or a part of one, whose calls load what they need.

    What was said is kept before it is read: a log that others share shows nothing else.
    """

    def __init__(self, inner: Any, log: Any = None) -> None:
        object.__setattr__(self, "_inner", inner)
        object.__setattr__(self, "_log", inner if log is None else log)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "states":
            return Patient(found, self._log)
        if name == "write":
            return self._write
        if name in ("find_resent", "read", "get", "size"):
            return lambda *arguments, **options: self._keep() or loaded(found, *arguments, **options)
        if name == "set":
            return lambda *arguments, **options: loaded(found, *arguments, **options)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def _write(self, batch: Any) -> None:
        self._log.write(batch)
        self._log.note_kept(batch)

    def _keep(self) -> None:
        if self._log.is_pressing and self._log.problem is None:
            self._write(self._log.pop_batch())
