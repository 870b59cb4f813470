"""The log in memory: for tests, for servers whose history may end with the process, and for the newest part of a file's.

Not thread-safe, but for reading documents. Bounded by messages and text per room and by bytes over all rooms, by four times
as many bytes of rooms' states, and eight times as many of documents; what goes first is the oldest.
"""

import secrets
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from sys import getsizeof
from typing import Literal

from msgspec import UNSET, UnsetType

from hazoom_ws.events.base import FinishReason
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.alone import Alone
from hazoom_ws.message_log.contract import (
    MESSAGES,
    PAGE_LIMIT_BYTES,
    Batch,
    KnownSessions,
    Page,
    ResentKey,
    SessionChange,
    StoredSession,
    only,
    page_of,
    resent_key,
    size_bytes,
)
from hazoom_ws.message_log.documents import Documents
from hazoom_ws.message_log.memory_documents import MemoryDocuments
from hazoom_ws.message_log.room_state import RoomStates
from hazoom_ws.message_log.state_cache import STATES_SHARE, StateCache

_seq_of = attrgetter("seq")
_NOTHING = NewMessage(user="", message="", timestamp=0, room="", id="", seq=0)
_NAMES_CHARS = 128  # are in the 500 bytes that a record counts for
_CLIENT_ID_BYTES, _SENDER_BYTES, _ROOM_BYTES = 130, 110, 150  # of the indexes, beyond that
_COMPACTED_COUNT = 64
_DROPPED_AT_ONCE = 64
_TRIMMED_AT_ONCE_BYTES = 32_768  # several at a time go faster
_DOCUMENTS_SHARE = 8  # of the bound of messages: one document may have twice that


class _Room:
    """What is here of a room. Its first ``dropped_count`` places are empty; after ``complete_from`` nothing is missing."""

    __slots__ = ("complete_from", "dropped_count", "entries", "has_events", "name", "size_bytes", "sizes_bytes")

    def __init__(self, name: str, complete_from: int) -> None:
        self.name = name
        self.complete_from = complete_from
        self.entries: list[NewMessage] = []
        self.sizes_bytes = array("L")  # of each: finding it out again takes longer than anything else when one is dropped
        self.dropped_count = 0
        self.size_bytes = 0
        self.has_events = False  # whether there were ever any beside messages

    def __len__(self) -> int:
        return len(self.entries) - self.dropped_count

    def oldest(self) -> NewMessage:
        return self.entries[self.dropped_count]

    def drop_oldest(self, seq: int) -> int:
        """Remove the oldest message in constant time: emptying its place moves none of the others. Return its size."""
        self.complete_from = seq
        dropped_count = self.dropped_count
        self.entries[dropped_count] = _NOTHING
        size_bytes = self.sizes_bytes[dropped_count]
        dropped_count += 1
        if dropped_count >= _COMPACTED_COUNT and dropped_count * 2 >= len(self.entries):
            del self.entries[:dropped_count]
            del self.sizes_bytes[:dropped_count]
            dropped_count = 0
        self.dropped_count = dropped_count
        return size_bytes

    def remove(self, seq: int) -> int:
        """Remove a message and return its size."""
        index = bisect_left(self.entries, seq, self.dropped_count, key=_seq_of)
        del self.entries[index]
        return self.sizes_bytes.pop(index)

    def range(self, after: int, before: int | None) -> list[NewMessage]:
        entries, first = self.entries, self.dropped_count
        end = len(entries) if before is None else bisect_left(entries, before, first, key=_seq_of)
        return entries[bisect_right(entries, after, first, key=_seq_of) : end]


