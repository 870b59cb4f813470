"""Who is in which room: coming in, going, and being away for a moment; told to the others there.

Called by the `Hub` within turns; it knows nothing of messages and of what a user may.

Where there are other processes (``others``), a user is *held* in a room by each process that it is connected to, or away
from for a moment. The others are told when that begins and ends, and have a `StandIn` for it: so a user who is in a room by
several is there once, comes once and leaves once. Rooms that nobody here is in are known by their sizes.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from itertools import chain, islice
from typing import Protocol

from hazoom_ws.chat.absences import Absences
from hazoom_ws.chat.effects import Effect, Enter, Leave
from hazoom_ws.chat.notices import Notices
from hazoom_ws.chat.presence import Connection, Members, StandIn, User, sizes_of
from hazoom_ws.errors import TooManyRooms
from hazoom_ws.events.rooms import RoomJoined, UserJoined, UserLeft
from hazoom_ws.message_log.contract import Page
from hazoom_ws.settings import Settings

LISTED_USERS = 200  # names that a room tells; over it everybody's coming and going is not told to everybody
NOTICE_INTERVAL_S = 1.0
_LOOKED_AT_COUNT = 1000  # rooms for one page, so that many that one may not enter keep nobody waiting
DUE_AT_ONCE = 500  # in one turn, so that a crowd which left at once keeps nobody waiting


class Others(Protocol):
    """Who tells other processes of this one's users."""

    def held(self, room: str, user: User, *, is_first: bool) -> None:
        """Note that a user is held in a room from now on. ``is_first``: nobody was before."""

    def let_go(self, room: str, user: User, *, is_last: bool) -> None:
        """Note that it is not any more. ``is_last``: nobody is now."""

    def changed(self, room: str) -> None:
        """Note that a room has another size."""


