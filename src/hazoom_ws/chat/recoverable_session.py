"""A session that its client may come back to, how it is kept, and what it holds. `recovery` says what becomes of it."""

import hashlib
from collections.abc import Iterator
from sys import getsizeof

import msgspec

from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.message_log.contract import StoredSession

_NUMBER_DIGITS = 11
_HELD_BYTES, _HELD_ANSWER_BYTES = 1080, 300  # in memory, beside the names of rooms
# A session that holds more than this, of very many rooms or long names, is rare; all of them together get a share of the
# space, so that a few who leave such sessions behind push none of the usual ones out.
_RARE_BYTES = 4096
RARE_SHARE = 4
_NO_ANSWERS: dict[str, str] = {}  # shared, and never changed
_decode_rooms = msgspec.json.Decoder(list[str]).decode


class RecoverableSession:
    """One that can be recovered. ``connection`` is None while its client is away; ``rooms`` are those it was in."""

    __slots__ = (
        "answers",
        "changes_bytes",
        "connection",
        "conversation_id",
        "died_answers",
        "ends_at",
        "held_bytes",
        "is_kept",
        "kept",
        "key",
        "opened_at_s",
        "packed_rooms",
        "rooms",
        "since",
        "user",
        "whole_bytes",
    )

    def __init__(
        self, key: str, user: User, conversation_id: str, since: int, rooms: list[str], *, died_answers: dict[str, str]
    ) -> None:
        self.key = key
        # Shared with its connection:
        self.answers: dict[str, str] = {}
        self.died_answers = died_answers
        self.user = user
        self.conversation_id = conversation_id
        self.since = since  # the newest message when it began
        self.rooms = rooms
        self.connection: Connection | None = None
        self.opened_at_s = 0.0  # of its connection, or the last that it had, by the wall clock
        self.ends_at: float | None = None  # while its client is away, by the wall clock
        self.held_bytes = 0  # while its client is away
        self.is_kept = False
        # Of a large one: as the log has it, and how large that was when it was last saved whole, and its changes since are.
        self.kept: StoredSession | None = None
        self.whole_bytes = 0
        self.changes_bytes = 0
        self.packed_rooms: bytes | None = None  # instead of rooms

    @property
    def is_rare(self) -> bool:
        return self.held_bytes > _RARE_BYTES

    def pack(self) -> None:
        """Hold the rooms as one text, while nobody asks for them: names by themselves take several times as much."""
        if self.packed_rooms is None:
            # What the encoder returns has room for more.
            self.packed_rooms, self.rooms = bytes(memoryview(msgspec.json.encode(self.rooms))), []
            if self.kept is not None:  # it was saved, and has the same rooms
                self.kept = msgspec.structs.replace(self.kept, rooms=[])
            # None can be added while nobody holds the session, and most have none.
            self.answers, self.died_answers = self.answers or _NO_ANSWERS, self.died_answers or _NO_ANSWERS

    def unpacked_rooms(self) -> list[str]:
        return self.rooms if self.packed_rooms is None else _decode_rooms(self.packed_rooms)

    def unpack(self) -> None:
        if self.packed_rooms is not None:
            self.answers, self.died_answers = self.answers or {}, self.died_answers or {}
            self.rooms, self.packed_rooms = self.unpacked_rooms(), None
            if self.kept is not None:
                self.kept = msgspec.structs.replace(self.kept, rooms=self.rooms)


def state_of(session: RecoverableSession, rooms: list[str]) -> StoredSession:
    return StoredSession(
        user_id=session.user.id,
        user_name=session.user.name,
        conversation_id=session.conversation_id,
        since=session.since,
        rooms=rooms,
        ends_at=session.ends_at,
        answers=session.answers.copy(),
        died_answers=session.died_answers.copy(),
        opened_at_s=session.opened_at_s,
    )


def state_of_answer(request_id: str, room: str) -> StoredSession:
    answers = {request_id: room}
    return StoredSession(user_id="", user_name="", conversation_id="", since=0, rooms=[], ends_at=0.0, answers=answers)


def bytes_held(rooms: list[str], *answers: dict[str, str]) -> int:
    """Return what a session holds in memory while its client is away."""
    held_bytes = _HELD_BYTES + len(msgspec.json.encode(rooms))
    for by_id in answers:
        # A name that is not ASCII keeps its UTF-8 once it was encoded, which `getsizeof` counts.
        held_bytes += (
            len(msgspec.json.encode(by_id)) + sum(map(getsizeof, by_id.values())) + _HELD_ANSWER_BYTES * len(by_id)
        )
    return held_bytes


def newest(left_at: list[tuple[float, str, int]], limit_bytes: int) -> Iterator[str]:
    """Yield the keys of those who left last, as long as they fit, of who has left when, its key and what it holds."""
    rare_bytes, rare_limit_bytes = 0, limit_bytes // RARE_SHARE
    for _, key, held_bytes in sorted(left_at, reverse=True):
        if held_bytes > _RARE_BYTES:
            is_first, rare_bytes = not rare_bytes, rare_bytes + held_bytes
            if rare_bytes > rare_limit_bytes and not is_first:
                continue
        limit_bytes -= held_bytes
        if limit_bytes < 0:
            return
        yield key


def key_of(pid: str) -> str:
    """Return what a session is kept under: who reads the file cannot come back with it.

    It begins with the pid's number: what is kept at the same time is kept in the same place, which is cheaper.
    """
    return pid[:_NUMBER_DIGITS] + hashlib.sha256(pid.encode()).hexdigest()[:32]
