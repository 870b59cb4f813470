"""Sends what turns queue: the hub's effects, as events to Socket.IO's clients.

Maps the hub's connections and rooms to Socket.IO's: one sid per namespace that a client uses (`client_sets`), and rooms
that do not cross namespaces. Room names get a prefix, because Socket.IO puts every client in a room named like its sid.
What a turn is and promises: `turns`. All of this is called within a turn.
"""

import threading
from collections.abc import Collection, Iterable, Mapping

import msgspec
from msgspec import UNSET, UnsetType

from hazoom_ws.chat.effects import Broadcast, Close, Enter, Leave, Offset, Push
from hazoom_ws.chat.presence import Connection
from hazoom_ws.delivery.client_sets import ClientSet, ClientSets, keys_of, plain_key, room_key
from hazoom_ws.delivery.commit_beside_turns import Worker
from hazoom_ws.delivery.effects import Greet, Later, Queued
from hazoom_ws.delivery.group_commit import Sleep, StartTask
from hazoom_ws.delivery.turns import Turns, argument_of, kept_of
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.connecting import Bye, Status
from hazoom_ws.events.live import Relayed, SharedState
from hazoom_ws.events.llm import LlmToken
from hazoom_ws.events.rooms import NewMessage, RoomJoined
from hazoom_ws.message_log.contract import REVOKED, MessageLog, size_bytes
from hazoom_ws.transport.socketio.event_frames import framed_event
from hazoom_ws.transport.socketio.fan_out import FanOut

_PAGES_AT_LEAST = 16  # in half an outbox; what is left when there is less is too little
_TO_ONE = (Push, Enter, Leave)


