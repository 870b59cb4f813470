"""What the application around us says to our clients: Flask-SocketIO's ``emit``, and messages that a room keeps.

Called from any greenlet or thread that serves the application: a route of Flask's, a background task, a handler of a
namespace of its own. Under eventlet all of that is one thread of the system; others are refused.
"""

import os
import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol, TypeVar

from msgspec import UNSET
from socketio.packet import Packet

from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection, User, name_in
from hazoom_ws.delivery.client_sets import keys_of
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.delivery.effects import Later
from hazoom_ws.delivery.turns import kept_of
from hazoom_ws.errors import BadPayload
from hazoom_ws.events.parsing import parse
from hazoom_ws.events.rooms import GetHistory, HistoryPage, NewMessage, Published, SendMessage
from hazoom_ws.message_log.contract import PAGE_LIMIT_BYTES, MessageLog, NotLoaded
from hazoom_ws.names import composed
from hazoom_ws.namespaces.loading import TRIES_COUNT
from hazoom_ws.namespaces.replies import published, require_kept
from hazoom_ws.settings import Settings
from hazoom_ws.transport.socketio.fan_out import FanOut, Rooms


class _Said(Protocol):
    @property
    def entry(self) -> NewMessage: ...


K = TypeVar("K", bound=_Said)
R = TypeVar("R")


