"""A real Redis for the tests, and a log in one that is read as if a turn could wait."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hazoom_ws.message_log.contract import NotLoaded
from servers import DEADLINE_S, free_port, program, wait_until

DATABASES_COUNT = 5000


class RedisServer:
    """One Redis on a port of its own, which can be killed and started again with what it has on its disk."""

    def __init__(self, folder: Path, *options: str, password: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.password = password
        self._options = [*options, *(["--requirepass", password] if password else [])]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            program("TEST_REDIS", "redis-server"),
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
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S) as connection:
            if self.password and arguments != ("PING",):
                connection.sendall(_encoded("AUTH", self.password))
                connection.recv(100)
            connection.sendall(_encoded(*arguments))
            return connection.makefile("rb").readline().strip()

    def url(self, database: int = 0) -> str:
        account = f":{self.password}@" if self.password else ""
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
def running_redis(*options: str, password: str = "") -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = RedisServer(Path(folder), *options, password=password)
        server.start()
        try:
            yield server
        finally:
            server.kill()


class Databases:
    """Databases of one Redis, each of which is used by one test only."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._number = 0

    def next_url(self) -> str:
        self._number += 1
        return self.server.url(self._number)


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Return databases of a Redis that is started for all tests. For import into a conftest.py."""
    with running_redis() as server:
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
