"""What the machine gives: the program itself, a port, files, and an event loop."""

import os
import platform
import re
import select
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from hazoom_ws.commands.asking import get
from hazoom_ws.commands.checks import Configuration, Finding, of_error
from hazoom_ws.commands.listening import PortTaken, bound, local_url, other_port
from hazoom_ws.commands.open_files import FILES_NEEDED, raised_limit
from hazoom_ws.commands.options import load_features
from hazoom_ws.commands.workers import check_workers
from hazoom_ws.names import escaped
from hazoom_ws.settings import Settings, SettingsError
from hazoom_ws.version import __version__

_HEALTH_LIMIT_S = 1.5  # which every server of ours needs a hundredth of
_INTERPRETER = re.compile(r"python[0-9.]*|pypy[0-9.]*|node|ruby|perl|java", re.IGNORECASE)


class _Health(msgspec.Struct, frozen=True):
    service: str = ""
    version: str = ""


class Taker(NamedTuple):
    """Who listens on the port: the program, and whether it is a server of ours (``version``: "" where it does not tell)."""

    name: str
    is_ours: bool
    version: str


def check_program(configuration: Configuration) -> Iterator[Finding]:
    """Say what would run, which is what others ask for first."""
    mode = configuration.options.async_mode
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    finding = Finding("program", "ok", f"hazoom_ws {__version__}, {python}, async mode {mode}")
    if mode == "eventlet" and not hasattr(select, "epoll"):
        found = f"{finding.found}; without epoll, a few hundred connections are what it serves well"
        finding = Finding("program", "warning", found, "for more run it on Linux")
    yield finding
    for name in configuration.options.feature:
        try:
            [feature] = load_features([name])
        except SettingsError as error:
            yield of_error("feature", error)
        else:
            yield Finding("feature", "ok", f"{name} can be served, as {feature.name}")


def check_several(configuration: Configuration) -> Iterator[Finding]:
    """Say whether several processes can serve, and have a core each, where they are to."""
    settings, cores_count = configuration.settings, len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    try:
        check_workers(settings, configuration.options.async_mode)
    except SettingsError as error:
        yield of_error("workers", error)
        return
    if settings.workers > cores_count:
        found = f"{settings.workers} processes would serve, and this machine has {cores_count} cores for them"
        yield Finding(
            "workers", "warning", found, f"more than a process for each core make nothing faster: --workers {cores_count}"
        )
    elif settings.workers > 1:
        yield Finding("workers", "ok", f"{settings.workers} processes would serve, on {cores_count} cores")


def check_port(configuration: Configuration) -> Iterator[Finding]:
    """Find out whether the port is free, and who has it if not."""
    settings = configuration.settings
    at = f"port {settings.port} on {settings.host}"
    try:
        with closing(bound(settings)):
            pass
    except PortTaken:
        taker = taker_of(settings)
        if taker.is_ours:
            other = taker.version not in ("", __version__)
            yield Finding(
                "port",
                "warning" if other else "ok",
                f"hazoom_ws itself {f'{taker.version} ' if other else ''}is running on {at}, {taker.name}",
                f"this is {__version__}: start it again" if other else "",
            )
        else:
            remedy = f"stop it, or choose another port: --port {other_port(settings.port)}"
            yield Finding("port", "problem", f"{at} is taken by {taker.name}", remedy)
    except SettingsError as error:
        yield of_error("port", error)
    else:
        yield Finding("port", "ok", f"{at} is free" if settings.port else "any free port will be taken (port = 0)")


def is_running(settings: Settings) -> bool:
    """Return whether a server of ours has the port."""
    try:
        with closing(bound(settings)):
            return False
    except PortTaken:
        return taker_of(settings).is_ours
    except SettingsError:
        return False


def taker_of(settings: Settings) -> Taker:
    """Return who listens on the port, which somebody does."""
    try:
        health = msgspec.json.decode(get(f"{local_url(settings)}/health", _HEALTH_LIMIT_S).body, type=_Health)
    except (OSError, ValueError, msgspec.MsgspecError):
        health = _Health()
    return Taker(_name_of_listener(settings.port), health.service == "hazoom_ws", escaped(health.version)[:40])


def _name_of_listener(port: int) -> str:
    """Return the program and the pid, as far as this user may know them."""
    try:
        listeners = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        ]
        pid = next((pid for pid in listeners if pid), None)
        if pid is None:
            return "a program that this user may not see (another user's, or in a container)"
        return f"{_name_of(psutil.Process(pid))} (pid {pid})"
    except (psutil.Error, OSError):
        return "a program that this user may not see"


def _name_of(process: psutil.Process) -> str:
    """Return a program's name, with that of the script where it is an interpreter; no argument, which may be a password."""
    name = process.name()
    if _INTERPRETER.fullmatch(name):
        match process.cmdline()[1:]:
            case ["-m", module, *_]:
                name = f"{name} -m {module}"
            case [script, *_] if not script.startswith("-"):
                name = f"{name} {Path(script).name}"
    return escaped(name)[:100]


def check_open_files(_: Configuration) -> Iterator[Finding]:
    """Compare how many files the server may open with how many connections it is made for."""
    most = raised_limit()
    if most is None:
        yield Finding("files", "ok", "the number of open files has no limit here")
    elif most < FILES_NEEDED:
        yield Finding(
            "files",
            "warning",
            f"{most:,} files may be open, one for each connection: it serves no more than that",
            "raise the hard limit: ulimit -Hn, LimitNOFILE= in systemd, --ulimit nofile= in Docker",
        )
    else:
        yield Finding("files", "ok", f"{most:,} files may be open, one for each connection")
