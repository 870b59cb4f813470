"""What a feature of an application may do in the chat: the one object that it is given.

Stands on `FromApplication`, as all does that an application says. Knows nothing of Flask and Socket.IO.
"""

import threading
from collections.abc import Callable, Collection, Container, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import UNSET, MsgspecError, Struct, UnsetType

from hazoom_ws.chat.effects import Broadcast, Push
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.errors import LogUnavailable, TooLarge
from hazoom_ws.events.base import ClientPayload, ServerEvent
from hazoom_ws.events.rooms import NewMessage, Published
from hazoom_ws.message_log.contract import MessageLog, NotLoaded, Page, number_of
from hazoom_ws.names import composed
from hazoom_ws.namespaces.application import FromApplication
from hazoom_ws.namespaces.replies import WhenKept, fields_of, when_kept
from hazoom_ws.namespaces.tasks import Tasks

KEPT_LIMIT_COUNT = 500  # of one page, as of the history
E = TypeVar("E", bound=ServerEvent)
R = TypeVar("R")


class Sender(Protocol):
    """The client that has sent an event: one connection of a user. Another one, as after a reload, is another sender.

    ``rooms``: those that it is in. ``is_open`` False: it has gone.
    """

    @property
    def user(self) -> User: ...

    @property
    def rooms(self) -> tuple[str, ...]: ...

    @property
    def is_open(self) -> bool: ...


class Elsewhere(Protocol):
    """What is sent that is not kept, for who is connected to other processes."""

    def broadcast(self, room: str, event: ServerEvent) -> None:
        """Send an event to who is in a room there."""

    def push_user(self, user: User, event: ServerEvent) -> int:
        """Send an event to a user's connections there; return how many there are."""


class Kept(Struct, Generic[E], frozen=True):
    """An event that a room keeps, and its ``entry`` in the log. ``duplicate``: it was kept before."""

    event: E
    entry: NewMessage
    duplicate: bool = False

    @property
    def seq(self) -> int:
        """Its number, which is final when it is kept: not yet in the turn that says it. 0: it could not be kept."""
        return number_of(self.entry)

    @property
    def timestamp(self) -> float:
        """When it was said, in seconds since the epoch, UTC."""
        return self.entry.timestamp


class _Record(NamedTuple):
    """An event that is to be kept, as the log has it; with a ``client_id`` under the ``key`` of who has sent that."""

    event_name: str
    room: str
    text: str
    user_name: str
    client_id: str | UnsetType = UNSET
    key: str | UnsetType = UNSET


