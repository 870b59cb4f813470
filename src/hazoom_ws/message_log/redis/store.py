"""What is asked of Redis, in the words of a message log: all of it blocks, and is called beside turns or before any.

Whoever has taken a Redis over is its owner until somebody else is, and each script that changes anything asks first. So a
batch that was given up on cannot be written later by a connection that has been forgotten: the owner's token is another one
after each `Store.take`. A process is taken for dead when no connection of its name is left, or when nothing was heard of it
for 15 s; else it is not taken over.

Everything raises `Refused`, which is a `LogUnavailable`.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import Batch, SessionChange, StoredSession, UsedElsewhere, only
from hazoom_ws.message_log.documents import StoredDocument
from hazoom_ws.message_log.redis import scripts
from hazoom_ws.message_log.redis.encoding import (
    Sized,
    batch_arguments,
    decode_change,
    decode_message,
    decode_session,
    pack_value,
    place_of,
    undo_arguments,
    unpack_value,
)
from hazoom_ws.message_log.redis.older import Stretch, Wanted, stretch_of
from hazoom_ws.message_log.redis.resent import KNOWN_LIMIT_COUNT
from hazoom_ws.message_log.redis.scripts import PREFIX
from hazoom_ws.message_log.redis.server import TAKEN, Refused, Server
from hazoom_ws.message_log.room_state import DELETED_KEPT_COUNT, StateValue
from hazoom_ws.message_log.session_states import applied
from hazoom_ws.message_log.state_cache import LoadedRoom
from hazoom_ws.settings import Settings

_SCRIPTS = ("TAKE", "RELEASE", "WRITE", "UNDO", "RESTORE_STATES", "SNAPSHOT", "TRIM_ROOMS", "TRIM_AGED", "FORGET_DELETED")
_DEAD_AFTER_S = 15
_READ_AT_ONCE_COUNT = 200
_SCANNED_AT_ONCE_COUNT = 1000
_AGED_AT_ONCE = (50, 500)  # rooms, messages of each
_DAY_S = 86_400.0

_Values = dict[str, tuple[StateValue, float]]  # by key, and when it was set
Trimmed = list[tuple[str, int]]  # rooms, and up to which ``seq`` each


class About(NamedTuple):
    """What a log says about itself. ``last_number``: of the batch that was written last, 0 if none was."""

    epoch: str
    start_seq: int
    mark: int
    last_number: int
    trimmed_seq: int


class FoundResent(NamedTuple):
    """What was sent before: its number, when, and its text if it is a message and that is still kept."""

    seq: int
    timestamp: float
    entry: NewMessage | None

    def without_text(self, epoch: str, room: str, user: str, client_id: str) -> NewMessage:
        """Return it as a message whose text is gone."""
        return NewMessage(
            user=user,
            message="",
            timestamp=self.timestamp,
            room=room,
            id=f"{epoch}-{self.seq}",
            seq=self.seq,
            client_id=client_id,
        )


class Store:
    """The log of one Redis, as whom the owner asks."""

    def __init__(self, server: Server, settings: Settings, *, wall_clock: Callable[[], float]) -> None:
        self._server = server
        self._settings = settings
        self._wall_clock = wall_clock
        self._owner = ""
        self._bounds = (settings.history_room_limit_count, settings.history_room_limit_bytes)
        self._scripts = {name: server.script(getattr(scripts, name), reaches_replicas=name == "WRITE") for name in _SCRIPTS}

    def _run(self, name: str, *arguments: Any) -> Any:
        return self._scripts[name]([self._owner, *arguments])

    # Whose it is

    def take(self, *, epoch: str, start_seq: int) -> About:
        """Own this Redis from now on, with another token than before; begin a log if there is none.

        Raises `SettingsError` for one that must not be used, `UsedElsewhere` for one that another process uses.
        """
        self._server.start_anew()
        self._server.check()
        before, beat_s = self._server.command("HMGET", f"{PREFIX}about", "owner", "beat_s")
        before = (before or b"").decode()
        name = before.partition(" ")[0]
        if before and name != self._server.name:
            now_s = int(self._server.command("TIME")[0])
            if now_s - int(beat_s or 0) < _DEAD_AFTER_S and self._server.is_connected(name):
                raise UsedElsewhere(f"log_url: {TAKEN}; several processes cannot share one yet")
        owner = f"{self._server.name} {secrets.token_hex(4)}"
        told = self._scripts["TAKE"]([before, owner, epoch, start_seq])
        if told is None:
            raise Refused(TAKEN, is_unknown=False)
        self._owner = owner
        about = dict(zip(told[::2], told[1::2], strict=True))
        return About(
            about[b"epoch"].decode(), *(int(about[name]) for name in (b"start_seq", b"mark", b"last", b"trimmed_seq"))
        )

    def release(self) -> None:
        """Let the next process take it over at once."""
        self._run("RELEASE")

    # Writing

    def write(self, batch: Batch, *, number: int, mark: int) -> Trimmed:
        """Keep a batch under a number above that of the last one, whole or not at all; return which rooms were trimmed."""
        arguments = batch_arguments(batch)
        return _trimmed(self._run("WRITE", number, mark, self._hour(), *self._bounds, *arguments))

    def undo_of(self, batch: Batch, replaced: Mapping[tuple[str, str], StateValue | None]) -> list[Any]:
        """Return what takes a batch back; ``replaced`` is what its changes of state have replaced, by room and key.

        What sessions had is not taken back: they are saved again.
        """
        return undo_arguments(batch, self._hour(), replaced)

    def undo(self, undo: list[Any]) -> None:
        """Take a batch back that was written last."""
        self._run("UNDO", *undo)

    def restore_states(self, values: Iterable[tuple[str, str, StateValue]]) -> None:
        """Put values of states into Redis: room, key and value of each."""
        arguments: list[Any] = []
        for room, key, value in values:
            arguments += (room, key, pack_value(value, self._wall_clock()))
            if len(arguments) >= _SCANNED_AT_ONCE_COUNT:
                self._run("RESTORE_STATES", *arguments)
                arguments = []
        if arguments:
            self._run("RESTORE_STATES", *arguments)

    def write_snapshot(self, document: str, snapshot: bytes, through: int) -> None:
        """Let a snapshot replace what is in it, unless there is a newer one."""
        self._run("SNAPSHOT", document, through, snapshot)

    def _hour(self) -> int:
        return int(self._wall_clock() // 3600)

    # Forgetting

    def trim_rooms(self, rooms: list[str]) -> Trimmed:
        """Delete what is over the bounds of rooms."""
        return _trimmed(self._run("TRIM_ROOMS", *self._bounds, *rooms)) if rooms else []

    def trim_aged(self, before_s: float) -> tuple[Trimmed, bool]:
        """Delete some of what was said earlier than that; return whether there is more."""
        more, *trimmed = self._run("TRIM_AGED", repr(before_s), *_AGED_AT_ONCE)
        return _trimmed(trimmed), bool(more)

    def some_rooms(self, cursor: int) -> tuple[int, list[str]]:
        """Return some rooms that have messages, and where to go on, 0 at the end."""
        cursor, found = self._server.command("HSCAN", f"{PREFIX}sizes", cursor, "COUNT", _SCANNED_AT_ONCE_COUNT)
        return int(cursor), [room.decode() for room in found]

    def forget_deleted(self, room: str) -> None:
        """Forget deleted keys of a room's state: those over a thousand, and those of before yesterday."""
        values, _ = self._values_of(room)
        forgettable = self._forgettable(values)
        if forgettable:
            self._run("FORGET_DELETED", room, values[forgettable[-1]][0].seq, *forgettable)

    def _forgettable(self, values: _Values) -> list[str]:
        """Return the deleted keys that need not be remembered, in the order in which they were deleted."""
        deleted = sorted((value.seq, key, set_at_s) for key, (value, set_at_s) in values.items() if value.value is None)
        oldest_s = self._wall_clock() - _DAY_S
        count = max(0, len(deleted) - DELETED_KEPT_COUNT)
        while count < len(deleted) and deleted[count][2] < oldest_s:
            count += 1
        return [key for _, key, _ in deleted[:count]]

    # Reading

    def load(self, wanted: Wanted) -> Stretch:
        """Read what a page needs."""
        key = f"{PREFIX}messages:{wanted.room}"
        found: list[Sized] = []
        page_bytes = 0
        low, high = wanted.after + 1, wanted.before - 1
        while True:
            if wanted.newest:
                rows = self._server.command("XREVRANGE", key, high, low, "COUNT", _READ_AT_ONCE_COUNT)
            else:
                rows = self._server.command("XRANGE", key, low, high, "COUNT", _READ_AT_ONCE_COUNT)
            for identifier, fields in rows:
                entry = decode_message(fields[b"d"])
                if wanted.event_name is not None and not any(only([entry], wanted.event_name)):
                    continue
                size_bytes = place_of(identifier)[1]
                found.append(Sized(entry, size_bytes))
                page_bytes += size_bytes
                # One more than the page has: so that it can tell that there is more.
                if len(found) > wanted.limit or (len(found) > 1 and page_bytes > wanted.limit_bytes):
                    return stretch_of(wanted, found, is_all=False)
            if len(rows) < _READ_AT_ONCE_COUNT:
                return stretch_of(wanted, found, is_all=True)
            last_seq = place_of(rows[-1][0])[0]
            low, high = (low, last_seq - 1) if wanted.newest else (last_seq + 1, high)

    def trimmed_seq(self, room: str) -> int:
        """Return up to which ``seq`` a room was trimmed, 0 if it was not."""
        return int(self._server.command("HGET", f"{PREFIX}trimmed", room) or 0)

    def load_room(self, room: str, start_seq: int) -> tuple[LoadedRoom, bool]:
        """Return a room's state, and whether `forget_deleted` has something to do: that is left out already."""
        found, forgotten_seq = self._values_of(room)
        forgettable = self._forgettable(found)
        for key in forgettable:
            forgotten_seq = max(forgotten_seq, found.pop(key)[0].seq)
        values = sorted(((key, value) for key, (value, _) in found.items()), key=lambda item: item[1].seq)
        return LoadedRoom(dict(values), max(forgotten_seq, start_seq)), bool(forgettable)

    def _values_of(self, room: str) -> tuple[_Values, int]:
        values, forgotten_seq = self._server.transaction(
            ("HGETALL", f"{PREFIX}state:{room}"), ("HGET", f"{PREFIX}forgotten", room)
        )
        return {key.decode(): unpack_value(packed) for key, packed in values.items()}, int(forgotten_seq or 0)

    def find_resent(self, room: str, digest: str) -> FoundResent | None:
        """Return what was sent into a room with this digest within a day."""
        hour = self._hour()
        keys = [f"{PREFIX}resent:{hour - back}" for back in range(scripts.RESENT_HOURS)]
        found = next((each for each in self._server.transaction(*[("HGET", key, digest) for key in keys]) if each), None)
        if found is None:
            return None
        seq, timestamp = found.decode().split(" ")
        rows = self._server.command("XRANGE", f"{PREFIX}messages:{room}", seq, seq)
        return FoundResent(int(seq), float(timestamp), decode_message(rows[0][1][b"d"]) if rows else None)

    def digests(self) -> tuple[list[str], bool]:
        """Return what was sent within a day, and whether that is all: it is bounded."""
        found: list[str] = []
        for back in range(scripts.RESENT_HOURS):
            for digest in self._scan(f"{PREFIX}resent:{self._hour() - back}"):
                found.append(digest[0].decode())
                if len(found) > KNOWN_LIMIT_COUNT:
                    return [], False
        return found, True

    def sessions(self) -> Iterator[tuple[str, StoredSession]]:
        """Yield the sessions that are kept, by key, each with all that has changed in it."""
        changed = set(self._server.command("SMEMBERS", f"{PREFIX}changed"))
        for key, whole in self._scan(f"{PREFIX}sessions"):
            session = decode_session(whole)
            if key in changed:
                session = applied(session, self._changes_of(key))
            yield key.decode(), session

    def _changes_of(self, key: bytes) -> list[SessionChange]:
        return [decode_change(each) for each in self._server.command("LRANGE", PREFIX.encode() + b"changes:" + key, 0, -1)]

    def _scan(self, key: str) -> Iterator[tuple[bytes, bytes]]:
        cursor = 0
        while True:
            cursor, found = self._server.command("HSCAN", key, cursor, "COUNT", _SCANNED_AT_ONCE_COUNT)
            yield from found.items()
            if not int(cursor):
                return

    def read_document(self, document: str) -> StoredDocument | None:
        """Return all of a document that is kept, None if there is nothing."""
        (snapshot, through), rows = self._server.transaction(
            ("HMGET", f"{PREFIX}snapshot:{document}", "data", "through"),
            ("XRANGE", f"{PREFIX}updates:{document}", "-", "+"),
        )
        if snapshot is None and not rows:
            return None
        return StoredDocument(snapshot, int(through or 0), [(place_of(row[0])[0], row[1][b"d"]) for row in rows])


def _trimmed(answer: list[Any]) -> Trimmed:
    return [(room.decode(), int(seq)) for room, seq in zip(answer[::2], answer[1::2], strict=True)]
