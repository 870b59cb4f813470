"""The rooms that this process follows: what is said there is in memory from the moment in which it listens.

A room is followed when somebody asks for it within a turn and it is not (`require`): it is loaded then, which is to listen
to its channel, and to know up to where all that was said before can be read from Redis. It is let go when nobody here is
in it and nobody has asked for a while.

What is heard of a room says which message came before it there: if that is another one than was heard last, something was
missed, and the log has to begin to listen anew.
"""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol

from hazoom_ws.message_log.contract import NotLoaded
from hazoom_ws.message_log.peers import OnFollow
from hazoom_ws.message_log.redis.bus import Bus, Item, Published
from hazoom_ws.message_log.redis.encoding import encode_change, encode_message
from hazoom_ws.message_log.redis.store import Store
from hazoom_ws.message_log.state_cache import StateCache

_LOOK_INTERVAL_S = 10.0
_KEPT_S = 30.0  # for which a room is followed though nobody is in it
_FILLED = b"/"  # the origin of what was read instead of heard: no batch is called so
AHEAD_LIMIT = 10_000_000  # a number that is so much higher than any here is none of this log's: ten seconds
_LOOKED_UP_LIMIT_COUNT = 1000
MISSED = "something that was said on another process was missed"


class Hearing(Protocol):
    """Who applies what is heard: the `Replica`."""

    check: Callable[[], None]
    tell_all: Callable[[], None]  # which applies what was heard, and has it told

    def move_on(self, seq: int) -> None:
        """Give no number any more that is not above this one."""


class _Room:
    """A room that is followed: ``since`` which number it is in memory, what was heard last, and when it was asked for."""

    __slots__ = ("asked_at_s", "heard_seq", "since")

    def __init__(self, since: int, now_s: float) -> None:
        self.since = self.heard_seq = since
        self.asked_at_s = now_s