class Chat:
    """The chat, for the features of one application.

    A handler runs in a turn: what it says goes out together when it returns, in order with all else. A task (a handler that
    waits, or what `start` has started) takes a turn for each thing that it says; `turn` makes several things one.
    """

    def __init__(
        self,
        hub: Hub,
        log: MessageLog,
        delivery: Delivery,
        outside: FromApplication,
        *,
        declared: Container[type[ServerEvent]],
        tasks: Tasks,
        kept_limit_bytes: int,
        wall_clock: Callable[[], float],
    ) -> None:
        """``declared``: the events that are sent. ``kept_limit_bytes``: the size of one that is kept, in UTF-8."""
        self._kept_limit_bytes = kept_limit_bytes
        self._hub = hub
        self._log = log
        self._delivery = delivery
        self._outside = outside
        self._declared = declared
        self._tasks = tasks
        self._wall_clock = wall_clock
        self._in_turn: int | None = None  # the thread or greenlet whose turn it is, if that is one of a feature
        self._kept_last: NewMessage | None = None  # in this turn
        self._has_said = False  # the handler that is called
        self.elsewhere: Elsewhere | None = None  # the other processes, where there are some

    # Who and where

    def room_of(self, sender: Sender, room: str | UnsetType = UNSET) -> str:
        """Return the room that a payload means, the default room if it names none. Raises `NotInRoom`."""
        name = self._hub.resolve_room(room)
        self._hub.require_member(_clients(sender).connection, name)
        return name

    def members(self, room: str) -> tuple[User, ...]:
        """Return the users in a room, longest there first; also who has dropped and may be back in a moment."""
        with self.turn():
            return tuple(self._hub.rooms.users(composed(room)))

    # Saying something

    def broadcast(
        self,
        room: str,
        event: E,
        *,
        skip: Collection[Sender] = (),
        sender: Sender | None = None,
        client_id: str | UnsetType = UNSET,
    ) -> Kept[E] | None:
        """Send an event to everybody in a room but those in ``skip``.

        One that `is_kept` gets its place in the room's log and is returned with it. In a turn it is kept after that: the
        acknowledgement of a handler waits for it and has its ``seq``. Else, in a task, it is kept when this returns.
        With a ``sender`` and the ``client_id`` that it has used for such an event in the room before, the first one is
        returned, and nothing is sent. Raises TypeError for an event that no feature declares, `TooLarge` and
        `LogUnavailable` for one that cannot be kept.
        """
        self._check(event)
        room = composed(room)
        skipped = tuple(_clients(client).connection for client in skip)
        if not event.is_kept:
            with self.turn():
                self._has_said = True
                self._hub.deliver(Broadcast(room, event, skip=skipped))
                if self.elsewhere is not None:
                    self.elsewhere.broadcast(room, event)
            return None
        text = msgspec.json.encode(event).decode()
        size_bytes = len(text.encode())
        if size_bytes > self._kept_limit_bytes:
            raise TooLarge(event.event, self._kept_limit_bytes, size_bytes)
        record = _Record(event.event, room, text, "" if sender is None else sender.user.name)
        if sender is not None and client_id is not UNSET:
            # Whatever name is shown: a user, and never the one of a message with the same client_id.
            record = record._replace(client_id=client_id, key=f"{event.event} {sender.user.id}")
        if self._is_in_turn:
            return self._keep(record, event, skipped)
        return self._outside.when_kept(lambda: self._keep(record, event, skipped))

    def push(self, sender: Sender, event: ServerEvent) -> None:
        """Send an event to one client; nothing happens if that has gone."""
        self._check(event, is_to_room=False)
        with self.turn():
            self._has_said = True
            self._hub.deliver(Push(_clients(sender).connection, event))

    def push_user(self, user: User, event: ServerEvent) -> int:
        """Send an event to each connection of a user; return how many there are."""
        self._check(event, is_to_room=False)
        with self.turn():
            connections = self._hub.connections_of(user)
            self._has_said = True
            for connection in connections:
                self._hub.deliver(Push(connection, event))
            elsewhere_count = 0 if self.elsewhere is None else self.elsewhere.push_user(user, event)
        return len(connections) + elsewhere_count

    def publish(self, room: str, message: str, *, user_name: str, client_id: str | None = None) -> Published:
        """Say something in a room as somebody, and wait until it is kept: see `FromApplication.publish`.

        Raises RuntimeError in a turn, in which nothing may wait.
        """
        if self._is_in_turn:
            raise RuntimeError("publish waits, and nothing may in a turn: call it in a task, or a handler with waits=True")
        return self._outside.publish(room, message, user_name=user_name, client_id=client_id)

    # What was kept

    def kept(
        self, room: str, event_type: type[E], *, limit: int = KEPT_LIMIT_COUNT, before: int | None = None
    ) -> list[Kept[E]]:
        """Return the newest events of a type that a room keeps, in their order: up to ``limit``, with a ``seq < before``.

        Fewer may come at once than there are: ask again before the first one until none come. An event that is not of the
        type any more, since that has changed, is left out. Raises `LogUnavailable`.
        """
        limit = min(max(limit, 1), KEPT_LIMIT_COUNT)
        found: list[Kept[E]] = []
        while not found:
            page = self._page(composed(room), before, limit, event_type.event)
            found = [kept for entry in page.messages if (kept := _decoded(entry, event_type)) is not None]
            if not page.messages or not page.more:
                break
            before = page.messages[0].seq
        return found

    def _page(self, room: str, before: int | None, limit: int, event_name: str) -> Page:
        """Return a page of what a room keeps. A turn does not wait for it: its handler is called again, see `handle`."""
        read = partial(self._log.read, room, before=before, limit=limit, newest=True, event_name=event_name)
        return read() if self._is_in_turn else self._outside.loaded(read)

    # Turns and tasks

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let nothing else happen in the block, in which nothing may wait; what is said in it goes out at its end.

        What tasks and handlers share is changed in turns.
        """
        if self._is_in_turn:
            yield
            return
        with self._outside.turn():
            self._in_turn, self._kept_last = threading.get_ident(), None
            try:
                yield
            finally:
                self._in_turn = None

    def start(self, function: Callable[..., object], *arguments: object) -> None:
        """Call ``function`` in a task of its own, which may wait; what it raises is logged. Raises `TooManyTasks`.

        Tasks are not ended with the application: let `Feature.close` wake those that wait.
        """
        with self.turn():
            self._tasks.reserve()
        self._tasks.start(partial(function, *arguments))

    def handle(
        self, method: Callable[..., Struct | None], sender: ClientSet, payload: ClientPayload
    ) -> Struct | WhenKept | None:
        """Call a handler within a turn; what it has said is to be kept before it is answered.

        If it asks for what has to be loaded first, it is called again from its beginning, unless it has said something.
        """
        self._has_said = False
        try:
            result = self.in_turn(method, sender, payload)
        except NotLoaded as error:
            if self._has_said:
                raise LogUnavailable("a handler asked after it had said something") from error
            raise
        entry = self._kept_last
        return result if entry is None else when_kept(entry, partial(_with_seq, result, entry))

    def in_turn(self, function: Callable[..., R], *arguments: Any) -> R:
        """Call what is of a feature within a turn that somebody else has begun."""
        before = self._in_turn
        self._in_turn, self._kept_last = threading.get_ident(), None
        try:
            return function(*arguments)
        finally:
            self._in_turn = before

    # Inside

    @property
    def _is_in_turn(self) -> bool:
        return self._in_turn == threading.get_ident()

    def _keep(self, record: _Record, event: E, skipped: tuple[Connection, ...]) -> Kept[E]:
        room, user, client_id, key = record.room, record.user_name, record.client_id, record.key
        resent = self._log.find_resent(room, user, client_id, key)
        if resent is not None:
            first = _decoded(resent, type(event))
            return Kept(event if first is None else first.event, resent, duplicate=True)
        entry = self._log.append(
            room=room,
            user=user,
            message=record.text,
            timestamp=self._wall_clock(),
            client_id=client_id,
            sender=key,
            event_name=record.event_name,
        )
        self._kept_last = entry
        self._has_said = True
        self._hub.deliver(Broadcast(room, event, skip=skipped, offset=entry))
        return Kept(event, entry)

    def _check(self, event: ServerEvent, *, is_to_room: bool = True) -> None:
        """Raise TypeError for an event that cannot be sent."""
        if type(event) not in self._declared:
            raise TypeError(f"{type(event).__name__} is in the events of no feature: clients would not get it")
        if event.is_kept and not is_to_room:
            raise TypeError(f"{type(event).__name__} is kept, which rooms do: broadcast it")
        if not event.is_kept:
            msgspec.json.encode(event)  # who says it hears of what cannot be sent


def _decoded(entry: NewMessage, event_type: type[E]) -> Kept[E] | None:
    """Return what a record holds, None if that is no event of the type, or its text is gone."""
    try:
        return Kept(msgspec.json.decode(entry.message, type=event_type), entry)
    except MsgspecError:
        return None


def _with_seq(result: Struct | None, entry: NewMessage) -> dict[str, Any]:
    """Return what an acknowledgement has when what was said last is kept."""
    return {**({} if result is None else fields_of(result)), "seq": number_of(entry)}


def _clients(sender: Sender) -> ClientSet:
    if not isinstance(sender, ClientSet):
        raise TypeError(f"{sender!r} is no sender of an event")
    return sender
