"""Events that wait until what they read is in memory, where the log is elsewhere (`MessageLog.reads_beside`).

An event whose handler comes upon `NotLoaded` has changed nothing. It waits, what it needs is loaded beside turns, and then
it is handled again from its beginning. Later events of its connection wait behind it, so that they are handled in the order
sent; those of others do not. What waits is bounded: over that it is refused, and may be sent again.

A client is let in when its rooms are followed (`MessageLog.follow`), and one that comes back when what it has missed is in
memory: it can be told only once.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from hazoom_ws.access.limits import Account
from hazoom_ws.chat.hub import Hub
from hazoom_ws.delivery.client_sets import ClientSet
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.delivery.effects import Reply
from hazoom_ws.errors import HazoomError, LogUnavailable
from hazoom_ws.events.connecting import offset_in
from hazoom_ws.message_log.contract import Load, NotLoaded
from hazoom_ws.namespaces.replies import logged
from hazoom_ws.transport.socketio.dispatch import Deferred

LIMIT_COUNT, LIMIT_BYTES = 100, 1_048_576  # of events of one connection: what a page sends at once when it is opened
TRIES_COUNT = 5  # what was loaded may have to leave again before it is asked for, where there is little space
_encode = msgspec.json.Encoder().encode

RunBeside = Callable[[Load, Callable[[Any, BaseException | None], None]], None]
Admit = Callable[[Account, object, Callable[[Any], None]], None]


class Answer(Protocol):
    """Handles an event: now, while it is the first in ``waiting``. Raises `NotLoaded`."""

    def __call__(self, *, waiting: "Waiting") -> Reply | Deferred: ...


class Refuse(Protocol):
    """Refuses an event instead; returns the argument of its acknowledgement, None if it wants none."""

    def __call__(self, error: HazoomError) -> Reply: ...


class _Held:
    """One event that waits. Whether it is answered or asked for its answer first makes no difference."""

    def __init__(self, answer: Answer, refuse: Refuse, size_bytes: int, delivery: Delivery) -> None:
        self.answer = answer
        self.refuse = refuse
        self.size_bytes = size_bytes
        self._delivery = delivery
        self._send: Callable[[Any], None] | None = None
        self._reply: tuple[Reply | Deferred] | None = None

    def start(self, send: Callable[[Any], None]) -> None:
        with self._delivery.turn():
            self._send = send
            self._answer_if_known()

    def end(self, reply: Reply | Deferred) -> None:
        self._reply = (reply,)
        self._answer_if_known()

    def _answer_if_known(self) -> None:
        if self._send is None or self._reply is None:
            return
        [reply] = self._reply
        if isinstance(reply, Deferred):
            reply.start(self._send)
        elif reply is not None:  # nobody waits for it, or its sender is gone
            self._delivery.reply(self._send, reply)


class Waiting:
    """The events of one connection that wait, in the order sent: something is being loaded for the first."""

    def __init__(self) -> None:
        self.events: deque[_Held] = deque()
        self.size_bytes = 0
        self.tries_count = 0  # of the first


class Loading:
    """What one application loads for its clients. Called within turns, but for `admit`."""

    def __init__(
        self, hub: Hub, delivery: Delivery, run_beside: RunBeside, *, close: Callable[[str], object] = lambda _: None
    ) -> None:
        """``run_beside(function, done)`` calls ``function()`` in a thread, then ``done(result, error)`` in a turn.

        ``close(connection_id)`` closes a connection in the way that makes its client come back.
        """
        self._close = close
        self._hub = hub
        self._delivery = delivery
        self._run_beside = run_beside

    def hold(
        self, clients: ClientSet, answer: Answer, refuse: Refuse, payload: object, missing: NotLoaded | None
    ) -> Deferred:
        """Let an event wait for what is ``missing``, or behind others. Raises `LogUnavailable` if too much waits."""
        waiting = clients.waiting
        is_first = not isinstance(waiting, Waiting)
        if not isinstance(waiting, Waiting):
            waiting = Waiting()
        held = _Held(answer, refuse, len(_encode(payload)), self._delivery)
        if not is_first and (len(waiting.events) >= LIMIT_COUNT or waiting.size_bytes + held.size_bytes > LIMIT_BYTES):
            raise LogUnavailable("too many events of a connection wait for what is loaded")
        waiting.events.append(held)
        waiting.size_bytes += held.size_bytes
        clients.waiting = waiting
        if is_first and missing is not None:
            self._load(clients, waiting, missing)
        return Deferred(held.start)

    def _load(self, clients: ClientSet, waiting: Waiting, missing: NotLoaded) -> None:
        waiting.tries_count += 1

        def go_on(take: Callable[[], None] | None, error: BaseException | None) -> None:
            if error is None and take is not None:
                take()
            self._go_on(clients, waiting, error)

        self._run_beside(missing.load, go_on)

    def _go_on(self, clients: ClientSet, waiting: Waiting, error: BaseException | None) -> None:
        """Handle what waits, up to what needs something else."""
        while waiting.events:
            first = waiting.events[0]
            try:
                if error is not None:
                    reply: Reply | Deferred = first.refuse(_told(error))
                else:
                    reply = first.answer(waiting=waiting)
            except NotLoaded as missing:
                if waiting.tries_count < TRIES_COUNT:
                    self._load(clients, waiting, missing)
                    return
                reply = first.refuse(missing)
            error, waiting.tries_count = None, 0
            waiting.events.popleft()
            waiting.size_bytes -= first.size_bytes
            first.end(reply)
        clients.waiting = None

    def admit(self, before: Admit) -> Admit:
        """Return what lets clients in whom ``before`` does, those who come back when all is loaded that they missed."""

        def admit(account: Account, auth: object, then: Callable[[Any], None]) -> None:
            def look_ahead(refusal: Any) -> None:
                if refusal is None:
                    self._load_for(account, auth, then, tries_count=0)
                else:
                    then(refusal)

            before(account, auth, look_ahead)

        return admit

    def _missing_of(self, account: Account, auth: object) -> NotLoaded | None:
        said = auth if isinstance(auth, dict) else {}
        pid = said.get("pid")
        with self._delivery.turn():
            offset = offset_in(said.get("offset")) or 0
            return self._hub.missing_of(pid if isinstance(pid, str) else "", offset, account.opened_at_s)

    def _load_for(self, account: Account, auth: object, then: Callable[[Any], None], *, tries_count: int) -> None:
        try:
            missing = self._missing_of(account, auth) if tries_count < TRIES_COUNT else None
        except LogUnavailable:
            self._close(account.id)  # later it can come back as who it was
            return
        if missing is None:
            then(None)
            return

        def go_on(take: Callable[[], None] | None, error: BaseException | None) -> None:
            if error is None and take is not None:
                take()
            # What cannot be loaded is told as incomplete.
            self._load_for(account, auth, then, tries_count=tries_count + 1)

        self._run_beside(missing.load, go_on)


def _told(error: BaseException) -> HazoomError:
    return error if isinstance(error, HazoomError) else logged("loading what an event needs", error)
