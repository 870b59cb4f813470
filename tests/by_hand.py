"""A worker and a log that do the next thing when a test says so, and fail as it says."""

from collections import deque
from collections.abc import Callable
from typing import Any

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import Batch, Entry, StoredSession, number
from hazoom_ws.message_log.documents import DocumentUpdate
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.message_log.memory_documents import MemoryDocuments
from hazoom_ws.message_log.session_states import PendingSessions
from hazoom_ws.message_log.state_cache import LoadedRoom, StateCache


class ByHand:
    """A worker whose threads do the next thing, and whose time passes, when the test says so."""

    def __init__(self) -> None:
        self.called_soon: deque[Callable] = deque()
        self.called_later: deque[Callable] = deque()
        self.submitted: deque[tuple] = deque()

    def soon(self, callback: Callable) -> None:
        self.called_soon.append(callback)

    def later(self, _delay_s: float, callback: Callable) -> None:
        self.called_later.append(callback)

    def submit(self, done: Callable, function: Callable, *args: object) -> None:
        self.submitted.append((done, function, args))

    def run(self, function: Callable, *args: object) -> None:
        function(*args)

    def call_back(self) -> None:
        while self.called_soon:
            self.called_soon.popleft()()

    def pass_time(self) -> None:
        """Call back what was to be called later by now."""
        self.called_soon += self.called_later
        self.called_later.clear()
        self.call_back()

    def do(self) -> str:
        """Do the first thing that was submitted, and return its name."""
        done, function, args = self.submitted.popleft()
        error = None
        try:
            function(*args)
        except Exception as raised:
            error = raised
        done(error)
        self.call_back()
        return function.__name__


FIRST_SEQ = 1_000_000


class BreaksOnce:
    """Raises once when it is called, then calls what is behind it."""

    def __init__(self, function: Callable) -> None:
        self._function = function
        self.__name__ = function.__name__
        self.has_broken = False

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.has_broken:
            return self._function(*args, **options)
        self.has_broken = True
        raise MemoryError


class _NothingFiled:
    """The file of a `LogByHand`, as far as room states ask for one."""

    def __init__(self, log: "LogByHand") -> None:
        self._log = log

    def check(self) -> None:
        if self._log.problem is not None:
            raise LogUnavailable(self._log.problem)

    def load(self, room: str) -> LoadedRoom:
        return LoadedRoom({}, 0)

    def find_resent(self, room: str, user: str, client_id: str, sender: object) -> int | None:
        return None


class DocumentsByHand(MemoryDocuments):
    """Documents whose updates are kept with the batches of a `LogByHand`."""

    def __init__(self, log: "LogByHand") -> None:
        super().__init__(log.next_offset, limit_bytes=100_000_000)
        self._log = log
        self.pending: list[DocumentUpdate] = []

    def add_update(self, document: str, update: bytes) -> DocumentUpdate:
        if self._log.problem is not None:
            raise LogUnavailable(self._log.problem)
        self.pending.append(DocumentUpdate(self._log.next_offset(), document, update))
        return self.pending[-1]


class LogByHand(MemoryLog):
    """A log whose batches are kept, or not, as the test says: `write_at_once` by ``at_once``, all else by ``fails_with()``.

    A `LogUnavailable` makes it unwell, anything else does not. ``kept`` has messages, changes of room states and updates of
    documents, ``kept_sessions`` states of sessions. Like a log whose order others share, it gives messages their numbers
    when it keeps them: from `FIRST_SEQ` on.
    """

    states: StateCache
    documents: DocumentsByHand

    def __init__(self) -> None:
        super().__init__(room_limit_count=10_000, limit_bytes=10_000_000)
        self.problem = None
        self.at_once = True
        self.fails_with: Callable[[], Exception] | None = None
        self.kept: list[Entry] = []
        self.kept_sessions: dict[str, StoredSession | None] = {}
        self.has_to_tidy = self.has_to_checkpoint = self.is_closed = False
        self._pending: list[NewMessage] = []
        self._sessions = PendingSessions()
        self.states = StateCache(self, limit_bytes=10_000_000, file=_NothingFiled(self))
        self.documents = DocumentsByHand(self)

    @property
    def is_untidy(self) -> bool:
        return self.problem is None and self.has_to_tidy

    @property
    def is_checkpoint_due(self) -> bool:
        return self.problem is None and self.has_to_checkpoint

    @property
    def is_dirty(self) -> bool:
        return self.problem is None and bool(self._has_entries or self._sessions.pressing or self._sessions.waiting)

    @property
    def is_pressing(self) -> bool:
        return bool(self._has_entries or (self._sessions.pressing and self.problem is None))

    @property
    def _has_entries(self) -> bool:
        return bool(self._pending or self.states.pending or self.documents.pending)

    def append(self, **fields: Any) -> NewMessage:
        if self.problem is not None:
            raise LogUnavailable(self.problem)
        message = super().append(**fields)
        self._pending.append(message)
        return message

    def save_session(self, key: str, session: StoredSession | None, *, can_wait: bool = False) -> None:
        self._sessions.add(key, session, can_wait=can_wait)

    def press(self) -> None:
        self._sessions.press()

    def pop_batch(self) -> Batch:
        if not self._has_entries and not self._sessions.pressing:
            self.press()
        messages, self._pending = self._pending, []
        state_changes = self.states.pop()
        updates, self.documents.pending = self.documents.pending, []
        sessions, changes = self._sessions.pop()
        batch = Batch(messages, sessions, changes, 0, state_changes=state_changes, updates=updates)
        return batch._replace(number=min((entry.seq for entry in batch.entries()), default=0) or self.next_offset())

    def write(self, batch: Batch) -> None:
        if self.is_closed:
            raise LogUnavailable("closed")
        self._fail()
        places = [entry.seq for entry in batch.entries()]
        for message in batch.messages:
            seq = FIRST_SEQ + len(self.kept)
            number(message, seq, f"kept-{seq}")
            self.kept.append(message)
        self.kept += [*batch.state_changes, *batch.updates]
        self.states.settle(max(places, default=0), 0)
        for update in batch.updates:
            self.documents.keep(update)
        self.kept_sessions.update(batch.sessions)

    def write_at_once(self, batch: Batch) -> bool:
        if not self.at_once or self.problem is not None:
            return False
        self.write(batch)
        return True

    def forget(self, batch: Batch) -> None:
        super().forget(batch)
        self.states.forget(batch.state_changes)
        self._sessions.put_back(batch.sessions.items())

    def tidy(self) -> None:
        self._fail()
        self.has_to_tidy = False

    def checkpoint(self) -> None:
        self._fail()
        self.has_to_checkpoint = False

    def reopen(self) -> None:
        self._fail()
        self.problem = None

    def close(self) -> None:
        self.is_closed = True
        self.problem = "closed"

    def _fail(self) -> None:
        if self.fails_with is None:
            return
        error = self.fails_with()
        if isinstance(error, LogUnavailable):
            self.problem = error.args[0] if error.args else "failed"
        raise error
