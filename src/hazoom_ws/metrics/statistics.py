"""What the event ``stats`` says of one application, from the places that know it: the hub, the bridge, the process."""

import time
from collections.abc import Callable

from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.rights import EVERYTHING, Rights
from hazoom_ws.events.stats import Stats
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.llm_bridge.bridge import LlmBridge
from hazoom_ws.metrics.process import Process


class Statistics:
    """Takes snapshots; nothing is counted twice."""

    def __init__(
        self,
        hub: Hub,
        answers: Answers,
        bridge: LlmBridge,
        process: Process,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._answers = answers
        self._bridge = bridge
        self._clock = clock
        self._started_s = clock()
        self._process = process

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
            rss_mb=round(self._process.resident_bytes() / 2**20, 1),
        )
