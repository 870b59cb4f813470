"""The verbs of chat: connect, join, publish, type, leave, disconnect; and who is where.

The one place that knows users, connections and rooms. It changes its state and then says what is to be sent, as effects
given to ``deliver`` in the order in which they became true; it does not know how they travel. Not thread-safe: every call
is made within a turn (`hazoom_ws.delivery.turns`). It is long because it has a verb for all that clients and others do.
"""

import math
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from hazoom_ws.chat.effects import Broadcast, Close, Effect, Numbered, Push
from hazoom_ws.chat.identity import Shown, guest_key_of, identify, is_same, key_in
from hazoom_ws.chat.presence import Connection, Members, User, name_in
from hazoom_ws.chat.recovery import RecoverableSessions
from hazoom_ws.chat.replay import catch_up, missing_of
from hazoom_ws.chat.rights import EVERYTHING, Rights
from hazoom_ws.chat.rooms import DUE_AT_ONCE, Rooms
from hazoom_ws.chat.typing import TypingIndicators, TypingKey
from hazoom_ws.errors import LogUnavailable, NotAllowed, NotInRoom, SessionGoesOn
from hazoom_ws.events.base import FinishReason
from hazoom_ws.events.connecting import Bye
from hazoom_ws.events.rooms import HistoryPage, NewMessage, RoomJoined, RoomLeft
from hazoom_ws.events.typing import UserTyping
from hazoom_ws.message_log.contract import PAGE_LIMIT_BYTES, MessageLog, NotLoaded, Page, Said, StoredSession
from hazoom_ws.settings import Settings

FALLBACK_ROOM = "general"


