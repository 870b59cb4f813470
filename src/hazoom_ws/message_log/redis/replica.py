"""What one process has in memory of what all say: it is what was heard up to one moment, and nothing that is not kept.

Everything is applied in the order in which it was published (`bus`): what others have said as it comes, and a batch of this
process when its own end is heard. So all processes have the same, one sooner than another. Called within turns.
"""

from collections.abc import Callable
from typing import NamedTuple

from msgspec import UNSET

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import Batch, Entry, number, number_as_before, revoke
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.message_log.peers import Heard
from hazoom_ws.message_log.redis.bus import Bus, Item, Published
from hazoom_ws.message_log.redis.encoding import decode_message, unpack_change
from hazoom_ws.message_log.redis.followed import Followed
from hazoom_ws.message_log.redis.store import Store, Written
from hazoom_ws.message_log.room_state import StateChange
from hazoom_ws.message_log.state_cache import StateCache


class OwnBatch(NamedTuple):
    """A batch that is kept, and is to be applied when its end is heard. ``origin`` is its name in what is heard."""

    batch: Batch
    origin: bytes
    written: Written


class Replica:
    """Applies what is heard. ``recent``: messages of rooms that are followed, as far as there is space.

    ``tell_all()`` is what `MessageLog.listen` is given as ``hear``. ``writing``: the batch of this process whose end is
    waited for, by its origin, b"" if there is none. ``own``: that batch, when Redis has said what became of it. Both are
    set by the thread that writes.
    """

    def __init__(
        self,
        name: str,
        recent: MemoryLog,
        bus: Bus,
        store: Store,
        states: StateCache,
        *,
        check: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """``name`` is that of this process."""
        self.recent = recent
        self.writing = b""
        self.own: OwnBatch | None = None
        self.messages_total = 0
        self.check = check
        self.tell_all: Callable[[], None] = self.hear
        self.followed = Followed(self, bus, store, states, clock=clock)
        self._name = name
        self._bus = bus
        self._states = states
        self._news: list[Entry | Heard] = []  # what was applied, and is not told yet

    def move_on(self, seq: int) -> None:
        """Give no number any more that is not above this one."""
        self.recent.last_seq = max(self.recent.last_seq, seq)

    def note_kept(self, batch: Batch) -> None:
        """See `MessageLog.note_kept`."""
        own, self.own = self.own, None
        if own is None or own.batch is not batch or not self.writing:
            return
        while (heard := self._bus.take()) is not None and not self._is_end(heard):
            self._apply(heard)
        self.writing = b""
        self._apply_own(own)
        self._bus.tell_if_there_is_more()

    def news(self, *, is_before_kept: bool) -> list[Entry | Heard]:
        """See `MessageLog.news`."""
        if not is_before_kept:
            self.hear()
        told, self._news = self._news, []
        return told

    def hear(self) -> None:
        """Apply what was heard, up to a batch of this process that is being written: it is kept soon, or refused.

        Until that is known it is not known either who tells of it.
        """
        self._bus.begin_to_take()
        while (heard := self._bus.peek()) is not None and not self._is_own(heard):
            self._bus.take()
            self._apply(heard)

    def _is_own(self, heard: Item) -> bool:
        return isinstance(heard, Published) and heard.origin == self.writing

    def _is_end(self, heard: Item) -> bool:
        return isinstance(heard, Published) and heard.kind == b"b" and heard.origin == self.writing

    def _apply(self, heard: Item) -> None:
        """Let memory have what was heard."""
        if not isinstance(heard, Published):
            heard()
        elif heard.kind == b"m":
            room = heard.channel.removeprefix("room:")
            before, seq, text = heard.data.split(b" ", 2)
            if not self.followed.note(room, int(before), int(seq)):
                return
            self.move_on(int(seq))
            if heard.origin != self.writing:
                entry = decode_message(text, int(seq), self.recent.epoch)
                if entry is not None:
                    # Who sent it is not published; whether something was said before `scripts.WRITE` knows.
                    self.recent.add(entry, is_sender_known=False)
                    self._news.append(entry)
        elif heard.kind == b"s":
            room = heard.channel.removeprefix("room:")
            seq, packed = heard.data.split(b" ", 1)
            if heard.origin != self.writing and self.followed.is_followed(room):
                change = unpack_change(packed, room, int(seq))
                if self._states.apply(change):
                    self._news.append(change)
            self.move_on(int(seq))
        elif heard.kind != b"b":
            process = heard.origin.partition(b"/")[0].decode()
            if process != self._name:
                self._news.append(Heard(heard.channel, process, heard.kind, heard.data))

    def _apply_own(self, own: OwnBatch) -> None:
        written, epoch = own.written, self.recent.epoch
        if own.batch.state_changes:
            self._states.note_written(own.batch.state_changes)
        is_followed = self.followed.is_followed
        for place, entry in enumerate(sorted(own.batch.entries(), key=lambda entry: entry.seq)):  # `places_of`
            sender = own.batch.senders.get(entry.seq, UNSET)
            if place in written.refused:
                revoke(entry)
                continue
            if place in written.said_before:
                # It was said before, over another process: it is acknowledged as that, and shown to nobody.
                seq, timestamp = written.said_before[place]
                number_as_before(entry, seq, f"{epoch}-{seq}", timestamp)
                continue
            seq = written.first_seq + place
            number(entry, seq, f"{epoch}-{seq}")
            self.move_on(seq)
            if isinstance(entry, NewMessage):
                self.messages_total += entry.event_name is UNSET
                if is_followed(entry.room):
                    self.recent.add(entry, sender)
            elif isinstance(entry, StateChange):
                self._states.apply(entry)
