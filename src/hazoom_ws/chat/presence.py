"""Users and their connections, and who is typing until when. Pure bookkeeping; the clock is an argument."""

import math
import secrets
import string
from collections.abc import Collection, Iterable
from itertools import islice
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from hazoom_ws.chat.rights import EVERYTHING, Rights
from hazoom_ws.names import is_blank
from hazoom_ws.trace_context import TraceContext

GUEST_ALPHABET = string.ascii_lowercase + "234567"  # 32, for five bits each
GUEST_PREFIX, GUEST_CHARS = "Guest-", 4
_GUEST_BITS = 5 * GUEST_CHARS
_IDENTIFIED = "id:"
_CLIENT_BYTES = 9
_LISTED_ROOMS = 1000
_LISTED_ROOMS_BYTES = 65_536


class User(NamedTuple):
    """Who somebody is. In open mode the name is the user; a guest without a name is one of its own.

    Where identities are checked the id says who it is, whatever the name that is shown.
    """

    id: str
    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and self.id == other.id

    def __ne__(self, other: object) -> bool:
        return not self == other  # a tuple has one of its own

    def __hash__(self) -> int:
        return hash(self.id)

    @classmethod
    def identified(cls, user_id: str, name: str) -> "User":
        """Return the user of an id that was checked."""
        return cls(_IDENTIFIED + user_id, name)

    @property
    def checked_id(self) -> str | UnsetType:
        """Return the id that was checked, UNSET if nobody checks who this is."""
        return self.id.removeprefix(_IDENTIFIED) if self.id.startswith(_IDENTIFIED) else UNSET

    @classmethod
    def named(cls, name: str) -> "User":
        """Return the user of a name that nobody has checked: whoever gives the same one is the same."""
        return cls(f"name:{name}", name)

    @property
    def is_guest(self) -> bool:
        """Whether this is somebody without a name of their own."""
        return self.id.startswith("guest:")

    @property
    def sender(self) -> str | UnsetType:
        """Return who sends what this user says, for a log: UNSET if the name shown says it (`MessageLog.append`)."""
        return UNSET if self.id == f"name:{self.name}" else self.id


class Connection:
    """One client's connection, whatever namespaces it uses. ``id`` is opaque here."""

    __slots__ = (
        "address",
        "answers",
        "client",
        "conversation_id",
        "died_answers",
        "guest_key",
        "id",
        "is_open",
        "lost_answers",
        "opened_at_s",
        "pid",
        "recovery_key",
        "rights",
        "rooms",
        "trace",
        "user",
    )

    def __init__(self, connection_id: str, user: User, conversation_id: str, rights: Rights = EVERYTHING) -> None:
        self.id = connection_id
        self.client = secrets.token_urlsafe(_CLIENT_BYTES)  # its id for everybody: the other one is a secret
        self.address = ""  # which limits per address go by; "" for none
        self.trace: TraceContext | None = None  # that a proxy has said it belongs to
        self.user = user
        self.rights = rights
        self.conversation_id = conversation_id  # the conversation that the AI backend remembers for this connection
        self.rooms: dict[str, None] = {}  # in the order of joining
        self.answers: dict[str, str] = {}  # its requests to the AI that have not ended: the room of each id, "" if private
        self.died_answers: dict[str, str] = {}  # those that a restart ended, of its rooms too, and that it has not heard of
        self.lost_answers: dict[str, str] | None = None  # all that are kept nowhere; None until it is known
        self.is_open = True
        self.opened_at_s = math.inf  # by a monotonic clock: of its client's connections the newest is the one that lives
        self.pid: str | None = None  # the secret with which its client can come back
        self.guest_key = ""  # what makes its client the same guest again; "" for who is none
        self.recovery_key = ""  # what its session is kept under; "" if its client cannot come back


class StandIn(NamedTuple):
    """What a room has here for the connections of a user on another process, however many these are."""

    process: str
    user: User


class Members:
    """The users of a room, or of the whole server, each with the connections it is there with.

    ``held_count``: users who are here by this process, be they connected or away for a moment; ``stand_ins_count``: what is
    here for others. Whoever has other processes counts both (`Rooms`).
    """

    __slots__ = ("_connections", "held_count", "stand_ins_count")

    def __init__(self) -> None:
        self._connections: dict[User, dict[Connection | StandIn, None]] = {}
        self.held_count = 0
        self.stand_ins_count = 0

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self._connections)

    def add(self, connection: Connection | StandIn) -> bool:
        """Add ``connection`` and return whether its user was not here before."""
        connections = self._connections.get(connection.user)
        if connections is None:
            self._connections[connection.user] = {connection: None}
            return True
        connections[connection] = None
        return False

    def remove(self, connection: Connection) -> bool:
        """Remove ``connection`` and return whether its user is gone with it."""
        return self.remove_connection(connection) and self.remove_user(connection.user)

    def remove_connection(self, connection: Connection | StandIn) -> bool:
        """Remove ``connection`` but not its user; return whether it was the user's last one."""
        connections = self._connections[connection.user]
        del connections[connection]
        return not connections

    def remove_user(self, user: User) -> bool:
        """Remove a user who is here without a connection; return whether there was one."""
        if self._connections.get(user) != {}:
            return False
        del self._connections[user]
        return True

    def connections_of(self, user: User) -> tuple[Connection, ...]:
        """Return the connections that a user has in the room, () for one who is not here or away."""
        return tuple(one for one in self._connections.get(user, ()) if isinstance(one, Connection))

    def has_stand_in(self, stand_in: StandIn) -> bool:
        """Return whether a user is known to be here by another process."""
        return stand_in in self._connections.get(stand_in.user, ())

    def users(self) -> list[User]:
        """Return the users, longest here first."""
        return list(self._connections)


def guest_name(taken: Collection[str]) -> str:
    """Return a name that none of the guests has."""
    while True:
        number = secrets.randbits(_GUEST_BITS)
        name = GUEST_PREFIX + "".join(GUEST_ALPHABET[number >> shift & 31] for shift in range(0, _GUEST_BITS, 5))
        if name not in taken:
            return name


def name_in(user_name: str | UnsetType) -> str:
    """Return a name that was given, "" if it is blank or left out."""
    return "" if user_name is UNSET or is_blank(user_name) else user_name


def sizes_of(rooms: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return users per room, of the first thousand, or fewer if their names are long: both are the clients' choice."""
    sizes: dict[str, int] = {}
    left_bytes = _LISTED_ROOMS_BYTES
    for name, count in islice(rooms, _LISTED_ROOMS):
        left_bytes -= len(name) * (1 if name.isascii() else 4)
        if left_bytes < 0:
            break
        sizes[name] = count
    return sizes
