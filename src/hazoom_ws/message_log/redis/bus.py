"""What is published, as it comes: one connection, read by a thread of its own, and an inbox that turns empty.

One connection, because Redis tells it everything in the order in which it was published, whatever the channel: so all
processes see one order of what is kept, and of a batch of its own each knows what came before it.

Channels are listened to while somebody wants them (`follow`). `barrier` puts a call into the inbox, behind everything that
was published before. A connection that ends, or from which nothing is heard, is told to ``on_broken``; it is
`connect` that begins again, and who calls that reads from the log what was missed.

Threads: `take`, `peek` and `drop` are called within turns, all else beside them, by any thread.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

from hazoom_ws.message_log.redis.server import AWAY, SILENT, Refused, Server

logger = logging.getLogger(__name__)

_SUBSCRIBED_AT_ONCE_COUNT = 500


class Published(NamedTuple):
    """Something that was published, as `scripts` says: in which channel, by which batch of which process, and what."""

    channel: str
    origin: bytes
    kind: bytes
    data: bytes


Item = Published | Callable[[], object]  # what is called has its place among what is heard


class Bus:
    """What one process hears. ``on_heard`` is called, in any thread, when there is something to `take`."""

    def __init__(self, server: Server, import_module: Callable[[str], Any], *, timeout_s: float) -> None:
        """``timeout_s``: for how long nothing may be heard, though something was asked for."""
        self.on_heard: Callable[[], object] = lambda: None
        self.on_broken: Callable[[str], object] = lambda _: None
        self._server = server
        self._timeout_s = timeout_s
        self._threading = import_module("threading")
        self._lock = self._threading.Lock()  # over what is sent, and who waits
        self._prefix = ""
        self._connection: Any = None
        self._wanted: set[str] = set()
        self._unconfirmed: dict[str, Any] = {}  # by channel, who waits for it
        self._barriers: dict[bytes, tuple[Callable[[], object], Any]] = {}
        self._expected: dict[bytes, Any] = {}
        self._numbers = count(1)
        self._inbox: deque[Item] = deque()
        self._is_told = False
        self._held: list[Item] | None = None  # what comes while it is read what was missed

    # What is listened to

    def connect(self, prefix: str, fill: Callable[[], Iterable[Item]]) -> None:
        """Begin, or begin again, and listen to all that is wanted; then hear what ``fill()`` returns, then what comes.

        ``prefix``: what the names of channels begin with. Raises `Refused`.
        """
        self._let_go()
        self._prefix = prefix
        connection = self._server.connection()
        self._held = []
        self._connection = connection
        self._threading.Thread(target=self._read, args=(connection,), name="hazoom_ws bus", daemon=True).start()
        try:
            self._wait_for(self._subscribe(lambda: list(self._wanted)))
            filled = list(fill())
        except BaseException:
            self._let_go()
            raise
        with self._lock:
            held, self._held = self._held or [], None
            self._inbox.extend(filled)
            self._inbox.extend(held)
        self._tell()

    @property
    def is_connected(self) -> bool:
        """Whether something can be heard; if not any more, ``on_broken`` was called or is about to be."""
        return self._connection is not None

    def want(self, channel: str) -> None:
        """Listen to a channel from the next `connect` on."""
        self._wanted.add(channel)

    def follow(self, channels: Collection[str]) -> None:
        """Listen to channels from now on, and return when that is so. Raises `Refused`."""

        def new() -> list[str]:
            added = [channel for channel in channels if channel not in self._wanted]
            self._wanted.update(added)
            return added

        events = self._subscribe(new)
        # Another thread may be about to listen to one of them.
        self._wait_for([*events, *filter(None, map(self._unconfirmed.get, channels))])

    def drop(self, channels: Iterable[str]) -> None:
        """Want channels no more; `unfollow` tells Redis. What is on its way may still be heard."""
        with self._lock:
            self._wanted.difference_update(channels)

    def unfollow(self, channels: Iterable[str]) -> None:
        """Listen to channels no more, but for those that are wanted again. Raises `Refused`."""
        with self._lock:
            gone = [self._prefix + channel for channel in channels if channel not in self._wanted]
            if gone:
                self._send(self._server.pubsub.unsubscribe, *gone)

    def _subscribe(self, choose: Callable[[], list[str]]) -> list[Any]:
        """Ask for channels; return what is set for each when that is so. The last word on a channel holds."""
        with self._lock:
            channels = choose()
            events = {channel: self._threading.Event() for channel in channels}
            self._unconfirmed.update(events)
            for start in range(0, len(channels), _SUBSCRIBED_AT_ONCE_COUNT):
                part = channels[start : start + _SUBSCRIBED_AT_ONCE_COUNT]
                self._send(self._server.pubsub.subscribe, *(self._prefix + channel for channel in part))
        return list(events.values())

    def barrier(self, call: Callable[[], object]) -> None:
        """Return when ``call`` is in the inbox, behind all that was published before this was called. Raises `Refused`."""
        name, event = b"%d" % next(self._numbers), self._threading.Event()
        with self._lock:
            self._barriers[name] = (call, event)
            self._send("PING", name)
        try:
            self._wait_for([event])
        finally:
            self._barriers.pop(name, None)

    def _send(self, *command: Any) -> None:
        if self._connection is None:
            raise Refused(AWAY, is_unknown=True)
        with self._server.refusing():
            self._connection.send_command(*command)

    def _wait_for(self, events: Iterable[Any]) -> None:
        for event in events:
            if not event.wait(self._timeout_s):
                raise Refused(SILENT, is_unknown=True)
        if self._connection is None:
            raise Refused(AWAY, is_unknown=True)

    # What comes

    def expect(self, origin: bytes) -> Callable[[], bool]:
        """Return a function that waits for the end of a batch of this process and returns whether it came in time."""
        event = self._expected[origin] = self._threading.Event()
        return lambda: bool(event.wait(self._timeout_s)) and self._connection is not None

    def expect_no_more(self, origin: bytes) -> None:
        """Forget a batch that was expected."""
        self._expected.pop(origin, None)

    def begin_to_take(self) -> None:
        """Have ``on_heard`` called for all that comes from now on."""
        self._is_told = False

    def take(self) -> Item | None:
        """Return what was heard next, None if there is nothing."""
        return self._inbox.popleft() if self._inbox else None

    def peek(self) -> Item | None:
        """Return what `take` would."""
        return self._inbox[0] if self._inbox else None

    def tell_if_there_is_more(self) -> None:
        """Have ``on_heard`` called if something was not taken."""
        if self._inbox:
            self._tell()

    def _read(self, connection: Any) -> None:
        """Hear what comes, until the connection ends or is another one's."""
        asked_for_life = False
        try:
            while self._connection is connection:
                with self._server.refusing():
                    if not connection.can_read(timeout=self._timeout_s):
                        if asked_for_life:
                            raise Refused(SILENT, is_unknown=True)
                        asked_for_life = True
                        connection.send_command("PING", b"")
                        continue
                    response = connection.read_response(disable_decoding=True)
                asked_for_life = False
                self._hear(response)
        except Refused as error:
            self._broken(connection, error.reason)
        except Exception:
            if self._connection is connection and connection.is_connected:
                logger.exception("what Redis publishes was not understood")
            self._broken(connection, AWAY)  # or redis-py was reading when another thread found that it has ended

    def _hear(self, response: list[Any]) -> None:
        word, pubsub = response[0], self._server.pubsub
        if word == pubsub.message:
            channel = response[1].decode().removeprefix(self._prefix)
            origin, kind, data = response[2].split(b" ", 2)
            self._put(Published(channel, origin, kind, data))
            if kind == b"b" and (event := self._expected.get(origin)) is not None:
                event.set()
        elif word == b"pong":
            if (barrier := self._barriers.get(response[1])) is not None:
                self._put(barrier[0])
                barrier[1].set()
        elif word == pubsub.subscribed:
            event = self._unconfirmed.pop(response[1].decode().removeprefix(self._prefix), None)
            if event is not None:
                event.set()

    def _put(self, heard: Item) -> None:
        with self._lock:
            if self._held is not None:
                self._held.append(heard)
                return
            self._inbox.append(heard)
        self._tell()

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self.on_heard()

    # Its end

    def _broken(self, connection: Any, reason: str) -> None:
        if self._connection is connection:
            self._let_go()
            self.on_broken(reason)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.disconnect()
        for event in [*self._unconfirmed.values(), *self._expected.values(), *(one for _, one in self._barriers.values())]:
            event.set()  # who waits finds that there is no connection
        self._unconfirmed.clear()

    def close(self) -> None:
        """Hear nothing more."""
        self._let_go()
