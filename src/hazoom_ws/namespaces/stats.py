"""Statistics: once on request, or as samples, one a second."""

from msgspec import UNSET

from hazoom_ws.chat.effects import Push
from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.errors import TooMuchHistory
from hazoom_ws.events.stats import GetStats, Stats, StatsHistory, StatsTick, SubscribeStats, UnsubscribeStats
from hazoom_ws.namespaces.features import OwnFeature, handles

_SAMPLE_BYTES = 100  # of JSON, about


class StatsFeature(OwnFeature):
    """The numbers of the whole server."""

    name = "stats"
    events = (Stats, StatsTick)

    @handles(GetStats)
    def get_stats(self, clients: ClientSet, _payload: GetStats) -> Stats:
        """Reply with the numbers, and push them too."""
        stats = self.parts.statistics.snapshot(clients.connection.rights)
        self.parts.delivery.add(Push(clients.connection, stats))
        return stats

    @handles(SubscribeStats)
    def stats_subscribe(self, clients: ClientSet, payload: SubscribeStats) -> StatsHistory:
        """Reply with the samples of the last 15 minutes; who reads slowly gets one such reply at a time."""
        parts = self.parts
        if not parts.delivery.page_limit_bytes(clients):
            raise TooMuchHistory(parts.settings.outbox_limit_bytes // 2)
        history = parts.charts.subscribe(clients.connection, 0.0 if payload.since is UNSET else payload.since)
        if clients.gets_reply:
            parts.delivery.note_paged_bytes(clients, len(history.samples.at) * _SAMPLE_BYTES)
        return history

    @handles(UnsubscribeStats)
    def stats_unsubscribe(self, clients: ClientSet, _payload: UnsubscribeStats) -> None:
        """Push no more samples."""
        self.parts.charts.unsubscribe(clients.connection)
