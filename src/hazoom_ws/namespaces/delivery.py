"""Turns, and what is sent in them.

A turn is the unit in which the state of an application changes: one event, one token, one expiry. It holds the lock, so
that threads take turns (greenlets do anyway: nothing in a turn waits), and at its end what the hub wants sent goes out in
the order in which it became true. Sending to a dead peer may run our own disconnect handling in the middle of a
broadcast; that is a turn within a turn, whose effects queue behind those that are being sent.

Maps the hub's connections and rooms to Socket.IO's: one sid per namespace that a client uses, and rooms that do not cross
namespaces. Room names get a prefix, because Socket.IO puts every client in a room named like its sid.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hazoom_ws.chat.hub import Broadcast, Effect, Enter, Leave, Push
from hazoom_ws.chat.limits import TokenBucket
from hazoom_ws.chat.presence import Connection
from hazoom_ws.schemas import FEATURES, Feature

logger = logging.getLogger(__name__)

ROOT = "/"
_NAMESPACES_OF: dict[Feature, tuple[str, str]] = {feature: (ROOT, f"/{feature}") for feature in FEATURES}


class Link:
    """A client's connection as Socket.IO sees it: ``sids`` by namespace. ``events`` is its share of events."""

    __slots__ = ("connection", "events", "sids")

    def __init__(self, connection: Connection, events: TokenBucket) -> None:
        self.connection = connection
        self.events = events
        self.sids: dict[str, str] = {}


class Delivery:
    """Runs turns and sends their effects through one Socket.IO server."""

    def __init__(self, server: Any) -> None:
        """``server`` is the `socketio.Server` to send through."""
        self._server = server
        self._lock = threading.RLock()
        self._effects: deque[Effect] = deque()
        self._is_sending = False
        self._links: dict[str, Link] = {}

    def add(self, effect: Effect) -> None:
        """Queue ``effect`` until the turn ends."""
        self._effects.append(effect)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Run the body alone, then send what it queued, also if it raised: its state has changed."""
        with self._lock:
            try:
                yield
            finally:
                self._send_all()

    def link_of(self, connection_id: str) -> Link | None:
        return self._links.get(connection_id)

    def open(self, link: Link) -> None:
        self._links[link.connection.id] = link

    def close(self, link: Link) -> None:
        self._links.pop(link.connection.id, None)

    def enter_namespace(self, link: Link, namespace: str, sid: str) -> None:
        """Let ``sid`` receive what its connection gets; membership holds across namespaces."""
        link.sids[namespace] = sid
        for room in link.connection.rooms:
            self._server.enter_room(sid, _room_key(room), namespace=namespace)

    def leave_namespace(self, link: Link, namespace: str) -> None:
        """Stop sending to this namespace of the connection."""
        sid = link.sids.pop(namespace)
        for room in link.connection.rooms:
            self._server.leave_room(sid, _room_key(room), namespace=namespace)

    def _send_all(self) -> None:
        if self._is_sending:
            return
        self._is_sending = True
        try:
            while self._effects:
                effect = self._effects.popleft()
                try:
                    self._send(effect)
                except Exception:
                    logger.exception("%s was not sent", type(effect).__name__)
        finally:
            self._is_sending = False

    def _send(self, effect: Effect) -> None:
        server = self._server
        match effect:
            case Broadcast(room, event, skip):
                for namespace in _NAMESPACES_OF[event.feature]:
                    sids = [self._sids_of(connection).get(namespace) for connection in skip]
                    server.emit(event.event, event, room=_room_key(room), namespace=namespace, skip_sid=sids)
            case Push(connection, event):
                sids_by_namespace = self._sids_of(connection)
                for namespace in _NAMESPACES_OF[event.feature]:
                    if namespace in sids_by_namespace:
                        server.emit(event.event, event, room=sids_by_namespace[namespace], namespace=namespace)
            case Enter(connection, room):
                for namespace, sid in self._sids_of(connection).items():
                    server.enter_room(sid, _room_key(room), namespace=namespace)
            case Leave(connection, room):
                for namespace, sid in self._sids_of(connection).items():
                    server.leave_room(sid, _room_key(room), namespace=namespace)

    def _sids_of(self, connection: Connection) -> dict[str, str]:
        """Return the sids of a connection by namespace, none if it is gone."""
        link = self._links.get(connection.id)
        return link.sids if link else {}


def _room_key(room: str) -> str:
    return f"room:{room}"
