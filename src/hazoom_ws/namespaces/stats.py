"""Statistics on request."""

from hazoom_ws.chat.effects import Push
from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.events.stats import GetStats, Stats
from hazoom_ws.namespaces.features import OwnFeature, handles


class StatsFeature(OwnFeature):
    """The numbers of the whole server, on request."""

    name = "stats"
    events = (Stats,)

    @handles(GetStats)
    def get_stats(self, clients: ClientSet, _payload: GetStats) -> Stats:
        """Reply with the numbers, and push them too."""
        stats = self.parts.statistics.snapshot(clients.connection.rights)
        self.parts.delivery.add(Push(clients.connection, stats))
        return stats