class Hub:
    """Everybody who is connected, and what they may do to each other."""

    def __init__(
        self,
        settings: Settings,
        log: MessageLog,
        deliver: Callable[[Effect], None],
        *,
        wake: Callable[[], None],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """``clock`` is monotonic, ``wall_clock`` counts from the epoch; both in seconds.

        ``wake`` is called when there is something that `run_due` has to do later.
        """
        self.deliver = deliver
        self.on_parted: Callable[[Connection, str], object] = lambda *_: None  # told when a connection has left, or dropped
        self.on_typing: Callable[[TypingKey, bool], object] = lambda *_: None  # told what the others in a room are told
        self._settings = settings
        self._log = log
        self._clock = clock
        self._wall_clock = wall_clock
        self._connections: dict[str, Connection] = {}
        self._users = Members()
        self._guest_names: set[str] = set()
        self._typing = TypingIndicators(settings.typing_expiry_s)
        self._wake = wake
        self.recoveries: Counter[Literal["recovered", "lost"]] = Counter()  # of who came back with a pid
        self.rooms = Rooms(settings, deliver, wake=wake)
        window_s, limit_bytes = settings.recovery_window_s, settings.recovery_limit_bytes
        self.recoverable = RecoverableSessions(window_s, log, wall_clock(), clock(), limit_bytes=limit_bytes)

    # Who is where

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held of anybody: no connection, room, name or indicator."""
        return not (self._connections or len(self.rooms) or self._guest_names or self._typing)

    @property
    def connection_count(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    @property
    def user_count(self) -> int:
        """Users with a connection: two tabs of one are one."""
        return len(self._users)

    def connections_of(self, user: User) -> tuple[Connection, ...]:
        """Return the connections of a user, the one that came first in front."""
        return self._users.connections_of(user)

    @property
    def messages_total(self) -> int:
        """Messages said since the process started."""
        return self._log.messages_total

    def resolve_room(self, room: str | UnsetType) -> str:
        """Return the room that a payload means."""
        return self._settings.default_room or FALLBACK_ROOM if room is UNSET else room

    def require_member(self, connection: Connection, room: str) -> None:
        """Raise `NotInRoom` unless ``connection`` is in ``room``, `NotAllowed` if it may not even enter it."""
        if room not in connection.rooms:
            self.require_right(connection, room)
            raise NotInRoom(room)

    def require_right(self, connection: Connection, room: str) -> None:
        """Raise `NotAllowed` unless ``connection`` may enter ``room``, whether that exists or not."""
        if not connection.rights.may_enter(room):
            raise NotAllowed(f"enter room {room!r}")

    # Coming and going

    def connect(
        self,
        connection_id: str,
        user_name: str | UnsetType,
        *,
        user: User | None = None,
        rights: Rights = EVERYTHING,
        pid: str = "",
        guest_key: str = "",
        may_return: bool = False,
        opened_at_s: float = math.inf,
    ) -> Connection:
        """Admit a connection and put it in the default room, if it may enter that; who it is, `identify` says.

        ``may_return``: it gets a pid, for `recover` after a drop.
        """
        now = self._wall_clock()
        user, key = identify(user, user_name, Shown(pid, guest_key, now), self._guest_names)
        if user.is_guest:
            self._guest_names.add(user.name)
        connection = Connection(connection_id, user, secrets.token_hex(16), rights)
        connection.guest_key, connection.opened_at_s = guest_key_of(user, key, now), opened_at_s
        if may_return:
            self.recoverable.start(connection, key, opened_at_s=self._by_wall_clock(opened_at_s))
        self._connections[connection_id] = connection
        self._users.add(connection)
        default_room = self._settings.default_room
        if default_room and rights.may_enter(default_room):
            self.rooms.enter(connection, default_room, self._clock())
        self.recoverable.save(connection)
        return connection

    def recover(
        self,
        connection_id: str,
        pid: str,
        user_name: str | UnsetType,
        *,
        user: User | None = None,
        rights: Rights = EVERYTHING,
        opened_at_s: float = math.inf,
    ) -> Connection | None:
        """Admit a connection of a client that has dropped, as who and where it was; None if that cannot be.

        It is back in the rooms that it still may enter. ``user``: who it is known to be. A pid is good for its user only,
        and ends another connection that still holds it. Raises `SessionGoesOn` if that was opened after ``opened_at_s``, by
        the same clock as this one: what a connection said that was cut may be read later than what its client's next one
        says.
        """
        session = self.recoverable.find(pid)
        if session is None or not is_same(session.user, user, user_name):
            self.recoveries["lost"] += 1
            return None
        if session.connection is not None and session.connection.opened_at_s > opened_at_s:
            raise SessionGoesOn
        self.recoveries["recovered"] += 1
        if session.connection is not None:
            self.deliver(Close(session.connection.id, Bye(reason="replaced", reconnect=False)))
            self.disconnect(session.connection)
        connection = Connection(connection_id, session.user if user is None else user, session.conversation_id, rights)
        self.recoverable.resume(session, pid, connection, opened_at_s=self._by_wall_clock(opened_at_s))
        connection.opened_at_s = opened_at_s
        connection.guest_key = guest_key_of(connection.user, key_in(pid), self._wall_clock())
        self._forget_forbidden_answers(connection)
        self._connections[connection_id] = connection
        self._users.add(connection)
        rooms = [room for room in session.rooms if rights.may_enter(room)]
        for room in rooms[: self._settings.rooms_per_connection_limit]:
            self.rooms.enter(connection, room, self._clock())
        self.recoverable.save(connection)
        return connection

    def change_rights(self, connection: Connection, rights: Rights) -> list[str]:
        """Give a connection other rights; return the rooms that it was put out of, and told so."""
        connection.rights = rights
        lost = [room for room in connection.rooms if not rights.may_enter(room)]
        for room in lost:
            self.leave(connection, room)
        return lost

    def missing_of(self, pid: str, offset: int, opened_at_s: float = math.inf) -> NotLoaded | None:
        """Return what has to be loaded before a client comes, or comes back with a ``pid``; None if nothing.

        It is for `catch_up` too. There may be more when that is loaded. Raises `LogUnavailable` for a ``pid`` of another
        process that cannot be asked for at the moment: as somebody new its client would lose what it was.
        """
        session = self.recoverable.find(pid) if pid else None
        if session is None:
            rooms = [self._settings.default_room] if self._settings.default_room else []
        else:
            rooms = session.unpacked_rooms()[: self._settings.rooms_per_connection_limit]
        try:
            if session is None and pid:
                at_s = self._by_wall_clock(opened_at_s)
                self.recoverable.claim(pid, at_s, wall_now_s=self._wall_clock(), now_s=self._clock())
        except NotLoaded as missing:
            return missing
        try:
            self._log.follow(rooms)
        except NotLoaded as missing:
            return missing
        except LogUnavailable:
            return None
        return None if session is None else missing_of(self._log, rooms, max(session.since, offset))

    def log_out(self, user: User) -> None:
        """Let nobody come back as a user who was here before now, be it to a session of another process."""
        self.recoverable.forget(user, self._wall_clock())

    def adopt(self, key: str, session: StoredSession) -> None:
        """Let a client come back here whose process has died."""
        self.recoverable.adopt(key, session, wall_now_s=self._wall_clock(), now_s=self._clock())
        self._wake()

    def hand_over(self, key: str) -> None:
        """Let go of a session that another process has now; a connection that still held it is told so."""
        session = self.recoverable.hand_over(key)
        if session is None:
            return
        if session.connection is not None:
            self.deliver(Close(session.connection.id, Bye(reason="replaced", reconnect=False)))
            self.disconnect(session.connection)
        elif not self.connections_of(session.user):
            self._guest_names.discard(session.user.name)

    def catch_up(self, connection: Connection, offset: int) -> list[Numbered]:
        """Return what was said and set in a recovered client's rooms after ``offset``, each with its offset.

        First that in its order, then for each room who is there.
        """
        events, incomplete = catch_up(self._log, connection.rooms, offset, self._settings.outbox_limit_bytes // 2)
        for room in connection.rooms:
            page = Page(incomplete.get(room, []), more=room in incomplete, gap=False)
            events.append((self.rooms.described(room, page), self._log.last_seq))
        return events

    def disconnect(self, connection: Connection, *, may_return: bool = True) -> None:
        """End a connection and its memberships; calling it again changes nothing.

        Its user stays for `Settings.presence_grace_s`, so that nobody hears of a reload. ``may_return`` False: the client
        has said that it goes.
        """
        if not connection.is_open:
            return
        connection.is_open = False
        now_s = self._clock()
        is_away = self.recoverable.drop(connection, may_return=may_return, wall_now_s=self._wall_clock(), now_s=now_s)
        for room in list(connection.rooms):
            self._leave(connection, room, has_dropped=True)
        if self._users.remove(connection) and not is_away:
            self._guest_names.discard(connection.user.name)
        del self._connections[connection.id]
        self._wake()

    def join(
        self,
        connection: Connection,
        room: str,
        *,
        since: int | None,
        history: int,
        limit_bytes: int = PAGE_LIMIT_BYTES,
        shows_page: bool = True,
    ) -> RoomJoined:
        """Make ``connection`` a member, once, and return (and push) who is there and what was said.

        With ``since`` the newest ``history`` messages after it are replayed, and ``complete`` says that they are all: of
        ``limit_bytes``, or one, or none if that is 0. ``shows_page``: what is pushed has them. Raises `NotAllowed`,
        `TooManyRooms`, `LogUnavailable`.
        """
        self.require_right(connection, room)
        self._log.follow([room])
        page = Page([], more=history > 0, gap=False)
        if limit_bytes:
            page = self._log.read(room, after=since, limit=history, newest=True, limit_bytes=limit_bytes)
        self.rooms.enter(connection, room, self._clock())
        self.recoverable.save(connection)
        joined = self.rooms.described(room, page)
        pushed = joined if shows_page else msgspec.structs.replace(joined, messages=UNSET)
        self.deliver(Push(connection, pushed, self._log.last_seq))
        return joined

    def leave(self, connection: Connection, room: str) -> RoomLeft:
        """End a membership and return (and push) what is left. Raises `NotInRoom`."""
        self.require_member(connection, room)
        self._leave(connection, room, has_dropped=False)
        self.recoverable.save(connection)
        left = RoomLeft(room=room, user_count=self.rooms.user_count(room))
        self.deliver(Push(connection, left))
        return left

    # Talking

    def publish(
        self,
        connection: Connection,
        room: str,
        message: str,
        *,
        user_name: str | UnsetType = UNSET,
        client_id: str | UnsetType = UNSET,
    ) -> Said:
        """Log and broadcast a message; a ``client_id`` that its sender used before in the room returns the first one.

        The sender is the user, whatever name is shown. Raises `NotInRoom`, `LogUnavailable`.
        """
        self.require_member(connection, room)
        user = self._sender(connection, user_name)
        sender = UNSET if client_id is UNSET else connection.user.sender
        resent = None if client_id is UNSET else self._log.find_resent(room, user, client_id, sender)
        entry = resent or self._log.append(
            room=room,
            user=user,
            message=message,
            timestamp=self._wall_clock(),
            client_id=client_id,
            sender=sender,
            user_id=connection.user.checked_id,
        )
        if resent is None:
            self._broadcast(entry, connection)
        return Said(entry, duplicate=resent is not None)

    def publish_prompt(self, connection: Connection, room: str, message: str, request_id: str) -> None:
        """Show a room the question that one of its members asks the AI. Raises `NotInRoom`, `LogUnavailable`."""
        self.require_member(connection, room)
        user = connection.user
        fields: dict[str, Any] = {"kind": "prompt", "request_id": request_id, "user_id": user.checked_id}
        self._broadcast(self._append(room, user.name, message, **fields), connection)

    def publish_answer(
        self, room: str, message: str, request_id: str, finish_reason: FinishReason, code: str | UnsetType = UNSET
    ) -> NewMessage:
        """Keep what there is of the AI's answer in the room's history, show it, and return it. Raises `LogUnavailable`."""
        fields: dict[str, Any] = {"kind": "assistant", "finish_reason": finish_reason, "code": code}
        entry = self._append(room, self._settings.assistant_name, message, request_id=request_id, **fields)
        self._broadcast(entry)
        return entry

    def _append(self, room: str, user: str, message: str, **fields: Any) -> NewMessage:
        return self._log.append(room=room, user=user, message=message, timestamp=self._wall_clock(), **fields)

    def _broadcast(self, entry: NewMessage, typist: Connection | None = None) -> None:
        """Show a message to its room; whoever sent it types no more."""
        if typist is not None and self._typing.has_any(typist):
            key = TypingKey(typist, entry.room, entry.user)
            if self._typing.stop(key):
                self._broadcast_typing(key, is_typing=False)
        self.deliver(Broadcast(entry.room, entry, offset=entry))

    def history(
        self,
        connection: Connection,
        room: str,
        *,
        before: int | None,
        after: int | None,
        limit: int,
        limit_bytes: int = PAGE_LIMIT_BYTES,
    ) -> HistoryPage:
        """Return a page of what was said: the oldest after ``after``, else the newest (before ``before``).

        It has ``limit_bytes``, or one message. Raises `NotInRoom` (history is for those who may read on), `LogUnavailable`.
        """
        self.require_member(connection, room)
        page = self._log.read(room, after=after, before=before, limit=limit, newest=after is None, limit_bytes=limit_bytes)
        return HistoryPage(room=room, messages=page.messages, complete=not page.more)

    # Typing

    def type(self, connection: Connection, room: str, *, is_typing: bool, user_name: str | UnsetType = UNSET) -> None:
        """Tell the others in the room that somebody types or stopped to. Raises `NotInRoom`."""
        self.require_member(connection, room)
        key = TypingKey(connection, room, self._sender(connection, user_name))
        if is_typing:
            self._typing.start(key, self._clock())
            self._wake()
        else:
            self._typing.stop(key)
        self._broadcast_typing(key, is_typing=is_typing)

    # Time

    def run_due(self) -> float | None:
        """End typing indicators, and tell crowded rooms, when it is time; return the seconds until the next time."""
        now_s = self._clock()
        for key in self._typing.expire(now_s):
            self._broadcast_typing(key, is_typing=False)
        for user in self.recoverable.expire(now_s, DUE_AT_ONCE):
            self._guest_names.discard(user.name)
        self.rooms.run_due(now_s)
        due_at_s = [self._typing.next_due_at_s(), self.recoverable.next_due_at_s(), *self.rooms.due_at_s()]
        next_due_at_s = [at_s for at_s in due_at_s if at_s is not None]
        return min(next_due_at_s) - now_s if next_due_at_s else None

    # Inside

    def _by_wall_clock(self, at_s: float) -> float:
        """Return a moment of the monotonic clock, inf for now, by the clock that processes share."""
        return self._wall_clock() - max(self._clock() - at_s, 0.0)

    def _forget_forbidden_answers(self, connection: Connection) -> None:
        """Let a connection wait for no answer in a room that it may not enter any more."""
        for answers in (connection.answers, connection.died_answers):
            for request_id, room in list(answers.items()):
                if room and not connection.rights.may_enter(room):
                    del answers[request_id]

    def _leave(self, connection: Connection, room: str, *, has_dropped: bool) -> None:
        for key in self._typing.stop_all(connection, room):
            self._broadcast_typing(key, is_typing=False)
        self.rooms.leave(connection, room, self._clock(), has_dropped=has_dropped)
        self.on_parted(connection, room)

    def _broadcast_typing(self, key: TypingKey, *, is_typing: bool) -> None:
        self.on_typing(key, is_typing)
        event = UserTyping(user=key.user_name, is_typing=is_typing, room=key.room)
        self.deliver(Broadcast(key.room, event, skip=self.rooms.connections_of(key.room, key.connection.user)))

    def _sender(self, connection: Connection, user_name: str | UnsetType) -> str:
        says = user_name is not UNSET and connection.user.is_guest and name_in(user_name)
        return says or connection.user.name  # nobody speaks as another user
