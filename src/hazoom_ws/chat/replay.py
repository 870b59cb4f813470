"""What a client that comes back has missed: which of it is replayed, and which rooms are incomplete."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple

from msgspec import UNSET, Raw

from hazoom_ws.chat.effects import Numbered, place_of
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.live import SharedState
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import (
    EVERYTHING,
    PAGE_LIMIT_BYTES,
    RECORD_BYTES,
    MessageLog,
    NotLoaded,
    Page,
    loading_all,
    size_bytes,
)

REPLAY_LIMIT_COUNT = 500  # messages of one room


class Missed(NamedTuple):
    """``replayed``: in the order of ``seq``, all that was missed but for the rooms in ``incomplete``.

    Those have the newest messages there is room for, and more was said. Events that features keep are replayed anyway.
    """

    replayed: list[NewMessage]
    incomplete: dict[str, list[NewMessage]]


def newest_after(log: MessageLog, offset: int) -> Callable[[str, int, int], Page]:
    """Return the ``read`` of `missed` for who was last seen at ``offset``; what cannot be read is incomplete."""

    def read(room: str, limit_count: int, limit_bytes: int) -> Page:
        try:
            return log.read(
                room, after=offset, limit=limit_count, newest=True, limit_bytes=limit_bytes, event_name=EVERYTHING
            )
        except LogUnavailable:
            return Page([], more=True, gap=False)

    return read


def catch_up(
    log: MessageLog, rooms: Iterable[str], offset: int, limit_bytes: int
) -> tuple[list[Numbered], dict[str, list[NewMessage]]]:
    """Return what was said and set in ``rooms`` after ``offset``, in order and each with its offset, and what is missing.

    Of what was set the newest value of each key, once. Where that does not fit into what messages leave of ``limit_bytes``,
    or is not known any more, the room is incomplete, as in `Missed`.
    """
    replayed, incomplete = missed(rooms, newest_after(log, offset), limit_bytes)
    events: list[Numbered] = [(entry, entry) for entry in replayed]
    left_bytes = limit_bytes - sum(map(size_bytes, replayed))
    for room in rooms:
        changed = _changed_state(log, room, offset)
        size = 0 if changed is None else sum(_state_bytes(event) for event in changed)
        if changed is None or size > left_bytes:
            incomplete.setdefault(room, [])
        else:
            left_bytes -= size
            events += [(event, event.seq) for event in changed]
    events.sort(key=place_of)
    return events, incomplete


def missing_of(log: MessageLog, rooms: Iterable[str], offset: int) -> NotLoaded | None:
    """Return what has to be loaded before `catch_up` can tell all; None if everything is in memory, or cannot be had."""
    missing: list[NotLoaded] = []
    for room in rooms:
        try:
            log.read(room, after=offset, limit=REPLAY_LIMIT_COUNT, newest=True, event_name=EVERYTHING)
        except NotLoaded as error:
            missing.append(error)
        except LogUnavailable:
            return None
        try:
            log.states.read(room, since=offset)
        except NotLoaded as error:
            missing.append(error)
    return loading_all(missing) if missing else None


def _changed_state(log: MessageLog, room: str, offset: int) -> list[SharedState] | None:
    """Return the newest values of what has changed in a room's state, an event for each change; None if it is not known."""
    try:
        state = log.states.read(room, since=offset)
    except LogUnavailable:
        return None
    if not state.complete:
        return None
    events = []
    for seq, entries in groupby(state.values.items(), key=lambda item: item[1].seq):
        changed = dict(entries)
        values = {key: Raw(b"null" if entry.value is None else entry.value) for key, entry in changed.items()}
        user = next(iter(changed.values())).user
        events.append(SharedState(room=room, seq=seq, values=values, user=user))
    return events


def _state_bytes(event: SharedState) -> int:
    return RECORD_BYTES + sum(4 * len(key) + len(memoryview(value)) for key, value in event.values.items())


def missed(rooms: Iterable[str], read: Callable[[str, int, int], Page], limit_bytes: int) -> Missed:
    """Decide what to replay of ``rooms``: the newest page of each since the client was last seen.

    ``read(room, limit_count, limit_bytes)`` returns a page. ``limit_bytes`` is for all rooms together: what is replayed has
    to fit into the client's outbox. When there is no more space, a room costs one message read: whether there is any.
    """
    replayed: list[NewMessage] = []
    incomplete: dict[str, list[NewMessage]] = {}
    left_bytes = limit_bytes
    for room in rooms:
        is_full = left_bytes < RECORD_BYTES
        page = read(room, 1 if is_full else REPLAY_LIMIT_COUNT, min(max(left_bytes, 1), PAGE_LIMIT_BYTES))
        page_bytes = sum(map(size_bytes, page.messages))
        messages = page.messages if page_bytes <= left_bytes else []
        left_bytes -= page_bytes if messages else 0
        if page.more or page.gap or len(messages) < len(page.messages):
            incomplete[room] = [entry for entry in messages if entry.event_name is UNSET]
            replayed += [entry for entry in messages if entry.event_name is not UNSET]
        else:
            replayed += messages
    replayed.sort(key=lambda entry: entry.seq)
    return Missed(replayed, incomplete)
