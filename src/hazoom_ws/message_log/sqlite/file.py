"""The file that keeps a log, as a file: its owner's only, locked by one process, and put aside when it is damaged."""

import gc
import logging
import os
import secrets
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from hazoom_ws.message_log.contract import UsedElsewhere
from hazoom_ws.message_log.sqlite.damage import DAMAGED, LOCKED, NOT_OPENED, READ_ONLY, is_header_damaged, problem_of
from hazoom_ws.settings import SettingsError

logger = logging.getLogger(__name__)

ROWS_PER_STATEMENT = 256  # each statement gives way to the loop once, and takes its turn back once
_OWNERS_ONLY = 0o600
_OTHERS = 0o077
_LOOK_INTERVAL_S = 1.0
_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite makes, with the mode of the file that they belong to


class _Connection(sqlite3.Connection):
    """Closes itself when nobody has it any more, as of an application that was dropped: Python 3.13 warns of that else."""

    def __del__(self) -> None:
        with suppress(sqlite3.Error):
            self.close()


class UsedHere(SettingsError):
    """A file that another application of this process uses."""


class FileLock:
    """What keeps others from a file until it is closed, is forgotten, or the process ends."""

    def __init__(self, path: Path) -> None:
        """Lock the file at ``path``, a real one. Raises `SettingsError`."""
        self._path = str(path)
        try:
            self._connection = _locked(path)
        except (sqlite3.Error, OSError) as error:
            if problem_of(error) == LOCKED:
                raise UsedElsewhere(f"log_url: another hazoom_ws uses {path}; stop it, or choose another file") from None
            raise SettingsError(f"log_url: cannot use {path}: {error}; choose a file in a folder of yours") from None
        self._identity = _identity_of(f"{path}.lock")
        _held_here[self._path] = self

    def renew(self) -> str | None:
        """Lock the file again if what locked it is gone: another process would not find it. Return why that cannot be."""
        if self._identity is not None and _identity_of(f"{self._path}.lock") == self._identity:
            return None
        try:
            connection = _locked(Path(self._path))
        except (sqlite3.Error, OSError) as error:
            return problem_of(error)
        self._connection.close()
        self._connection, self._identity = connection, _identity_of(f"{self._path}.lock")
        return None

    def close(self) -> None:
        """Let others use the file."""
        _held_here.pop(self._path, None)
        self._connection.close()


# By the path of the file. The system's lock is the process's too, and does not tell who in it has it.
_held_here: WeakValueDictionary[str, FileLock] = WeakValueDictionary()


def lock_file(path: Path) -> FileLock:
    """Lock a file. Raises `UsedHere` where this process has done so already, `SettingsError` where it cannot be done."""
    path = Path(os.path.realpath(path))  # by whichever links it is named
    if path.is_dir():
        raise SettingsError(f"log_url: {path} is a folder; name a file in it")
    if str(path) in _held_here:
        gc.collect()  # an application that is used no more is freed by nothing else
    if str(path) in _held_here:
        raise UsedHere(
            f"log_url: another application of this process uses {path}; close it "
            '(app.extensions["hazoom_ws"].close()), or choose another file'
        )
    return FileLock(path)


