"""Who is in which room: coming in, going, and being away for a moment; told to the others there.

Called by the `Hub` within turns; it knows nothing of messages and of what a user may.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from itertools import islice

from hazoom_ws.chat.absences import Absences
from hazoom_ws.chat.effects import Effect, Enter, Leave
from hazoom_ws.chat.notices import Notices
from hazoom_ws.chat.presence import Connection, Members, User, sizes_of
from hazoom_ws.errors import TooManyRooms
from hazoom_ws.events.rooms import RoomJoined, UserJoined, UserLeft
from hazoom_ws.message_log.contract import Page
from hazoom_ws.settings import Settings

LISTED_USERS = 200  # names that a room tells; over it everybody's coming and going is not told to everybody
NOTICE_INTERVAL_S = 1.0
_LOOKED_AT_COUNT = 1000  # rooms for one page, so that many that one may not enter keep nobody waiting
DUE_AT_ONCE = 500  # in one turn, so that a crowd which left at once keeps nobody waiting


class Rooms:
    """The rooms with somebody in them. ``on_left`` is told when a user has left one."""

    def __init__(
        self,
        settings: Settings,
        deliver: Callable[[Effect], None],
        *,
        wake: Callable[[], None],
    ) -> None:
        """As in `Hub`, whose clock ``now_s`` is everywhere."""
        self.on_left: Callable[[str, User], object] = lambda *_: None
        self._deliver = deliver
        self._limit_count = settings.rooms_per_connection_limit
        self._grace_s = settings.presence_grace_s
        self._members: dict[str, Members] = {}
        self._names: list[str] = []  # of them, sorted
        self._sizes: dict[str, int] | None = None  # as it was told last; None since somebody has come or gone
        self._notices = Notices(deliver, wake, crowd_count=LISTED_USERS, interval_s=NOTICE_INTERVAL_S)
        self._absences = Absences(settings.presence_grace_s)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._members)

    def names(self) -> list[str]:
        """Return the rooms that somebody is in. In any thread."""
        return list(self._members)

    def user_count(self, room: str) -> int:
        """Return how many users are in a room."""
        return len(self._members.get(room, ()))

    def users(self, room: str) -> list[User]:
        """Return the users in a room, longest there first, those who may be back in a moment among them."""
        return self._members[room].users() if room in self._members else []

    def connections_of(self, room: str, user: User) -> tuple[Connection, ...]:
        """Return the connections that a user has in a room that somebody is in."""
        return self._members[room].connections_of(user)

    def sizes(self) -> dict[str, int]:
        """Return users per room, see `sizes_of`; the same dictionary until somebody comes or goes: many may ask for it."""
        if self._sizes is None:
            self._sizes = sizes_of(self._members)
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
        members = self._members.get(room)
        if members is None:
            members = self._members[room] = Members()
            insort(self._names, room)
        is_new = members.add(connection)
        self._sizes = None
        self._absences.stop(room, connection.user)
        if is_new:
            event = UserJoined(room=room, user=connection.user.name, user_count=len(members))
            self._notices.announce(room, event, now_s, connection)
        self._deliver(Enter(connection, room))

    def leave(self, connection: Connection, room: str, now_s: float, *, has_dropped: bool) -> None:
        """End a membership. ``has_dropped``: the user stays for `Settings.presence_grace_s`, if this was the last one."""
        del connection.rooms[room]
        self._deliver(Leave(connection, room))
        members = self._members[room]
        if not members.remove_connection(connection):
            return
        if has_dropped and self._grace_s:
            self._absences.start(room, connection.user, now_s)
            for missed_room, missed_user in self._absences.take_excess():
                self._leave_absent(missed_room, missed_user, now_s)
        else:
            members.remove_user(connection.user)
            self._announce_left(room, connection.user, now_s)

    def run_due(self, now_s: float) -> None:
        """Let go of who was away for too long, and tell crowded rooms who came and went, when it is time."""
        for room, user in self._absences.pop_due(now_s, DUE_AT_ONCE):
            self._leave_absent(room, user, now_s)
        self._notices.tell_due(now_s, lambda room: len(self._members[room]))

    def due_at_s(self) -> list[float | None]:
        """Return when `run_due` has something to do, by the clock in seconds; None for never."""
        return [self._absences.next_due_at_s(), self._notices.due_at_s]

    def _leave_absent(self, room: str, user: User, now_s: float) -> None:
        if self._members[room].remove_user(user):
            self._announce_left(room, user, now_s)

    def _announce_left(self, room: str, user: User, now_s: float) -> None:
        self._sizes = None
        members = self._members[room]
        self._notices.announce(room, UserLeft(room=room, user=user.name, user_count=len(members)), now_s)
        if not members:
            del self._members[room]
            del self._names[bisect_left(self._names, room)]
            self._notices.forget(room)
        self.on_left(room, user)
