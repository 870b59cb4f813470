"""Statistics on request."""

from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.events.stats import GetStats, Stats
from hazoom_ws.namespaces.door import FeatureNamespace, handles


class StatsNamespace(FeatureNamespace):
    @handles(GetStats)
    def get_stats(self, clients: ClientSet, _payload: GetStats) -> Stats:
        stats = self.parts.statistics.snapshot()
        self.push(clients, stats)
        return stats
