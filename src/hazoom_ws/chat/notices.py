"""Who came into a room and who left it, told to the others there. Pure bookkeeping; the clock is an argument.

In a crowded room everybody's coming and going would be told to everybody: it hears only of the last, now and then.
"""

from collections.abc import Callable

import msgspec

from hazoom_ws.chat.effects import Broadcast, Effect
from hazoom_ws.chat.presence import Connection
from hazoom_ws.events.rooms import UserJoined, UserLeft


class Notices:
    """What is told, and what crowded rooms have not been told yet."""

    def __init__(
        self, deliver: Callable[[Effect], None], wake: Callable[[], None], *, crowd_count: int, interval_s: float
    ) -> None:
        """A room of more than ``crowd_count`` users is crowded, and told once in ``interval_s`` seconds.

        ``wake`` is called when there is something to tell later.
        """
        self._deliver = deliver
        self._wake = wake
        self._crowd_count = crowd_count
        self._interval_s = interval_s
        self._waiting: dict[str, Broadcast] = {}  # the last arrival or departure of each crowded room
        self.due_at_s: float | None = None  # when they are told, None if there are none

    def announce(self, room: str, event: UserJoined | UserLeft, now_s: float, newcomer: Connection | None = None) -> None:
        """Tell a room now, or a crowded one later. Called before the ``newcomer`` enters."""
        if event.user_count <= self._crowd_count:
            self._deliver(Broadcast(room, event))
            return
        if self.due_at_s is None:
            self.due_at_s = now_s + self._interval_s
        self._waiting[room] = Broadcast(room, event, skip=() if newcomer is None else (newcomer,))
        self._wake()

    def forget(self, room: str) -> None:
        """Forget a room that is empty."""
        self._waiting.pop(room, None)

    def tell_due(self, now_s: float, user_count: Callable[[str], int]) -> None:
        """Tell the crowded rooms, if it is time, with how many users they have now."""
        if self.due_at_s is None or self.due_at_s > now_s:
            return
        waiting, self._waiting, self.due_at_s = self._waiting, {}, None
        for room, notice in waiting.items():
            event = msgspec.structs.replace(notice.event, user_count=user_count(room))
            self._deliver(msgspec.structs.replace(notice, event=event))
