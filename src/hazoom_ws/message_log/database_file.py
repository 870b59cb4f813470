"""The file that keeps a log, as a file: locked by one process, and put aside when it is damaged."""

import logging
import secrets
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from hazoom_ws.settings import SettingsError

logger = logging.getLogger(__name__)

_DAMAGED = ("file is not a database", "malformed")


def lock_file(path: Path) -> sqlite3.Connection:
    """Return what keeps other processes from the file until it is closed, or the process ends. Raises `SettingsError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = sqlite3.connect(f"{path}.lock", timeout=0, isolation_level=None, check_same_thread=False)
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error:
            lock.close()
            raise
    except (sqlite3.Error, OSError) as error:
        if "locked" in str(error):
            raise SettingsError(f"log_url: another hazoom_ws uses {path}; stop it, or choose another file") from None
        raise SettingsError(f"log_url: cannot use {path}: {error}; choose a file in a folder of yours") from None
    return lock


def is_damage(problem: str) -> bool:
    """Return whether that, which SQLite says, is a reason to begin a new file."""
    return any(sign in problem for sign in _DAMAGED)


def set_aside(path: Path) -> None:
    """Rename a damaged file and what belongs to it, such that nothing is ever overwritten."""
    mark = f"damaged-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{path}.{mark}{suffix}")
    logger.error("the message log was damaged; it is kept as %s.%s, and a new one begins", path.name, mark)
