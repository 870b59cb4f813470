"""What is live: relayed items."""

from msgspec import UNSET

from hazoom_ws.access.limits import TokenBucket
from hazoom_ws.chat.presence import Connection
from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.errors import RateLimited
from hazoom_ws.events.live import Relayed, SendRelay
from hazoom_ws.live.relayed_data import relayed
from hazoom_ws.namespaces.features import Greeting, Numbered, handles


class LiveFeature(Greeting):
    name = "live"
    events = (Relayed,)

    def snapshots(self, connection: Connection) -> list[Numbered]:
        return [(event, 0) for event in self.parts.relay.greeting(connection)]

    def catch_up(self, connection: Connection, offset: int, replayed: list[Numbered]) -> list[Numbered]:  # noqa: ARG002
        return [*replayed, *self.snapshots(connection)]

    @handles(SendRelay)
    def relay(self, clients: ClientSet, payload: SendRelay) -> None:
        """Relay an item. Over the rate only the newest value of a key still counts, and what has no key is refused."""
        parts, connection = self.parts, clients.connection
        room = parts.hub.resolve_room(payload.room)
        parts.hub.require_member(connection, room)
        retry_after_s = self._spend(clients)
        if retry_after_s and payload.key is UNSET:
            raise RateLimited(parts.settings.relay_rate_limit_per_s, "relayed items without a key", retry_after_s)
        parts.relay.put(connection, room, payload.channel, payload.key, relayed(payload.data))

    def _spend(self, clients: ClientSet) -> float:
        """Count one item of a connection; return in how many seconds there may be one more, 0 if this one may be."""
        settings, now_s = self.parts.settings, self.parts.clock()
        if clients.relayed is None:
            clients.relayed = TokenBucket(settings.relay_rate_limit_per_s, settings.relay_rate_limit_burst_count, now_s)
        return clients.relayed.spend(now_s)
