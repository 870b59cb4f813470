"""Who is typing where. Pure bookkeeping; the clock is an argument."""

from typing import NamedTuple

from hazoom_ws.chat.presence import Connection
from hazoom_ws.deadlines import Deadlines


class TypingKey(NamedTuple):
    """One indicator: a connection may name different senders in its payloads."""

    connection: Connection
    room: str
    user_name: str


class TypingIndicators:
    """Those that are on, each until its time is over."""

    def __init__(self, expiry_s: float) -> None:
        self._deadlines: Deadlines[TypingKey] = Deadlines(expiry_s)
        self._of: dict[Connection, set[TypingKey]] = {}

    def __len__(self) -> int:
        return len(self._deadlines)

    def start(self, key: TypingKey, now_s: float) -> None:
        """Start or renew an indicator."""
        self._deadlines.start(key, now_s)
        self._of.setdefault(key.connection, set()).add(key)

    def has_any(self, connection: Connection) -> bool:
        """Return whether a connection types anywhere."""
        return connection in self._of

    def stop(self, key: TypingKey) -> bool:
        """End an indicator and return whether it was on."""
        was_on = self._deadlines.stop(key)
        if was_on:
            self._forget(key)
        return was_on

    def stop_all(self, connection: Connection, room: str) -> list[TypingKey]:
        """End every indicator of ``connection`` in ``room`` and return them."""
        ended = [key for key in self._of.get(connection, ()) if key.room == room]
        for key in ended:
            self.stop(key)
        return ended

    def expire(self, now_s: float) -> list[TypingKey]:
        """End the indicators whose time is over and return them."""
        ended = [key for key, _ in self._deadlines.pop_due(now_s)]
        for key in ended:
            self._forget(key)
        return ended

    def next_due_at_s(self) -> float | None:
        """Return the moment at which the next indicator ends, None if there is none."""
        return self._deadlines.next_due_at_s()

    def _forget(self, key: TypingKey) -> None:
        keys = self._of[key.connection]
        keys.remove(key)
        if not keys:
            del self._of[key.connection]
