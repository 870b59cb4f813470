"""From the setting ``log_url`` to the log that it names."""

import importlib
import logging
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from hazoom_ws.message_log.contract import MessageLog
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.message_log.redis.log import RedisLog
from hazoom_ws.message_log.sqlite.file import UsedHere
from hazoom_ws.message_log.sqlite.log import SqliteLog
from hazoom_ws.settings import Settings
from hazoom_ws.settings.redis_url import REDIS_SCHEMES

logger = logging.getLogger(__name__)

_SQLITE = "sqlite:///"


def open_log(
    settings: Settings,
    folder: Path,
    *,
    wall_clock: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
    is_kept: bool = True,
    import_module: Callable[[str], Any] = importlib.import_module,
) -> MessageLog:
    """Open it; a relative path is one below ``folder``. Raises `SettingsError` for a file that cannot be ours.

    A further application of this process gets a file of its own, if nobody has named one. Not ``is_kept``: whatever the
    setting says, no file is touched. ``import_module``: how a library is imported whose sockets wait in threads.
    """
    if is_kept and is_redis(settings.log_url):
        return RedisLog(settings, import_module, wall_clock=wall_clock, clock=clock)
    path = path_of(settings, folder)
    if is_kept and path is not None:
        return _open_file(settings, path, lambda path: SqliteLog(path, settings, wall_clock=wall_clock, clock=clock))
    return _in_memory(settings, wall_clock)


def is_redis(log_url: str) -> bool:
    """Return whether messages are kept in a Redis."""
    return log_url.startswith(REDIS_SCHEMES)


def path_of(settings: Settings, folder: Path) -> Path | None:
    """Return the file that ``log_url`` names, a relative one below ``folder``; None where it names none."""
    if not settings.log_url.startswith(_SQLITE):
        return None
    return folder / settings.log_url.removeprefix(_SQLITE)


def _open_file(settings: Settings, path: Path, open_at: Callable[[Path], SqliteLog]) -> MessageLog:
    try:
        return open_at(path)
    except UsedHere:
        if settings.log_url != Settings().log_url:
            raise
    for number in count(2):
        own = path.with_stem(f"{path.stem}-{number}")
        try:
            log = open_at(own)
        except UsedHere:
            continue
        logger.warning(
            "another application of this process keeps its messages in %s; this one keeps its own in %s", path, own
        )
        return log
    raise AssertionError


def _in_memory(settings: Settings, wall_clock: Callable[[], float]) -> MessageLog:
    return MemoryLog(
        room_limit_count=settings.history_room_limit_count,
        room_limit_bytes=settings.history_room_limit_bytes,
        limit_bytes=settings.history_limit_bytes,
        start_seq=int(wall_clock() * 1e6),
    )
