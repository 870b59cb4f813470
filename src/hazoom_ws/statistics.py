"""The numbers of one application, from the places that know them: the hub, the bridge, the process."""

import os
import time
import weakref
from collections.abc import Callable

import psutil

from hazoom_ws.answers import Answers
from hazoom_ws.chat.hub import Hub
from hazoom_ws.llm_bridge import LlmBridge
from hazoom_ws.schemas import Stats


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

    def snapshot(self) -> Stats:
        """Return the ``stats`` object of the contract; call within a turn."""
        hub = self._hub
        return Stats(
            active_users=hub.user_count,
            rooms=hub.room_sizes(),
            total_connections=hub.connection_count,
            uptime_s=round(self._clock() - self._started_s, 3),
            messages_total=hub.messages_total,
            llm=self._bridge.stats(self._answers.waiting_count),
            rss_mb=round(self._memory.resident_bytes() / 2**20, 1),
        )


class _Memory:
    """How much memory this process has: asked often, also when no file can be opened, so its file is opened once."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._resident_bytes = self._process.memory_info().rss
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, AttributeError):  # Windows lacks the flag, macOS the file
            self._statm = -1
        else:
            weakref.finalize(self, os.close, self._statm)

    def resident_bytes(self) -> int:
        """Return the size of what is in memory, as it was last known if the system does not tell."""
        try:
            if self._statm >= 0:
                self._resident_bytes = int(os.pread(self._statm, 100, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")
            else:
                self._resident_bytes = self._process.memory_info().rss
        except (OSError, psutil.Error):
            pass
        return self._resident_bytes
