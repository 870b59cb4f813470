"""Relay: cursors, strokes, positions, inputs; what is worth nothing a second later, sent on in ticks.

What is promised
    The first item of a quiet room leaves at once; then one event for each tick has all that came, framed once for the whole
    room. Of a key only the newest value counts, and that always arrives. Items without a key leave in order, each of them,
    but for the oldest if there are too many in one tick.
    Nobody waits for a slow reader: it is left out of ticks, and when it has taken what it had, it gets the newest value of
    every key that has changed meanwhile. Items without a key that it has missed are lost.
    Who comes gets the newest value of every key. When a client goes, its keys are null for the others.
    Nothing is kept or logged, and a room with nothing to say costs nothing.

Other processes
    ``on_sent`` is told what has left for a room, one call for each tick: whoever passes that on to other processes has it
    conflated. What comes from them (`hear`) is relayed as if its clients were here (`relay_room.Elsewhere`).

Plain calls within turns; the clock is passed in. Who calls `run_due` on time: `hazoom_ws.delivery.ticker`.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from itertools import islice

from msgspec import UNSET, Raw, UnsetType

from hazoom_ws.chat.effects import Broadcast, Effect, Push
from hazoom_ws.chat.presence import Connection
from hazoom_ws.deadlines import Deadlines
from hazoom_ws.errors import NoRoomForKeys
from hazoom_ws.events.base import PLACEHOLDERS
from hazoom_ws.events.live import Relayed, RelayItem
from hazoom_ws.live.relay_room import CHUNK_BYTES, NEVER, Change, Elsewhere, RelayRoom, Speaker
from hazoom_ws.live.relayed_data import NOTHING

SLOW_FROM_BYTES = 16_384  # that wait for a reader: who polls has some now and then, and is not slow for that
_LATE_S = 0.01  # that a timer may be, with the ticks as far apart as they should
_ROOMS_AT_ONCE = 200  # in one turn, so that nobody else waits for long
_CATCH_UP_BYTES = 1_048_576  # in one turn, for all who are behind


Item = tuple[Speaker, str, str | UnsetType, Raw | bytes]  # who, channel, key, data


class Relay:
    """The relays of all rooms."""

    def __init__(
        self,
        deliver: Callable[[Effect], None],
        *,
        slow_in: Callable[[str, int], Collection[Connection]],
        backlog_bytes: Callable[[Connection], int],
        wake: Callable[[], None],
        interval_s: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """``slow_in(room, limit_bytes)`` returns who has as much as that waiting, ``backlog_bytes(connection)`` how much.

        ``wake`` is called when there is something that `run_due` has to do after ``interval_s``. ``clock`` is monotonic,
        ``wall_clock`` counts from the epoch; both in seconds.
        """
        self.on_sent: Callable[[str, list[Change], int], object] | None = None
        self._deliver = deliver
        self._slow_in = slow_in
        self._backlog_bytes = backlog_bytes
        self._wake = wake
        self._clock = clock
        self._wall_clock = wall_clock
        self._rooms: dict[str, RelayRoom] = {}
        self._due: Deadlines[RelayRoom] = Deadlines(interval_s)  # rooms that have spoken a moment ago
        self.items_total = 0  # that have come
        self.dropped_total = 0  # of those, what one tick had no space for
        self.frames_total = 0  # events that have left, one for each room and tick

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held of anybody."""
        return not self._rooms

    # What comes

    def put(self, connection: Connection, name: str, channel: str, key: str | UnsetType, data: Raw | bytes) -> None:
        """Relay an item of a member to its room. Raises `NoRoomForKeys`."""
        room = self._rooms.get(name)
        if room is None:
            room = RelayRoom(name)
        room.put(connection, channel, key, data)
        self._rooms[name] = room
        self.items_total += 1
        self._run_if_due(room)

    def hear(self, name: str, items: Iterable[Item], dropped_count: int = 0) -> None:
        """Relay what clients of another process have said, in its order. What there is no space for is left out."""
        room = self._rooms.get(name) or RelayRoom(name)
        for speaker, channel, key, data in items:
            with suppress(NoRoomForKeys):
                room.put(speaker, channel, key, data)
        room.dropped_count += dropped_count
        if not room.is_empty:
            self._rooms[name] = room
            if room.is_waiting:
                self._run_if_due(room)

    def values_here(self, name: str) -> list[Change]:
        """Return the newest values of this process' clients in a room."""
        room = self._rooms.get(name)
        return [] if room is None else list(room.values_of(lambda one: isinstance(one, Connection)).values())

    def replace(self, name: str, process: str, items: Iterable[Item]) -> None:
        """Let these be all the newest values that another process' clients have in a room."""
        room = self._rooms.get(name)
        before = {} if room is None else room.values_of(lambda one: isinstance(one, Elsewhere) and one.process == process)
        new: list[Item] = []
        for item in items:
            speaker, channel, key, data = item
            had = None if key is UNSET else before.pop((speaker, channel, key), None)
            if had is None or had.item.data != data:
                new.append(item)
        self.hear(name, [*((who, channel, key, NOTHING) for who, channel, key in before), *new])

    def forget_elsewhere(self, process: str | None = None, name: str | None = None) -> None:
        """Take away what clients of another process have, or of all others, in all rooms or in one."""
        rooms = list(self._rooms.values()) if name is None else [self._rooms[name]] if name in self._rooms else []
        for room in rooms:
            places = room.values_of(lambda one: isinstance(one, Elsewhere) and process in (None, one.process))
            if places:
                self.hear(room.name, [(who, channel, key, NOTHING) for who, channel, key in places])

    def enter(self, connection: Connection, name: str) -> None:
        """Tell a connection that has come into a room the newest values there."""
        room = self._rooms.get(name)
        if room is not None and room.has_values:
            room.behind[connection] = NEVER
            self._catch_up(room, connection, Counter())
            if room.behind:
                self._run_if_due(room)

    def greeting(self, connection: Connection) -> list[Relayed]:
        """Return what a connection is told of its rooms that comes into a namespace: what fits; the rest follows."""
        events: list[Relayed] = []
        left_bytes = CHUNK_BYTES
        for name in connection.rooms:
            room = self._rooms.get(name)
            if room is None or not room.has_values:
                continue
            known = NEVER
            if left_bytes > 0:
                changes, known = room.newer_than(NEVER)
                left_bytes -= sum(change.size_bytes for change in changes)
                events += self._events(room, changes, is_snapshot=True)
            if known < room.sent:
                room.behind[connection] = min(known, room.behind.get(connection, known))
                self._begin(room)
        return events

    def leave(self, connection: Connection, name: str) -> None:
        """Take away what a connection has in a room that it leaves."""
        room = self._rooms.get(name)
        if room is not None:
            room.remove_all(connection)
            if room.is_waiting:
                self._run_if_due(room)

    # Time

    def run_due(self) -> float | None:
        """Send what is due; return the seconds until the next time, 0 or less for at once, None if there is none."""
        now_s = self._clock()
        given_bytes: Counter[Connection] = Counter()
        for room, due_at_s in islice(self._due.pop_due(now_s), _ROOMS_AT_ONCE):
            # From when it was due, and not from when the timer came: else a cursor that moves as often as a room has ticks
            # would come a little too early for each, and wait.
            self._run(room, max(due_at_s, now_s - _LATE_S), given_bytes)
        return self._due.next_due_in_s(now_s)

    def _run_if_due(self, room: RelayRoom) -> None:
        """Send what waits in a room, unless it has spoken a moment ago: then it is due soon."""
        now_s = self._clock()
        due_at_s = self._due.due_at_s(room)
        if due_at_s is None or due_at_s <= now_s:
            self._run(room, now_s, Counter())

    def _run(self, room: RelayRoom, now_s: float, given_bytes: Counter[Connection]) -> None:
        """Send what waits in a room, and what those can have by now who were behind. ``given_bytes``: in this turn."""
        has_spoken = room.is_waiting
        if has_spoken:
            self._send_waiting(room)
        for connection in list(room.behind):
            self._catch_up(room, connection, given_bytes)
        room.forget_gone()
        if has_spoken or room.behind:
            self._begin(room, now_s)
            return
        self._due.stop(room)
        if room.is_empty:
            self._rooms.pop(room.name, None)

    def _begin(self, room: RelayRoom, now_s: float | None = None) -> None:
        """Let a room be due after an interval."""
        if now_s is not None or self._due.due_at_s(room) is None:
            self._due.start(room, self._clock() if now_s is None else now_s)
            self._wake()

    # What leaves

    def _send_waiting(self, room: RelayRoom) -> None:
        known, dropped_count = room.sent, room.dropped_count
        changes = room.take()
        self.dropped_total += dropped_count
        for connection in self._slow_in(room.name, SLOW_FROM_BYTES):
            room.behind.setdefault(connection, known)
        speakers = {change.connection for change in changes}
        only = [one for one in speakers if isinstance(one, Connection)] if len(speakers) == 1 else []
        skip = {*room.behind, *only}
        for event in self._events(room, changes, dropped_count=dropped_count):
            self.frames_total += 1
            self._deliver(Broadcast(room.name, event, skip=tuple(skip)))
        if self.on_sent is not None:
            self.on_sent(room.name, changes, dropped_count)

    def _catch_up(self, room: RelayRoom, connection: Connection, given_bytes: Counter[Connection]) -> None:
        """Tell one who is behind what it does not know, if it has taken what it had."""
        if room.name not in connection.rooms:
            del room.behind[connection]
            return
        is_slow = self._backlog_bytes(connection) + given_bytes[connection] >= SLOW_FROM_BYTES
        if is_slow or given_bytes.total() >= _CATCH_UP_BYTES:
            return
        known = room.behind[connection]
        changes, room.behind[connection] = room.newer_than(known)
        if room.behind[connection] >= room.sent:
            del room.behind[connection]
        given_bytes[connection] += sum(change.size_bytes for change in changes)
        if changes or known == NEVER:
            for event in self._events(room, changes, is_snapshot=known == NEVER):
                self._deliver(Push(connection, event))

    def _events(
        self, room: RelayRoom, changes: list[Change], *, is_snapshot: bool = False, dropped_count: int = 0
    ) -> list[Relayed]:
        """Return the events that tell of changes: one, or more if it would have too many binary parts."""
        at = round(self._wall_clock(), 3)
        first, *more = _shares([change.item for change in changes])
        snapshot = True if is_snapshot else UNSET
        events = [Relayed(room=room.name, at=at, items=first, snapshot=snapshot, dropped=dropped_count or UNSET)]
        return events + [Relayed(room=room.name, at=at, items=items) for items in more]


def _shares(items: list[RelayItem]) -> list[list[RelayItem]]:
    """Return items in shares that have no more binary parts than an event may have; at least one share."""
    shares: list[list[RelayItem]] = [[]]
    parts_count = 0
    for item in items:
        if type(item.data) is bytes:
            parts_count += 1
            if parts_count > len(PLACEHOLDERS):
                shares.append([])
                parts_count = 1
        shares[-1].append(item)
    return shares
