"""Several processes that serve one port: what the command does to start them, and what each of them is told.

The command with ``workers`` over 1 looks at its settings, opens the port, and then becomes their supervisor
(`hazoom_ws.commands.supervisor`): the same program, started anew in the same process without anything of the server in
its memory. The supervisor starts the same command line once for each worker, with two variables in its environment, the
names of which are in `hazoom_ws.settings.sources`: the worker's number, from 1, and its sockets.
"""

import os
import socket
import sys
from collections.abc import Mapping
from typing import NoReturn

import msgspec

from hazoom_ws.settings import Settings, SettingsError
from hazoom_ws.settings.sources import WORKER_NUMBER, WORKER_SOCKETS

PLAN = "_HAZOOM_SUPERVISOR"  # the variable that makes the program the supervisor, see __main__


class Plan(msgspec.Struct, frozen=True):
    """What the supervisor has to know. ``listener_fds``: for each worker its socket, the first worker's first."""

    listener_fds: list[int]
    grace_s: float
    log_level: str
    log_format: str


class Worker(msgspec.Struct, frozen=True):
    """What a worker is told, as file descriptors. ``control_fd``: see `hazoom_ws.commands.supervisor`.

    ``inbox_fd`` and ``outbox_fds`` are what `hazoom_ws.transport.serving.passing.Passing` takes.
    """

    number: int
    listener_fd: int
    control_fd: int
    inbox_fd: int
    outbox_fds: dict[int, int]


def check_workers(settings: Settings, async_mode: str) -> None:
    """Raise `SettingsError` where several processes are wanted and cannot be."""
    if settings.workers == 1:
        return
    if sys.platform != "linux":
        raise SettingsError(f"workers is {settings.workers}, and only Linux lets processes share a port; leave it out")
    if async_mode != "eventlet":
        raise SettingsError(f"workers is {settings.workers}, which needs the async mode eventlet; leave out one of the two")


def supervise(settings: Settings, listeners: list[socket.socket]) -> NoReturn:
    """Become the supervisor of a worker for each of ``listeners``. The process keeps its id, and nothing else."""
    for listener in listeners:
        listener.set_inheritable(True)
    plan = Plan(
        [listener.fileno() for listener in listeners], settings.shutdown_grace_s, settings.log_level, settings.log_format
    )
    os.environ[PLAN] = msgspec.json.encode(plan).decode()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line


def worker_number(environment: Mapping[str, str] = os.environ) -> int:
    """Return which of several workers this process is, from 1; 0 where it is none. Raises `SettingsError`."""
    text = environment.get(WORKER_NUMBER, "0")
    if not (text.isascii() and text.isdecimal()):
        raise SettingsError(f"{WORKER_NUMBER} is set by hazoom_ws itself, to a number; leave it out")
    return int(text)


def wait_for_word(worker: Worker) -> None:
    """Wait until this worker may begin to serve; exit if there is nobody any more to say so."""
    if not os.read(worker.control_fd, 1):
        sys.exit(0)


def this_worker() -> Worker | None:
    """Return what this process was told as a worker, None where it is none. No process that it starts gets to know it."""
    told = os.environ.pop(WORKER_SOCKETS, None)
    if told is None:
        return None
    try:
        worker = msgspec.json.decode(told, type=Worker)
        for fd in (worker.listener_fd, worker.control_fd, worker.inbox_fd, *worker.outbox_fds.values()):
            os.set_inheritable(fd, False)
    except (msgspec.MsgspecError, OSError):
        raise SettingsError(f"{WORKER_SOCKETS} is set by hazoom_ws itself; leave it out") from None
    return worker
