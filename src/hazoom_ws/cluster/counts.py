"""How many connections users and addresses have on other processes, what they spend there of their rates, and how those
processes are: for limits, and for statistics.

Each process tells once a second what has changed with it: so a limit may be passed by as many as come within that second.
One that starts, or was away, is told all by everybody, but not what was spent before: while Redis is away each process
counts rates alone.
"""

from collections.abc import Callable
from itertools import islice

import msgspec
from msgspec import Struct

from hazoom_ws.access.shares import Shares, Spent
from hazoom_ws.cluster.processes import EVERYBODY
from hazoom_ws.events.stats import ProcessStats
from hazoom_ws.message_log.peers import Heard, Peers

COUNTS = b"h"
INTERVAL_S = 1.0
_TOLD_AT_ONCE_COUNT = 1000


class Told(Struct, array_like=True):
    """What a process tells: connections by user and by address that have changed (0: none any more), and how it is.

    ``is_first``: what it has told before is no more. ``users_spent`` and ``addresses_spent`` are what was spent since the
    last time; processes before 0.9.1 do not tell it.
    """

    is_first: bool
    users: dict[str, int]
    addresses: dict[str, int]
    stats: ProcessStats
    users_spent: dict[str, Spent] = {}
    addresses_spent: dict[str, Spent] = {}


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Told).decode


class Counts:
    """Called within turns."""

    def __init__(
        self,
        peers: Peers,
        users: Shares,
        addresses: Shares,
        describe: Callable[[], ProcessStats],
        *,
        clock: Callable[[], float],
    ) -> None:
        """``describe()`` says how this process is."""
        self._peers = peers
        self._users = users
        self._addresses = addresses
        self._describe = describe
        self._clock = clock
        self._due_at_s = clock()
        self._stats: dict[str, ProcessStats] = {}  # of the others
        users.begin_to_tell()
        addresses.begin_to_tell()
        peers.on_back.append(self.tell_all)

    def processes(self) -> list[ProcessStats]:
        """Return how the other processes are, as they have told last."""
        return list(self._stats.values())

    def shared_users_count(self) -> int:
        """Return how many users are counted too often if each process counts its own: one on two processes is one user."""
        return self._users.shared_count()

    def run_due(self) -> float:
        """Tell what has changed, if it is time; return the seconds until the next time."""
        now_s = self._clock()
        if now_s >= self._due_at_s:
            self._due_at_s = now_s + INTERVAL_S
            users, addresses = self._users, self._addresses
            self._tell(
                EVERYBODY,
                users.take_changed(),
                addresses.take_changed(),
                users.take_spent(now_s),
                addresses.take_spent(now_s),
                is_first=False,
            )
        return self._due_at_s - now_s

    def tell_all(self, channel: str = EVERYBODY) -> None:
        """Tell all that there is with this process."""
        self._tell(channel, self._users.counts(), self._addresses.counts(), {}, {}, is_first=True)

    def heard(self, heard: Heard) -> None:
        """Note what another process has told."""
        told = _unpack(heard.data)
        if told.is_first:
            self.gone(heard.process)
        self._users.set_elsewhere(heard.process, told.users)
        self._addresses.set_elsewhere(heard.process, told.addresses)
        now_s = self._clock()
        self._users.charge(told.users_spent, now_s)
        self._addresses.charge(told.addresses_spent, now_s)
        self._stats[heard.process] = told.stats

    def gone(self, process: str) -> None:
        """Count nothing of a process any more."""
        self._stats.pop(process, None)
        self._users.forget_elsewhere(process)
        self._addresses.forget_elsewhere(process)

    def _tell(
        self,
        channel: str,
        users: dict[str, int],
        addresses: dict[str, int],
        users_spent: dict[str, Spent],
        addresses_spent: dict[str, Spent],
        *,
        is_first: bool,
    ) -> None:
        stats = self._describe()
        user_items, address_items = iter(users.items()), iter(addresses.items())
        users_spent_items, addresses_spent_items = iter(users_spent.items()), iter(addresses_spent.items())
        most_count = max(len(users), len(addresses), len(users_spent), len(addresses_spent))
        for _ in range(0, max(1, most_count), _TOLD_AT_ONCE_COUNT):
            told = Told(
                is_first,
                dict(islice(user_items, _TOLD_AT_ONCE_COUNT)),
                dict(islice(address_items, _TOLD_AT_ONCE_COUNT)),
                stats,
                dict(islice(users_spent_items, _TOLD_AT_ONCE_COUNT)),
                dict(islice(addresses_spent_items, _TOLD_AT_ONCE_COUNT)),
            )
            self._peers.publish(channel, COUNTS, _pack(told))
            is_first = False
