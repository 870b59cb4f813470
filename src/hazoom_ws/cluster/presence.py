"""Who is in which room by which process: this one's users are told to the others, and theirs are `StandIn`s here.

What is told, and where
    When this process holds its first user in a room, or another one, it publishes that in the room's channel, and keeps it
    in Redis; the same when it lets one go. Who begins to follow a room reads there who is in it, before anybody comes in.
    A process that has its first user in a room is told by the others there what their clients have relayed (`relay`).

When something may have been missed
    A process that has been cut off from Redis keeps anew what it holds, and asks all others what they hold in the rooms
    that it follows; they ask it the same. An answer is all that a process holds there: what it does not name is over. So
    nobody leaves because Redis was away, and all is exact when it is back.

In the order of what is published, as there is one connection that publishes, and one that hears.

Keys in Redis, each process' own: ``present:<process>`` the rooms where it holds somebody, ``present:<process>:<room>`` by
id the names of those, ``there:<room>`` the processes that hold somebody in a room, and ``holding`` the processes that have
any of that.
"""

from collections.abc import Callable, Sequence
from itertools import islice

import msgspec

from hazoom_ws.chat.presence import StandIn, User
from hazoom_ws.chat.rooms import Rooms
from hazoom_ws.cluster.processes import EVERYBODY, FORGET_USERS, HOLDING, PREFIX, script
from hazoom_ws.cluster.relay import Items, RelayElsewhere
from hazoom_ws.message_log.peers import Heard, Peers

CAME, WENT, ASKED, ANSWERED, BACK = b"j", b"l", b"a", b"w", b"k"
_ANSWERED_AT_ONCE_COUNT = 5000  # users, and rooms, in one publication or command
_LEFT_AT_ONCE_COUNT = 500  # in one turn, so that a process which had many keeps nobody waiting
_LOADS_LIMIT_S = 60.0  # after which one that has not ended never will

# ARGV: rooms. Returns for each the processes that hold somebody there, each followed by ids and names.
_WHO_IS_THERE = f"""
local prefix, found = '{PREFIX}', {{}}
for place, room in ipairs(ARGV) do
  found[place] = {{}}
  for _, name in ipairs(redis.call('SMEMBERS', prefix .. 'there:' .. room)) do
    table.insert(found[place], {{name, redis.call('HGETALL', prefix .. 'present:' .. name .. ':' .. room)}})
  end
end
return found
"""

_pack = msgspec.msgpack.Encoder().encode
_Named = tuple[str, str]  # id, name
_unpack_came = msgspec.msgpack.Decoder(_Named).decode
_unpack_went = msgspec.msgpack.Decoder(str).decode


class _Answer(msgspec.Struct, array_like=True):
    """What a process has in a room: all users that it holds, None if only what is relayed is told."""

    room: str
    users: list[_Named] | None
    relayed: Items


_unpack_rooms = msgspec.msgpack.Decoder(list[str]).decode
_unpack_answers = msgspec.msgpack.Decoder(list[_Answer]).decode


class _Load:
    """Who was in rooms when they were read from Redis, and what was heard of them since."""

    def __init__(self, rooms: Sequence[str], now_s: float) -> None:
        self.rooms = frozenset(rooms)
        self.now_s = now_s
        self.found: list[tuple[str, str, User]] = []  # room, process, user
        self.since: list[tuple[str, StandIn, bool]] = []  # room, who, whether they have come


