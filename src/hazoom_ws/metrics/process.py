"""What the system says of this process: memory, time on a processor, descriptors, since when it runs.

Asked for often, so nothing here walks through what the process has where the system has counted that itself.
"""

import functools
import math
import os
import time

import psutil


@functools.cache
def _memory_file() -> int | None:
    """Return a descriptor of the file in which Linux tells of this process's memory, None elsewhere.

    Opened once, as it is asked often, also when no file can be opened; it stays open, as all applications share it.
    """
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, AttributeError):  # macOS lacks the file, Windows the flag too
        return None


class Process:
    """This process. ``started_at``: seconds since the epoch, UTC."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.started_at = self._process.create_time()
        self._resident_bytes = self._process.memory_info().rss
        self._file = _memory_file()

    def resident_bytes(self) -> int:
        """Return the size of what is in memory, as it was last known if the system does not tell."""
        try:
            if self._file is not None:
                self._resident_bytes = int(os.pread(self._file, 100, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")
            else:
                self._resident_bytes = self._process.memory_info().rss
        except (OSError, psutil.Error):
            pass
        return self._resident_bytes

    def cpu_s(self) -> float:
        """Return how many seconds all threads have run so far."""
        return time.process_time()

    def open_descriptors_count(self) -> float:
        """Return how many files and connections are open, not a number where the system does not tell."""
        try:
            # Newer Linuxes have counted them: else each is to be listed, which takes a while where there are thousands.
            counted = os.stat("/proc/self/fd").st_size
            return counted or len(os.listdir("/proc/self/fd"))
        except OSError:
            pass
        try:
            return int(self._process.num_fds())
        except (OSError, AttributeError, psutil.Error):  # Windows has no such number
            return math.nan

    def descriptors_limit_count(self) -> float:
        """Return how many may be, infinity where there is no limit."""
        try:
            import resource  # Windows has neither the module nor the limit
        except ImportError:
            return math.inf
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return math.inf if soft == resource.RLIM_INFINITY else soft
