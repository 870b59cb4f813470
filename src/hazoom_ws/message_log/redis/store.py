"""What is asked of Redis, in the words of a message log: all of it blocks, and is called beside turns or before any.

Each process has a lease, which it renews with whatever it writes, and each script that changes anything asks first whether
it is still that of this process, as it is now (`Store.begin`). So a batch that was given up on cannot be written later by a
connection that has been forgotten.

Everything raises `Refused`, which is a `LogUnavailable`.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import Batch, StoredSession, only, size_bytes
from hazoom_ws.message_log.documents import StoredDocument
from hazoom_ws.message_log.redis import scripts
from hazoom_ws.message_log.redis.encoding import (
    Sized,
    batch_arguments,
    decode_change,
    decode_message,
    decode_session,
    encode_message,
    pack_value,
    place_of,
    unpack_value,
)
from hazoom_ws.message_log.redis.functions import functions
from hazoom_ws.message_log.redis.older import Stretch, Wanted, stretch_of
from hazoom_ws.message_log.redis.resent import KNOWN_LIMIT_COUNT
from hazoom_ws.message_log.redis.scripts import PREFIX
from hazoom_ws.message_log.redis.server import Refused, Server
from hazoom_ws.message_log.room_state import DELETED_KEPT_COUNT, StateChange, StateValue
from hazoom_ws.message_log.session_states import applied
from hazoom_ws.message_log.state_cache import LoadedRoom
from hazoom_ws.settings import Settings

_SCRIPTS = [
    *("BEGIN", "END", "WRITE", "RESTORE_MESSAGES", "RESTORE_STATES"),
    *("CLAIM", "TAKE_OVER"),
    *("SNAPSHOT", "TRIM_ROOMS", "TRIM_AGED", "FORGET_DELETED"),
]
_READ_AT_ONCE_COUNT = 200
_SCANNED_AT_ONCE_COUNT = 1000
_AGED_AT_ONCE = (50, 500)  # rooms, messages of each
_DAY_S = 86_400.0

_Values = dict[str, tuple[StateValue, float]]  # by key, and when it was set
Trimmed = list[tuple[str, int]]  # rooms, and up to which ``seq`` each


class About(NamedTuple):
    """What a log says about itself. ``last_seq``: the highest number that was given.

    ``run``: which Redis has it, since which start, be it of Redis or of the log. ``kept_seq``: the highest number that was
    there then; what was heard before, and has a higher one, is lost. ``ahead``: by how much numbers are ahead of the clock.
    """

    epoch: str
    run: str
    start_seq: int
    last_seq: int
    kept_seq: int
    ahead: int
    trimmed_seq: int


class Written(NamedTuple):
    """What became of a batch, by the places of things in it (`encoding.places_of`).

    ``first_seq``: the number of the first place. ``said_before``: number and timestamp of what was there already.
    ``refused``: what is not as it was said to be any more. ``trimmed``: rooms.
    """

    first_seq: int
    said_before: dict[int, tuple[int, float]]
    refused: set[int]
    trimmed: Trimmed


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
        self._text = ""
        self._channels = ""
        self._epoch = ""
        self._bounds = (settings.history_room_limit_count, settings.history_room_limit_bytes)
        self._scripts = {name: server.script(getattr(scripts, name), reaches_replicas=name == "WRITE") for name in _SCRIPTS}

    def _run(self, name: str, *arguments: Any) -> Any:
        return self._scripts[name]([self._server.name, self._text, *arguments])

    # The lease

    def begin(self, *, epoch: str, start_seq: int, ahead: int = 0) -> About:
        """Take a new lease; what this process had on its way is not done any more. Begin a log if there is none, as told.

        Raises `SettingsError` for a Redis that must not be used.
        """
        self._server.start_anew()
        self._server.check()
        text = secrets.token_hex(8)
        bounds = (*self._bounds, self._settings.message_limit_bytes)
        told = self._scripts["BEGIN"]([self._server.name, text, epoch, start_seq, ahead, *bounds])
        self._text = text
        about = dict(zip(told[::2], told[1::2], strict=True))
        self._epoch = about[b"epoch"].decode()
        self._channels = f"{PREFIX}{self._epoch}:"
        with suppress(Refused):  # Redis 6 has no functions, and may not allow any: then there are none for others
            self._server.command("FUNCTION", "LOAD", "REPLACE", functions(self._server.pubsub.publish))
        seqs = (int(about[name]) for name in (b"start_seq", b"last", b"kept_seq", b"ahead", b"trimmed_seq"))
        return About(self._epoch, about[b"run"].decode(), *seqs)

    def end(self) -> None:
        """Give the lease back."""
        self._run("END")

    @property
    def channels(self) -> str:
        """What the names of all channels of this log begin with."""
        return self._channels

    def last_seq(self) -> int:
        """Return the highest number that was given."""
        return int(self._server.command("HGET", f"{PREFIX}about", "last") or 0)

    # Writing

    def write(self, batch: Batch, name: str, *, floor_seq: int, conditions: Mapping[int, Mapping[str, int]]) -> Written:
        """Keep a batch, whole or not at all, and publish it under a ``name`` of its own.

        It gets numbers above ``floor_seq`` and all others. ``conditions`` as in `batch_arguments`.
        """
        arguments = batch_arguments(batch, conditions)
        first, said_before, refused, trimmed = self._run(
            "WRITE", name, self._channels, self._server.pubsub.publish, floor_seq, self._bucket(), *self._bounds, *arguments
        )
        known = zip(said_before[::3], said_before[1::3], said_before[2::3], strict=True)
        return Written(
            int(first),
            {place: (int(seq), float(timestamp)) for place, seq, timestamp in known},
            set(refused),
            _trimmed(trimmed),
        )

    def restore_messages(self, entries: Iterable[NewMessage]) -> None:
        """Put messages back that Redis has lost, ascending."""
        arguments: list[Any] = []
        for entry in entries:
            arguments += (entry.room, entry.seq, size_bytes(entry), encode_message(entry))
        if arguments:
            self._run("RESTORE_MESSAGES", *arguments)

    def restore_states(self, values: Iterable[tuple[str, str, StateValue]]) -> None:
        """Put values of states into Redis: room, key and value of each; none that is older than what is there."""
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

    def _bucket(self) -> int:
        return int(self._wall_clock() // scripts.RESENT_BUCKET_S)

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
                seq, entry_bytes = place_of(identifier)
                entry = decode_message(fields[b"d"], seq, self._epoch)
                if entry is None:
                    continue
                if wanted.event_name is not None and not any(only([entry], wanted.event_name)):
                    continue
                found.append(Sized(entry, entry_bytes))
                page_bytes += entry_bytes
                # One more than the page has: so that it can tell that there is more.
                if len(found) > wanted.limit or (len(found) > 1 and page_bytes > wanted.limit_bytes):
                    return stretch_of(wanted, found, is_all=False)
            if len(rows) < _READ_AT_ONCE_COUNT:
                return stretch_of(wanted, found, is_all=True)
            last_seq = place_of(rows[-1][0])[0]
            low, high = (low, last_seq - 1) if wanted.newest else (last_seq + 1, high)

    def messages_after(self, room: str, seq: int) -> list[NewMessage]:
        """Return what was said in a room after a ``seq``, ascending."""
        rows = self._server.command("XRANGE", f"{PREFIX}messages:{room}", seq + 1, "+")
        entries = [decode_message(fields[b"d"], place_of(identifier)[0], self._epoch) for identifier, fields in rows]
        return [entry for entry in entries if entry is not None]

    def newest_seqs(self, rooms: Sequence[str]) -> list[int]:
        """Return the number of the newest message in each of some rooms, 0 if there is none."""
        return [int(seq or 0) for seq in self._server.command("HMGET", f"{PREFIX}newest", *rooms)] if rooms else []

    def changes_after(self, room: str, seq: int) -> list[StateChange]:
        """Return what was set in a room's state after a ``seq`` and is still there, ascending."""
        values, _ = self._values_of(room)
        by_seq: dict[int, StateChange] = {}
        for key, (value, set_at_s) in values.items():
            if value.seq > seq:
                change = by_seq.setdefault(value.seq, StateChange(value.seq, room, value.user, set_at_s, {}))
                change.values[key] = value.value
        return [by_seq[one] for one in sorted(by_seq)]

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
        bucket = self._bucket()
        keys = [f"{PREFIX}resent:{bucket - back}" for back in range(scripts.RESENT_BUCKETS)]
        found = next((each for each in self._server.transaction(*[("HGET", key, digest) for key in keys]) if each), None)
        if found is None:
            return None
        seq, timestamp = found.decode().split(" ")
        rows = self._server.command("XRANGE", f"{PREFIX}messages:{room}", seq, seq)
        entry = decode_message(rows[0][1][b"d"], int(seq), self._epoch) if rows else None
        return FoundResent(int(seq), float(timestamp), entry)

    def digests(self) -> tuple[list[str], bool]:
        """Return what was sent within a day, and whether that is all: it is bounded."""
        found: list[str] = []
        for back in range(scripts.RESENT_BUCKETS):
            for digest in self._scan(f"{PREFIX}resent:{self._bucket() - back}"):
                found.append(digest[0].decode())
                if len(found) > KNOWN_LIMIT_COUNT:
                    return [], False
        return found, True

    # Sessions

    def claim(self, key: str, opened_at_s: float) -> StoredSession | None:
        """Have a session from now on that another process has; None if nobody has it, or a later connection there."""
        is_mine = self._run("CLAIM", key, repr(opened_at_s), self._channels, self._server.pubsub.publish)
        return self._session(key) if is_mine else None

    def take_over(self, is_dead: Callable[[str], bool]) -> Iterator[tuple[str, StoredSession]]:
        """Have the sessions of dead processes from now on; yield them by key."""
        pairs: list[str] = []
        for key, holder in self._scan(f"{PREFIX}holders"):
            name = holder.decode().partition(" ")[0]
            if is_dead(name):
                pairs += (key.decode(), name)
                if len(pairs) >= _SCANNED_AT_ONCE_COUNT:
                    yield from self._taken_over(pairs)
                    pairs = []
        yield from self._taken_over(pairs)

    def _taken_over(self, pairs: list[str]) -> Iterator[tuple[str, StoredSession]]:
        for key in self._run("TAKE_OVER", *pairs) if pairs else ():
            session = self._session(key.decode())
            if session is not None:
                yield key.decode(), session

    def _session(self, key: str) -> StoredSession | None:
        whole, changes = self._server.transaction(
            ("HGET", f"{PREFIX}sessions", key), ("LRANGE", f"{PREFIX}changes:{key}", 0, -1)
        )
        return None if whole is None else applied(decode_session(whole), map(decode_change, changes))

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
