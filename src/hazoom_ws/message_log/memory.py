"""The log in memory: for tests and for servers whose history may end with the process.

Knows nothing about connections. Not thread-safe: called within a turn. Bounded by messages per room and by bytes over all
rooms; what goes first is the oldest. ``seq`` starts at 1 with the process, ids are unique across restarts.
"""

import secrets
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from operator import attrgetter
from typing import Literal, NamedTuple

from msgspec import UNSET, UnsetType

from hazoom_ws.schemas import NewMessage

PAGE_LIMIT_BYTES = 262_144  # a page goes out twice on joining, and an outbox has 1 MB
_seq_of = attrgetter("seq")


class Page(NamedTuple):
    """Messages of one room, ascending. ``more``: the range holds further ones. ``gap``: some of it is gone for good."""

    messages: list[NewMessage]
    more: bool
    gap: bool


class MemoryLog:
    """Keeps messages, finds resent ones, reads them by room and range."""

    def __init__(self, *, room_limit_count: int, limit_bytes: int) -> None:
        self._room_limit_count = room_limit_count
        self._limit_bytes = limit_bytes
        self._epoch = secrets.token_hex(6)
        self._last_seq = 0
        self._size_bytes = 0
        self._rooms: dict[str, list[NewMessage]] = {}
        self._oldest_first: OrderedDict[int, NewMessage] = OrderedDict()
        self._by_client_id: dict[tuple[str, str, str], NewMessage] = {}
        # The highest seq that was dropped, per room that still has messages, and over the rooms that have none left.
        self._dropped: dict[str, int] = {}
        self._dropped_elsewhere = 0

    @property
    def messages_total(self) -> int:
        """Messages that were ever appended."""
        return self._last_seq

    def find_resent(self, room: str, user: str, client_id: str | UnsetType) -> NewMessage | None:
        """Return the message that ``user`` sent into ``room`` with this ``client_id``, if it is kept."""
        return None if client_id is UNSET else self._by_client_id.get((room, user, client_id))

    def append(
        self,
        *,
        room: str,
        user: str,
        message: str,
        timestamp: float,
        client_id: str | UnsetType = UNSET,
        kind: Literal["prompt", "assistant"] | UnsetType = UNSET,
        request_id: str | UnsetType = UNSET,
    ) -> NewMessage:
        """Keep one message and return it with its ``id`` and ``seq``."""
        self._last_seq += 1
        entry = NewMessage(
            user=user,
            message=message,
            timestamp=timestamp,
            room=room,
            id=f"{self._epoch}-{self._last_seq}",
            seq=self._last_seq,
            client_id=client_id,
            kind=kind,
            request_id=request_id,
        )
        self._rooms.setdefault(room, []).append(entry)
        self._oldest_first[entry.seq] = entry
        self._size_bytes += _size_bytes(entry)
        if client_id is not UNSET:
            self._by_client_id[room, user, client_id] = entry
        if len(self._rooms[room]) > self._room_limit_count:
            self._drop(self._rooms[room][0])
        while self._size_bytes > self._limit_bytes and len(self._oldest_first) > 1:
            self._drop(next(iter(self._oldest_first.values())))
        return entry

    def read(
        self,
        room: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
        newest: bool,
    ) -> Page:
        """Return up to ``limit`` messages with ``after < seq < before``, from the newest or the oldest end.

        A page also ends at 256 KB of text, but holds at least one message. An ``after`` that this log has not reached yet
        comes from before a restart: everything since then is a gap, and the newest messages are returned.
        """
        gap = after is not None and (
            after > self._last_seq or after < self._dropped.get(room, 0 if room in self._rooms else self._dropped_elsewhere)
        )
        if after is not None and after > self._last_seq:
            after, newest = None, True
        entries = self._rooms.get(room, [])
        start = 0 if after is None else bisect_right(entries, after, key=_seq_of)
        stop = len(entries) if before is None else max(start, bisect_left(entries, before, key=_seq_of))
        taken: list[NewMessage] = []
        size_bytes = 0
        for position in range(stop - 1, start - 1, -1) if newest else range(start, stop):
            size_bytes += _size_bytes(entries[position])
            if len(taken) == limit or (taken and size_bytes > PAGE_LIMIT_BYTES):
                break
            taken.append(entries[position])
        if newest:
            taken.reverse()
        return Page(taken, more=len(taken) < stop - start, gap=gap)

    def _drop(self, entry: NewMessage) -> None:
        """Forget the oldest message of its room."""
        del self._oldest_first[entry.seq]
        self._size_bytes -= _size_bytes(entry)
        if entry.client_id is not UNSET:
            self._by_client_id.pop((entry.room, entry.user, entry.client_id), None)
        entries = self._rooms[entry.room]
        del entries[0]
        if entries:
            self._dropped[entry.room] = entry.seq
        else:
            del self._rooms[entry.room]
            self._dropped.pop(entry.room, None)
            self._dropped_elsewhere = max(self._dropped_elsewhere, entry.seq)


def _size_bytes(entry: NewMessage) -> int:
    """Return the text's size, which is at least its characters; the record around it counts as 500 bytes."""
    return len(entry.message) + 500
