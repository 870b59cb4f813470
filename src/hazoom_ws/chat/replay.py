"""What a client that comes back has missed: which of it is replayed, and which rooms are incomplete. Pure deciding."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import PAGE_LIMIT_BYTES, RECORD_BYTES, Page, size_bytes

REPLAY_LIMIT_COUNT = 500  # messages of one room


class Missed(NamedTuple):
    """``replayed``: in the order of ``seq``, all that was missed but for the rooms in ``incomplete``.

    Those have the newest messages there is room for, and more was said.
    """

    replayed: list[NewMessage]
    incomplete: dict[str, list[NewMessage]]


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
            incomplete[room] = messages
        else:
            replayed += messages
    replayed.sort(key=lambda entry: entry.seq)
    return Missed(replayed, incomplete)
