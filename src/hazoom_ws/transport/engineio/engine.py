"""Engine.IO v4: sessions, heartbeats, upgrade, close. Decides, and leaves the bytes to WebSockets and to HTTP.

Takes the place of the stock Engine.IO server below python-socketio (`Engine.install`), which departs from the protocol in
many places and spends a reader, a writer and a pinger on every client. A session is carried by long polling (`polling`) or
by a WebSocket, which is a socket in the event loop (`loop_websocket`) or one that blocks in a thread or greenlet
(`blocking`).

Source: Engine.IO protocol revision 4, https://socket.io/docs/v4/engine-io-protocol/.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any
from weakref import ref

import msgspec

from hazoom_ws.deadlines import Deadlines
from hazoom_ws.transport.bounds.descriptors import SHORT_OF_FILES, Descriptors
from hazoom_ws.transport.bounds.heap import Heap
from hazoom_ws.transport.bounds.outbox import Outbox, OutboxTotal
from hazoom_ws.transport.bounds.refusals import Refusals
from hazoom_ws.transport.bounds.unfinished import Unfinished
from hazoom_ws.transport.engineio.counts import Counts
from hazoom_ws.transport.engineio.parting import Parting
from hazoom_ws.transport.engineio.python_engineio_overrides import HandleRequest, LibraryFace
from hazoom_ws.transport.engineio.session import DirectOutlet, EngineSession, MalformedPacket, Outlet, WebSocket
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import CloseCode, FrameError, frame

logger = logging.getLogger(__name__)
PING = frame(frames.TEXT, b"2")
PROBE_ANSWER = frame(frames.TEXT, b"3probe")
NO_NAMESPACE = "no namespace"
BAD_PACKET = "parse error"
_UPGRADE_TIMEOUT_S = 10.0
_ID_BYTES = 15
_LONGEST_TICK_S = 0.5


class Engine(LibraryFace):
    """The sessions of one application. Safe to call from threads; handlers run in the caller's."""

    def __init__(
        self,
        *,
        connect_timeout_s: float = 10.0,
        outbox_limit_bytes: int = 1_048_576,
        outbox_total_limit_bytes: int = 268_435_456,
        incoming_total_limit_bytes: int = 33_554_432,
        message_timeout_s: float = 30.0,
        handle_request: HandleRequest | None = None,
        admit: Callable[[Mapping[str, Any]], float] = lambda _environ: 0.0,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        """``options`` are `engineio.Server`'s; ``connect_timeout_s`` is how long a session may be in no namespace.

        ``handle_request(engine, environ, start_response)`` serves HTTP; None: there is none. ``admit(environ)`` counts a
        handshake and returns 0 if it may open a session, else in how many seconds another may.
        """
        super().__init__(handle_request, **options)
        self.outlet: Outlet = DirectOutlet()
        self.loop: Any = None  # the `Loop` that is the outlet, where there is one
        self.clock, self.id_prefix = clock, ""  # the second of ids, where there are several processes: `requests.id_prefix`
        self.elsewhere: Any = None  # `Elsewhere`, which has polls answered by other processes, where there are any
        self._outbox_limit_bytes = outbox_limit_bytes
        self._outbox_total = OutboxTotal(outbox_total_limit_bytes)
        # Greenlets change places only where they wait, and nothing under the lock does; eventlet's lock costs much.
        self.lock: AbstractContextManager[Any] = threading.RLock() if self.async_mode == "threading" else nullcontext()
        self.refusals = Refusals(clock=clock)
        self.counts = Counts()
        self.parting = Parting(clock, self.lock, self.reason.SERVER_DISCONNECT)
        self.unfinished = Unfinished(incoming_total_limit_bytes, message_timeout_s, self.lock)
        # First who has not finished a request, then who has joined nothing.
        end_one = (lambda: self.unfinished.cut_off_oldest(SHORT_OF_FILES), self.close_oldest_unjoined)
        self.descriptors = Descriptors(clock, self.refusals, end_one)
        self.give_way: Callable[[], object] = self.sleep  # in the middle of a long request over HTTP
        self.admit = admit
        self.sweeps: list[Callable[[float], None]] = [
            self._sweep,
            self.refusals.sweep,
            self.parting.sweep,
            self.unfinished.sweep,
            self.descriptors.sweep,
            Heap().sweep,
        ]
        self._pings: Deadlines[EngineSession] = Deadlines(self.ping_interval)
        self._pongs: Deadlines[EngineSession] = Deadlines(self.ping_timeout)
        self._unjoined: Deadlines[EngineSession] = Deadlines(connect_timeout_s)
        self._upgrades_until: Deadlines[WebSocket] = Deadlines(_UPGRADE_TIMEOUT_S)
        self._tick_s = min(_LONGEST_TICK_S, self.ping_interval, self.ping_timeout, connect_timeout_s)
        self._is_sweeping = False
        self.lag_s: Callable[[], float] = lambda: 0.0  # how late the loop is now, where somebody watches it
        self.takes_new = True  # sessions
        self.is_stopped = False  # then there are none any more

    def refuse_new(self) -> None:
        """Open no sessions any more; those that are open go on."""
        self.takes_new = False

    def hear_no_more(self, sid: str) -> None:
        """Act on nothing that a session still sends: it is about to be closed, and could not hear what comes of it."""
        session = self.sessions.get(sid)
        if session is not None:
            session.is_heard = False

    def stop(self) -> None:
        """Close every session, and watch no time-outs from now on: there will be no more sessions."""
        with self.lock:
            self.takes_new, self.is_stopped = False, True
        self.disconnect()

    def disconnect(self, sid: str | None = None) -> None:
        """Close a session, or all, such that its client comes back."""
        with self.lock:
            sessions = list(self.sessions.values()) if sid is None else list(filter(None, [self.sessions.get(sid)]))
        for session in sessions:
            try:
                self.close(session, self.reason.SERVER_DISCONNECT)
            except Exception:
                logger.exception("closing session %s failed", session.id)

    # What depends on who serves, which is known only when it does

    def current_loop(self) -> Any:
        """Return the `Loop` that serves, None where there is none."""
        return self.loop

    def loop_reader(self) -> Callable[..., Any] | None:
        """Return how to let the loop read a connection (`Loop.read`), None where there is no loop."""
        return None if self.loop is None else self.loop.read

    def let_others(self) -> None:
        """Let others have their turn, in the middle of something long."""
        self.give_way()

    def may_wait(self) -> bool:
        """Return whether the caller may wait: nothing in a turn of the loop may."""
        return self.loop is None or not self.loop.is_current()

    def generate_id(self) -> str:
        """Return an id that nobody can guess; it begins with the name of this process where there are several."""
        return self.id_prefix + os.urandom(_ID_BYTES).hex()

    # A session

    def open(self, environ: Mapping[str, Any] = MappingProxyType({})) -> EngineSession:
        """Start a session, for which polling or a WebSocket must be set up at once, and then `send_open_packet`.

        It may be closed when this returns: when the engine is being stopped.
        ``environ``: what the request says that asked for it, in the keys of WSGI.
        """
        session = EngineSession(self, self.generate_id())
        now_s = self.clock()
        with self.lock:
            self.sessions[session.id] = session
            self.counts.opened += 1
            self._pings.start(session, now_s)
            self._unjoined.start(session, now_s)
            self.start_sweeping()
        self.handlers["connect"](session.id, environ)
        if self.is_stopped:
            self.close(session, self.reason.SERVER_DISCONNECT)
        return session

    def send_open_packet(self, session: EngineSession) -> None:
        """Send the open packet."""
        handshake = {
            "sid": session.id,
            "upgrades": ["websocket"] if session.websocket is None and self.allow_upgrades else [],
            "pingInterval": round(self.ping_interval * 1000),
            "pingTimeout": round(self.ping_timeout * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        self.outlet.push(session, frame(frames.TEXT, b"0" + msgspec.json.encode(handshake)))

    def receive(self, session: EngineSession, packet: str | bytes) -> None:
        """Act on one packet of a client; one that cannot be understood closes its session."""
        if not (session.is_open and session.is_heard):
            return
        try:
            if isinstance(packet, bytes):
                self.handlers["message"](session.id, packet)
            elif packet[:1] == "4":
                self.handlers["message"](session.id, packet[1:])
            else:
                self._act(session, packet)
        except MalformedPacket as error:
            self._end(session, error)
        except Exception:
            logger.exception("a packet of session %s failed", session.id)
            self.close(session, self.reason.TRANSPORT_ERROR)

    def _act(self, session: EngineSession, packet: str) -> None:
        """Act on a packet that is no message."""
        kind = packet[:1]
        if kind == "3":
            with self.lock:
                if self._pongs.stop(session):
                    self._pings.start(session, self.clock())
        elif kind == "1":
            # No goodbye: the official client sends it too when a poll of its own has failed, and comes back. Who goes for
            # good says so in Socket.IO's words before.
            session.farewell = b"6"
            self.close(session, self.reason.TRANSPORT_CLOSE)
        elif packet != "6":
            raise MalformedPacket("its type is not one that a client may send now", repr(kind))

    def end(self, sid: str, error: MalformedPacket) -> None:
        """Close a session whose client broke the protocol; nothing happens if it has ended."""
        session = self.sessions.get(sid)
        if session is not None:
            self._end(session, error)

    def _end(self, session: EngineSession, error: MalformedPacket) -> None:
        self.refusals.note(f"a session sent a packet that is none: {error.reason}", error.detail)
        self.close(session, BAD_PACKET, code=CloseCode.PROTOCOL_ERROR)

    def limit_messages(self, sid: str, limit_bytes: int) -> bool:
        """Bound the next messages of a session; return False for one that polls, of which the ordinary limit holds."""
        session = self.sessions.get(sid)
        if session is None or session.websocket is None:
            return False
        session.websocket.limit_messages(limit_bytes)
        return True

    def is_receiving(self, sid: str) -> bool:
        """Return whether a session's WebSocket has sent a part of a message, whose rest is still to come."""
        session = self.sessions.get(sid)
        return session is not None and session.websocket is not None and session.websocket.is_receiving

    def joined(self, sid: str) -> None:
        """Note that a session is in a namespace: it may stay."""
        session = self.sessions.get(sid)
        if session is not None:
            with self.lock:
                self._unjoined.stop(session)

    def unjoined(self, sid: str) -> None:
        """Note that a session has left its last namespace, or was not let into one: that gives it no more time."""
        session = self.sessions.get(sid)
        if session is not None:
            with self.lock:
                if self._unjoined.due_at_s(session) is None:
                    self._unjoined.start(session, self.clock())

    def close_oldest_unjoined(self) -> bool:
        """Close the session that has been in no namespace for longest; return False if there is none."""
        with self.lock:
            oldest = next(self._unjoined.pop_due(math.inf), None)
        if oldest is not None:
            self.close(oldest[0], NO_NAMESPACE)
        return oldest is not None

    def close(self, session: EngineSession, reason: str, *, code: CloseCode = CloseCode.GOING_AWAY) -> None:
        """End a session: its connection, its memberships, its waiting poll. Calling it again changes nothing."""
        with self.lock:
            if not session.is_open:
                return
            session.is_open = False
            self.sessions.pop(session.id, None)
            for deadlines in (self._pings, self._pongs, self._unjoined):
                deadlines.stop(session)
            if session.candidate is not None:
                self._upgrades_until.stop(session.candidate)
        self.counts.note_closed(session.id, reason)
        if session.changed is not None:
            assert session.outbox is not None
            with session.changed:
                if session.websocket is None:
                    self.parting.begin(session, reason)
                else:
                    session.outbox.clear()
                session.changed.notify_all()
        for websocket in (session.websocket, session.candidate):
            if websocket is not None:
                websocket.close(code)
        self._ending[session.id] = session
        try:
            self.handlers["disconnect"](session.id, reason)
        finally:
            del self._ending[session.id]
        # A session and its WebSockets refer to each other: parted, they are freed at once and not by the garbage collector.
        session.websocket = session.candidate = None

    def is_overdue(self, session: EngineSession) -> bool:
        """Return whether a session has missed its heartbeat, though no sweep has seen it yet."""
        now_s = self.clock()
        due_at_s = self._pongs.due_at_s(session)
        if due_at_s is None:
            ping_at_s = self._pings.due_at_s(session)
            due_at_s = now_s if ping_at_s is None else ping_at_s + self.ping_timeout
        return due_at_s <= now_s

    @property
    def outbox_bytes(self) -> int:
        """What waits in all outboxes."""
        return self._outbox_total.size_bytes

    def new_outbox(self) -> Outbox:
        """Return an outbox with the limits of this server."""
        return Outbox(self._outbox_limit_bytes, self._outbox_total)

    # Upgrade

    def start_upgrade(self, websocket: WebSocket) -> bool:
        """Let ``websocket`` try to take over its polling session; return False if another does or has, or it is closed."""
        session = websocket.session
        with self.lock:
            if session.candidate is not None or session.websocket is not None or not session.is_open:
                return False
            session.candidate = websocket
            self._upgrades_until.start(websocket, self.clock())
            return True

    def handle_probe(self, websocket: WebSocket, packet: str | bytes) -> None:
        """Act on what a candidate sent: first "2probe", then "5". Raises `FrameError` for anything else."""
        session = websocket.session
        if session.candidate is not websocket or not session.is_open:
            raise FrameError(CloseCode.POLICY_VIOLATION, "the session is carried already")
        assert session.changed is not None
        assert session.outbox is not None
        if packet == "2probe":
            websocket.send_frame(PROBE_ANSWER)
            with session.changed:
                websocket.has_probed = True
                session.changed.notify_all()  # the waiting poll ends, so that the client can finish
        elif packet == "5" and websocket.has_probed:
            with session.changed:
                for framed in session.outbox.pop_all():
                    websocket.send_frame(framed)
                session.websocket = websocket
                session.changed.notify_all()
            self.end_upgrade(websocket)
        else:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "an upgrade is not done like that")

    def is_upgrading(self) -> bool:
        """Return whether any session is changing to a WebSocket: it hears last words by neither transport."""
        return len(self._upgrades_until) > 0

    def end_upgrade(self, websocket: WebSocket) -> None:
        """Note that ``websocket`` has taken over, or has failed to."""
        with self.lock:
            websocket.session.candidate = None
            self._upgrades_until.stop(websocket)

    # Time

    def start_sweeping(self) -> None:
        """Start the one task that watches every time-out, unless it runs."""
        if not self._is_sweeping and not self.is_stopped:
            self._is_sweeping = True
            self.start_background_task(_run_sweeps, ref(self), self._async["sleep"])

    def run_sweeps(self) -> float | None:
        """Look at every time-out; return the seconds until the next time, None when there is none."""
        if self.is_stopped:
            return None
        now_s = self.clock()
        for sweep in self.sweeps:
            try:
                sweep(now_s)
            except Exception:
                logger.exception("a sweep failed")
        next_s = [at_s for at_s in (self._pings.next_due_at_s(), self._pongs.next_due_at_s()) if at_s is not None]
        # Not shorter than a thousandth: then the heartbeats of a crowd leave together.
        return max(0.001, min([self._tick_s, *(at_s - self.clock() for at_s in next_s)]))

    def _sweep(self, now_s: float) -> None:
        with self.lock:
            due = list(self._pings.pop_due(now_s))
            for session, due_at_s in due:
                self._pongs.start(session, due_at_s)  # from when it was due, so that a late sweep gives no extra time
            overdue = list(self._pongs.pop_due(now_s))
            unjoined = list(self._unjoined.pop_due(now_s))
            stuck = list(self._upgrades_until.pop_due(now_s))
        for session, _ in due:
            self.outlet.push(session, PING)
        for session, _ in overdue:
            self.close(session, self.reason.PING_TIMEOUT)
        for session, _ in unjoined:
            self.close(session, NO_NAMESPACE)
        for websocket, _ in stuck:
            websocket.fail(FrameError(CloseCode.POLICY_VIOLATION, "an upgrade was not finished in time"))


def _run_sweeps(reference: "ref[Engine]", sleep: Callable[[float], Any]) -> None:
    """Sweep from time to time. That does not keep an application alive that nobody uses any more."""
    while (engine := reference()) is not None and (delay_s := engine.run_sweeps()) is not None:
        del engine
        sleep(delay_s)