class Followed:
    """Which rooms are followed. Called within turns, but for `missed` and `tidy`.

    ``on_follow`` and ``on_unfollow`` are as in `Peers`. ``used()`` returns the rooms that somebody here is
    in; ``heard_seq`` is the highest number that was heard.
    """

    def __init__(self, replica: Hearing, bus: Bus, store: Store, states: StateCache, *, clock: Callable[[], float]) -> None:
        self.on_follow: list[OnFollow] = []
        self.on_unfollow: list[Callable[[list[str]], object]] = []
        self.used: Callable[[], Collection[str]] = list
        self.heard_seq = 0
        self._replica = replica
        self._bus = bus
        self._store = store
        self._states = states
        self._clock = clock
        self._rooms: dict[str, _Room] = {}
        self._caught_up_with = 0
        self._looked_up: set[int] = set()  # numbers that nobody can have heard, until that is asked again
        self._looked_at_s = clock()
        self._leaving: list[str] = []

    def is_followed(self, room: str) -> bool:
        """Return whether a room is followed."""
        return room in self._rooms

    def since(self, room: str) -> int:
        """Return the number after which all that was said in a followed room is in memory, or was there."""
        return self._rooms[room].since

    def require(self, rooms: Iterable[str]) -> None:
        """Raise `NotLoaded` for those that are not followed yet."""
        now_s = self._clock()
        missing = []
        for room in rooms:
            followed = self._rooms.get(room)
            if followed is None:
                missing.append(room)
            else:
                followed.asked_at_s = now_s
        if missing:
            self._replica.check()
            raise NotLoaded(lambda: self._follow(missing))

    def catch_up_with(self, seq: int) -> None:
        """Raise `NotLoaded` unless all is heard that anybody can have heard who knows a number."""
        if seq > self._caught_up_with and seq not in self._looked_up:
            self._replica.check()
            raise NotLoaded(lambda: self._caught_up(seq))
        self._looked_up.discard(seq)

    def _follow(self, rooms: list[str]) -> Callable[[], None]:
        """Listen to rooms, beside turns; return what is to be called within one."""
        self._bus.follow([f"room:{room}" for room in rooms])
        # When that is called all is heard that is up to this number; what is above it is heard later.
        self._bus.barrier(self._beginning(rooms))
        return self._replica.tell_all

    def _beginning(self, rooms: list[str]) -> Callable[[], None]:
        """Return what begins to follow rooms that this process hears by now. Beside turns."""
        takes = [load(rooms) for load in self.on_follow]
        return partial(self._begin, rooms, self._store.last_seq(), takes)

    def _begin(self, rooms: list[str], last_seq: int, takes: list[Callable[[], object]]) -> None:
        now_s = self._clock()
        # More may have been heard since that was the last, and was passed over: nobody followed the rooms yet.
        since = max(last_seq, self.heard_seq)
        for room in rooms:
            if room not in self._rooms:
                self._rooms[room] = _Room(since, now_s)
        for take in takes:
            take()
        self._replica.move_on(last_seq)

    def _caught_up(self, seq: int) -> Callable[[], None]:
        last_seq = self._store.last_seq()

        def note() -> None:
            self._replica.move_on(last_seq)
            if seq <= last_seq + AHEAD_LIMIT:
                self._caught_up_with = max(self._caught_up_with, seq)
                return
            if len(self._looked_up) >= _LOOKED_UP_LIMIT_COUNT:  # they asked, and went away
                self._looked_up.clear()
            self._looked_up.add(seq)

        self._bus.barrier(note)
        return self._replica.tell_all

    def note(self, room: str, before: int, seq: int) -> bool:
        """Note that a message was heard, and which came before it; return whether it is news.

        It is not if the room is not followed, or not yet when it was said: then it is read from Redis.
        """
        self.heard_seq = max(self.heard_seq, seq)
        followed = self._rooms.get(room)
        if followed is None or seq <= followed.heard_seq:
            return False
        if before > followed.heard_seq:
            self._bus.on_broken(MISSED)
            return False
        followed.heard_seq = seq
        return True

    # Letting go

    def let_go(self) -> None:
        """Follow no more where nobody is and nobody has asked for a while; now and then."""
        now_s = self._clock()
        if now_s - self._looked_at_s < _LOOK_INTERVAL_S:
            return
        self._looked_at_s = now_s
        used = set(self.used())  # which may be a list: thousands of rooms are looked for in it
        gone = [room for room, each in self._rooms.items() if now_s - each.asked_at_s > _KEPT_S and room not in used]
        for room in gone:
            del self._rooms[room]
            self._states.forget_room(room)
        if gone:
            for forget in self.on_unfollow:
                forget(gone)
        self._bus.drop([f"room:{room}" for room in gone])
        self._leaving += gone

    @property
    def is_untidy(self) -> bool:
        """Whether `tidy` has something to do."""
        return bool(self._leaving)

    def tidy(self) -> None:
        """Listen no more to what was let go. Beside turns."""
        leaving, self._leaving = self._leaving, []
        self._bus.unfollow([f"room:{room}" for room in leaving])

    # After Redis was away

    def missed(self) -> list[Item]:
        """Return what was said and set in the rooms that are followed and was not heard, in its order. Beside turns."""
        rooms = list(self._rooms.items())
        found: list[tuple[int, Published]] = []
        newest_seqs = self._store.newest_seqs([room for room, _ in rooms])
        for (room, followed), newest_seq in zip(rooms, newest_seqs, strict=True):
            if newest_seq > followed.heard_seq:
                before = followed.heard_seq
                for entry in self._store.messages_after(room, before):
                    data = b"%d %d %b" % (before, entry.seq, encode_message(entry))
                    found.append((entry.seq, Published(f"room:{room}", _FILLED, b"m", data)))
                    before = entry.seq
        for room in self._states.loaded_rooms():
            for change in self._store.changes_after(room, self._states.newest_seq(room)):
                data = b"%d %b" % (change.seq, encode_change(change))
                found.append((change.seq, Published(f"room:{room}", _FILLED, b"s", data)))
        found.sort(key=lambda item: item[0])
        # Who came while Redis was away is in rooms that are not followed yet.
        new = [room for room in list(self.used()) if room not in self._rooms]
        self._bus.follow([f"room:{room}" for room in new])
        return [*(heard for _, heard in found), self._beginning(new)]
