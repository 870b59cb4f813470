"""Statistics on request."""

from hazoom_ws import schemas
from hazoom_ws.namespaces.base import FeatureNamespace, handles
from hazoom_ws.namespaces.delivery import Link


class StatsNamespace(FeatureNamespace):
    @handles(schemas.GetStats)
    def get_stats(self, link: Link, _payload: schemas.GetStats) -> schemas.Stats:
        stats = self.parts.statistics.snapshot()
        self.push(link, stats)
        return stats
