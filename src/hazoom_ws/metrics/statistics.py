"""What the event ``stats`` says of one application, from the places that know it: the hub, the bridge, the process."""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.rights import EVERYTHING, Rights
from hazoom_ws.events.stats import ProcessStats, Stats
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.llm_bridge.bridge import LlmBridge
from hazoom_ws.metrics.process import Process


class Others(Protocol):
    """The other processes."""

    def processes(self) -> list[ProcessStats]:
        """Return how they are."""

    def shared_users_count(self) -> int:
        """Return how many users are counted too often if each process counts its own."""


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
        self.name = ""  # of this process, where there are others
        self.others: Others | None = None
        self._hub = hub
        self._answers = answers
        self._bridge = bridge
        self._clock = clock
        self._started_s = clock()
        self._process = process

    def snapshot(self, rights: Rights = EVERYTHING) -> Stats:
        """Return what the event ``stats`` tells whom has these rights; call within a turn."""
        own, rooms = self.of_process(), rights.visible(self._hub.rooms.sizes())
        stats = Stats(
            active_users=own.users,
            rooms=rooms,
            total_connections=own.connections,
            uptime_s=own.uptime_s,
            messages_total=own.messages_total,
            llm=self._bridge.stats(self._answers.waiting_count),
            rss_mb=own.rss_mb,
        )
        if self.others is None:
            return stats
        processes = [own, *self.others.processes()]
        active, queued = sum(each.llm_active for each in processes), sum(each.llm_queued for each in processes)
        return msgspec.structs.replace(
            stats,
            active_users=sum(each.users for each in processes) - self.others.shared_users_count(),
            total_connections=sum(each.connections for each in processes),
            messages_total=sum(each.messages_total for each in processes),
            llm=msgspec.structs.replace(stats.llm, active=active, queued=queued),
            processes=processes,
        )

    def of_process(self) -> ProcessStats:
        """Return how this process is; call within a turn."""
        hub = self._hub
        return ProcessStats(
            name=self.name,
            users=hub.user_count,
            connections=hub.connection_count,
            messages_total=hub.messages_total,
            llm_active=self._bridge.active_count,
            llm_queued=self._answers.waiting_count,
            uptime_s=round(self._clock() - self._started_s, 3),
            rss_mb=round(self._process.resident_bytes() / 2**20, 1),
        )
