"""A page of a room, of which the newest part is in memory and the rest is in a file or elsewhere."""

from collections.abc import Callable, Iterable
from itertools import chain

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import only, page_of
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.settings import Settings

_RECENT_ROOM_COUNT = 1000


def new_recent(settings: Settings, start_seq: int, epoch: str) -> MemoryLog:
    """Return the newest part of a log that keeps its messages elsewhere; arguments as of `MemoryLog`."""
    return MemoryLog(
        room_limit_count=min(_RECENT_ROOM_COUNT, settings.history_room_limit_count),
        room_limit_bytes=settings.history_room_limit_bytes,
        limit_bytes=settings.history_limit_bytes,
        start_seq=start_seq,
        epoch=epoch,
    )


def read_page(
    recent: MemoryLog,
    room: str,
    *,
    after: int | None,
    before: int | None,
    limit: int,
    newest: bool,
    limit_bytes: int,
    event_name: str | None,
    complete_from: int = 0,
    older: Callable[[int, int, bool], Iterable[NewMessage]],
) -> tuple[list[NewMessage], bool]:
    """Return a page as `MessageLog.read` describes it, and whether there is more.

    ``complete_from``: whatever is in memory, up to this number something may be missing there.

    ``older(after, before, newest)`` yields what has left memory in that range, from the end that ``newest`` says. It is
    called if the range is not all in memory, and asked for no more than the page needs: mostly for nothing.
    """
    if after is None or after > recent.last_seq:
        after, newest = 0, newest or after is not None
    edge = max(recent.complete_from(room), complete_from)
    in_memory = recent.range(room, max(after, edge), before)
    if event_name is not None and (event_name or recent.has_events(room)):
        in_memory = list(only(in_memory, event_name))
    older_before = edge + 1 if before is None else min(before, edge + 1)
    rest = older(after, older_before, newest) if after < older_before - 1 else ()
    taken, more = page_of(chain(reversed(in_memory), rest) if newest else chain(rest, in_memory), limit, limit_bytes)
    if newest:
        taken.reverse()
    return taken, more
