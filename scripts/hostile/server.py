"""The server under attack: started as a user starts it, in a folder of its own, and what the system knows about it.

Linux only: reads /proc. The server dies with this process, however that ends.
"""

import ctypes
import os
import re
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_START_LIMIT_S = 30.0
_READY = re.compile(rb"ready on http://127\.0\.0\.1:(\d+)\s")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class ServerError(Exception):
    """The server did not start; the text says why in one line."""


class Server:
    """A running server. All sizes are in bytes; a figure of a process that has ended is -1."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.port = 0
        self._proc = Path(f"/proc/{process.pid}")

    def is_running(self) -> bool:
        return self.process.poll() is None

    def rss_bytes(self) -> int:
        return self._status_bytes("VmRSS")

    def peak_bytes(self) -> int:
        """Return the most resident memory since `forget_peak`."""
        return self._status_bytes("VmHWM")

    def forget_peak(self) -> None:
        with suppress(OSError):
            (self._proc / "clear_refs").write_text("5")

    def descriptors(self) -> int:
        with suppress(OSError):
            return len(os.listdir(self._proc / "fd"))
        return -1

    def logged_bytes(self) -> int:
        """Return what went to stderr."""
        return (self.folder / "stderr").stat().st_size

    def written_bytes(self) -> int:
        """Return what write() and its kind took: the message file (sockets are sent to) and, not counted, stderr."""
        with suppress(OSError, ValueError):
            fields = dict(line.split(": ") for line in (self._proc / "io").read_text().splitlines())
            return int(fields["wchar"]) - self.logged_bytes()
        return -1

    def starved_s(self) -> float:
        """Return for how long the main thread was ready to run and others had the cores."""
        with suppress(OSError, ValueError, IndexError):
            return int((self._proc / "schedstat").read_text().split()[1]) / 1e9
        return -1.0

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _status_bytes(self, name: str) -> int:
        with suppress(OSError, AttributeError):
            return int(re.search(rf"{name}:\s+(\d+) kB", (self._proc / "status").read_text())[1]) * 1024  # type: ignore[index]
        return -1


@contextmanager
def running(
    python: Path,
    arguments: list[str],
    variables: dict[str, str],
    *,
    file_limit: int | None = None,
    run: tuple[str, ...] = ("-m", "hazoom_ws"),
) -> Iterator[Server]:
    """Run ``python -m hazoom_ws`` until the block ends. Raises `ServerError`.

    ``variables`` are added to an environment without settings. ``file_limit``: its hard limit of open files, None for the
    system's. ``run``: what Python runs.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HAZOOM_")}
    with tempfile.TemporaryDirectory(prefix="hazoom-hostile-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        own = {"HAZOOM_LOG_URL": f"sqlite:///{folder}/messages.sqlite3"}
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [str(python), *run, "--port", "0", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**inherited, **own, **variables},
                cwd=folder,
                start_new_session=True,
                preexec_fn=lambda: prepare_child(file_limit),  # noqa: PLW1509 - nothing has threads yet
            )
        server = Server(process, folder)
        try:
            server.port = _wait_until_ready(server)
            yield server
        finally:
            server.kill()


def prepare_child(file_limit: int | None = None) -> None:
    """Be called in a child before it begins: it ends with its parent, and open no more files than that."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (file_limit, file_limit))


def _wait_until_ready(server: Server) -> int:
    ends_at_s = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < ends_at_s and server.is_running():
        if ready := _READY.search((server.folder / "stdout").read_bytes()):
            return int(ready[1])
        time.sleep(0.02)
    lines = (server.folder / "stderr").read_text(errors="replace").strip().splitlines()
    raise ServerError(f"the server did not start: {lines[-1] if lines else 'it wrote nothing'}")
