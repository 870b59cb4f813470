"""A session, the WebSocket that carries it, and how frames get to either. The rules are the `Engine`'s."""

import threading
from collections.abc import Collection
from typing import Any, Protocol

from hazoom_ws.transport.bounds.outbox import Outbox
from hazoom_ws.transport.bounds.refusals import Refusals
from hazoom_ws.transport.engineio.pending import EMPTY, Pending
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import CloseCode, FrameError, Message, frame

SLOW_READER = "slow reader"


class MalformedPacket(ValueError):
    """What a client sent is no packet of the protocol; its session is closed.

    ``reason`` is one of a few texts, under which it is counted; ``detail`` says more, and nothing that the client chose
    but a few characters.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Recipient(Protocol):
    """Who a frame can be sent to."""

    pending: Pending

    @property
    def backlog_bytes(self) -> int:
        """What waits because the client has not read it yet."""

    def send_frame(self, framed: bytes) -> None:
        """Send ``framed`` soon and after what was delivered before."""


class Outlet(Protocol):
    """How frames leave: at once (`DirectOutlet`), or with what else its loop turn sends (`Loop`)."""

    def push(self, recipient: Recipient, framed: bytes) -> None: ...

    def broadcast(self, recipients: Collection[Recipient], framed: bytes) -> None: ...


class DirectOutlet:
    """Hand each frame to its recipients at once. Thread-safe if they are."""

    def push(self, recipient: Recipient, framed: bytes) -> None:
        recipient.send_frame(framed)

    def broadcast(self, recipients: Collection[Recipient], framed: bytes) -> None:
        for recipient in list(recipients):  # a slow reader leaves the room when it is closed
            recipient.send_frame(framed)


class SessionOwner(Protocol):
    """Who decides about sessions, the `Engine`: it alone ends them. A session and what carries it report, and ask."""

    reason: Any
    refusals: Refusals
    max_http_buffer_size: int  # the largest message

    def new_outbox(self) -> Outbox:
        """Return an outbox that counts with all others."""

    def receive(self, session: "EngineSession", packet: str | bytes) -> None:
        """Act on one packet of a client; one that cannot be understood closes its session."""

    def close(self, session: "EngineSession", reason: str, *, code: CloseCode = CloseCode.GOING_AWAY) -> None:
        """End a session; calling it again changes nothing."""

    def handle_probe(self, websocket: "WebSocket", packet: str | bytes) -> None:
        """Act on what a candidate for an upgrade has sent. Raises `FrameError`."""

    def end_upgrade(self, websocket: "WebSocket") -> None:
        """Note that an upgrade has been finished, or has failed."""


class EngineSession:
    """One Engine.IO session. ``websocket`` is its WebSocket, None while it polls; ``candidate`` the one it upgrades to.

    ``pending`` belongs to the loop: what leaves at the end of its turn, see `hazoom_ws.transport.engineio.pending`. A
    polling session keeps its frames in ``outbox`` until the next poll; ``changed`` guards them and wakes that poll.
    """

    __slots__ = (
        "candidate",
        "changed",
        "engine",
        "farewell",
        "id",
        "is_changing",
        "is_heard",
        "is_open",
        "is_polled",
        "is_posting",
        "outbox",
        "pending",
        "state",
        "websocket",
    )

    def __init__(self, engine: SessionOwner, sid: str) -> None:
        self.engine = engine
        self.id = sid
        self.is_open = True
        self.is_heard = True  # what its client sends is acted on
        self.websocket: WebSocket | None = None
        self.candidate: WebSocket | None = None
        self.pending: Pending = EMPTY
        self.state: dict[str, Any] | None = None  # what `Engine.get_session` returns
        # Of a session that polls, see `start_polling`:
        self.changed: threading.Condition | None = None
        self.outbox: Outbox | None = None
        self.is_polled = self.is_posting = False
        self.is_changing = False  # of one that was closed: its client was about to go on by a WebSocket
        self.farewell = b"1"

    @property
    def backlog_bytes(self) -> int:
        """Return what waits because the client has not read it yet."""
        if self.websocket is not None:
            return self.websocket.backlog_bytes
        return 0 if self.outbox is None else self.outbox.size_bytes

    def start_polling(self) -> None:
        """Prepare for polls, before anything is delivered."""
        self.outbox = self.engine.new_outbox()
        self.changed = threading.Condition()

    def send_frame(self, framed: bytes) -> None:
        """Send a frame soon; a session that is closed loses it."""
        if not self.is_open:
            return
        websocket = self.websocket
        if websocket is None:
            assert self.changed is not None
            assert self.outbox is not None
            with self.changed:
                websocket = self.websocket  # an upgrade holds the lock while it takes the frames along
                keeps_up = websocket is not None or not self.is_open or self.outbox.add(framed)
                self.changed.notify_all()
        if websocket is not None:
            websocket.send_frame(framed)
        elif not keeps_up:
            self.engine.close(self, SLOW_READER)


class WebSocket:
    """A WebSocket that carries a session, or a candidate that a polling session tries (``session.websocket`` is another).

    ``message_limit_bytes`` bounds what comes. Not thread-safe but for `send_frame` and `close`.
    """

    __slots__ = ("engine", "has_probed", "message_limit_bytes", "session")

    def __init__(self, engine: SessionOwner, session: EngineSession) -> None:
        self.engine = engine
        self.session = session
        self.has_probed = False
        self.message_limit_bytes = engine.max_http_buffer_size

    def send_frame(self, framed: bytes) -> None:
        """Send a frame soon and in order; have the session closed if its reader is too slow for that."""
        raise NotImplementedError

    @property
    def backlog_bytes(self) -> int:
        """Return what waits because the client has not read it yet."""
        raise NotImplementedError

    @property
    def is_receiving(self) -> bool:
        """Return whether a part of a message has come, and not all of it."""
        raise NotImplementedError

    def limit_messages(self, limit_bytes: int) -> None:
        """Bound the messages that come after the one at hand; to be called by who handles that."""
        raise NotImplementedError

    def close(self, code: CloseCode) -> None:
        """Send what was delivered, then a close frame, and end the connection; calling it again changes nothing."""
        raise NotImplementedError

    def handle_message(self, message: Message) -> None:
        """Act on what the client sent. Raises `FrameError`."""
        opcode, data = message.opcode, message.data
        if opcode in (frames.TEXT, frames.BINARY):
            if self.session.websocket is self:
                self.engine.receive(self.session, data)
            else:
                self.engine.handle_probe(self, data)
        elif opcode == frames.PING:
            assert isinstance(data, bytes)
            self.send_frame(frame(frames.PONG, data))
        elif opcode == frames.CLOSE:
            self.lost(self.engine.reason.TRANSPORT_CLOSE, CloseCode.NORMAL)

    def fail(self, error: FrameError) -> None:
        """Close the connection of a client that broke the WebSocket protocol."""
        self.engine.refusals.note(f"a client broke the WebSocket protocol: {error}")
        self.lost(self.engine.reason.TRANSPORT_ERROR, error.code)

    def cut_off(self, why: str) -> None:
        """End the connection of a client whose message is not whole, see `Holder`."""
        self.fail(FrameError(CloseCode.POLICY_VIOLATION, why))

    def lost(self, reason: str, code: CloseCode = CloseCode.GOING_AWAY) -> None:
        """End the connection, and with it the session if this carries it, else the attempt to upgrade it."""
        if self.session.websocket is self:
            self.engine.close(self.session, reason, code=code)
        elif self.session.candidate is self:
            self.engine.end_upgrade(self)
        self.close(code)
