"""Turns, and what is sent in them.

A turn is the unit in which the state of an application changes: one event, one token, one expiry. Threads take turns by a
lock, greenlets do anyway: nothing in a turn waits. At its end what the hub wants sent goes out in the order in which it
became true, but not before the log has kept the messages of the turn (`group_commit`). Sending to a dead peer may run our
own disconnect handling in the middle of a broadcast; that is a turn within a turn, whose effects queue behind the others.

Maps the hub's connections and rooms to Socket.IO's: one sid per namespace that a client uses, and rooms that do not cross
namespaces. Room names get a prefix, because Socket.IO puts every client in a room named like its sid.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from types import TracebackType
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.chat.effects import Broadcast, Close, Effect, Enter, Leave, Push
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.delivery.group_commit import GroupCommit
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.connecting import Status
from hazoom_ws.events.llm import LlmToken
from hazoom_ws.events.refusals import report_of
from hazoom_ws.events.rooms import NewMessage, RoomJoined, SendMessage
from hazoom_ws.message_log.contract import MessageLog, size_bytes
from hazoom_ws.transport.socketio.fan_out import FanOut

logger = logging.getLogger(__name__)


class Later(Struct, frozen=True, gc=False):
    """Call ``send`` with a reply, when what it acknowledges is kept."""

    send: Callable[[Any], None]
    reply: dict[str, Any] | None = None


class Greet(Struct, frozen=True, gc=False):
    """Send ``events``, each with its offset, to one namespace of a connection, then what is said in ``rooms``."""

    connection: Connection
    namespace: str
    rooms: tuple[str, ...]
    events: list[tuple[ServerEvent | Status, int]]


_PAGES_AT_LEAST = 16  # in half an outbox; what is left when there is less is too little
_TO_ONE = (Push, Enter, Leave)


class ClientSet:
    """A client's connection as Socket.IO sees it: ``sids`` by namespace.

    ``plain`` holds the namespaces whose client does not want to recover, and gets no offsets; ``arriving`` those that have
    not been greeted, and get nothing before that; ``caught_up`` those that were told what they had missed. ``gets_reply``:
    the event at hand asks for an acknowledgement.
    """

    __slots__ = ("arriving", "caught_up", "connection", "gets_reply", "paged_bytes", "plain", "sids")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.gets_reply = False
        self.paged_bytes = 0  # of pages that may still be on their way
        self.caught_up: Collection[str] = ()
        self.sids: dict[str, str] = {}
        self.plain: set[str] = set()
        self.arriving: set[str] = set()

    @property
    def user(self) -> User:
        return self.connection.user

    @property
    def rooms(self) -> tuple[str, ...]:
        return tuple(self.connection.rooms)

    @property
    def is_open(self) -> bool:
        return self.connection.is_open

    def key_of(self, namespace: str, room: str) -> str:
        """Return the Socket.IO room in which this client is when it is in ``room``."""
        return _plain_key(room) if namespace in self.plain else _room_key(room)


class Delivery:
    """Runs turns and sends their effects through one fan-out."""

    def __init__(
        self,
        fan_out: FanOut,
        log: MessageLog,
        lock: "threading.RLock | None",
        *,
        start_task: Callable[..., Any],
        sleep: Callable[[float], Any],
        worker: Any,
        outbox_limit_bytes: int,
        namespaces_of: Mapping[type[ServerEvent], tuple[str, ...]],
    ) -> None:
        """``namespaces_of``: of each event that is sent, the namespaces that serve it.

        ``lock`` is a reentrant one where threads take turns, ``worker`` the `Worker` where greenlets do.
        """
        self._namespaces_of = namespaces_of
        self._pages_limit_bytes = outbox_limit_bytes // 2
        self._fan_out = fan_out
        self._lock = lock
        self._commit = GroupCommit(log, lock, self._send_all, start_task=start_task, sleep=sleep, worker=worker)
        self._revoked = self._commit.revoked
        self.is_sending = False  # what calls us in a turn meanwhile was called by that
        self._clients: dict[str, ClientSet] = {}  # by the connection's id
        self.thread_id = 0  # the system's, of the thread in which a client came last
        self._clients_by_sid: dict[str, ClientSet] = {}

    def add(self, effect: Effect | Greet | Later) -> None:
        """Queue ``effect`` until the turn ends."""
        self._commit.effects.append(effect)

    def turn(self) -> "Delivery":
        """Run the body of a ``with`` alone, then send what it queued, also if it raised: its state has changed."""
        return self

    def __enter__(self) -> None:
        if self._lock is not None:
            self._lock.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._commit.end_turn()
        finally:
            if self._lock is not None:
                self._lock.__exit__(kind, error, traceback)

    def look_at_log(self, _now_s: float) -> None:
        """Miss what keeps the log while nobody says anything. Whoever is in a turn in another thread is not waited for."""
        if self._lock is not None and not self._lock.acquire(blocking=False):
            return  # the next look is soon, and whoever writes looks too
        try:
            self._commit.look()
        finally:
            if self._lock is not None:
                self._lock.release()

    def settle(self) -> None:
        """Keep what is not kept yet: the process is about to end."""
        with self._lock or nullcontext():
            self._commit.settle()

    def close_log(self) -> None:
        """Keep what is not kept yet, then give the log's file back: nothing can be kept from now on."""
        with self._lock or nullcontext():
            self._commit.close()

    def reply(self, send: Callable[[Any], None], reply: dict[str, Any] | None) -> None:
        """Call ``send`` with an acknowledgement's argument, after what was queued before it."""
        if self._lock is None and self._commit.is_holding:
            self._commit.effects.append(Later(send, reply))
        else:
            send(reply and self.checked(reply))

    def checked(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Return an acknowledgement's argument, or a refusal if what it acknowledges could not be kept."""
        if not self._revoked:
            return reply
        seq = reply.get("seq")
        if type(seq) is int and seq in self._revoked:
            return {"ok": False, "error": report_of(LogUnavailable(""), SendMessage.event)}
        if type(reply.get("messages")) is list:
            return reply | {"messages": self._kept(reply["messages"])}
        return reply

    def keeps_up(self, room: str | UnsetType, connections: Iterable[Connection], limit_bytes: int) -> bool:
        """Return whether any of those who get an answer of the AI has less than ``limit_bytes`` waiting.

        They are those in ``room``, or else ``connections``; True if there is nobody.
        """
        targets: list[tuple[str, str]] = []
        for namespace in self._namespaces_of[LlmToken]:
            if room is not UNSET:
                targets += [(namespace, key) for key in keys_of(room)]
            else:
                sids = (self._sids_of(connection).get(namespace) for connection in connections)
                targets += [(namespace, sid) for sid in sids if sid is not None]
        is_anybody = False
        for namespace, to in targets:
            for backlog_bytes in self._fan_out.backlogs(namespace, to):
                if backlog_bytes < limit_bytes:
                    return True
                is_anybody = True
        return not is_anybody

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
        clients.paged_bytes += sum(map(size_bytes, messages))

    def clients_of(self, connection_id: str) -> ClientSet | None:
        return self._clients.get(connection_id)

    def clients_of_sid(self, sid: str) -> ClientSet | None:
        """Return the client set of a client that has entered a namespace as ``sid``."""
        return self._clients_by_sid.get(sid)

    def plain_sids(self, namespace: str) -> set[str]:
        """Return the sids of the clients that get no offsets in a namespace."""
        return {clients.sids[namespace] for clients in list(self._clients.values()) if namespace in clients.plain}

    def open(self, clients: ClientSet) -> None:
        self.thread_id = threading.get_native_id()
        self._clients[clients.connection.id] = clients

    def close(self, clients: ClientSet) -> None:
        self._clients.pop(clients.connection.id, None)

    def enter_namespace(self, clients: ClientSet, namespace: str, sid: str, *, is_plain: bool) -> None:
        """Let a client's connection have ``sid`` in a namespace; nothing is sent there before `greet`."""
        clients.sids[namespace] = sid
        clients.arriving.add(namespace)
        if is_plain:
            clients.plain.add(namespace)
        self._clients_by_sid[sid] = clients

    def greet(self, clients: ClientSet, namespace: str, events: list[tuple[ServerEvent | Status, int]]) -> None:
        """Send ``events``, each with its offset, to a namespace, and from then on what its connection gets in its rooms."""
        self.add(Greet(clients.connection, namespace, tuple(clients.connection.rooms), events))

    def greeting(self, clients: ClientSet, namespace: str) -> dict[str, str]:
        """Return what the reply to a client's CONNECT says beside its sid."""
        pid = clients.connection.pid
        return {} if pid is None or namespace in clients.plain else {"pid": pid}

    def leave_namespace(self, clients: ClientSet, namespace: str) -> None:
        """Stop sending to this namespace of the connection."""
        sid = clients.sids.pop(namespace)
        del self._clients_by_sid[sid]
        for room in clients.connection.rooms:
            self._fan_out.leave_room(sid, namespace, clients.key_of(namespace, room))
        clients.plain.discard(namespace)
        clients.arriving.discard(namespace)

    def _send_all(self, effects: deque[Effect | Greet | Later]) -> None:
        if self.is_sending or not effects:
            return
        self.is_sending = True
        try:
            while effects:
                effect = effects.popleft()
                try:
                    self._send(effect)
                except Exception:
                    logger.exception("%s was not sent", type(effect).__name__)
        finally:
            self.is_sending = False

    def _kept(self, messages: list[NewMessage]) -> list[NewMessage]:
        return [entry for entry in messages if type(entry) is not NewMessage or entry.seq not in self._revoked]

    def _send(self, effect: Effect | Greet | Later) -> None:
        if type(effect) is Broadcast:
            room, event, skip = effect.room, effect.event, effect.skip
            if self._revoked and effect.offset in self._revoked:
                return  # it is kept, or should have been: nothing else has such an offset
            for namespace in self._namespaces_of[type(event)]:
                rooms = self._fan_out.rooms.get(namespace)
                if rooms is None:
                    continue
                sids = [self._sids_of(connection).get(namespace) for connection in skip] if skip else ()
                for key, offset in ((_room_key(room), effect.offset), (_plain_key(room), 0)):
                    if key in rooms:
                        self._fan_out.send(event, namespace, key, sids, offset=offset)
        elif type(effect) is Greet:
            self._greet(effect)
        elif type(effect) is Later:
            effect.send(effect.reply and self.checked(effect.reply))
        elif type(effect) is Close:
            self._fan_out.close(effect.connection.id)
        elif isinstance(effect, _TO_ONE):
            clients = self._clients.get(effect.connection.id)
            if clients is not None:
                self._send_to(clients, effect)

    def _send_to(self, clients: ClientSet, effect: Push | Enter | Leave) -> None:
        if type(effect) is Push:
            event = effect.event
            if type(event) is RoomJoined and self._revoked and event.messages is not UNSET:
                event = msgspec.structs.replace(event, messages=self._kept(event.messages))
            for namespace in self._namespaces_of[type(event)]:
                if namespace in clients.sids and namespace not in clients.arriving:
                    offset = 0 if namespace in clients.plain else effect.offset
                    self._fan_out.send(event, namespace, clients.sids[namespace], offset=offset)
        elif type(effect) is Enter:
            for namespace, sid in clients.sids.items():
                if namespace not in clients.arriving:
                    self._fan_out.enter_room(sid, namespace, clients.key_of(namespace, effect.room))
        elif type(effect) is Leave:
            for namespace, sid in clients.sids.items():
                self._fan_out.leave_room(sid, namespace, clients.key_of(namespace, effect.room))

    def _greet(self, greet: Greet) -> None:
        clients = self._clients.get(greet.connection.id)
        sid = clients.sids.get(greet.namespace) if clients else None
        if clients is None or sid is None:
            return  # it has left while its greeting waited
        clients.arriving.discard(greet.namespace)
        is_plain = greet.namespace in clients.plain
        for event, offset in greet.events:
            if not (event.is_kept and offset in self._revoked):
                self._fan_out.send(event, greet.namespace, sid, offset=0 if is_plain else offset)
        for room in greet.rooms:
            if room in clients.connection.rooms:
                self._fan_out.enter_room(sid, greet.namespace, clients.key_of(greet.namespace, room))

    def _sids_of(self, connection: Connection) -> dict[str, str]:
        """Return the sids of a connection by namespace, none if it is gone."""
        clients = self._clients.get(connection.id)
        return clients.sids if clients else {}


def keys_of(room: str) -> tuple[str, str]:
    """Return the Socket.IO rooms in which those are who are in ``room``: each is in one of them."""
    return _room_key(room), _plain_key(room)


def _room_key(room: str) -> str:
    return f"room:{room}"


def _plain_key(room: str) -> str:
    """Return the key of those in a room who get no offsets: their frames are others."""
    return f"plain:{room}"
