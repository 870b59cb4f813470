"""Turns, and what is sent in them.

A turn is the unit in which the state of an application changes: one event, one token, one expiry. Threads take turns by a
lock, greenlets do anyway: nothing in a turn waits. At its end what the hub wants sent goes out in the order in which it
became true. Sending to a dead peer may run our own disconnect handling in the middle of a
broadcast; that is a turn within a turn, whose effects queue behind those that are being sent.

Maps the hub's connections and rooms to Socket.IO's: one sid per namespace that a client uses, and rooms that do not cross
namespaces. Room names get a prefix, because Socket.IO puts every client in a room named like its sid.
"""

import logging
from collections import deque
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from hazoom_ws.chat.hub import Broadcast, Effect, Enter, Leave, Push
from hazoom_ws.chat.limits import TokenBucket
from hazoom_ws.chat.presence import Connection
from hazoom_ws.schemas import FEATURES, Feature
from hazoom_ws.transport.fan_out import FanOut

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
    """Runs turns and sends their effects through one fan-out."""

    def __init__(self, fan_out: FanOut, lock: AbstractContextManager[Any] | None) -> None:
        """``lock`` is a reentrant one where threads take turns, None where nothing runs beside a turn."""
        self._fan_out = fan_out
        self._lock = lock
        self._effects: deque[Effect] = deque()
        self._is_sending = False
        self._links: dict[str, Link] = {}  # by the connection's id
        self._links_by_sid: dict[str, Link] = {}

    def add(self, effect: Effect) -> None:
        """Queue ``effect`` until the turn ends."""
        self._effects.append(effect)

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
            self._send_all()
        finally:
            if self._lock is not None:
                self._lock.__exit__(kind, error, traceback)

    def link_of(self, connection_id: str) -> Link | None:
        return self._links.get(connection_id)

    def link_of_sid(self, sid: str) -> Link | None:
        """Return the link of a client that has entered a namespace as ``sid``."""
        return self._links_by_sid.get(sid)

    def open(self, link: Link) -> None:
        self._links[link.connection.id] = link

    def close(self, link: Link) -> None:
        self._links.pop(link.connection.id, None)

    def enter_namespace(self, link: Link, namespace: str, sid: str) -> None:
        """Let ``sid`` receive what its connection gets; membership holds across namespaces."""
        link.sids[namespace] = sid
        self._links_by_sid[sid] = link
        for room in link.connection.rooms:
            self._fan_out.enter_room(sid, namespace, _room_key(room))

    def leave_namespace(self, link: Link, namespace: str) -> None:
        """Stop sending to this namespace of the connection."""
        sid = link.sids.pop(namespace)
        del self._links_by_sid[sid]
        for room in link.connection.rooms:
            self._fan_out.leave_room(sid, namespace, _room_key(room))

    def _send_all(self) -> None:
        effects = self._effects
        if self._is_sending or not effects:
            return
        self._is_sending = True
        try:
            while effects:
                effect = effects.popleft()
                try:
                    self._send(effect)
                except Exception:
                    logger.exception("%s was not sent", type(effect).__name__)
        finally:
            self._is_sending = False

    def _send(self, effect: Effect) -> None:
        if type(effect) is Broadcast:
            room, event, skip = effect
            for namespace in _NAMESPACES_OF[event.feature]:
                if namespace in self._fan_out.rooms:
                    sids = [self._sids_of(connection).get(namespace) for connection in skip] if skip else ()
                    self._fan_out.send(event, namespace, _room_key(room), sids)
        elif type(effect) is Push:
            sids_by_namespace = self._sids_of(effect.connection)
            for namespace in _NAMESPACES_OF[effect.event.feature]:
                if namespace in sids_by_namespace:
                    self._fan_out.send(effect.event, namespace, sids_by_namespace[namespace])
        elif type(effect) is Enter:
            for namespace, sid in self._sids_of(effect.connection).items():
                self._fan_out.enter_room(sid, namespace, _room_key(effect.room))
        elif type(effect) is Leave:
            for namespace, sid in self._sids_of(effect.connection).items():
                self._fan_out.leave_room(sid, namespace, _room_key(effect.room))

    def _sids_of(self, connection: Connection) -> dict[str, str]:
        """Return the sids of a connection by namespace, none if it is gone."""
        link = self._links.get(connection.id)
        return link.sids if link else {}


def _room_key(room: str) -> str:
    return f"room:{room}"
