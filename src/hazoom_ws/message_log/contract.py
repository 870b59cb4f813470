"""What a message log promises, whatever keeps it. Siblings: `memory`, `sqlite`, `redis`; `room_state` and `documents`
say what it promises of what rooms share beside messages.

Order. ``seq`` is one order over all rooms and only grows, across restarts too: it starts at the microseconds since the
epoch, so that a log which has lost its past goes on above it. From `append` on a message has its place in the order of
this process, and `read` shows it at once. Its ``seq`` and ``id`` are final when it is kept. So who tells anybody of a
message holds the message, and reads its number when that is sent.

Several processes. A log that others share (``peers``) gets numbers from what keeps it, and lets a message have them
(`number`) when it is kept; `read` shows it from `note_kept` on. What others have said is told by `news`, in the one order
of all. So in memory there is nothing that is not kept, and what a turn finds there is true for everybody up to one number.
A message that turns out to have been said before, over another process, has the number of that, negative: it is
acknowledged as that, and shown to nobody. A room has to be followed (`follow`) before anybody is in it; what is said in one
that is not is told to nobody here.

This is long because it says of all stores what each of them promises.

Crashes. What `append` returned may be shown to nobody until `write` has kept the batch that holds it: then it is in every
later `read`, whatever dies. A batch is kept whole or not at all; one that could not be kept is taken back by `forget`, what
is in it is marked by `revoke`, and its numbers are not given again.

Turns. Everything but `write`, `tidy`, `reopen` and `checkpoint` is called within a turn and returns soon. Those may block
and are called beside turns, one at a time and none during `write_at_once`, but for `checkpoint`, which may run beside
`write` and `tidy`. `Documents.read` is called whenever somebody likes, in whichever thread.

Reading. A turn never waits for a log that is elsewhere. What such a log (``reads_beside``) has not in memory, it does not
read: `find_resent`, `read` and all of `RoomStates` raise `NotLoaded` then, before they have changed anything. Whoever has
called loads it beside turns (`NotLoaded.load`) and does the same again: so a turn asks before it changes anything itself.
Memory and a file always answer at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import force_setattr

from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.base import FinishReason
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.documents import Documents, DocumentUpdate
from hazoom_ws.message_log.peers import Heard, Peers
from hazoom_ws.message_log.room_state import RoomStates, StateChange
from hazoom_ws.settings import SettingsError

PAGE_LIMIT_BYTES = 262_144  # a page goes out twice on joining, and an outbox has 1 MB
RECORD_BYTES = 500  # what a message counts for beside its text
_RECORD_AND_NO_QUOTES_BYTES = RECORD_BYTES - len('""')
_encode = msgspec.json.Encoder().encode


# Which records `MessageLog.read` returns, beside the name of an event, for what was kept under that.
MESSAGES = ""
EVERYTHING = None


class NotLoaded(LogUnavailable):
    """What is asked for is kept, but not in memory: a turn would have to wait for it. See "Reading" above.

    ``load()`` is called beside turns, in any thread, and may block; it raises `LogUnavailable`. What it returns is to be
    called within a turn, and then the same can be asked again. Who does not load it treats this as a `LogUnavailable`.
    """

    def __init__(self, load: "Load") -> None:
        super().__init__("it is not in memory yet")
        self.load = load


Load = Callable[[], Callable[[], None]]


def loading_all(missing: "Sequence[NotLoaded]") -> NotLoaded:
    """Return one that loads what several would."""

    def load() -> Callable[[], None]:
        taken = [each.load() for each in missing]

        def take() -> None:
            for each in taken:
                each()

        return take

    return NotLoaded(load)


class UsedElsewhere(SettingsError):
    """What is to keep a log is used by another process."""


Entry = NewMessage | StateChange | DocumentUpdate
REVOKED = 0  # the ``seq`` of what could not be kept; below it are those of what was said before


def number(entry: Entry, seq: int, identifier: str) -> None:
    """Let what was said have the number that it was kept with, and a message its id: for `MessageLog.note_kept`."""
    force_setattr(entry, "seq", seq)
    if isinstance(entry, NewMessage):
        force_setattr(entry, "id", identifier)


def number_as_before(entry: Entry, seq: int, identifier: str, timestamp: float) -> None:
    """Let a message or a change that was said before, over another process, have what the first has; as `number`."""
    number(entry, -seq, identifier)
    force_setattr(entry, "timestamp", timestamp)


def number_of(entry: Entry) -> int:
    """Return the number of what was said, be it now or before, as whoever has said it is told."""
    return abs(entry.seq)


def doubt(entry: NewMessage) -> None:
    """Mark a message that may have been kept though its batch is refused. For a log, before it refuses that."""
    force_setattr(entry, "id", "")


def is_doubtful(entry: Entry) -> bool:
    """Return whether something may have been kept though it is `REVOKED`, so that it could be there twice if sent again."""
    return isinstance(entry, NewMessage) and not entry.id and entry.client_id is UNSET


def revoke(entry: Entry) -> None:
    """Mark what could not be kept, for all that hold it: it has the ``seq`` `REVOKED`."""
    force_setattr(entry, "seq", REVOKED)


class Said(NamedTuple):
    """What somebody has said. ``duplicate``: it was said before, under the same ``client_id``."""

    entry: NewMessage
    duplicate: bool


class Page(NamedTuple):
    """Messages of one room, ascending. ``more``: the range holds further ones. ``gap``: some of it is gone for good."""

    messages: list[NewMessage]
    more: bool
    gap: bool


def page_of(candidates: Iterable[NewMessage], limit: int, limit_bytes: int) -> tuple[list[NewMessage], bool]:
    """Return the first of ``candidates`` that fit into a page, and whether there are more."""
    taken: list[NewMessage] = []
    page_bytes = 0
    for entry in candidates:
        page_bytes += size_bytes(entry)
        if len(taken) == limit or (taken and page_bytes > limit_bytes):
            return taken, True
        taken.append(entry)
    return taken, False


def only(entries: Iterable[NewMessage], event_name: str) -> Iterator[NewMessage]:
    """Yield those that `MessageLog.read` is asked for by ``event_name``, which is not None."""
    wanted = event_name or UNSET
    return (entry for entry in entries if entry.event_name == wanted)


def size_bytes(entry: NewMessage) -> int:
    """Return the size of a message on the wire: its text is exact, the record around it counts as 500 bytes.

    Encoding it is the fastest way to know: of 400 characters it takes a tenth of a microsecond, and no other finds what has
    to be escaped.
    """
    return len(_encode(entry.message)) + _RECORD_AND_NO_QUOTES_BYTES


ResentKey = tuple[str, str, str] | tuple[str, str, str, None]


def resent_key(room: str, user: str, client_id: str, sender: str | UnsetType) -> ResentKey:
    """Return what a resent message is known by: never the same for a name and a sender who is called like it."""
    return (room, user, client_id) if sender is UNSET else (room, sender, client_id, None)


class StoredSession(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a connection that may come back. ``ends_at``: seconds since the epoch, None while it is connected.

    ``answers``: its requests to the AI that have not ended, the room of each by id, "" if private. ``died_answers``: those
    that a restart ended, and of which it has not heard. ``opened_at_s``: when the connection was opened that has it, or had
    it last, in seconds since the epoch: what an earlier one says is no news (`MessageLog.claim_session`).
    """

    user_id: str
    user_name: str
    conversation_id: str = msgspec.field(name="session_id")  # as files have it
    since: int
    rooms: list[str]
    ends_at: float | None = None
    answers: dict[str, str] = {}
    died_answers: dict[str, str] = {}
    opened_at_s: float = 0.0


class SessionChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What has become different in a `StoredSession`: what is UNSET has not. Rooms are left before others are joined."""

    left: list[str] = []
    joined: list[str] = []
    ends_at: float | UnsetType | None = UNSET
    answers: dict[str, str] | UnsetType = UNSET
    died_answers: dict[str, str] | UnsetType = UNSET


SessionState = StoredSession | SessionChange | None  # None: it has ended
KnownSessions = Callable[[], Iterator[tuple[str, StoredSession]]]


class Batch(NamedTuple):
    """What is to be written at once: messages, and by key sessions (None: it has ended) and what has changed in others.

    ``number``: its number in the order of messages, that of the first thing in it or, if it has none, one of its own.
    ``senders``: of some of the messages, by seq, who sent them (`MessageLog.append`). ``state_changes`` of rooms and
    ``updates`` of documents, each ascending.
    """

    messages: list[NewMessage]
    sessions: dict[str, StoredSession | None]
    changes: dict[str, SessionChange]
    number: int
    senders: Mapping[int, str] = MappingProxyType({})
    state_changes: Sequence[StateChange] = ()
    updates: Sequence[DocumentUpdate] = ()

    @property
    def things_count(self) -> int:
        """How much is in it: messages, sessions and changes of them, changes of state, updates."""
        count = len(self.messages) + len(self.sessions) + len(self.changes)
        return count + len(self.state_changes) + len(self.updates)

    def entries(self) -> Iterator[Entry]:
        """Yield all that may be shown only when this is kept: messages, changes of state, updates."""
        yield from self.messages
        yield from self.state_changes
        yield from self.updates


class MessageLog(Protocol):
    """See the module. ``problem`` is why nothing can be kept at the moment, None when all is well."""

    problem: str | None
    reads_beside: bool  # whether reading may raise `NotLoaded`

    @property
    def path(self) -> Path | None:
        """Its file's, None if it has none."""

    @property
    def states(self) -> RoomStates:
        """The states of rooms; always the same object."""

    @property
    def documents(self) -> Documents:
        """The documents; always the same object."""

    @property
    def peers(self) -> Peers | None:
        """The processes that share it, None if there can be none."""

    @property
    def said_total(self) -> int:
        """How much turns have said, if it is shared."""

    @property
    def last_seq(self) -> int:
        """The ``seq`` of the newest message, or where the log started."""

    @property
    def messages_total(self) -> int:
        """Messages appended since the process started."""

    @property
    def is_dirty(self) -> bool:
        """Whether `pop_batch` has something to write."""

    @property
    def is_pressing(self) -> bool:
        """Whether that has to be written now, before anybody hears of it; else it may wait a moment for more."""

    def append(
        self,
        *,
        room: str,
        user: str,
        message: str,
        timestamp: float,
        client_id: str | UnsetType = UNSET,
        sender: str | UnsetType = UNSET,
        kind: Literal["prompt", "assistant"] | UnsetType = UNSET,
        request_id: str | UnsetType = UNSET,
        finish_reason: FinishReason | UnsetType = UNSET,
        code: str | UnsetType = UNSET,
        event_name: str | UnsetType = UNSET,
        user_id: str | UnsetType = UNSET,
    ) -> NewMessage:
        """Give one message its place, and return it; its number is final when it is kept. Raises `LogUnavailable`.

        ``event_name``: it is an event that a feature keeps, and ``message`` the event's JSON. It has its place in the
        order, counts for the room's bounds as a message does, and `read` shows it only when asked.

        ``sender`` is the id of who sent it where the name shown does not say that: two may show one name. It is kept beside
        a ``client_id``, for `find_resent`, and never read back.
        """

    def next_offset(self) -> int:
        """Return a number in the order of messages for something that is not kept: no message gets this ``seq``."""

    def find_resent(
        self, room: str, user: str, client_id: str | UnsetType, sender: str | UnsetType = UNSET
    ) -> NewMessage | None:
        """Return what ``sender`` sent into ``room`` with this ``client_id``, as long as it is kept.

        Whatever name was shown then, or is now; without a ``sender``, what was appended for ``user`` without one.
        A file knows it for 24 h anyway; its text may be gone by then. Raises `LogUnavailable`.
        """

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
        """Return up to ``limit`` messages with ``after < seq < before``, from the newest or the oldest end.

        ``event_name`` "" means messages only, a name what was kept under that, None both, in their order. A page also ends
        at ``limit_bytes`` by `size_bytes`, but holds at least one message. Raises `LogUnavailable`.
        """

    def save_session(self, key: str, session: StoredSession | None, *, can_wait: bool = False) -> None:
        """Keep a session, or forget it. ``can_wait``: not with the next batch but when that is empty, or after `press`."""

    def change_session(self, key: str, change: SessionChange, *, can_wait: bool = False) -> None:
        """Keep what has changed in a session since it was last saved or changed."""

    def claim_session(self, key: str, opened_at_s: float, take: Callable[[str, StoredSession], object]) -> None:
        """Take a session from the process that has it, for a connection that was opened then. Nothing if nobody has it.

        Raises `NotLoaded`, which loads it, and calls ``take(key, session)`` within a turn if there is one; that process
        hears of it (`peers`, kind c, the key). After that the next call does nothing. A session goes to no connection that
        was opened before the one that has it.
        """

    def take_over(self, process: str, /) -> list[tuple[str, StoredSession]]:
        """Have the sessions of a process that is dead, as far as nobody else has them. Beside turns.

        Raises `LogUnavailable`.
        """

    def restore_from(self, known: KnownSessions) -> None:
        """Save what ``known()`` yields whenever what keeps the log has lost the sessions it had: all that are to be kept.

        It is called, and asked for more, within turns; a session is yielded as it is then.
        """

    def press(self) -> None:
        """Let the next batch hold what has waited too."""

    def sessions(self) -> Iterator[tuple[str, StoredSession]]:
        """Yield the sessions that processes have left which are dead, by key. To be asked before anything is written."""

    def pop_batch(self) -> Batch:
        """Return what is to be written now: what is pressing, or else what could wait."""

    def write(self, batch: Batch) -> None:
        """Keep a batch, whose numbers are final then. Raises `LogUnavailable`, and then has kept none of it."""

    def note_kept(self, batch: Batch) -> None:
        """Note within a turn that `write` has kept a batch. Ask for the `news` before it next."""

    def news(self, *, is_before_kept: bool = False) -> list[Entry | Heard]:
        """Return what others have said and published since this was last called, in its order.

        What was said is in memory from now on. ``is_before_kept``: only what came before the batch that `note_kept` was
        just called for, to be told before that.
        """

    def listen(self, wake: Callable[[], object], used: Callable[[], list[str]], hear: Callable[[], None]) -> None:
        """Have ``wake`` called, in any thread, when there is `news`. ``used()`` returns the rooms with somebody here.

        ``hear()`` tells all `news`. It is called within a turn when what was loaded needs what was heard: what is in memory
        has to be told before anybody comes who is shown it.
        """

    def follow(self, rooms: Iterable[str]) -> None:
        """See to it that all that is said in rooms is heard from now on. Raises `NotLoaded`."""

    def write_at_once(self, batch: Batch) -> bool:
        """Keep a batch if nothing has to be waited for; return whether it is kept. If not, `write` says why."""

    def look(self) -> None:
        """Set ``problem`` if what keeps the log is gone. Writing does that too; this is for who only asks."""

    @property
    def is_untidy(self) -> bool:
        """Whether `tidy` has something to do. Never while there is a ``problem``: `reopen` may have the file then."""

    def tidy(self) -> None:
        """Do a share of what can wait until there is nothing to write: file in tables, trim, write a snapshot."""

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether it is time for a `checkpoint`. Never while there is a ``problem``, as above."""

    def checkpoint(self) -> None:
        """Do what waits for a disk and need not be waited for."""

    def forget(self, batch: Batch) -> None:
        """Take back a batch that could not be written; its sessions are tried again, but for newer ones.

        Of several, the newest first.
        """

    def reopen(self) -> None:
        """Try to get well: sets ``problem`` to None or to why not."""

    def close(self) -> None:
        """Give back what the log holds of the system."""