class Rooms:
    """The rooms with somebody in them. ``on_left`` is told when a user has left one; ``others``: see the module."""

    def __init__(
        self,
        settings: Settings,
        deliver: Callable[[Effect], None],
        *,
        wake: Callable[[], None],
    ) -> None:
        """As in `Hub`, whose clock ``now_s`` is everywhere."""
        self.on_left: Callable[[str, User], object] = lambda *_: None
        self.others: Others | None = None
        self._deliver = deliver
        self._limit_count = settings.rooms_per_connection_limit
        self._grace_s = settings.presence_grace_s
        self._members: dict[str, Members] = {}
        self._held_count = 0  # of them, in which this process holds somebody
        self._elsewhere: dict[str, int] = {}  # users in rooms of other processes
        self._names: list[str] = []  # of all of these rooms, sorted
        self._sizes: dict[str, int] | None = None  # as it was told last; None since somebody has come or gone
        self._notices = Notices(deliver, wake, crowd_count=LISTED_USERS, interval_s=NOTICE_INTERVAL_S)
        self._absences = Absences(settings.presence_grace_s)

    def __len__(self) -> int:
        """Return how many somebody here is in."""
        return len(self._members) if self.others is None else self._held_count

    def names(self) -> list[str]:
        """Return the rooms that somebody here is in. In any thread."""
        if self.others is None:
            return list(self._members)
        return [room for room, members in list(self._members.items()) if members.held_count]

    def is_held(self, room: str) -> bool:
        """Return whether somebody here is in a room. ``others`` is not None."""
        members = self._members.get(room)
        return members is not None and members.held_count > 0

    def is_elsewhere(self, room: str) -> bool:
        """Return whether somebody is in a room by another process."""
        members = self._members.get(room)
        return members is not None and members.stand_ins_count > 0

    def users_held(self, room: str) -> list[User]:
        """Return the users in a room whom this process holds there."""
        members = self._members.get(room)
        if members is None:
            return []
        return [user for user in members.users() if members.connections_of(user) or self._absences.has(room, user)]

    def user_count(self, room: str) -> int:
        """Return how many users are in a room."""
        members = self._members.get(room)
        return self._elsewhere.get(room, 0) if members is None else len(members)

    def users(self, room: str) -> list[User]:
        """Return the users in a room, longest there first, those who may be back in a moment among them."""
        return self._members[room].users() if room in self._members else []

    def connections_of(self, room: str, user: User) -> tuple[Connection, ...]:
        """Return the connections to this process that a user has in a room that somebody is in."""
        return self._members[room].connections_of(user)

    def sizes(self) -> dict[str, int]:
        """Return users per room, see `sizes_of`; the same dictionary until somebody comes or goes: many may ask for it."""
        if self._sizes is None:
            known = ((room, len(members)) for room, members in self._members.items())
            others = ((room, count) for room, count in self._elsewhere.items() if room not in self._members)
            self._sizes = sizes_of(chain(known, others))
        return self._sizes

    def listed(
        self, connection: Connection, prefix: str, after: str | None, limit_count: int
    ) -> tuple[list[str], str | None]:
        """Return the names of a page of rooms, and after which name the next page begins, None if there is none.

        First those that ``connection`` is in, then others that it may enter: of each kind by name, those that begin with
        ``prefix``. ``after``: where the page before has ended, None for the first one.
        """
        names: list[str] = []
        is_among_others = after is not None and after not in connection.rooms
        if not is_among_others:
            own = sorted(room for room in connection.rooms if room.startswith(prefix))
            names = own[0 if after is None else bisect_right(own, after) :]
            if len(names) >= limit_count:
                return names[:limit_count], names[limit_count - 1]
        start = (
            bisect_right(self._names, after) if after is not None and is_among_others else bisect_left(self._names, prefix)
        )
        last = None
        for name in islice(self._names, start, start + _LOOKED_AT_COUNT):
            if not name.startswith(prefix):
                return names, None
            if name in connection.rooms:
                continue
            last = name
            if connection.rights.may_enter(name):
                names.append(name)
                if len(names) == limit_count:
                    return names, last
        return names, last if start + _LOOKED_AT_COUNT < len(self._names) else None

    def described(self, room: str, page: Page) -> RoomJoined:
        """Return what who joins a room is told of it."""
        members = self._members[room]
        return RoomJoined(
            room=room,
            user_count=len(members),
            users=[user.name for user in islice(members.users(), LISTED_USERS)],
            messages=page.messages,
            complete=not (page.more or page.gap),
        )

    def enter(self, connection: Connection, room: str, now_s: float) -> None:
        """Make a connection a member, once. Raises `TooManyRooms`."""
        if room in connection.rooms:
            return
        if len(connection.rooms) >= self._limit_count:
            raise TooManyRooms(self._limit_count)
        connection.rooms[room] = None
        members = self._begun(room)
        is_new = members.add(connection)
        self._sizes = None
        was_away = self._absences.stop(room, connection.user)
        if self.others is not None and not was_away and len(members.connections_of(connection.user)) == 1:
            self._hold(members, room, connection.user, self.others)
        if is_new:
            event = UserJoined(room=room, user=connection.user.name, user_count=len(members))
            self._notices.announce(room, event, now_s, connection)
        self._deliver(Enter(connection, room))

    def leave(self, connection: Connection, room: str, now_s: float, *, has_dropped: bool) -> None:
        """End a membership. ``has_dropped``: the user stays for `Settings.presence_grace_s`, if this was the last one."""
        del connection.rooms[room]
        self._deliver(Leave(connection, room))
        members, user = self._members[room], connection.user
        is_last = members.remove_connection(connection)
        if not is_last and (self.others is None or members.connections_of(user)):
            return
        if has_dropped and self._grace_s:
            self._absences.start(room, user, now_s)
            for missed_room, missed_user in self._absences.take_excess():
                self._leave_absent(missed_room, missed_user, now_s)
        else:
            self._let_go(members, room, user, now_s)

    # Other processes

    def add_elsewhere(self, room: str, stand_in: StandIn, now_s: float) -> None:
        """Let a user be in a room whom another process holds there."""
        members, user = self._begun(room), stand_in.user
        if members.has_stand_in(stand_in):
            return
        is_new = members.add(stand_in)
        members.stand_ins_count += 1
        if self._absences.stop(room, user):
            self._let_go(members, room, user, now_s)  # it has come back there
        if is_new:
            self._note_size(room)
            if members.held_count:  # else nobody here is told
                self._notices.announce(room, UserJoined(room=room, user=user.name, user_count=len(members)), now_s)

    def remove_elsewhere(self, room: str, stand_in: StandIn, now_s: float) -> None:
        """Note that another process holds a user no more in a room, if it did."""
        members = self._members.get(room)
        if members is None or not members.has_stand_in(stand_in):
            return
        members.stand_ins_count -= 1
        if members.remove_connection(stand_in) and not self._absences.has(room, stand_in.user):
            members.remove_user(stand_in.user)
            self._announce_left(room, stand_in.user, now_s)

    def forget(self, room: str) -> None:
        """Know nothing more of who is in a room by other processes; nobody here is in it."""
        members = self._members.get(room)
        if members is not None and not members.held_count:
            self._drop(room)

    def set_size_elsewhere(self, room: str, user_count: int) -> None:
        """Note how many users are in a room that other processes hold somebody in, 0 if none does."""
        self._sizes = None
        if not user_count:
            if self._elsewhere.pop(room, 0) and room not in self._members:
                self._drop_name(room)
            return
        if room not in self._elsewhere and room not in self._members:
            insort(self._names, room)
        self._elsewhere[room] = user_count

    # Time

    def run_due(self, now_s: float) -> None:
        """Let go of who was away for too long, and tell crowded rooms who came and went, when it is time."""
        for room, user in self._absences.pop_due(now_s, DUE_AT_ONCE):
            self._leave_absent(room, user, now_s)
        self._notices.tell_due(now_s, lambda room: len(self._members[room]))

    def due_at_s(self) -> list[float | None]:
        """Return when `run_due` has something to do, by the clock in seconds; None for never."""
        return [self._absences.next_due_at_s(), self._notices.due_at_s]

    def _leave_absent(self, room: str, user: User, now_s: float) -> None:
        self._let_go(self._members[room], room, user, now_s)

    def _let_go(self, members: Members, room: str, user: User, now_s: float) -> None:
        """Hold a user no more; it has left, unless another process holds it."""
        if self.others is not None:
            self._note_size(room)
            members.held_count -= 1
            is_last = not members.held_count
            self._held_count -= is_last
            self.others.let_go(room, user, is_last=is_last)
        if members.remove_user(user):
            self._announce_left(room, user, now_s)

    def _announce_left(self, room: str, user: User, now_s: float) -> None:
        self._note_size(room)
        members = self._members[room]
        if members.held_count or self.others is None:
            self._notices.announce(room, UserLeft(room=room, user=user.name, user_count=len(members)), now_s)
        if not members:
            self._drop(room)
        self.on_left(room, user)

    def _hold(self, members: Members, room: str, user: User, others: Others) -> None:
        self._note_size(room)
        members.held_count += 1
        is_first = members.held_count == 1
        self._held_count += is_first
        others.held(room, user, is_first=is_first)

    def _note_size(self, room: str) -> None:
        self._sizes = None
        if self.others is not None:
            self.others.changed(room)

    def _begun(self, room: str) -> Members:
        """Return the members of a room, which begins if there are none."""
        members = self._members.get(room)
        if members is None:
            members = self._members[room] = Members()
            if room not in self._elsewhere:
                insort(self._names, room)
        return members

    def _drop(self, room: str) -> None:
        self._sizes = None
        del self._members[room]
        self._notices.forget(room)
        if room not in self._elsewhere:
            self._drop_name(room)

    def _drop_name(self, room: str) -> None:
        del self._names[bisect_left(self._names, room)]
