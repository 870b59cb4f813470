"""Who types, between processes: each publishes for a room who has begun or stopped to in a tick, if others are in it.

What another process tells ends with its word, with what its user says, with that process, or else a while after it was told
last: a word that is lost leaves nobody typing for ever.
"""

from collections.abc import Callable

import msgspec

from hazoom_ws.chat.effects import Broadcast, Effect
from hazoom_ws.chat.presence import User
from hazoom_ws.chat.rooms import Rooms
from hazoom_ws.chat.typing import TypingKey
from hazoom_ws.deadlines import Deadlines
from hazoom_ws.events.typing import UserTyping
from hazoom_ws.message_log.peers import Heard, Peers

TYPED = b"t"
_LATE_S = 2.0  # that the word of the end may be
_Typist = tuple[str, str]  # the user's id, and the name that it types under
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[_Typist, bool]]).decode


class TypingElsewhere:
    """Called within turns. `run_due_to_tell` is called after each tick in which it woke, `run_due` on time."""

    def __init__(
        self,
        peers: Peers,
        rooms: Rooms,
        deliver: Callable[[Effect], None],
        *,
        expiry_s: float,
        wake: Callable[[], object],
        wake_ticker: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        self._peers = peers
        self._rooms = rooms
        self._deliver = deliver
        self._wake = wake
        self._wake_ticker = wake_ticker
        self._clock = clock
        self._to_tell: dict[str, dict[_Typist, bool]] = {}  # by room
        self._deadlines: Deadlines[tuple[str, str]] = Deadlines(expiry_s + _LATE_S)  # room and name shown
        self._typists: dict[tuple[str, str], tuple[str, User]] = {}  # of those, by which process and who

    def typed(self, key: TypingKey, is_typing: bool) -> None:
        """Note what the others are to be told."""
        self._to_tell.setdefault(key.room, {})[key.connection.user.id, key.user_name] = is_typing
        self._wake_ticker()

    def tell(self) -> None:
        """Tell it, one publication for each room."""
        to_tell, self._to_tell = self._to_tell, {}
        for room, typists in to_tell.items():
            if self._rooms.is_elsewhere(room):  # asked now, as somebody may have come there this moment
                self._peers.publish(f"room:{room}", TYPED, _pack(list(typists.items())))

    def heard(self, heard: Heard) -> None:
        """Tell who is here that others type or have stopped to."""
        room = heard.channel.removeprefix("room:")
        if not self._rooms.is_held(room):
            return
        for (user_id, name), is_typing in _unpack(heard.data):
            if is_typing:
                self._deadlines.start((room, name), self._clock())
                self._typists[room, name] = (heard.process, User(user_id, name))
                self._tell_here(room, User(user_id, name), is_typing=True)
                self._wake()
            else:
                self.stop(room, name)

    def stop(self, room: str, name: str) -> None:
        """Let somebody on another process type no more, if they did: they have said something, say."""
        typist = self._typists.pop((room, name), None) if self._typists else None
        if typist is not None:
            self._deadlines.stop((room, name))
            self._tell_here(room, typist[1], is_typing=False)

    def ended(self, process: str) -> None:
        """Let nobody type any more by a process."""
        for place in [place for place, (by, _) in self._typists.items() if by == process]:
            self.stop(*place)

    def run_due(self) -> float | None:
        """Let those type no more of whom nothing was heard; return the seconds until the next time, None for never."""
        now_s = self._clock()
        for place in [place for place, _ in self._deadlines.pop_due(now_s)]:
            self.stop(*place)
        return self._deadlines.next_due_in_s(now_s)

    def _tell_here(self, room: str, user: User, *, is_typing: bool) -> None:
        if self._rooms.is_held(room):
            event = UserTyping(user=user.name, is_typing=is_typing, room=room)
            self._deliver(Broadcast(room, event, skip=self._rooms.connections_of(room, user)))