class FromApplication:
    """One application's way to its clients. ``ours``: the names of our namespaces."""

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        log: MessageLog,
        delivery: Delivery,
        *,
        fan_out: FanOut,
        emit: Callable[..., None],
        is_one_thread: bool,
        may_wait: Callable[[], bool],
        wait_for: Callable[[Callable[[], object]], object],
    ) -> None:
        """``emit``: the library's, for other namespaces. ``is_one_thread``: as under eventlet.

        ``may_wait()`` returns whether what calls us may wait: nothing in the loop may. ``wait_for`` calls what blocks, so
        that only its caller waits.
        """
        self.ours: set[str] = set()
        self.tell_others: Callable[..., object] = lambda *_: None  # processes, of what is emitted
        self._settings = settings
        self._hub = hub
        self._log = log
        self._delivery = delivery
        self._fan_out = fan_out
        self._emit_elsewhere = emit
        self._threads = {threading.get_native_id()} if is_one_thread else None
        self._may_wait = may_wait
        self._wait_for = wait_for

    def emit(  # noqa: PLR0917 - as the library calls it
        self,
        event: str,
        data: Any = None,
        to: Rooms = None,
        room: Rooms = None,
        skip_sid: str | list[str] | None = None,
        namespace: str | None = None,
        callback: Callable[..., object] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Send an event of the application's own, as `socketio.Server.emit` documents it, in order with all others.

        ``to`` is a room of ours, a client's sid, a Socket.IO room that the application has made, or a list of them. Clients
        that can recover take a string at the end of an event for their offset: where it ends in one, or has no arguments,
        they get theirs after it. Raises TypeError for what cannot be sent, RuntimeError in a foreign thread.
        """
        name = namespace or "/"
        arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        if Packet.data_is_binary(arguments):
            raise TypeError(f"event {event!r} holds bytes, which are not sent: make them text, such as base64")
        if name not in self.ours:
            self._emit_elsewhere(event, data, to, room, skip_sid, namespace, callback, ignore_queue)
            return
        self._fan_out.frame_of(name, [event, *arguments])  # who has said it hears of what cannot be sent
        self._check_thread()
        skipped = {skip_sid} if isinstance(skip_sid, str) else set(skip_sid or ())
        receivers = to or room
        names = [receivers] if isinstance(receivers, str) else receivers
        with self._delivery.turn():
            self.emit_here(event, arguments, name, names, skipped, callback=callback)
            if callback is None:  # nobody else's answer comes back here
                self.tell_others(event, arguments, name, names, skipped)

    def emit_here(
        self,
        event: str,
        arguments: list[Any],
        namespace: str,
        to: Collection[str] | None,
        skipped: Collection[str],
        *,
        callback: Callable[..., object] | None = None,
    ) -> None:
        """Send an event to who is connected to this process, within a turn."""
        send = partial(self._fan_out.emit, event, namespace=namespace, room=_keys(to), callback=callback)
        is_mistakable = callback is None and isinstance(arguments[-1] if arguments else "", str)
        offset, skip_sid = str(self._log.last_seq), set(skipped)

        def send_in_order(_: object) -> None:
            plain = self._delivery.plain_sids(namespace) if is_mistakable else None
            send(data=tuple(arguments), skip_sid=skip_sid, only=plain)
            if plain is not None:
                send(data=(*arguments, offset), skip_sid=skip_sid | plain)

        self._delivery.add(Later(send_in_order))

    def publish(self, room: str, message: str, *, user_name: str, client_id: str | None = None) -> Published:
        """Say something in a room as somebody: like a client's ``message``, but nobody has to be in the room for it.

        Returns when it is kept. The same ``client_id`` again, in the room and by the name, returns the first one; none that
        a client has sent. Raises `BadPayload`, `TooLarge`, `LogUnavailable`; RuntimeError where it may not wait.
        """
        self._check_thread()
        fields = {"room": room, "message": message, "user_name": user_name, "client_id": client_id}
        said = parse(SendMessage, fields, self._settings)
        name = name_in(said.user_name)
        if said.room is UNSET or not name:
            raise BadPayload("room" if said.room is UNSET else "user_name", "is required")
        speaker = Connection("", User(f"application:{name}", name), "")  # which nobody else ever sees
        speaker.rooms[said.room] = None
        room = said.room
        return published(self.when_kept(lambda: self._hub.publish(speaker, room, said.message, client_id=said.client_id)))

    def history(self, asked: GetHistory) -> HistoryPage:
        """Return a page of what was said in a room, whoever is there, when all of it is kept.

        Raises `BadPayload`, `LogUnavailable`; RuntimeError where it may not wait.
        """
        if asked.room is UNSET:
            raise BadPayload("room", "is required")
        room = asked.room
        before, after = (None if seq is UNSET else seq for seq in (asked.before, asked.after))
        page = self._when_sent(
            lambda: self._log.read(
                room, after=after, before=before, limit=asked.limit, newest=after is None, limit_bytes=PAGE_LIMIT_BYTES
            )
        )
        return HistoryPage(room=room, messages=kept_of(page.messages), complete=not page.more)

    def when_kept(self, say: Callable[[], K]) -> K:
        """Call ``say`` in a turn, and return what it returned when its ``entry`` is kept.

        Raises `LogUnavailable`; RuntimeError where it may not wait.
        """
        said = self._when_sent(say)
        require_kept(said.entry)
        return said

    def _when_sent(self, call: Callable[[], R]) -> R:
        """Return what ``call`` returned in a turn, when all that was said until then is kept, or revoked."""
        self._check_thread()
        has_left = threading.Event()

        def say() -> R:
            if self._delivery.is_sending or not self._may_wait():
                raise RuntimeError("publish waits, and a handler must not: call it in socketio.start_background_task(...)")
            result = call()
            self._delivery.add(Later(lambda _: has_left.set()))
            return result

        result = self.loaded(say)
        has_left.wait()
        return result

    def loaded(self, call: Callable[[], R]) -> R:
        """Return what ``call`` returned in a turn, when what it needs of the log is in memory. Raises `LogUnavailable`."""
        for _ in range(TRIES_COUNT):
            with self._delivery.turn():
                try:
                    return call()
                except NotLoaded as error:
                    missing = error
            if not self._may_wait():
                break
            taken: list[Callable[[], None]] = []
            self._wait_for(lambda: taken.append(missing.load()))  # noqa: B023 - it is called at once
            with self._delivery.turn():
                taken[0]()
        raise missing

    def turn(self) -> Delivery:
        """Return a turn for a ``with``, for typed events of an application. Raises RuntimeError in a foreign thread."""
        self._check_thread()
        return self._delivery.turn()

    def _check_thread(self) -> None:
        """Raise RuntimeError in a thread in which no greenlet of the server runs."""
        here = threading.get_native_id()
        # A server that is forked, as by gunicorn, goes on in the main thread of its own process.
        if self._threads is not None and here not in self._threads and here not in (os.getpid(), self._delivery.thread_id):
            raise RuntimeError("not in a thread beside eventlet's: call it in socketio.start_background_task(...)")


def _keys(to: Collection[str] | None) -> list[str] | None:
    """Return under what those are found to whom something is sent: a room of ours is two of Socket.IO's."""
    return None if to is None else [key for name in to for key in (name, *keys_of(composed(name)))]
