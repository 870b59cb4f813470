"""The log in Redis: for one process now, laid out for several.

What is in memory, and what is not
    Turns are answered from memory. What was said since this process began is there as far as there is space (`MemoryLog`),
    and what is older is read from Redis beside turns when somebody asks (`NotLoaded`): pages (`older`), the states of rooms
    (`states`), what was sent before (`resent`). A document is read beside turns in any case.

What is written, and how that can fail
    A batch is one script (`scripts.WRITE`): numbered above the one before, kept, published and trimmed in one step, in one
    round trip, by the thread that writes. Redis has it whole or not at all. If there was no answer, it is not known which:
    its senders are refused, and the log is unwell until Redis answers again. Then this process takes Redis over anew, after
    which the old connection can write nothing more (`store`), and if the batch is there all the same, it is taken out
    again: nobody has seen it, and those who were refused send it again.

What Redis may lose
    With ``appendfsync everysec`` a Redis that dies may lose what it acknowledged in the last second or two. When it is back
    without the last batch that was written, it is given again what memory has: messages and states; sessions are saved
    anew, and who holds documents saves snapshots (`Documents.losses_count`).

One process
    A Redis has one owner (`store`). For several, each would own nothing but its connections: the script would give numbers
    (`contract.number`), and each process would hear of all from the channel of a room, to which the script publishes
    already. What a process has of a room in memory would be right from the moment in which it listens; before that
    `NotLoaded` is raised, as for what is old now.

`problem` is set beside turns too, by whoever finds that Redis is gone; turns only look at it. Once a second without a batch
an empty one is written, so that a Redis that is gone, hangs or is full is noticed while nobody says anything.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from msgspec import UNSET, UnsetType

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import (
    MESSAGES,
    PAGE_LIMIT_BYTES,
    Batch,
    KnownSessions,
    NotLoaded,
    Page,
    SessionChange,
    StoredSession,
    resent_key,
)
from hazoom_ws.message_log.recent_and_older import new_recent, read_page
from hazoom_ws.message_log.redis.documents import RedisDocuments
from hazoom_ws.message_log.redis.encoding import batch_digests, digest_of, last_seq_of
from hazoom_ws.message_log.redis.older import Older, Wanted
from hazoom_ws.message_log.redis.resent import Resent
from hazoom_ws.message_log.redis.server import ImportModule, Refused, Server
from hazoom_ws.message_log.redis.states import RedisStates
from hazoom_ws.message_log.redis.store import About, FoundResent, Store
from hazoom_ws.message_log.redis.trimmed import Trims
from hazoom_ws.message_log.redis.upkeep import Upkeep
from hazoom_ws.message_log.room_state import StateValue
from hazoom_ws.message_log.session_states import PendingSessions
from hazoom_ws.message_log.state_cache import STATES_SHARE, LoadedRoom, StateCache
from hazoom_ws.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

_OLDER_SHARE = 2  # of the bound of messages in memory, what is read from Redis may have this part
# Numbers given to what is not kept, such as tokens, stay below a mark that is: see `marks` of a file.
_MARK_STEP = 10_000_000
_PROBE_INTERVAL_S = 1.0
_RESTORED_AT_ONCE_COUNT = 500


P = ParamSpec("P")
R = TypeVar("R")


class _Unknown(NamedTuple):
    """A batch of which it is not known whether Redis has it, by its number; and what takes it back (`Store.undo`)."""

    number: int
    undo: list[Any]


class RedisLog:
    """Messages and sessions in the Redis that a URL names. Raises `SettingsError` for one that cannot be used."""

    path: Path | None = None
    reads_beside = True
    is_checkpoint_due = False

    def __init__(
        self,
        settings: Settings,
        import_module: ImportModule,
        *,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``import_module`` imports redis-py: with plain sockets, where eventlet has replaced them."""
        self.problem: str | None = None
        self._settings = settings
        self._clock = clock
        name = f"hazoom_ws-{secrets.token_hex(8)}"
        self._server = Server(
            settings.log_url,
            name,
            timeout_s=settings.log_redis_timeout_s,
            wait_replicas=settings.log_redis_wait_replicas,
            import_module=import_module,
        )
        self._store = Store(self._server, settings, wall_clock=wall_clock)
        self._pending: list[NewMessage] = []  # messages that are to be written
        self._sessions = PendingSessions()
        self._recent = new_recent(self._settings, int(wall_clock() * 1e6), "")
        self._written_seq = 0  # up to here all is written, whatever it is
        self._mark = 0
        self._written_at_s = clock()
        self._is_probe_due = False
        self._replaced: dict[tuple[str, str], StateValue | None] = {}  # by the batch that was popped last
        self._unknown: _Unknown | None = None
        self._trims = Trims(self._reading(self._store.trimmed_seq))
        limit_bytes = settings.history_limit_bytes
        self._older = Older(self._reading(self._store.load), limit_bytes=limit_bytes // _OLDER_SHARE)
        self._resent: Resent[FoundResent] = Resent(self._reading(self._store.find_resent))
        self._filed = RedisStates(self._check, self._load_state, self._resent, written_seq=lambda: self._written_seq)
        self.states = self._filed.cache = StateCache(
            self, limit_bytes=STATES_SHARE * limit_bytes, file=self._filed, clock=clock
        )
        self.documents = RedisDocuments(self._reading(self._store.read_document), self, self._check)
        self._upkeep = Upkeep(self._store, settings, self.documents.snapshots, wall_clock=wall_clock, clock=clock)
        try:
            self._begin(self._store.take(epoch=self._recent.epoch, start_seq=self._recent.last_seq))
        except LogUnavailable as error:
            self._server.close()
            raise SettingsError(f"log_url: {self._server}: {error.reason}") from None
        except BaseException:
            self._server.close()
            raise

    def _begin(self, about: About) -> None:
        """Go on where an earlier process has ended. Before any turn."""
        start_seq = max(self._recent.last_seq, about.mark, about.last_number)
        self._recent = new_recent(self._settings, start_seq, about.epoch)
        self._start_seq = about.start_seq
        self._trims.newest_seq = about.trimmed_seq
        self._mark = about.mark
        self._written_seq = self._recent.droppable_seq = start_seq
        digests, is_complete = self._store.digests()
        self._resent.begin_with(digests, is_complete=is_complete)
        self._write(Batch([], {}, {}, self._recent.next_offset()))  # with a mark

    @property
    def last_seq(self) -> int:
        return self._recent.last_seq

    @property
    def messages_total(self) -> int:
        return self._recent.messages_total

    @property
    def is_dirty(self) -> bool:
        if self.problem is not None:
            return False
        is_dirty = bool(self._pending or self._sessions.is_dirty or self.states.pending or self.documents.pending)
        return is_dirty or self._is_probe_due or self._is_mark_near or self.documents.has_new_snapshots

    @property
    def _is_mark_near(self) -> bool:
        return self._recent.last_seq + _MARK_STEP // 2 > self._mark

    @property
    def is_pressing(self) -> bool:
        is_saving = self._sessions.pressing and self.problem is None
        return bool(self._pending or self.states.pending or self.documents.pending or is_saving)

    def append(self, **fields: Any) -> NewMessage:
        """Take the fields of `MessageLog.append`."""
        self._check()
        entry = self._recent.append(**fields)
        self._pending.append(entry)
        return entry

    def next_offset(self) -> int:
        return self._recent.next_offset()

    def find_resent(
        self, room: str, user: str, client_id: str | UnsetType, sender: str | UnsetType = UNSET
    ) -> NewMessage | None:
        if client_id is UNSET:
            return None
        entry = self._recent.find_resent(room, user, client_id, sender)
        if entry is not None:
            return entry
        self._check()
        found = self._resent.find(room, digest_of("m", resent_key(room, user, client_id, sender)))
        return None if found is None else found.entry or found.without_text(self._recent.epoch, room, user, client_id)

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
        taken, more = read_page(
            self._recent,
            room,
            after=after,
            before=before,
            limit=limit,
            newest=newest,
            limit_bytes=limit_bytes,
            event_name=event_name,
            older=lambda after, before, newest: self._read_older(
                Wanted(room, after, before, event_name, newest, limit, limit_bytes)
            ),
        )
        return Page(taken, more, after is not None and self._has_gap(room, after))

    def _read_older(self, wanted: Wanted) -> Iterator[NewMessage]:
        try:
            yield from self._older.read(wanted)
        except NotLoaded:
            self._check()
            raise

    def _has_gap(self, room: str, after: int) -> bool:
        if after > self.last_seq or 0 < after < self._start_seq:
            return True
        try:
            return self._trims.is_gone(room, after)
        except NotLoaded:
            self._check()
            raise

    def save_session(self, key: str, session: StoredSession | None, *, can_wait: bool = False) -> None:
        self._sessions.add(key, session, can_wait=can_wait)

    def change_session(self, key: str, change: SessionChange, *, can_wait: bool = False) -> None:
        self._sessions.add(key, change, can_wait=can_wait)

    def restore_from(self, known: KnownSessions) -> None:
        self._sessions.restore_from(known)

    def press(self) -> None:
        self._sessions.press()

    def sessions(self) -> Iterator[tuple[str, StoredSession]]:
        with suppress(LogUnavailable):
            yield from self._store.sessions()

    def pop_batch(self) -> Batch:
        if not (self._pending or self._sessions.pressing or self.states.pending or self.documents.pending):
            self.press()
        self._is_probe_due = False
        self.states.settle(self._written_seq, self._filed.filed_seq())
        messages, self._pending = self._pending, []
        sessions, changes = self._sessions.pop()
        states, updates = self.states.pop(), self.documents.pop()
        firsts = [entries[0].seq for entries in (messages, states, updates) if entries]
        number = min(firsts) if firsts else self._recent.next_offset()
        self._replaced = self.states.replaced_by(states) if states else {}
        batch = Batch(messages, sessions, changes, number, self._recent.senders_of(messages), states, updates)
        self._resent.add(batch_digests(batch))
        return batch

    def write(self, batch: Batch) -> None:
        self._check()
        try:
            self._write(batch)
        except Refused as error:
            if error.is_unknown:
                # Now, since what is refused loses its numbers.
                self._unknown = _Unknown(last_seq_of(batch), self._store.undo_of(batch, self._replaced))
            self.problem = error.reason
            raise

    def _write(self, batch: Batch) -> None:
        number = last_seq_of(batch)
        mark = max(self._mark, self._recent.last_seq + _MARK_STEP) if self._is_mark_near else self._mark
        self._trims.note_beside(self._store.write(batch, number=number, mark=mark))
        self._mark = mark
        self._written_seq = self._recent.droppable_seq = number
        self._written_at_s = self._clock()
        self._upkeep.note(batch)

    def write_at_once(self, batch: Batch) -> bool:  # noqa: ARG002 - as the contract has it
        """Write nothing: Redis is waited for in a thread."""
        return False

    def look(self) -> None:
        """Have something written if nothing was for a while: that shows whether Redis is there, and lets it have space."""
        if self.problem is None and self._clock() - self._written_at_s >= _PROBE_INTERVAL_S:
            self._is_probe_due = True

    @property
    def is_untidy(self) -> bool:
        return self.problem is None and self._upkeep.is_due

    def tidy(self) -> None:
        try:
            self._trims.note_beside(self._upkeep.run())
        except Refused as error:
            self.problem = error.reason

    def checkpoint(self) -> None:
        """Redis writes to its disk by itself."""

    def _check(self) -> None:
        if self.problem is not None:
            raise LogUnavailable(self.problem)

    def _reading(self, read: Callable[P, R]) -> Callable[P, R]:
        """Return what reads from Redis beside turns, and finds the log unwell if there is no answer."""

        def call(*arguments: P.args, **options: P.kwargs) -> R:
            self._check()
            try:
                return read(*arguments, **options)
            except Refused as error:
                if error.is_unknown:  # else it is about this one thing, or the next batch says so
                    self.problem = self.problem or error.reason
                raise

        return call

    def _load_state(self, room: str) -> LoadedRoom:
        loaded, is_untidy = self._reading(self._store.load_room)(room, self._start_seq)
        if is_untidy:
            self._upkeep.forget_deleted_in(room)
        return loaded

    def forget(self, batch: Batch) -> None:
        self._recent.forget(batch)
        self.states.forget(batch.state_changes)
        self._sessions.put_back(chain(batch.sessions.items(), batch.changes.items()))

    # After Redis was away

    def reopen(self) -> None:
        try:
            self._go_on(self._store.take(epoch=self._recent.epoch, start_seq=self._start_seq))
        except LogUnavailable as error:
            self.problem = error.reason
        except SettingsError as error:
            self.problem = str(error)
        else:
            self.problem = None

    def _go_on(self, about: About) -> None:
        """Make Redis have what this process has: no less, and no more."""
        unknown = self._unknown
        if about.epoch != self._recent.epoch:
            raise LogUnavailable("this is another Redis than before; restart the server to use what it has")
        if unknown is not None and about.last_number >= unknown.number:
            self._store.undo(unknown.undo)
        elif about.last_number < self._written_seq:
            self._restore(about.last_number)
        self._unknown = None
        self._mark = about.mark
        self._write(Batch([], {}, {}, max(self._written_seq, about.last_number)))  # which shows whether there is space

    def _restore(self, last_number: int) -> None:
        """Give Redis what it has lost of what was written after ``last_number``, as far as memory has it."""
        # Messages are the last, from the oldest on: the number of the last one says how far this has come, if it fails.
        self._store.restore_states(each for each in self.states.kept_values() if each[2].seq > last_number)
        self._sessions.lose()
        self.documents.losses_count += 1
        pending = {entry.seq for entry in self._pending}
        held = [entry for entry in self._recent.newer_than(last_number) if entry.seq not in pending]
        held = [entry for entry in held if entry.seq <= self._written_seq]
        for start in range(0, len(held), _RESTORED_AT_ONCE_COUNT):
            part = held[start : start + _RESTORED_AT_ONCE_COUNT]
            self._store.write(
                Batch(part, {}, {}, part[0].seq, self._recent.senders_of(part)), number=part[-1].seq, mark=self._mark
            )
        logger.error(
            "Redis had lost what was written last; the %d messages of it that memory has are in Redis again", len(held)
        )

    def close(self) -> None:
        if self.problem is None:
            with suppress(LogUnavailable):
                self._store.release()
        self._server.close()
        self.problem = "closed"
