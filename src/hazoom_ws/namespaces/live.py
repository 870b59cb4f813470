"""What is live: relayed items, and the state that a room shares."""

from functools import partial

from msgspec import UNSET

from hazoom_ws.access.buckets import TokenBucket
from hazoom_ws.chat.effects import Numbered
from hazoom_ws.chat.presence import Connection
from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.errors import Conflict, RateLimited, TooMuchHistory
from hazoom_ws.events.live import GetState, Relayed, SendRelay, SetState, SharedState, StateAccepted, StatePage
from hazoom_ws.live.relayed_data import relayed
from hazoom_ws.live.shared_state import size_bytes
from hazoom_ws.message_log.contract import REVOKED, number_of
from hazoom_ws.namespaces.features import Greeting, handles
from hazoom_ws.namespaces.replies import WhenKept, fields_of, when_kept


class LiveFeature(Greeting):
    """What `hazoom_ws.live.relay` and `hazoom_ws.live.shared_state` promise, for clients.

    Who comes into a namespace, or comes back, gets the newest relayed values of all rooms that it is in.
    """

    name = "live"
    events = (Relayed, SharedState)

    def snapshots(self, connection: Connection) -> list[Numbered]:
        return [(event, 0) for event in self.parts.relay.greeting(connection)]

    def catch_up(
        self,
        connection: Connection,
        offset: int,  # noqa: ARG002
        replayed: list[Numbered],
        process: str,  # noqa: ARG002
    ) -> list[Numbered]:
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

    @handles(SetState, acknowledged_with=StateAccepted)
    def state_set(self, clients: ClientSet, payload: SetState) -> WhenKept:
        """Set keys of a room's state; answered when that is kept."""
        parts, connection = self.parts, clients.connection
        room = parts.hub.resolve_room(payload.room)
        parts.hub.require_member(connection, room)
        try:
            change = parts.states.set(connection, room, payload.values, if_seq=payload.if_seq, client_id=payload.client_id)
        except Conflict as error:  # what it tells may not be kept yet
            return WhenKept(parts.delivery.unrevoked(), refusal=error)
        if isinstance(change, int):
            return WhenKept(parts.delivery.unrevoked(), lambda: fields_of(StateAccepted(seq=change, duplicate=True)))
        return when_kept(change, lambda: fields_of(StateAccepted(seq=number_of(change), duplicate=change.seq < REVOKED)))

    @handles(GetState, acknowledged_with=StatePage)
    def state_get(self, clients: ClientSet, payload: GetState) -> WhenKept:
        """Return a room's state, as far as it is kept; one at a time is on its way to a client that reads slowly."""
        parts = self.parts
        room = parts.hub.resolve_room(payload.room)
        parts.hub.require_member(clients.connection, room)
        if not parts.delivery.page_limit_bytes(clients):
            raise TooMuchHistory(parts.settings.outbox_limit_bytes // 2)
        page = parts.states.get(room, payload.since)
        if clients.gets_reply:
            parts.delivery.note_paged_bytes(clients, size_bytes(page.values.values()))
        return WhenKept(parts.delivery.unrevoked(), partial(fields_of, page))

    def _spend(self, clients: ClientSet) -> float:
        """Count one item of a connection; return in how many seconds there may be one more, 0 if this one may be."""
        settings, now_s = self.parts.settings, self.parts.clock()
        if clients.relayed is None:
            clients.relayed = TokenBucket(settings.relay_rate_limit_per_s, settings.relay_rate_limit_burst_count, now_s)
        return clients.relayed.spend(now_s)
