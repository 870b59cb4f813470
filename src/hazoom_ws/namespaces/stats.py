"""Statistics on request."""

from hazoom_ws.delivery.delivery import Link
from hazoom_ws.events import schemas
from hazoom_ws.namespaces.door import FeatureNamespace, handles


class StatsNamespace(FeatureNamespace):
    @handles(schemas.GetStats)
    def get_stats(self, link: Link, _payload: schemas.GetStats) -> schemas.Stats:
        stats = self.parts.statistics.snapshot()
        self.push(link, stats)
        return stats
