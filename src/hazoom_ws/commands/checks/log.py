"""Whether what is said can be kept: the file, its folder, the disk; or the Redis."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from flask import Flask

from hazoom_ws.commands.checks import Configuration, Finding
from hazoom_ws.commands.checks.machine import is_running
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.opening import is_redis, path_of
from hazoom_ws.message_log.redis.server import Server
from hazoom_ws.message_log.sqlite.looking import NEWEST_VERSION, FileReport, look_at
from hazoom_ws.settings import Settings, SettingsError

_PLENTY = 10  # times disk_free_limit_bytes: so much is no reason to worry


def check_log(configuration: Configuration) -> Iterator[Finding]:
    """Look at the file, or the Redis, that the server would keep messages in."""
    settings = configuration.settings
    if is_redis(settings.log_url):
        yield _of_redis(settings)
        return
    path = path_of(settings, Path(Flask("hazoom_ws").instance_path))
    if path is None:
        yield Finding("log", "ok", "messages are kept in memory and forgotten with the process (log_url = memory://)")
        return
    folder = next(parent for parent in path.parents if parent.exists())
    problem = _not_writable(path, folder)
    if problem:
        remedy = f"have its owner be who runs the server (this is user {_user()}), or set HAZOOM_LOG_URL to another file"
        yield Finding("log", "problem", problem, remedy)
    else:
        yield _of_file(settings, path)
    yield from _of_disk(settings, folder)


def _of_redis(settings: Settings) -> Finding:
    server = Server(settings.log_url, "hazoom_ws-check", timeout_s=settings.log_redis_timeout_s)
    try:
        condition = server.inspect()
    except LogUnavailable as error:
        remedy = "start it, or name another one in HAZOOM_LOG_URL"
        return Finding("log", "problem", f"{server}: {error.reason}", remedy)
    except SettingsError as error:
        return Finding("log", "problem", str(error), "the server would not start")
    finally:
        server.close()
    found = f"messages are kept in {server} ({condition})"
    wanted = settings.log_redis_wait_replicas
    if condition.replicas_count < wanted:
        found += f", which has {condition.replicas_count} replicas of the {wanted} that log_redis_wait_replicas waits for"
        return Finding("log", "problem", found, "start them (replicaof), or set HAZOOM_LOG_REDIS_WAIT_REPLICAS lower")
    if condition.warning:
        return Finding("log", "warning", f"{found}: {condition.warning}", "set appendonly to yes (config/redis.conf)")
    return Finding("log", "ok", found)


def _not_writable(path: Path, folder: Path) -> str:
    """Return what keeps this user from writing the file, "" for nothing."""
    if path.is_dir():
        return f"{path} is a folder, and has to be a file"
    if not folder.is_dir():
        return f"{folder} is no folder, so {path} cannot be made"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} cannot be written"
    for suffix in ("", "-wal", "-shm", ".lock"):
        if os.path.exists(f"{path}{suffix}") and not os.access(f"{path}{suffix}", os.W_OK | os.R_OK):
            return f"{path}{suffix} cannot be read and written"
    return ""


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "unknown")


def _of_file(settings: Settings, path: Path) -> Finding:
    report = look_at(path)
    if report.version is None:
        return Finding(
            "log",
            "problem",
            f"{path} is no file of messages, or its beginning is damaged",
            "name another file in HAZOOM_LOG_URL; if it was one, a start keeps it aside and begins a new one",
        )
    if report.version > NEWEST_VERSION:
        found = f"{path} is of schema version {report.version}, this hazoom_ws knows {NEWEST_VERSION}"
        return Finding("log", "problem", found, "update hazoom_ws, or name another file in HAZOOM_LOG_URL")
    described = f"{path}: {_described(report)}"
    if not report.is_in_use:
        return Finding("log", "ok", described)
    if is_running(settings):
        return Finding("log", "ok", f"{described}; the running server has it")
    remedy = "stop that server, or name another file in HAZOOM_LOG_URL"
    return Finding("log", "problem", f"{described}; a hazoom_ws that listens elsewhere has it", remedy)


def _described(report: FileReport) -> str:
    if report.size_bytes is None:
        return "it will be made"
    version = report.version
    if not version:
        return f"{_megabytes(report.size_bytes)}"
    age = "" if version == NEWEST_VERSION else f", which a start brings to {NEWEST_VERSION}"
    return f"{_megabytes(report.size_bytes)}, schema version {version}{age}"


def _of_disk(settings: Settings, folder: Path) -> Iterator[Finding]:
    free_bytes = shutil.disk_usage(folder).free
    found = f"{_megabytes(free_bytes)} are free where the messages are kept"
    limit_bytes = settings.disk_free_limit_bytes
    if free_bytes < limit_bytes:
        found += f", less than disk_free_limit_bytes ({_megabytes(limit_bytes)}): /ready says 503"
        yield Finding("disk", "problem", found, "make room, or keep them elsewhere (HAZOOM_LOG_URL)")
    elif free_bytes < _PLENTY * limit_bytes:
        yield Finding("disk", "warning", found, "make room before it is less than disk_free_limit_bytes")
    else:
        yield Finding("disk", "ok", found)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes < 1e8 else f"{size_bytes / 1e6:,.0f} MB"
