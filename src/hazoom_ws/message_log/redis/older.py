"""Messages that have left memory, or were said before this process began: stretches of rooms that were read from Redis.

A stretch has all messages of a room, or all events of one name there, with ``after < seq <= through``. What is in one does
not change, so it may stay as long as there is space: who asks for a page that stretches have is answered at once. Who asks
for more is told what to load, and that is as much as the page needs.

Called within turns; what is loaded is read by `store` beside them.
"""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import NotLoaded
from hazoom_ws.message_log.redis.encoding import Sized

_OF_ROOM_COUNT = 4  # stretches of one room: the newest messages, and where some read further back
_STRETCH_BYTES = 400  # beside its messages, about


class Wanted(NamedTuple):
    """What a page needs of a room, with ``after < seq < before``; the rest as in `MessageLog.read`."""

    room: str
    after: int
    before: int
    event_name: str | None
    newest: bool
    limit: int
    limit_bytes: int


class Stretch(NamedTuple):
    """Messages of a room, ascending; see the module."""

    after: int
    through: int
    entries: list[NewMessage]
    size_bytes: int


def stretch_of(wanted: Wanted, found: list[Sized], *, is_all: bool) -> Stretch:
    """Return what was read for a page, from its end onwards; ``is_all``: up to its other end."""
    size_bytes = _STRETCH_BYTES + sum(each.size_bytes for each in found)
    entries = [each.entry for each in found]
    if wanted.newest:
        entries.reverse()
        return Stretch(wanted.after if is_all else entries[0].seq - 1, wanted.before - 1, entries, size_bytes)
    return Stretch(wanted.after, wanted.before - 1 if is_all else entries[-1].seq, entries, size_bytes)


class Older:
    """The stretches of all rooms, up to ``limit_bytes``; those that were used last."""

    def __init__(self, load: Callable[[Wanted], Stretch], *, limit_bytes: int) -> None:
        """``load`` reads from Redis, beside turns. It raises `LogUnavailable`."""
        self._load = load
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._stretches: OrderedDict[tuple[str, str | None], list[Stretch]] = OrderedDict()  # the last was used last

    def read(self, wanted: Wanted) -> Iterator[NewMessage]:
        """Yield the messages from the end of the page onwards. Raises `NotLoaded`, maybe after some of them."""
        key = (wanted.room, wanted.event_name)
        stretches = self._stretches.get(key, ())
        if stretches:
            self._stretches.move_to_end(key)
        after, before = wanted.after, wanted.before
        if wanted.newest:
            found = next((each for each in stretches if each.after < before - 1 <= each.through), None)
            if found is not None:
                yield from reversed(_between(found, after, before))
                if found.after <= after:
                    return
        else:
            found = next((each for each in stretches if each.after <= after < each.through), None)
            if found is not None:
                yield from _between(found, after, before)
                if found.through >= before - 1:
                    return
        raise self._missing(wanted)

    def _missing(self, wanted: Wanted) -> NotLoaded:
        def load() -> Callable[[], None]:
            stretch = self._load(wanted)
            return lambda: self._add((wanted.room, wanted.event_name), stretch)

        return NotLoaded(load)

    def _add(self, key: tuple[str, str | None], added: Stretch) -> None:
        there = self._stretches.pop(key, [])
        kept = [each for each in there if not (added.after <= each.after and each.through <= added.through)]
        kept = [added, *kept][:_OF_ROOM_COUNT]
        self._stretches[key] = kept
        self._held_bytes += sum(each.size_bytes for each in kept) - sum(each.size_bytes for each in there)
        while self._held_bytes > self._limit_bytes and len(self._stretches) > 1:
            _, gone = self._stretches.popitem(last=False)
            self._held_bytes -= sum(each.size_bytes for each in gone)

    def clear(self) -> None:
        """Forget all: what Redis has may be something else now."""
        self._stretches.clear()
        self._held_bytes = 0


def _between(stretch: Stretch, after: int, before: int) -> list[NewMessage]:
    entries = stretch.entries
    return entries[bisect_right(entries, after, key=_seq_of) : bisect_left(entries, before, key=_seq_of)]


def _seq_of(entry: NewMessage) -> int:
    return entry.seq