def _extra_bytes(entry: NewMessage) -> int:
    """Return what a message takes in memory beyond its `size_bytes`, about. The same whenever it is asked."""
    client_id = entry.client_id
    names_chars = len(entry.room) + len(entry.user)
    if client_id is UNSET:
        if names_chars <= _NAMES_CHARS and entry.message.isascii():
            return 0
        client_id = ""
    # A text that is not ASCII takes up to four bytes a character, and keeps the UTF-8 that it had to be once.
    extra_bytes = 0 if entry.message.isascii() else getsizeof(entry.message)
    if client_id:
        extra_bytes += _CLIENT_ID_BYTES
        names_chars += len(client_id)
    if names_chars > _NAMES_CHARS:
        is_plain = entry.room.isascii() and entry.user.isascii() and client_id.isascii()
        extra_bytes += names_chars if is_plain else 8 * names_chars
    return extra_bytes


class MemoryLog(Alone):
    """Keeps messages, finds resent ones, reads them by room and range."""

    problem: str | None = None
    path: Path | None = None
    is_dirty = is_pressing = is_untidy = is_checkpoint_due = False  # there is nothing to write

    def __init__(
        self, *, room_limit_count: int, limit_bytes: int, start_seq: int = 0, room_limit_bytes: int = 2**62, epoch: str = ""
    ) -> None:
        """``start_seq`` is the number before the first, ``epoch`` what ids begin with, a new one by default."""
        self._room_limit_count = room_limit_count
        self._room_limit_bytes = room_limit_bytes
        self._limit_bytes = limit_bytes
        self._trimmed_from_bytes = limit_bytes + min(limit_bytes // 256, _TRIMMED_AT_ONCE_BYTES)
        self.epoch = epoch or secrets.token_hex(6)
        self.last_seq = start_seq
        self.messages_total = 0
        self.droppable_seq = 2**62  # what is newer stays, whatever the bounds: it is nowhere else yet
        # Called with what leaves for want of space, and who sent it.
        self.on_drop: Callable[[NewMessage, str | UnsetType], None] | None = None
        self._held_bytes = 0
        self._rooms: dict[str, _Room] = {}
        self._oldest_first: OrderedDict[int, NewMessage] = OrderedDict()
        self._by_client_id: dict[ResentKey, NewMessage] = {}
        self._senders: dict[int, str] = {}  # by seq, of messages with a client_id whose names do not say it
        self._dropped_elsewhere = start_seq  # the highest seq that was dropped of rooms that have no messages left
        self._start_seq = start_seq
        self.states: RoomStates = StateCache(
            self, limit_bytes=STATES_SHARE * limit_bytes, forgotten_seq=start_seq, is_kept_at_once=True
        )
        self.documents: Documents = MemoryDocuments(self.next_offset, limit_bytes=_DOCUMENTS_SHARE * limit_bytes)

    def next_offset(self) -> int:
        """Return a ``seq`` that no message gets."""
        self.last_seq += 1
        return self.last_seq

    def find_resent(
        self, room: str, user: str, client_id: str | UnsetType, sender: str | UnsetType = UNSET
    ) -> NewMessage | None:
        """Return the message that was sent into ``room`` with this ``client_id`` by the same one, if it is kept."""
        return None if client_id is UNSET else self._by_client_id.get(resent_key(room, user, client_id, sender))

    def append(
        self,
        *,
        room: str,
        user: str,
        message: str,
        timestamp: float,
        client_id: str | UnsetType = UNSET,
        sender: str | UnsetType = UNSET,
        kind: Literal["prompt", "assistant"] | UnsetType = UNSET,
        request_id: str | UnsetType = UNSET,
        finish_reason: FinishReason | UnsetType = UNSET,
        code: str | UnsetType = UNSET,
        event_name: str | UnsetType = UNSET,
        user_id: str | UnsetType = UNSET,
    ) -> NewMessage:
        """Keep one message and return it with its ``id`` and ``seq``."""
        self.last_seq += 1
        kept = self._rooms.get(room)
        entry = NewMessage(
            user=user,
            message=message,
            timestamp=timestamp,
            room=room if kept is None else kept.name,  # one object for all of them
            id=f"{self.epoch}-{self.last_seq}",
            seq=self.last_seq,
            client_id=client_id,
            kind=kind,
            request_id=request_id,
            finish_reason=finish_reason,
            code=code,
            event_name=event_name,
            user_id=user_id,
        )
        self.add(entry, sender)
        return entry

    def add(self, entry: NewMessage, sender: str | UnsetType = UNSET, *, is_sender_known: bool = True) -> None:
        """Keep a message, whose number is above those of all before it in its room.

        The caller sees to ``last_seq``. If it is not known who sent it, `find_resent` does not return it: two may show one
        name.
        """
        room, seq, client_id = entry.room, entry.seq, entry.client_id
        kept = self._rooms.get(room)
        if kept is None:
            kept = self._rooms[room] = _Room(room, self._dropped_elsewhere)
            self._held_bytes += _ROOM_BYTES
        if entry.event_name is UNSET:
            self.messages_total += 1
        else:
            kept.has_events = True
        entry_bytes = size_bytes(entry)
        kept.size_bytes += entry_bytes
        kept.sizes_bytes.append(entry_bytes)
        self._held_bytes += entry_bytes + _extra_bytes(entry)
        kept.entries.append(entry)
        self._oldest_first[seq] = entry
        if client_id is not UNSET and is_sender_known:
            if sender is UNSET:
                self._by_client_id[room, entry.user, client_id] = entry
            else:
                self._by_client_id[resent_key(room, entry.user, client_id, sender)] = entry
                self._senders[seq] = sender
                self._held_bytes += _SENDER_BYTES
        if kept.size_bytes > self._room_limit_bytes or len(kept) > self._room_limit_count:
            self._trim_room(kept)
        if self._held_bytes > self._trimmed_from_bytes:
            self._trim()

    # What could not be dropped for long goes little by little: nothing in a turn takes long.

    def _trim_room(self, kept: _Room) -> None:
        for _ in range(_DROPPED_AT_ONCE):
            count = len(kept)
            is_full = count > self._room_limit_count or (kept.size_bytes > self._room_limit_bytes and count > 1)
            if not is_full or kept.oldest().seq > self.droppable_seq:
                break
            oldest = kept.oldest()
            del self._oldest_first[oldest.seq]
            self._drop(oldest)

    def _trim(self) -> None:
        oldest_first, droppable_seq = self._oldest_first, self.droppable_seq
        for _ in range(_DROPPED_AT_ONCE):
            if self._held_bytes <= self._limit_bytes or len(oldest_first) == 1:
                break
            seq, entry = oldest_first.popitem(last=False)
            if seq > droppable_seq:
                oldest_first[seq] = entry
                oldest_first.move_to_end(seq, last=False)
                break
            self._drop(entry)

    def read(
        self,
        room: str,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
        newest: bool,
        limit_bytes: int = PAGE_LIMIT_BYTES,
        event_name: str | None = MESSAGES,
    ) -> Page:
        """See `MessageLog`. An ``after`` that this log has not reached yet is none of its numbers: all of it is a gap."""
        gap = after is not None and self._has_gap(room, after)
        if after is not None and after > self.last_seq:
            after, newest = None, True
        entries = self.range(room, after or 0, before)
        if event_name is not None and (event_name or self.has_events(room)):
            entries = list(only(entries, event_name))
        taken, more = page_of(reversed(entries) if newest else entries, limit, limit_bytes)
        if newest:
            taken.reverse()
        return Page(taken, more, gap)

    def range(self, room: str, after: int, before: int | None) -> list[NewMessage]:
        """Return all that is here of a room with ``after < seq < before``, ascending."""
        kept = self._rooms.get(room)
        return kept.range(after, before) if kept else []

    def has_events(self, room: str) -> bool:
        """Return whether a room may have records of events among those that are here."""
        kept = self._rooms.get(room)
        return kept is not None and kept.has_events

    def newer_than(self, seq: int) -> list[NewMessage]:
        """Return all that is here with a higher ``seq``, ascending."""
        return [entry for entry in list(self._oldest_first.values()) if entry.seq > seq]

    def senders_of(self, entries: Iterable[NewMessage]) -> dict[int, str]:
        """Return who sent messages, by seq, as far as they were appended with that."""
        senders = self._senders
        return {entry.seq: senders[entry.seq] for entry in entries if entry.seq in senders} if senders else {}

    def _has_gap(self, room: str, after: int) -> bool:
        complete_from = self.complete_from(room)
        # An ``after`` of 0 is who has seen nothing and asks for what there is.
        return after > self.last_seq or (after < complete_from and (after > 0 or complete_from > self._start_seq))

    def complete_from(self, room: str) -> int:
        """Return the ``seq`` after which nothing of a room is missing here."""
        kept = self._rooms.get(room)
        return kept.complete_from if kept else self._dropped_elsewhere

    def save_session(self, key: str, session: StoredSession | None, *, can_wait: bool = False) -> None:
        """Nothing is kept: sessions end with the process too."""

    def change_session(self, key: str, change: SessionChange, *, can_wait: bool = False) -> None:
        """Nothing is kept here either."""

    def restore_from(self, known: KnownSessions) -> None:
        """Nothing is lost that was kept."""

    def press(self) -> None:
        """Nothing waits."""

    def sessions(self) -> Iterator[tuple[str, StoredSession]]:
        """There are none: they have ended with the process."""
        yield from ()

    def pop_batch(self) -> Batch:
        """Nothing is to be written."""
        return Batch([], {}, {}, 0)

    def write(self, batch: Batch) -> None:
        """Nothing can be lost that is not lost with the process."""

    def write_at_once(self, batch: Batch) -> bool:
        """Everything is kept already."""
        return not batch.messages  # there never are any

    def look(self) -> None:
        """There is no file."""

    def tidy(self) -> None:
        """Everything is in its place."""

    def checkpoint(self) -> None:
        """There is no disk."""

    def forget(self, batch: Batch) -> None:
        """Take messages back, as far as they are still here."""
        for entry in batch.messages:
            if entry.seq in self._oldest_first:
                kept = self._rooms[entry.room]
                del self._oldest_first[entry.seq]
                self._removed(entry, kept, kept.remove(entry.seq))

    def reopen(self) -> None:
        """Nothing can get lost here."""

    def close(self) -> None:
        """Nothing is open."""

    def _drop(self, entry: NewMessage) -> None:
        """Forget the oldest message of its room, which is not among all any more, for want of space."""
        kept = self._rooms[entry.room]
        sender = self._removed(entry, kept, kept.drop_oldest(entry.seq))
        if self.on_drop is not None:
            self.on_drop(entry, sender)

    def _removed(self, entry: NewMessage, kept: _Room, entry_bytes: int) -> str | UnsetType:
        """Forget a message that its room does not hold any more; return who sent it."""
        sender: str | UnsetType = UNSET
        kept.size_bytes -= entry_bytes
        self._held_bytes -= entry_bytes + _extra_bytes(entry)
        if entry.client_id is not UNSET:
            sender = self._senders.pop(entry.seq, UNSET) if self._senders else UNSET
            if sender is UNSET:
                key = (entry.room, entry.user, entry.client_id)
                if self._by_client_id.get(key) is entry:  # else it is not known who sent this one
                    del self._by_client_id[key]
            else:
                self._by_client_id.pop(resent_key(entry.room, entry.user, entry.client_id, sender), None)
                self._held_bytes -= _SENDER_BYTES
        if len(kept.entries) == kept.dropped_count:
            del self._rooms[entry.room]
            self._held_bytes -= _ROOM_BYTES
            self._dropped_elsewhere = max(self._dropped_elsewhere, kept.complete_from)
        return sender
