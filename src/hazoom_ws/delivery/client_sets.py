"""Who is connected, as Socket.IO sees it: one client per namespace that a connection uses, each with a sid of its own.

Bookkeeping only; within turns. What is sent to whom: `delivery`.
"""

from collections.abc import Collection
from typing import Protocol

from hazoom_ws.chat.presence import Connection, User


class Rate(Protocol):
    """How much may be spent, as `hazoom_ws.access.limits.TokenBucket` says it."""

    def spend(self, now_s: float, cost: float = 1) -> float:
        """Spend and return 0, or return the seconds until that can be."""


class ClientSet:
    """A client's connection as Socket.IO sees it: ``sids`` by namespace.

    ``plain`` holds the namespaces whose client does not want to recover, and gets no offsets; ``arriving`` those that have
    not been greeted, and get nothing before that; ``caught_up`` those that were told what they had missed. ``gets_reply``:
    the event at hand asks for an acknowledgement. ``waiting``: its events that wait for something to be loaded, if any do.
    """

    __slots__ = (
        "arriving",
        "caught_up",
        "connection",
        "gets_reply",
        "paged_bytes",
        "plain",
        "relayed",
        "sids",
        "waiting",
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.gets_reply = False
        self.waiting: object | None = None  # which only who loads looks into
        self.paged_bytes = 0  # of pages that may still be on their way
        self.relayed: Rate | None = None  # of relayed items, None before the first one
        self.caught_up: Collection[str] = ()
        self.sids: dict[str, str] = {}
        self.plain: set[str] = set()
        self.arriving: set[str] = set()

    @property
    def user(self) -> User:
        """Who it is."""
        return self.connection.user

    @property
    def rooms(self) -> tuple[str, ...]:
        """The rooms that its connection is in."""
        return tuple(self.connection.rooms)

    @property
    def is_open(self) -> bool:
        """Whether its connection is here; False from the moment in which it has gone."""
        return self.connection.is_open

    def key_of(self, namespace: str, room: str) -> str:
        """Return the Socket.IO room in which this client is when it is in ``room``."""
        return plain_key(room) if namespace in self.plain else room_key(room)


class ClientSets:
    """The client sets that are connected. Look them up in ``by_connection``, by its id, and in ``by_sid``."""

    def __init__(self) -> None:
        self.by_connection: dict[str, ClientSet] = {}
        self.by_sid: dict[str, ClientSet] = {}

    def add(self, clients: ClientSet) -> None:
        """Let a connection be found, which has no client yet."""
        self.by_connection[clients.connection.id] = clients

    def remove(self, clients: ClientSet) -> None:
        """Let a connection be found no more; that it was not there is no error."""
        self.by_connection.pop(clients.connection.id, None)

    def enter_namespace(self, clients: ClientSet, namespace: str, sid: str, *, is_plain: bool) -> None:
        """Let a connection have a client in a namespace, which is to be greeted there."""
        clients.sids[namespace] = sid
        clients.arriving.add(namespace)
        if is_plain:
            clients.plain.add(namespace)
        self.by_sid[sid] = clients

    def leave_namespace(self, clients: ClientSet, namespace: str) -> None:
        """Let a connection have no client in a namespace any more. Raises `KeyError` if it had none."""
        del self.by_sid[clients.sids.pop(namespace)]
        clients.plain.discard(namespace)
        clients.arriving.discard(namespace)

    def sids_of(self, connection: Connection) -> dict[str, str]:
        """Return the sids of a connection by namespace, none if it is gone."""
        clients = self.by_connection.get(connection.id)
        return clients.sids if clients else {}

    def plain_sids(self, namespace: str) -> set[str]:
        """Return the sids of the clients that get no offsets in a namespace."""
        return {clients.sids[namespace] for clients in list(self.by_connection.values()) if namespace in clients.plain}


def keys_of(room: str) -> tuple[str, str]:
    """Return the Socket.IO rooms in which those are who are in ``room``: each is in one of them."""
    return room_key(room), plain_key(room)


def room_key(room: str) -> str:
    """Return the key of those in a room who get offsets. Its prefix keeps it from being a sid: each is a room as well."""
    return f"room:{room}"


def plain_key(room: str) -> str:
    """Return the key of those in a room who get no offsets: their frames are others."""
    return f"plain:{room}"
