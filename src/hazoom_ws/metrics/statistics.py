"""The numbers of one application, from the places that know them: the hub, the bridge, the process."""

import functools
import os
import time
from collections.abc import Callable

import psutil

from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.rights import EVERYTHING, Rights
from hazoom_ws.events.stats import Stats
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.llm_bridge.bridge import LlmBridge


class Statistics:
    """Takes snapshots; nothing is counted twice."""

    def __init__(
        self, hub: Hub, answers: Answers, bridge: LlmBridge, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hub = hub
        self._answers = answers
        self._bridge = bridge
        self._clock = clock
        self._started_s = clock()
        self._memory = _Memory()

    def snapshot(self, rights: Rights = EVERYTHING) -> Stats:
        """Return what the event ``stats`` tells whom has these rights; call within a turn."""
        hub = self._hub
        return Stats(
            active_users=hub.user_count,
            rooms=rights.visible(hub.rooms.sizes()),
            total_connections=hub.connection_count,
            uptime_s=round(self._clock() - self._started_s, 3),
            messages_total=hub.messages_total,
            llm=self._bridge.stats(self._answers.waiting_count),
            rss_mb=round(self._memory.resident_bytes() / 2**20, 1),
        )


@functools.cache
def _memory_file() -> int | None:
    """Return a descriptor of the file in which Linux tells of this process's memory, None elsewhere.

    Opened once, as it is asked often, also when no file can be opened; it stays open, as all applications share it.
    """
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, AttributeError):  # macOS lacks the file, Windows the flag too
        return None


class _Memory:
    """How much memory this process has."""

    def __init__(self) -> None:
        self._process = psutil.Process()
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