class Presence:
    """See the module, and `chat.rooms.Others`. Called within turns, but for `load`.

    ``on_size`` is told of rooms whose size has changed.
    """

    def __init__(
        self,
        peers: Peers,
        rooms: Rooms,
        relay: RelayElsewhere,
        *,
        wake: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        """``wake`` is called when `run_due` has something to do."""
        self.on_size: Callable[[str], object] = lambda _: None
        self._peers = peers
        self._ask_who_is_there = peers.script(_WHO_IS_THERE)
        self._name = peers.name
        self._rooms = rooms
        self._relay = relay
        self._wake = wake
        self._clock = clock
        self._followed: set[str] = set()
        self._loads: dict[_Load, None] = {}  # to which other threads add
        self._elsewhere: dict[str, dict[str, dict[str, StandIn]]] = {}  # by process, room and id
        self._leaving: dict[tuple[str, StandIn], None] = {}  # whose process is gone
        peers.on_follow.append(self.load)
        peers.on_unfollow.append(self.forget)
        peers.on_back.append(self.come_back)

    # Who is here

    def held(self, room: str, user: User, *, is_first: bool) -> None:
        """Tell the others of a user."""
        tell, name = self._peers.tell, self._name
        if is_first:
            tell("SADD", HOLDING, name)
            tell("SADD", f"{PREFIX}present:{name}", room)
            tell("SADD", f"{PREFIX}there:{room}", name)
        tell("HSET", f"{PREFIX}present:{name}:{room}", user.id, user.name)
        self._peers.publish(f"room:{room}", CAME, _pack((user.id, user.name)))

    def let_go(self, room: str, user: User, *, is_last: bool) -> None:
        """Tell the others that a user is here no more."""
        tell, name = self._peers.tell, self._name
        tell("HDEL", f"{PREFIX}present:{name}:{room}", user.id)
        if is_last:
            tell("SREM", f"{PREFIX}there:{room}", name)
            tell("SREM", f"{PREFIX}present:{name}", room)
            self._relay.forget(room)
        self._peers.publish(f"room:{room}", WENT, _pack(user.id))

    def changed(self, room: str) -> None:
        self.on_size(room)

    # Who is elsewhere

    def load(self, rooms: Sequence[str]) -> Callable[[], None]:
        """Read who is in rooms that are heard from now on; return what lets that be true in a turn. See `OnFollow`."""
        load = _Load(rooms, self._clock())
        self._loads[load] = None
        if rooms:
            found = self._ask_who_is_there([*rooms])
            for room, processes in zip(rooms, found, strict=True):
                for name, users in processes:
                    process = name.decode()
                    for user_id, user_name in zip(users[::2], users[1::2], strict=True):
                        load.found.append((room, process, User(user_id.decode(), user_name.decode())))
        return lambda: self._take(load)

    def _take(self, load: _Load) -> None:
        now_s = self._clock()
        for one in list(self._loads):
            if one is load or now_s - one.now_s >= _LOADS_LIMIT_S:
                del self._loads[one]
        new = load.rooms - self._followed
        self._followed |= new
        for room, process, user in load.found:
            if room in new and process != self._name:
                self._add(room, StandIn(process, user))
        for room, stand_in, has_come in load.since:
            if room in new:
                (self._add if has_come else self._remove)(room, stand_in)

    def forget(self, rooms: Sequence[str]) -> None:
        """Know nothing more of rooms that this process hears no more."""
        self._followed.difference_update(rooms)
        for process, by_room in list(self._elsewhere.items()):
            for room in rooms:
                by_room.pop(room, None)
            if not by_room:
                del self._elsewhere[process]
        for room in rooms:
            self._rooms.forget(room)

    def heard_came(self, heard: Heard) -> None:
        """Note that another process holds a user in a room from now on."""
        self._note(heard, StandIn(heard.process, User(*_unpack_came(heard.data))), has_come=True)

    def heard_went(self, heard: Heard) -> None:
        """Note that another process holds a user in a room no more."""
        user_id = _unpack_went(heard.data)
        self._note(heard, StandIn(heard.process, User(user_id, "")), has_come=False)

    def _note(self, heard: Heard, stand_in: StandIn, *, has_come: bool) -> None:
        room = heard.channel.removeprefix("room:")
        for load in list(self._loads):
            if room in load.rooms:
                load.since.append((room, stand_in, has_come))
        if room in self._followed:
            (self._add if has_come else self._remove)(room, stand_in)

    def _add(self, room: str, stand_in: StandIn) -> None:
        process = stand_in.process
        self._leaving.pop((room, stand_in), None)
        by_room = self._elsewhere.setdefault(process, {})
        if room not in by_room and (values := self._relay.values_here(room)):
            # Until now it was not told what is relayed there.
            self._peers.publish(f"process:{process}", ANSWERED, _pack([_Answer(room, None, values)]))
        by_room.setdefault(room, {})[stand_in.user.id] = stand_in
        self._rooms.add_elsewhere(room, stand_in, self._clock())

    def _remove(self, room: str, stand_in: StandIn) -> None:
        by_room = self._elsewhere.get(stand_in.process, {})
        by_id = by_room.get(room, {})
        known = by_id.pop(stand_in.user.id, None)  # it knows the name
        if known is None:
            return
        if not by_id:
            del by_room[room]
        self._rooms.remove_elsewhere(room, known, self._clock())

    # When something may have been missed

    def come_back(self) -> None:
        """Keep anew what this process holds, and let all tell each other who is where: Redis was away."""
        tell, name = self._peers.tell, self._name
        for command in script(FORGET_USERS, name):
            tell(*command)
        tell("SADD", HOLDING, name)
        rooms = self._rooms.names()
        for start in range(0, len(rooms), _ANSWERED_AT_ONCE_COUNT):
            tell("SADD", f"{PREFIX}present:{name}", *rooms[start : start + _ANSWERED_AT_ONCE_COUNT])
        for room in rooms:
            tell("SADD", f"{PREFIX}there:{room}", name)
            users = self._rooms.users_held(room)
            for start in range(0, len(users), _ANSWERED_AT_ONCE_COUNT):
                part = users[start : start + _ANSWERED_AT_ONCE_COUNT]
                tell("HSET", f"{PREFIX}present:{name}:{room}", *(text for user in part for text in user))
        self._peers.publish(EVERYBODY, BACK, _pack(list(self._followed)))

    def heard_back(self, heard: Heard) -> None:
        """Answer a process that was away, and ask it the same."""
        self.heard_question(heard)
        self._peers.publish(f"process:{heard.process}", ASKED, _pack(list(self._followed)))

    def heard_question(self, heard: Heard) -> None:
        """Tell a process what this one has in rooms."""
        answers: list[_Answer] = []
        count = 0
        for room in _unpack_rooms(heard.data):
            users = [(user.id, user.name) for user in self._rooms.users_held(room)]
            answers.append(_Answer(room, users, self._relay.values_here(room)))
            count += 1 + len(users)
            if count >= _ANSWERED_AT_ONCE_COUNT:
                self._peers.publish(f"process:{heard.process}", ANSWERED, _pack(answers))
                answers, count = [], 0
        if answers:
            self._peers.publish(f"process:{heard.process}", ANSWERED, _pack(answers))

    def heard_answers(self, heard: Heard) -> None:
        """Let what a process has in rooms be all that it has there."""
        for answer in _unpack_answers(heard.data):
            room = answer.room
            if answer.users is not None and room in self._followed:
                before = dict(self._elsewhere.get(heard.process, {}).get(room, {}))
                for user_id, name in answer.users:
                    before.pop(user_id, None)
                    self._add(room, StandIn(heard.process, User(user_id, name)))
                for stand_in in before.values():
                    self._remove(room, stand_in)
            if self._rooms.is_held(room):
                self._relay.replace(room, heard.process, answer.relayed)

    # When a process is gone

    def gone(self, process: str) -> None:
        """Let all leave whom a process has held."""
        for room, by_id in self._elsewhere.get(process, {}).items():
            for stand_in in by_id.values():
                self._leaving[room, stand_in] = None
        if self._leaving:
            self.run_due()
            self._wake()

    def run_due(self) -> float | None:
        """Let a share of those leave; return 0 if there are more, else None."""
        for place in list(islice(self._leaving, _LEFT_AT_ONCE_COUNT)):
            del self._leaving[place]
            self._remove(*place)
        return 0.0 if self._leaving else None