def _locked(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    make_private(Path(f"{path}.lock"))
    lock = sqlite3.connect(f"{path}.lock", timeout=0, isolation_level=None, check_same_thread=False, factory=_Connection)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        lock.close()
        raise
    return lock


def make_private(path: Path) -> None:
    """See that only its owner may read and write a file, and what SQLite keeps beside it; call it before SQLite opens it.

    It is made if it is not there: SQLite would make it one that everybody may read. What SQLite has made beside a file that
    was read-only then is read-only too, and stays so: where the file may be written now, so may that. What cannot be done
    here, SQLite will say better. Where there are no such modes (Windows), nothing is done.
    """
    if os.name != "posix":
        return
    path = Path(os.path.realpath(path))  # where a link points to, the rest is too
    with suppress(OSError):
        # Never open one that is there: closing it again would end the locks that this process has on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNERS_ONLY))
    is_for_writing = False
    for suffix in ("", *_BESIDE):
        file = Path(f"{path}{suffix}")
        try:
            mode = file.stat().st_mode
            is_left_read_only = is_for_writing and not mode & stat.S_IWUSR
            if stat.S_ISREG(mode) and (mode & _OTHERS or is_left_read_only):
                file.chmod(_OWNERS_ONLY)
                mode = _OWNERS_ONLY
            if not suffix:
                is_for_writing = bool(mode & stat.S_IWUSR)
        except FileNotFoundError:
            pass
        except OSError as error:
            if mode & _OTHERS:
                logger.warning("others may be able to read %s: %s", file, error.strerror or error)


def opening_problem(error: BaseException, path: Path) -> str:
    """Return what keeps a file from being opened; where it is known which part of it is read-only, with that one's name."""
    problem = problem_of(error, is_opening=True)
    if problem == READ_ONLY and is_header_damaged(path):
        return DAMAGED
    if problem not in (READ_ONLY, NOT_OPENED):
        return problem
    path = Path(os.path.realpath(path))
    for suffix in ("", *_BESIDE):
        if _is_read_only(f"{path}{suffix}"):
            return f"{path.name}{suffix} is read-only"
    return "the folder of the file is read-only" if _is_read_only(path.parent) else problem


def _is_read_only(path: Path | str) -> bool:
    return os.path.exists(path) and not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def open_file(path: Path, *, timeout_s: float = 0) -> sqlite3.Connection:
    """Return a connection, for whichever thread uses it next, that waits so long for who else holds the file."""
    return sqlite3.connect(
        path,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=ROWS_PER_STATEMENT,
        factory=_Connection,
    )


def open_to_read(path: Path, *, timeout_s: float) -> sqlite3.Connection:
    """Return a connection to a file that is there, which changes nothing in it. Raises `sqlite3.Error`."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
    )
    try:
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


class FileWatch:
    """Whether a file is still the one that was opened: on POSIX it can be deleted, or another put in its place, any time.

    What is written after that is lost with the process, without an error. What SQLite keeps beside the file counts too.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """To be made when the file is open: so long the system gives the number of none of its parts to another."""
        self._path = path
        self._clock = clock
        self._real_path = os.path.realpath(path)
        self._identities = {suffix: self._identity(suffix) for suffix in ("", "-wal", "-shm")}
        self._looked_at_s = clock()

    def look(self) -> bool:
        """Return whether the file is another one, or none; it is looked at once a second, which takes microseconds."""
        if self._clock() - self._looked_at_s < _LOOK_INTERVAL_S:
            return False
        self._looked_at_s = self._clock()
        return self.has_changed()

    def has_changed(self) -> bool:
        """Return whether the file of that name is another one than was opened, or gone."""
        return any(self._identity(suffix) != identity for suffix, identity in self._identities.items())

    def put_remains_aside(self) -> None:
        """Rename what is left beside a file that is not there any more: another file must not be read with it."""
        if self._identity("") == self._identities[""]:
            return
        mark = f"left-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        for suffix in ("-wal", "-shm"):
            if self._identities[suffix] is not None and self._identity(suffix) == self._identities[suffix]:
                path = Path(f"{self._real_path}{suffix}")
                with suppress(FileNotFoundError):
                    path.rename(f"{path}.{mark}")
                    logger.warning("what the deleted message log has left is kept as %s.%s", path.name, mark)

    def _identity(self, suffix: str) -> tuple[int, int] | None:
        return _identity_of(f"{self._real_path}{suffix}" if suffix else self._path)


def _identity_of(path: Path | str) -> tuple[int, int] | None:
    """Return what a file is known by as long as it is open, None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: Path) -> None:
    """Rename a damaged file and what belongs to it, such that nothing is ever overwritten."""
    mark = f"damaged-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{path}.{mark}{suffix}")
    logger.error("the message log was damaged; it is kept as %s.%s, and a new one begins", path.name, mark)
