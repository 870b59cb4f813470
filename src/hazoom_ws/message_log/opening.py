"""From the setting ``log_url`` to the log that it names."""

import time
from collections.abc import Callable
from pathlib import Path

from hazoom_ws.message_log.contract import MessageLog
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.message_log.sqlite import SqliteLog
from hazoom_ws.settings import Settings

_SQLITE = "sqlite:///"


def open_log(
    settings: Settings,
    folder: Path,
    *,
    wall_clock: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> MessageLog:
    """Open it; a relative path is one below ``folder``. Raises `SettingsError` for a file that cannot be ours."""
    if settings.log_url.startswith(_SQLITE):
        return SqliteLog(folder / settings.log_url.removeprefix(_SQLITE), settings, wall_clock=wall_clock, clock=clock)
    return MemoryLog(
        room_limit_count=settings.history_room_limit_count,
        room_limit_bytes=settings.history_room_limit_bytes,
        limit_bytes=settings.history_limit_bytes,
        start_seq=int(wall_clock() * 1e6),
    )