class Delivery(Turns):
    """Turns whose effects go out through one fan-out."""

    def __init__(
        self,
        fan_out: FanOut,
        log: MessageLog,
        lock: "threading.RLock | None",
        *,
        start_task: StartTask,
        sleep: Sleep,
        worker: Worker | None,
        outbox_limit_bytes: int,
        namespaces_of: Mapping[type[ServerEvent], tuple[str, ...]],
    ) -> None:
        """``namespaces_of``: of each event that is sent, the namespaces that serve it. The rest is as in `Turns`."""
        super().__init__(log, lock, start_task=start_task, sleep=sleep, worker=worker)
        self._namespaces_of = namespaces_of
        self.thread_id = 0  # the system's, of the thread in which the first client came
        self._pages_limit_bytes = outbox_limit_bytes // 2
        self._fan_out = fan_out
        self._client_sets = ClientSets()
        # Which process this is, as offsets say it; "" if there is no other one.
        self.process = "" if log.peers is None else log.peers.name
        self._numbered_by = b"." + self.process.encode() if self.process else b""

    def keeps_up(self, room: str | UnsetType, connections: Iterable[Connection], limit_bytes: int) -> bool:
        """Return whether any of those who get an answer of the AI has less than ``limit_bytes`` waiting.

        They are those in ``room``, or else ``connections``; True if there is nobody.
        """
        targets: list[tuple[str, str]] = []
        for namespace in self._namespaces_of[LlmToken]:
            if room is not UNSET:
                targets += [(namespace, key) for key in keys_of(room)]
            else:
                sids = (self._client_sets.sids_of(connection).get(namespace) for connection in connections)
                targets += [(namespace, sid) for sid in sids if sid is not None]
        is_anybody = False
        for namespace, to in targets:
            for backlog_bytes in self._fan_out.backlogs(namespace, to):
                if backlog_bytes < limit_bytes:
                    return True
                is_anybody = True
        return not is_anybody

    def slow_in(self, room: str, limit_bytes: int) -> list[Connection]:
        """Return those in a room of whom as much as ``limit_bytes`` waits, of what is relayed there or of anything else."""
        slow: dict[Connection, None] = {}
        for namespace in self._namespaces_of[Relayed]:
            rooms = self._fan_out.rooms.get(namespace)
            for key in keys_of(room) if rooms else ():
                for sid in self._fan_out.slow_in(namespace, key, limit_bytes):
                    clients = self._client_sets.by_sid.get(sid)
                    if clients is not None:
                        slow[clients.connection] = None
        return list(slow)

    def backlog_bytes(self, connection: Connection) -> int:
        """Return how much waits because a connection has not read it yet."""
        return self._fan_out.backlog_bytes(connection.id)

    def page_limit_bytes(self, clients: ClientSet) -> int:
        """Return how many bytes of messages a connection can be given: half an outbox, less what is on its way to it.

        0 if that is too little for a page. A client that joins many rooms at once is not to be closed for reading slowly.
        """
        if clients.paged_bytes and not self._commit.effects and self._fan_out.has_taken_all(clients.connection.id):
            clients.paged_bytes = 0
        left_bytes = self._pages_limit_bytes - clients.paged_bytes
        return left_bytes if left_bytes * _PAGES_AT_LEAST >= self._pages_limit_bytes else 0

    def note_page(self, clients: ClientSet, messages: Iterable[NewMessage]) -> None:
        """Note that a page is on its way to a connection."""
        self.note_paged_bytes(clients, sum(map(size_bytes, messages)))

    def note_paged_bytes(self, clients: ClientSet, paged_bytes: int) -> None:
        """Note that so many bytes are on their way to a connection, which has asked for them."""
        clients.paged_bytes += paged_bytes

    @property
    def is_empty(self) -> bool:
        """Whether nobody is connected."""
        return not self._client_sets.by_connection

    def clients_of(self, connection_id: str) -> ClientSet | None:
        """Return the client set of a connection, None if it is not there (any more)."""
        return self._client_sets.by_connection.get(connection_id)

    def clients_of_sid(self, sid: str) -> ClientSet | None:
        """Return the client set of a client that has entered a namespace as ``sid``, None if it has left."""
        return self._client_sets.by_sid.get(sid)

    def plain_sids(self, namespace: str) -> set[str]:
        """Return the sids of the clients that get no offsets in a namespace."""
        return self._client_sets.plain_sids(namespace)

    def open(self, clients: ClientSet) -> None:
        """Let a connection be sent to, when it has entered a namespace."""
        if not self.thread_id:  # to ask for it is a call of the system
            self.thread_id = threading.get_native_id()
        self._client_sets.add(clients)

    def push_to_many(self, connections: Collection[Connection], event: ServerEvent) -> None:
        """Queue an event for many connections, framed once for all of a namespace. It is not kept, and has no offset."""
        self.add(Later(lambda _: self._send_to_many(connections, event)))

    def close(self, clients: ClientSet) -> None:
        """Send nothing to a connection any more, which has left its namespaces."""
        self._client_sets.remove(clients)

    def enter_namespace(self, clients: ClientSet, namespace: str, sid: str, *, is_plain: bool) -> None:
        """Let a client's connection have ``sid`` in a namespace; nothing is sent there before `greet`."""
        self._client_sets.enter_namespace(clients, namespace, sid, is_plain=is_plain)

    def greet(self, clients: ClientSet, namespace: str, events: list[tuple[ServerEvent | Status, Offset]]) -> None:
        """Send ``events``, each with its offset, to a namespace, and from then on what its connection gets in its rooms."""
        self.add(Greet(clients.connection, namespace, tuple(clients.connection.rooms), events, self.unrevoked()))

    def greeting(self, clients: ClientSet, namespace: str) -> dict[str, str]:
        """Return what the reply to a client's CONNECT says beside its sid."""
        pid = clients.connection.pid
        return {} if pid is None or namespace in clients.plain else {"pid": pid}

    def leave_namespace(self, clients: ClientSet, namespace: str) -> None:
        """Stop sending to this namespace of the connection. Raises `KeyError` if it is not there."""
        sid = clients.sids[namespace]
        for room in clients.connection.rooms:
            self._fan_out.leave_room(sid, namespace, clients.key_of(namespace, room))
        self._client_sets.leave_namespace(clients, namespace)

    def _send(self, effect: Queued) -> None:
        if type(effect) is Broadcast:
            self._broadcast(effect)
        elif type(effect) is Greet:
            self._greet(effect)
        elif type(effect) is Later:
            effect.send(argument_of(effect.reply))
        elif type(effect) is Close:
            self._close(effect)
        elif isinstance(effect, _TO_ONE):
            clients = self._client_sets.by_connection.get(effect.connection.id)
            if clients is not None:
                self._send_to(clients, effect)

    def _broadcast(self, effect: Broadcast) -> None:
        room, event, skip = effect.room, effect.event, effect.skip
        number = _number_of(effect.offset)
        if number is None:
            return
        if type(event) is SharedState and event.seq != number:
            event = msgspec.structs.replace(event, seq=number)  # which it has got when it was kept
        for namespace in self._namespaces_of[type(event)]:
            rooms = self._fan_out.rooms.get(namespace)
            if rooms is None:
                continue
            sids = [self._client_sets.sids_of(connection).get(namespace) for connection in skip] if skip else ()
            if not number:
                self._fan_out.send(event, namespace, keys_of(room), sids)
                continue
            for key, offset in ((room_key(room), self._told(number)), (plain_key(room), b"")):
                if key in rooms:
                    self._fan_out.send(event, namespace, key, sids, offset=offset)

    def _told(self, number: int) -> bytes:
        """Return a number as the offset that a client is told (`events.connecting.offset_in`)."""
        return b"%d%b" % (number, self._numbered_by) if number else b""

    def _send_to(self, clients: ClientSet, effect: Push | Enter | Leave) -> None:
        if type(effect) is Push:
            event, number = effect.event, _number_of(effect.offset)
            if number is None:
                return
            if type(event) is RoomJoined and event.messages is not UNSET:
                event = msgspec.structs.replace(event, messages=kept_of(event.messages))
            for namespace in self._namespaces_of[type(event)]:
                if namespace in clients.sids and namespace not in clients.arriving:
                    offset = b"" if namespace in clients.plain else self._told(number)
                    self._fan_out.send(event, namespace, clients.sids[namespace], offset=offset)
        elif type(effect) is Enter:
            for namespace, sid in clients.sids.items():
                if namespace not in clients.arriving:
                    self._fan_out.enter_room(sid, namespace, clients.key_of(namespace, effect.room))
        elif type(effect) is Leave:
            for namespace, sid in clients.sids.items():
                self._fan_out.leave_room(sid, namespace, clients.key_of(namespace, effect.room))

    def _send_to_many(self, connections: Collection[Connection], event: ServerEvent) -> None:
        for namespace in self._namespaces_of[type(event)]:
            present = []
            for connection in connections:
                clients = self._client_sets.by_connection.get(connection.id)
                client = self._fan_out.client_of(connection.id, namespace)
                if client is not None and clients is not None and namespace not in clients.arriving:
                    present.append(client)
            if present:
                is_droppable = event.if_slow == "dropped"
                self._fan_out.send_arguments(present, event.event, event, is_droppable=is_droppable)

    def _close(self, close: Close) -> None:
        """Say goodbye on each of our namespaces that a connection is in, if any, and close it as that says."""
        for namespace, sid in self._taken_leave_of(close.connection_id):
            self._fan_out.send(close.bye, namespace, sid)
        if close.bye.reconnect:
            self._fan_out.close(close.connection_id)
        else:
            self._fan_out.send_away(close.connection_id)

    def frames_of_bye(self, connection_id: str, bye: Bye) -> list[bytes]:
        """Return the frames that say goodbye to a connection, for who sends them itself. From any thread."""
        return [framed_event(namespace, bye) for namespace, _ in self._taken_leave_of(connection_id)]

    def _taken_leave_of(self, connection_id: str) -> list[tuple[str, str]]:
        """Return each of our namespaces in which a connection has heard that it has come, and its sid there."""
        clients = self._client_sets.by_connection.get(connection_id)
        return [] if clients is None else [one for one in list(clients.sids.items()) if one[0] not in clients.arriving]

    def _greet(self, greet: Greet) -> None:
        clients = self._client_sets.by_connection.get(greet.connection.id)
        sid = clients.sids.get(greet.namespace) if clients else None
        if clients is None or sid is None:
            return  # it has left while its greeting waited
        if not greet.is_kept() and any(event.is_kept and isinstance(offset, int) for event, offset in greet.events):
            self._fan_out.close(greet.connection.id)  # some of it may not be true: it comes back, and hears what is
            return
        clients.arriving.discard(greet.namespace)
        is_plain = greet.namespace in clients.plain
        for event, offset in greet.events:
            number = _number_of(offset)
            if number is not None:
                self._fan_out.send(event, greet.namespace, sid, offset=b"" if is_plain else self._told(number))
        for room in greet.rooms:
            if room in clients.connection.rooms:
                self._fan_out.enter_room(sid, greet.namespace, clients.key_of(greet.namespace, room))


def _number_of(offset: Offset) -> int | None:
    """Return the number that goes along with an event, None if it is not sent, as it could not be kept."""
    if isinstance(offset, int):
        return offset
    return offset.seq if offset.seq > REVOKED else None
