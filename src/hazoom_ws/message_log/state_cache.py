"""The states of rooms in memory, for both stores: all there is, or what was used lately of what a file keeps.

Of each room one dict has its keys in the order in which they changed, deleted ones among them: so what has changed since
is at its end. A room of a file is let go as a whole and loaded again; what the file does not have in its table yet is known
here by the changes themselves, which are replayed over what is loaded.

Changed within turns only. Two things are called beside them, while the log is unwell and nothing can be set: `kept_values`
and `start_anew`.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import NamedTuple, Protocol

from msgspec import UNSET, UnsetType

from hazoom_ws.message_log.cached_room import CachedRoom
from hazoom_ws.message_log.contract import ResentKey, resent_key
from hazoom_ws.message_log.room_state import (
    NO_CONDITIONS,
    RoomState,
    StateChange,
    StateSize,
    StateValue,
)

_RESENT_KNOWN_COUNT = 20_000  # in memory alone
_IDLE_S = 600.0
STATES_SHARE = 4  # of the bound of messages: loading a room takes milliseconds, so those that are used should be here


class LoadedRoom(NamedTuple):
    """A room as a file has it. ``values`` in the order of ``seq``; what was deleted up to ``forgotten_seq`` is unknown."""

    values: dict[str, StateValue]
    forgotten_seq: int


class Numbers(Protocol):
    """The one order of all messages, as `MessageLog` has it."""

    @property
    def last_seq(self) -> int:
        """The newest number."""

    def next_offset(self) -> int:
        """Return the next one."""


class StateFile(Protocol):
    """What is asked of a file, within turns. Everything raises `LogUnavailable`."""

    def check(self) -> None:
        """Raise if nothing can be kept at the moment."""

    def load(self, room: str) -> LoadedRoom:
        """Return a room as it is in the table, whatever a thread has filed by now. May raise `NotLoaded`."""

    def find_resent(self, room: str, user: str, client_id: str, sender: str | UnsetType) -> int | None:
        """Return the ``seq`` of a change in the table."""


class StateCache:
    """What `RoomStates` promises, over a ``file``, or without one all there is. ``pending``: what is to be written."""

    def __init__(
        self,
        numbers: Numbers,
        *,
        limit_bytes: int,
        forgotten_seq: int = 0,
        file: StateFile | None = None,
        is_kept_at_once: bool = False,
        is_applied_when_kept: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """What was deleted up to ``forgotten_seq`` is unknown. ``is_kept_at_once``: nothing is to be written.

        ``is_applied_when_kept``: what is set is not here before `apply` says so, since others may set something meanwhile.
        Of a ``file``, rooms leave memory that were not used for ten minutes by the ``clock``.
        """
        self._numbers = numbers
        self._limit_bytes = limit_bytes
        self._forgotten_seq = forgotten_seq
        self._file = file
        self._is_kept_at_once = is_kept_at_once
        self._is_applied_when_kept = is_applied_when_kept
        self.conditions: dict[int, dict[str, int]] = {}  # of what is pending and is set only if keys are as they were seen
        self._clock = clock
        self._held_bytes = 0
        self._rooms: OrderedDict[str, CachedRoom] = OrderedDict()  # the one that was used last is the last
        self._is_stale = False
        self.pending: list[StateChange] = []
        self._unkept: list[StateChange] = []  # where it is here only when it is kept: what is pending, or being written
        self.said_total = 0  # what was set, where it is here only when it is kept
        self._replaced: dict[int, dict[str, StateValue | None]] = {}  # by changes that are not known to be written
        # Changes that are not known to be in the file's table, in their order: all of them, and by room.
        self._unfiled: deque[StateChange] = deque()
        self._unfiled_of: dict[str, deque[StateChange]] = {}
        self._written_seq = 0
        self._settled = (0, 0)  # what `settle` was told last
        self._resent: OrderedDict[ResentKey, int] = OrderedDict()

    # What `RoomStates` promises

    def set(
        self,
        room: str,
        values: Mapping[str, bytes | None],
        *,
        user: str,
        timestamp: float,
        client_id: str | UnsetType = UNSET,
        sender: str | UnsetType = UNSET,
        if_seq: Mapping[str, int] = NO_CONDITIONS,
    ) -> StateChange:
        if self._file is not None:
            self._file.check()
        cached = self._room(room)
        there = cached.values
        change = StateChange(
            self._numbers.next_offset(),
            room,
            user,
            timestamp,
            {
                key: value
                for key, value in values.items()
                if value is not None or key in there or self._is_unkept(room, key)
            },
            None if client_id is UNSET else client_id,
            None if sender is UNSET else sender,
        )
        if self._is_applied_when_kept:
            self.pending.append(change)
            self._unkept.append(change)
            self.said_total += 1
            if if_seq:
                self.conditions[change.seq] = dict(if_seq)
            return change
        held_before_bytes = cached.held_bytes
        replaced = {key: cached.put(key, StateValue(value, change.seq, user)) for key, value in change.values.items()}
        if client_id is not UNSET:
            self._resent[resent_key(room, user, client_id, sender)] = change.seq
        if self._is_kept_at_once:
            self._written_seq = change.seq
            if len(self._resent) > _RESENT_KNOWN_COUNT:
                self._resent.popitem(last=False)
        else:
            self._replaced[change.seq] = replaced
            self.pending.append(change)
            self._unfiled.append(change)
            self._unfiled_of.setdefault(room, deque()).append(change)
        cached.forget_deleted(self._written_seq)
        self._held_bytes += cached.held_bytes - held_before_bytes
        self._let_go()
        return change

    def find_resent(self, room: str, user: str, client_id: str | UnsetType, sender: str | UnsetType = UNSET) -> int | None:
        if client_id is UNSET:
            return None
        seq = self._resent.get(resent_key(room, user, client_id, sender))
        if seq is not None or self._file is None:
            return seq
        return self._file.find_resent(room, user, client_id, sender)

    def get(self, room: str, key: str) -> StateValue | None:
        entry = self._room(room).values.get(key)
        return None if entry is None or entry.value is None else entry

    def size(self, room: str) -> StateSize:
        cached = self._room(room)
        return StateSize(len(cached.values) - cached.deleted_count, cached.size_bytes)

    def read(self, room: str, *, since: int | None = None) -> RoomState:
        cached = self._room(room)
        forgotten_seq = max(cached.forgotten_seq, self._forgotten_seq)
        seq = max(cached.newest_seq, forgotten_seq)
        is_complete = not since or forgotten_seq <= since <= self._numbers.last_seq
        if not since or not is_complete:
            whole = {key: entry for key, entry in cached.values.items() if entry.value is not None}
            return RoomState(seq, whole, is_complete)
        changed: list[tuple[str, StateValue]] = []
        for item in reversed(cached.values.items()):
            if item[1].seq <= since:
                break
            changed.append(item)
        return RoomState(seq, dict(reversed(changed)), complete=True)

    # What the log around it says

    def pop(self) -> list[StateChange]:
        """Take out the changes that are to be written."""
        self._discard_stale()
        pending, self.pending = self.pending, []
        return pending

    def _is_unkept(self, room: str, key: str) -> bool:
        return any(change.room == room and key in change.values for change in self._unkept)

    def note_written(self, changes: Iterable[StateChange]) -> None:
        """Note that changes are kept, or were refused: what was kept of them is applied."""
        ids = {id(change) for change in changes}
        self._unkept = [change for change in self._unkept if id(change) not in ids]

    def apply(self, change: StateChange) -> bool:
        """Let a change be here that is kept now; return whether any of it is news."""
        self._unfiled.append(change)
        self._unfiled_of.setdefault(change.room, deque()).append(change)
        cached = self._rooms.get(change.room)
        if cached is None or self._is_stale:
            return True
        held_before_bytes = cached.held_bytes
        newer = {
            key: value
            for key, value in change.values.items()
            if cached.is_older(key, change.seq) and (value is not None or key in cached.values)
        }
        for key, value in newer.items():
            cached.put(key, StateValue(value, change.seq, change.user))
        cached.forget_deleted(change.seq)
        self._held_bytes += cached.held_bytes - held_before_bytes
        self._let_go()
        return bool(newer)

    def loaded_rooms(self) -> list[str]:
        """Return the rooms that are here. In any thread."""
        return list(self._rooms)

    def newest_seq(self, room: str) -> int:
        """Return the number of the newest change of a room that is here."""
        cached = self._rooms.get(room)
        return 0 if cached is None else max(cached.newest_seq, cached.forgotten_seq)

    def forget_room(self, room: str) -> None:
        """Load a room again before it is used: nothing more is heard of what is set there."""
        cached = self._rooms.pop(room, None)
        if cached is not None:
            self._held_bytes -= cached.held_bytes

    def settle(self, written_seq: int, filed_seq: int) -> None:
        """Learn up to where changes are written, and up to where they are in the file's table."""
        if (written_seq, filed_seq) == self._settled:
            return
        self._settled = (written_seq, filed_seq)
        self._written_seq = written_seq = max(written_seq, self._written_seq)
        replaced, unfiled = self._replaced, self._unfiled
        while replaced and (seq := next(iter(replaced))) <= written_seq:
            del replaced[seq]
        while unfiled and unfiled[0].seq <= filed_seq and unfiled[0].seq not in replaced:
            change = unfiled.popleft()
            self._unfiled_of[change.room].popleft()
            self._drop_from_index(change)

    def forget(self, changes: Iterable[StateChange]) -> None:
        """Take back changes that could not be written, the newest of all that are taken back first."""
        self._discard_stale()
        changes = list(changes)
        if self._unkept:
            self.note_written(changes)
        for change in reversed(changes):
            replaced = self._replaced.pop(change.seq, None)
            if replaced is None:
                continue
            self._unfiled.remove(change)
            self._unfiled_of[change.room].remove(change)
            cached = self._rooms.get(change.room)
            restored: list[tuple[str, StateValue | None]] = []
            for key, earlier in replaced.items():
                now = None if cached is None else cached.values.get(key)
                if now is not None and now.seq == change.seq:
                    restored.append((key, earlier))
                else:
                    self._let_replace(change, key, earlier)
            if cached is not None and restored:
                held_before_bytes = cached.held_bytes
                cached.restore(restored)
                self._held_bytes += cached.held_bytes - held_before_bytes
            self._drop_from_index(change)

    def _let_replace(self, change: StateChange, key: str, earlier: StateValue | None) -> None:
        """Note of what has replaced what a change had set that it replaces what was there before."""
        for later in self._unfiled_of.get(change.room, ()):
            replaced = self._replaced.get(later.seq, {})
            entry = replaced.get(key)
            if entry is not None and entry.seq == change.seq:
                replaced[key] = earlier

    def _drop_from_index(self, change: StateChange) -> None:
        """Forget a change that is not here any more by its room and its ``client_id``."""
        if not self._unfiled_of[change.room]:
            del self._unfiled_of[change.room]
        if change.client_id is not None:
            sender = UNSET if change.sender is None else change.sender
            key = resent_key(change.room, change.user, change.client_id, sender)
            if self._resent.get(key) == change.seq:
                del self._resent[key]

    def kept_values(self) -> Iterator[tuple[str, str, StateValue]]:
        """Yield room, key and value of all that is here and was written. In a thread beside turns; see the module."""
        pending = list(self.pending)
        before: dict[tuple[str, str], StateValue | None] = {}  # what is pending
        for change in reversed(pending):
            for key, earlier in self._replaced.get(change.seq, {}).items():
                before[change.room, key] = earlier
        rooms = list(self._rooms.items())
        for name, room in rooms:
            for key, entry in list(room.values.items()):
                kept = before.get((name, key), entry)
                if kept is not None:
                    yield name, key, kept
        cached, seqs = {name for name, _ in rooms}, {change.seq for change in pending}
        for change in list(self._unfiled):
            if change.room not in cached and change.seq not in seqs:
                for key, value in change.values.items():
                    yield change.room, key, StateValue(value, change.seq, change.user)

    def start_anew(self) -> None:
        """Load all from the file again: it is another one, or all that was written is in its table. As above."""
        self._is_stale = True

    # Rooms

    def _discard_stale(self) -> None:
        if not self._is_stale:
            return
        self._is_stale = False
        self._rooms.clear()
        self._held_bytes = 0
        pending = {change.seq for change in self.pending}
        self.settle(max((seq for seq in self._replaced if seq not in pending), default=self._written_seq), 2**62)

    def _room(self, name: str) -> CachedRoom:
        """Return a room as it is now, and let those go that were not used for longest."""
        self._discard_stale()
        room = self._rooms.get(name)
        if room is not None:
            self._rooms.move_to_end(name)
            room.used_at_s = self._clock()
            return room
        room = self._rooms[name] = self._loaded(name)
        room.used_at_s = self._clock()
        self._held_bytes += room.held_bytes
        self._let_go()
        return room

    def _loaded(self, name: str) -> CachedRoom:
        if self._file is None:
            return CachedRoom(name, {}, self._forgotten_seq)
        values, forgotten_seq = self._file.load(name)
        room = CachedRoom(name, values, forgotten_seq)
        # What a thread has filed meanwhile is said again, up to the newest: nothing older comes after it.
        for change in self._unfiled_of.get(name, ()):
            for key, value in change.values.items():
                if room.is_older(key, change.seq):
                    room.put(key, StateValue(value, change.seq, change.user))
        room.values = dict(sorted(room.values.items(), key=lambda item: item[1].seq))
        return room

    def _let_go(self) -> None:
        """Forget the rooms that were not used for longest, but for the last one, until the others fit."""
        used_after_s = self._clock() - _IDLE_S if self._file is not None else -inf
        while len(self._rooms) > 1:
            name, room = next(iter(self._rooms.items()))
            if self._held_bytes <= self._limit_bytes and room.used_at_s >= used_after_s:
                return
            if self._file is None:
                if name in self._unfiled_of:
                    return
                self._forgotten_seq = max(self._forgotten_seq, room.newest_seq)
            del self._rooms[name]
            self._held_bytes -= room.held_bytes
