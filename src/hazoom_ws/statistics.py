"""The numbers of one application, from the places that know them: the hub, the bridge, the process."""

import time
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
        self._process = psutil.Process()

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
            rss_mb=round(self._process.memory_info().rss / 2**20, 1),
        )
