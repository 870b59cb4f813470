"""The log in Redis, which several processes share: each has all promises of a log, and all have one order.

What is in memory, and what is not
    Turns are answered from memory. A room is *followed* while somebody here is in it, or reads it: this process hears its
    channel (`bus`), so what is said there is in memory from then on, as far as there is space. What is older is read from
    Redis beside turns when somebody asks (`NotLoaded`): pages (`older`), the states of rooms (`states`), what was sent
    before (`resent`). To follow a room is to be loaded too. A process that follows nothing hears nothing of what is said.

How something is said
    A batch is one script (`scripts.WRITE`): numbered above all that was, kept, published and trimmed in one step, in one
    round trip, by the thread that writes. Redis has it whole or not at all. The process then waits until it hears the end
    of its own batch, in between what others have said: `note_kept` applies what came before it, then the batch, and `news`
    applies what came after it. So what is in memory is always what was heard up to one moment, and nothing that is not
    kept, on all processes in the same order.

How that can fail
    If there was no answer, it is not known whether Redis has the batch. Its senders are refused, and the log is unwell
    until Redis answers again. Then this process takes a new lease, after which the old connection can write nothing more
    (`store`), and reads what it has missed in the rooms that it follows (`_fill`): the batch is in there if it was kept, as
    if another process had said it.

What Redis may lose
    With ``appendfsync everysec`` a Redis that dies may lose what it acknowledged in the last second or two, and a replica
    that takes over lacks what it had not got yet. When it has begun anew, or is another one, without the last that was
    heard, it is given again what memory has: messages and states; sessions are saved anew, and who holds documents saves
    snapshots (`Documents.losses_count`).

This is long because it has all that a `MessageLog` has; most of it says in a line who does it.

`problem` is set beside turns too, by whoever finds that Redis is gone; turns only look at it. Every few seconds an empty
batch is written if there was no other: it renews the lease, and a Redis that is gone, hangs or is full is noticed while
nobody says anything.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from msgspec import UNSET, UnsetType

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import (
    MESSAGES,
    PAGE_LIMIT_BYTES,
    Batch,
    Entry,
    KnownSessions,
    NotLoaded,
    Page,
    SessionChange,
    StoredSession,
    doubt,
    resent_key,
)
from hazoom_ws.message_log.peers import Heard
from hazoom_ws.message_log.recent_and_older import new_recent, read_page
from hazoom_ws.message_log.redis.bus import Bus
from hazoom_ws.message_log.redis.documents import RedisDocuments
from hazoom_ws.message_log.redis.encoding import batch_digests, digest_of
from hazoom_ws.message_log.redis.followed import AHEAD_LIMIT
from hazoom_ws.message_log.redis.older import Older, Wanted
from hazoom_ws.message_log.redis.peers import RedisPeers
from hazoom_ws.message_log.redis.replica import OwnBatch, Replica
from hazoom_ws.message_log.redis.resent import Resent
from hazoom_ws.message_log.redis.server import AWAY, SILENT, ImportModule, Refused, Server
from hazoom_ws.message_log.redis.states import RedisStates
from hazoom_ws.message_log.redis.store import About, FoundResent, Store
from hazoom_ws.message_log.redis.trimmed import Trims
from hazoom_ws.message_log.redis.upkeep import Upkeep
from hazoom_ws.message_log.session_states import PendingSessions
from hazoom_ws.message_log.state_cache import STATES_SHARE, LoadedRoom, StateCache
from hazoom_ws.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

_OLDER_SHARE = 2  # of the bound of messages in memory, what is read from Redis may have this part
_PROBE_INTERVAL_S = 1.0
_RESTORED_AT_ONCE_COUNT = 500
_CLAIMED_LIMIT_COUNT = 1000


P = ParamSpec("P")
R = TypeVar("R")


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
        self._appended_total = 0
        self._settings = settings
        self._clock = clock
        self.name = secrets.token_hex(8)
        timeout_s = settings.log_redis_timeout_s
        self._server = Server(
            settings.log_url,
            self.name,
            timeout_s=timeout_s,
            wait_replicas=settings.log_redis_wait_replicas,
            import_module=import_module,
        )
        self._store = Store(self._server, settings, wall_clock=wall_clock)
        self._bus = Bus(self._server, import_module, timeout_s=timeout_s)
        self._bus.on_broken = self._note_broken
        self.peers = RedisPeers(self._server, self._bus, import_module, lambda: self._store.channels)
        self._batch_names = count(1)
        self._pending: list[NewMessage] = []  # messages that are to be written
        self._senders: dict[int, str] = {}  # of those of them whose names do not say it
        self._conditions: dict[int, dict[str, int]] = {}  # of changes of state that are written
        self._sessions = PendingSessions()
        self._claimed: set[str] = set()  # what nobody had, until that is asked again
        self._recent = new_recent(self._settings, int(wall_clock() * 1e6), "")
        self._written_at_s = clock()
        self._is_probe_due = False
        self._trims = Trims(self._reading(self._store.trimmed_seq))
        limit_bytes = settings.history_limit_bytes
        self._older = Older(self._reading(self._store.load), limit_bytes=limit_bytes // _OLDER_SHARE)
        self._resent: Resent[FoundResent] = Resent(self._reading(self._store.find_resent))
        self._filed = RedisStates(
            self.check, self.follow, self._load_state, self._resent, written_seq=lambda: self._recent.last_seq
        )
        self.states = self._filed.cache = StateCache(
            self, limit_bytes=STATES_SHARE * limit_bytes, file=self._filed, clock=clock, is_applied_when_kept=True
        )
        self._replica = Replica(self.name, self._recent, self._bus, self._store, self.states, check=self.check, clock=clock)
        self._followed = self._replica.followed
        self._followed.on_follow, self._followed.on_unfollow = self.peers.on_follow, self.peers.on_unfollow
        self.documents = RedisDocuments(self._reading(self._store.read_document), self, self.check)
        self.peers.on_back.append(self.documents.go_on)  # the first to be called
        self._upkeep = Upkeep(self._store, settings, self.documents.snapshots, wall_clock=wall_clock, clock=clock)
        try:
            self._begin(self._store.begin(epoch=self._recent.epoch, start_seq=self._recent.last_seq))
        except LogUnavailable as error:
            self._let_go()
            raise SettingsError(f"log_url: {self._server}: {error.reason}") from None
        except BaseException:
            self._let_go()
            raise

    def _begin(self, about: About) -> None:
        """Go on where earlier processes have ended. Before any turn."""
        self._recent = self._replica.recent = new_recent(self._settings, about.last_seq, about.epoch)
        self._start_seq = about.start_seq
        self._run, self._ahead = about.run, about.ahead
        self._trims.newest_seq = about.trimmed_seq
        digests, is_complete = self._store.digests()
        self._resent.begin_with(digests, is_complete=is_complete)
        self._bus.want(f"process:{self.name}")
        self._bus.want("processes")
        self._bus.connect(self._store.channels, lambda: ())
        self._try()

    # What is in memory

    @property
    def epoch(self) -> str:
        """What the ids of messages begin with."""
        return self._recent.epoch

    @property
    def last_seq(self) -> int:
        return self._recent.last_seq

    @property
    def messages_total(self) -> int:
        return self._replica.messages_total

    def next_offset(self) -> int:
        return self._recent.next_offset()

    def listen(self, wake: Callable[[], object], used: Callable[[], list[str]], hear: Callable[[], None]) -> None:
        self._bus.on_heard, self._followed.used, self._replica.tell_all = wake, used, hear
        self._bus.begin_to_take()  # what was heard before was told to nobody
        self._bus.tell_if_there_is_more()

    def follow(self, rooms: Iterable[str]) -> None:
        self._followed.require(rooms)

    def find_resent(
        self, room: str, user: str, client_id: str | UnsetType, sender: str | UnsetType = UNSET
    ) -> NewMessage | None:
        if client_id is UNSET:
            return None
        entry = self._recent.find_resent(room, user, client_id, sender)
        if entry is not None:
            return entry
        self.check()
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
        self._followed.require([room])
        if after is not None and after > self.last_seq:
            self._followed.catch_up_with(after)
            if after <= self.last_seq + AHEAD_LIMIT:
                return Page([], more=False, gap=False)  # it has seen a number that another process has given to a token
        taken, more = read_page(
            self._recent,
            room,
            after=after,
            before=before,
            limit=limit,
            newest=newest,
            limit_bytes=limit_bytes,
            event_name=event_name,
            complete_from=self._followed.since(room),
            older=lambda after, before, newest: self._read_older(
                Wanted(room, after, before, event_name, newest, limit, limit_bytes)
            ),
        )
        return Page(taken, more, after is not None and self._has_gap(room, after))

    def _read_older(self, wanted: Wanted) -> Iterator[NewMessage]:
        try:
            yield from self._older.read(wanted)
        except NotLoaded:
            self.check()
            raise

    def _has_gap(self, room: str, after: int) -> bool:
        if after > self.last_seq or 0 < after < self._start_seq:
            return True
        try:
            return self._trims.is_gone(room, after)
        except NotLoaded:
            self.check()
            raise

    def _load_state(self, room: str) -> LoadedRoom:
        loaded, is_untidy = self._reading(self._store.load_room)(room, self._start_seq)
        if is_untidy:
            self._upkeep.forget_deleted_in(room)
        return loaded

    # Sessions

    def sessions(self) -> Iterator[tuple[str, StoredSession]]:
        with suppress(LogUnavailable):
            living = self.peers.alive() - {self.name}
            # Who asks again is told again: by then they are those of this process.
            yield from self._store.take_over(lambda process: process not in living)

    def take_over(self, process: str, /) -> list[tuple[str, StoredSession]]:
        return list(self._reading(self._store.take_over)(lambda name: name == process))

    def claim_session(self, key: str, opened_at_s: float, take: Callable[[str, StoredSession], object]) -> None:
        if key in self._claimed:
            self._claimed.discard(key)
            return
        self.check()

        def load() -> Callable[[], None]:
            session = self._reading(self._store.claim)(key, opened_at_s)
            return lambda: note(session)

        def note(session: StoredSession | None) -> None:
            if session is not None:
                take(key, session)
                return
            if len(self._claimed) >= _CLAIMED_LIMIT_COUNT:  # they asked, and went away
                self._claimed.clear()
            self._claimed.add(key)

        raise NotLoaded(load)

    # What is said

    @property
    def said_total(self) -> int:
        return self._appended_total + self.states.said_total + self.documents.said_total

    @property
    def is_dirty(self) -> bool:
        if self.problem is not None:
            return False
        is_dirty = bool(self._pending or self._sessions.is_dirty or self.states.pending or self.documents.pending)
        return is_dirty or self._is_probe_due or self.documents.has_new_snapshots

    @property
    def is_pressing(self) -> bool:
        is_saving = self._sessions.pressing and self.problem is None
        return bool(self._pending or self.states.pending or self.documents.pending or is_saving)

    def append(self, *, sender: str | UnsetType = UNSET, **fields: Any) -> NewMessage:
        """Take the fields of `MessageLog.append`."""
        self.check()
        seq = self._recent.next_offset()
        entry = NewMessage(id=f"{self.epoch}-{seq}", seq=seq, **fields)
        self._pending.append(entry)
        if sender is not UNSET and entry.client_id is not UNSET:
            self._senders[entry.seq] = sender
        self._appended_total += 1
        return entry

    def save_session(self, key: str, session: StoredSession | None, *, can_wait: bool = False) -> None:
        self._sessions.add(key, session, can_wait=can_wait)

    def change_session(self, key: str, change: SessionChange, *, can_wait: bool = False) -> None:
        self._sessions.add(key, change, can_wait=can_wait)

    def restore_from(self, known: KnownSessions) -> None:
        self._sessions.restore_from(known)

    def press(self) -> None:
        self._sessions.press()

    def pop_batch(self) -> Batch:
        if not (self._pending or self._sessions.pressing or self.states.pending or self.documents.pending):
            self.press()
        self._is_probe_due = False
        self.states.settle(self._recent.last_seq, self._filed.filed_seq())
        messages, self._pending = self._pending, []
        senders, self._senders = self._senders, {}
        sessions, changes = self._sessions.pop()
        states, updates = self.states.pop(), self.documents.pop()
        self._conditions, self.states.conditions = self.states.conditions, {}
        firsts = [entries[0].seq for entries in (messages, states, updates) if entries]
        number = min(firsts) if firsts else self._recent.next_offset()
        batch = Batch(messages, sessions, changes, number, senders, states, updates)
        self._resent.add(batch_digests(batch))
        return batch

    def write(self, batch: Batch) -> None:
        self.check()
        try:
            self._write(batch)
        except Refused as error:
            self._replica.writing = b""
            self.problem = error.reason
            for entry in batch.messages if error.is_unknown else ():
                doubt(entry)
            raise

    def _write(self, batch: Batch) -> None:
        name = str(next(self._batch_names))
        origin = f"{self.name}/{name}".encode()
        # One with nothing in it shows that all is well: also that this process hears what is published.
        has_end = batch.things_count == 0 or any(True for _ in batch.entries())
        if has_end:
            is_heard = self._bus.expect(origin)
            self._replica.writing = origin
        try:
            written = self._store.write(batch, name, floor_seq=self._recent.last_seq, conditions=self._conditions)
            if has_end and not is_heard():
                raise Refused(SILENT if self._bus.is_connected else AWAY, is_unknown=True)
        finally:
            self._bus.expect_no_more(origin)
        self._trims.note_beside(written.trimmed)
        self._replica.own = OwnBatch(batch, origin, written)
        self._written_at_s = self._clock()
        self._upkeep.note(batch)

    def _try(self) -> None:
        """Write nothing: that shows whether there is space, and whether this process hears what is published."""
        self._write(Batch([], {}, {}, 0))
        self._replica.writing = b""
        self._bus.tell_if_there_is_more()

    def write_at_once(self, batch: Batch) -> bool:  # noqa: ARG002 - as the contract has it
        """Write nothing: Redis is waited for in a thread."""
        return False

    def note_kept(self, batch: Batch) -> None:
        self._replica.note_kept(batch)

    def news(self, *, is_before_kept: bool = False) -> list[Entry | Heard]:
        return self._replica.news(is_before_kept=is_before_kept)

    def _note_broken(self, reason: str) -> None:
        self.problem = self.problem or reason

    # Keeping well

    def look(self) -> None:
        """Have something written if nothing was for a while: that shows whether Redis is there, and lets it have space."""
        if self.problem is None:
            self._followed.let_go()
            if self._clock() - self._written_at_s >= _PROBE_INTERVAL_S:
                self._is_probe_due = True

    @property
    def is_untidy(self) -> bool:
        return self.problem is None and (self._upkeep.is_due or self._followed.is_untidy)

    def tidy(self) -> None:
        try:
            self._followed.tidy()
            self._trims.note_beside(self._upkeep.run())
        except Refused as error:
            self.problem = error.reason

    def checkpoint(self) -> None:
        """Redis writes to its disk by itself."""

    def check(self) -> None:
        """Raise `LogUnavailable` if nothing can be kept, or read from elsewhere, at the moment."""
        if self.problem is not None:
            raise LogUnavailable(self.problem)

    def _reading(self, read: Callable[P, R]) -> Callable[P, R]:
        """Return what reads from Redis beside turns, and finds the log unwell if there is no answer."""

        def call(*arguments: P.args, **options: P.kwargs) -> R:
            self.check()
            try:
                return read(*arguments, **options)
            except Refused as error:
                if error.is_unknown:  # else it is about this one thing, or the next batch says so
                    self.problem = self.problem or error.reason
                raise

        return call

    def forget(self, batch: Batch) -> None:
        self.states.forget(batch.state_changes)
        self._sessions.put_back(chain(batch.sessions.items(), batch.changes.items()))

    # After Redis was away

    def reopen(self) -> None:
        heard_seq = self._followed.heard_seq  # turns may hear more while Redis is asked
        try:
            about = self._store.begin(epoch=self._recent.epoch, start_seq=self._start_seq, ahead=self._ahead)
            self._go_on(about, heard_seq)
        except LogUnavailable as error:
            self.problem = error.reason
        except SettingsError as error:
            self.problem = str(error)
        else:
            self.problem = None
            if not self._bus.is_connected:  # it has ended again meanwhile
                self.problem = AWAY

    def _go_on(self, about: About, heard_seq: int) -> None:
        """Hear again, first what was missed; and let Redis have what it has lost of what was heard up to ``heard_seq``."""
        if about.epoch != self._recent.epoch:
            raise LogUnavailable("this is another Redis than before; restart the server to use what it has")
        if about.run != self._run and about.kept_seq < heard_seq:
            self._restore(about.kept_seq)
        self._run, self._ahead = about.run, about.ahead
        self.documents.lose_touch()
        self._bus.connect(self._store.channels, lambda: [*self._followed.missed(), *self.peers.back()])
        self._try()

    def _restore(self, kept_seq: int) -> None:
        """Give Redis what it has lost of what was heard after ``kept_seq``, as far as memory has it."""
        self._store.restore_states(each for each in self.states.kept_values() if each[2].seq > kept_seq)
        self._sessions.lose()
        self.documents.losses_count += 1
        held = self._recent.newer_than(kept_seq)
        for start in range(0, len(held), _RESTORED_AT_ONCE_COUNT):
            self._store.restore_messages(held[start : start + _RESTORED_AT_ONCE_COUNT])
        logger.error(
            "Redis had lost what was written last; the %d messages of it that memory has are in Redis again", len(held)
        )

    def close(self) -> None:
        if self.problem is None:
            with suppress(LogUnavailable):
                self._store.end()
        self._let_go()
        self.problem = "closed"

    def _let_go(self) -> None:
        self.peers.close()
        self._bus.close()
        self._server.close()
