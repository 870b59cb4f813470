"""The event loop under every WebSocket, on Linux with eventlet.

One greenlet reads all sockets through an epoll object of its own, which eventlet's hub watches like any other socket. It
works in turns. A turn reads what has arrived, a bounded share from each client, handles it in order, and then sends: what
was broadcast or pushed meanwhile is joined into one ``send`` for each recipient, so the busier the server, the more a turn
carries and the less a message costs. A large broadcast is cut into slices, between which the loop reads on and serves
what concerns few.

It accepts the connections too. A WebSocket's handshake is answered here, if it is as usual and comes in one piece; any
other request, and one for another process, is handed to `eventlet.wsgi`. Nothing in a turn may wait. Everything runs in
the thread of eventlet's hub.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from eventlet import greenthread, hubs, patcher

from hazoom_ws.deadlines import Deadlines
from hazoom_ws.transport.bounds.outbox import Outbox
from hazoom_ws.transport.engineio import requests as handshake
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.pending import EMPTY, Pending, with_own
from hazoom_ws.transport.engineio.requests import Refused
from hazoom_ws.transport.engineio.session import EngineSession
from hazoom_ws.transport.http import heads as http_heads
from hazoom_ws.transport.serving.endpoints import BackendStream, Endpoint, Leaving, Lingerer, Newcomer
from hazoom_ws.transport.serving.loop_websocket import LoopWebSocket, flush
from hazoom_ws.transport.serving.passing import Passing
from hazoom_ws.transport.serving.wsgi import BegunSocket
from hazoom_ws.transport.websocket.frames import CloseCode

logger = logging.getLogger(__name__)
_select: Any = patcher.original("select")
_socket: Any = patcher.original("socket")
_READ: int = _select.EPOLLIN
_WRITE: int = _select.EPOLLOUT

# How long turns follow each other before HTTP, AI answers and timers have theirs.
_TURNS_S = 0.004
# A turn's shares. The times bound how long everybody else waits; the counts are what one client may have of a turn.
_READING_S = 0.002
_SENDING_S = 0.0007
_POLLED_COUNT = 256
_ACCEPTED_COUNT = 32
_SENDS_BETWEEN_CLOCKS = 32
_READ_BYTES = 65536
# A broadcast to so few is sent at once, before the slices of larger ones.
_SMALL_BROADCAST = 32
# So many kinds of what is pending are shared by those who get a broadcast; who has another, has a list of its own.
_KINDS = 4
_LINGER_S = 2.0
_ACCEPT_PAUSE_S = 0.05  # while there are no file descriptors
# Tokens come evenly: without a pause each would be a turn of its own, which costs more than what is done in it.
_BACKENDS_PAUSE_S = 0.004
_BACKENDS_PAUSES = 4  # in a row, for broadcasts

HandOver = Callable[[Any, Any], None]


class Loop:
    """The loop of one application, and the engine's outlet. Start it with `serve`."""

    def __init__(self, engine: Engine, *, request_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``request_timeout_s`` is how long a new connection may be silent."""
        self.engine = engine
        self.clock = clock
        # What is read lands here first: a new object of this size for each read nearly doubles what reading costs.
        self.inbox = memoryview(bytearray(_READ_BYTES))
        self._epoll = _select.epoll()
        # Backends are read from an epoll object of their own, which the first one reports once, until it is asked again.
        self._backends = _select.epoll()
        self._epoll.register(self._backends.fileno(), _READ | _select.EPOLLONESHOT)
        self._backends_found_at_s = 0.0
        self._pauses = 0
        self._endpoints: dict[int, Endpoint] = {}
        self._ready: deque[Endpoint] = deque()
        self._urgent: list[EngineSession] = []
        self._bulk: deque[EngineSession] = deque()
        self._broken: list[LoopWebSocket] = []
        self.leaving = Leaving(clock)
        self._soon: list[Callable[[], object]] = []
        self._newcomers: Deadlines[Endpoint] = Deadlines(request_timeout_s)
        self._lingering: Deadlines[Endpoint] = Deadlines(_LINGER_S)
        self._listener: Any = None
        self._socket_kind = (0, 0, 0)  # the listener's family, type and protocol
        self._served_at: dict[str, str] = {}
        self._is_accepting = False
        self._hand_over: HandOver | None = None
        self.passing: Passing | None = None  # connections, to other processes of the same port
        self._is_idle = False
        self._is_crowded = False  # somebody goes for who has just come, and has to find out first
        self._greenlet: Any = None

    def serve(self, listener: Any, hand_over: HandOver) -> None:
        """Start to accept on ``listener``; ``hand_over(socket, address)`` gets whatever is not a WebSocket.

        ``socket`` is eventlet's, and begins with the request. Returns at once; the loop ends with the process.
        """
        self._listener = raw = listener.fd  # the socket under eventlet's
        self._socket_kind = (int(raw.family), int(raw.type), raw.proto)
        host, port, *_ = raw.getsockname()
        self._served_at = {"SERVER_NAME": host, "SERVER_PORT": str(port)}
        self._hand_over = hand_over
        self.engine.outlet = self.engine.loop = self
        self.engine.sweeps.append(self._sweep)
        self.engine.start_sweeping()
        self.engine.parting.counts.append(self._lingering.__len__)
        self.engine.descriptors.counts.append(self._endpoints.__len__)
        self.engine.descriptors.sweep()
        self._start_accepting()
        self._greenlet = greenthread.spawn(self._run)

    def is_current(self) -> bool:
        """Return whether this is called in a turn, where nothing may wait."""
        return greenthread.getcurrent() is self._greenlet

    # The outlet

    def push(self, recipient: Any, framed: bytes) -> None:
        """Send to one, at the end of this turn or in the next."""
        recipient.pending = with_own(recipient.pending, framed)
        self._urgent.append(recipient)
        if self._is_idle:
            self._wake()

    def broadcast(self, recipients: Collection[Any], framed: bytes) -> None:
        """Send to many, in slices."""
        if len(recipients) <= _SMALL_BROADCAST:
            self._urgent += recipients
        else:
            self._bulk += [recipient for recipient in recipients if not recipient.pending]
        before: Pending | None = None
        after: Pending = EMPTY
        kinds = 0 if len(recipients) > 1 else _KINDS
        for recipient in recipients:
            pending = recipient.pending
            if pending is before:  # most have the same
                recipient.pending = after
            elif kinds == _KINDS or type(pending) is list:
                recipient.pending = with_own(pending, framed)
            else:
                kinds += 1
                before = pending
                recipient.pending = after = (*pending, framed)
        if self._is_idle:
            self._wake()

    def adopt(self, green_socket: Any, session: EngineSession | None, answer: bytes, environ: Mapping[str, Any]) -> None:
        """Take over a socket whose WebSocket WSGI accepts with ``answer``, for ``session`` (an upgrade) or a new one."""
        self._carry(_socket.SocketType(fileno=green_socket.fd.detach()), session, answer, environ, self.watch)

    def read(self, green_socket: Any, on_data: Callable[[bytes], None]) -> BackendStream:
        """Call ``on_data``, in turns, with what arrives from a backend, and b"" at its end; it must not raise.

        The socket stays the caller's, who may use it again after `BackendStream.pause`.
        """
        stream = BackendStream(self, green_socket.fd, on_data)
        self.watch(stream)
        return stream

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call back in this turn or the next, when what has arrived was handled and before anything is sent."""
        self._soon.append(callback)
        if self._is_idle:
            self._wake()

    def _report_backends(self) -> None:
        """Let the backends be found; a large broadcast on its way ends first, if that does not take too long."""
        if self._bulk and self._pauses < _BACKENDS_PAUSES:
            self._pauses += 1
            hubs.get_hub().schedule_call_global(_BACKENDS_PAUSE_S, self._report_backends)
        else:
            self._pauses = 0
            self._epoll.modify(self._backends.fileno(), _READ | _select.EPOLLONESHOT)

    # Turns

    def _run(self) -> None:
        hub = hubs.get_hub()
        hub.add(hub.READ, self._epoll.fileno(), self._on_readable, hub.squelch_exception, lambda: None)
        while True:
            others_at_s = self.clock() + _TURNS_S
            try:
                while (is_busy := self._turn()) and self.clock() < others_at_s and not self._is_crowded:
                    pass
            except Exception:
                logger.exception("a turn of the loop failed")
                is_busy = True
            if is_busy or self._is_crowded:
                self._is_crowded = False
                greenthread.sleep(0)  # everybody else has a turn as well
            else:
                self._is_idle = True
                hub.switch()

    def _on_readable(self, _fileno: int) -> None:
        if self._is_idle:
            self._is_idle = False
            self._greenlet.switch()

    def _wake(self) -> None:
        self._is_idle = False
        hubs.get_hub().schedule_call_global(0, self._greenlet.switch)

    def _turn(self) -> bool:
        """Read, handle, send; return whether something of it is left to do."""
        ready, endpoints = self._ready, self._endpoints
        for fd, events in self._epoll.poll(0, _POLLED_COUNT):
            endpoint = endpoints.get(fd)
            if endpoint is None:  # the backends, the listener, or a socket that was closed a moment ago
                if fd == self._backends.fileno():
                    self._find_backends()
                elif self._is_accepting:
                    self._accept()
                continue
            if events & _WRITE:
                endpoint.on_writable()
            if events & ~_WRITE and not endpoint.is_ready:
                endpoint.is_ready = True
                ready.append(endpoint)
        ends_at_s = self.clock() + _READING_S
        while ready:
            endpoint = ready.popleft()
            if endpoint.on_readable():
                ready.append(endpoint)
            else:
                endpoint.is_ready = False
            if self.clock() > ends_at_s:
                break
        if self._soon:
            self._call_back()
        self._send()
        while self._broken:
            self._broken.pop().lost(self.engine.reason.TRANSPORT_ERROR)
        self.leaving.end_some()
        return bool(ready or self._urgent or self._bulk or self._soon or self.leaving)

    def _call_back(self) -> None:
        soon, self._soon = self._soon, []
        for callback in soon:
            try:
                callback()
            except Exception:
                logger.exception("%r failed", callback)

    def _find_backends(self) -> None:
        """Let the backends that have sent something be read in this turn."""
        for fd, _ in self._backends.poll(0, _POLLED_COUNT):
            endpoint = self._endpoints.get(fd)
            if endpoint is not None and not endpoint.is_ready:
                endpoint.is_ready = True
                self._ready.append(endpoint)
        now_s = self.clock()
        is_calm = now_s - self._backends_found_at_s > 2 * _BACKENDS_PAUSE_S
        self._backends_found_at_s = now_s
        if is_calm:
            self._report_backends()
        else:
            hubs.get_hub().schedule_call_global(_BACKENDS_PAUSE_S, self._report_backends)

    def _send(self) -> None:
        """Send all that is urgent, and a slice of the rest."""
        if self._urgent:
            urgent, self._urgent = self._urgent, []
            flush(urgent, self._broken)
        bulk = self._bulk
        if bulk:
            take = bulk.popleft
            ends_at_s = self.clock() + _SENDING_S
            while bulk:
                flush([take() for _ in range(min(_SENDS_BETWEEN_CLOCKS, len(bulk)))], self._broken)
                if self.clock() > ends_at_s:
                    return

    def _sweep(self, now_s: float) -> None:
        """End those who take too long to say what they want, or to go."""
        for deadlines in (self._newcomers, self._lingering):
            for endpoint, _ in list(deadlines.pop_due(now_s)):
                endpoint.forget()

    # Connections

    def _start_accepting(self) -> None:
        self._is_accepting = True
        self._epoll.register(self._listener.fileno(), _select.EPOLLIN)

    def _accept(self) -> None:
        listener = self._listener
        # `accept` and `socket` of the standard library look up two enumerations, which takes as long as to accept.
        accept, kind = listener._accept, self._socket_kind
        for _ in range(_ACCEPTED_COUNT):
            try:
                fd, address = accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Most likely there are no file descriptors left. Trying again at once would be all that the loop does.
                self.engine.descriptors.accept_failed(error)
                self._epoll.unregister(listener.fileno())
                self._is_accepting = False
                hubs.get_hub().schedule_call_global(_ACCEPT_PAUSE_S, self._start_accepting)
                return
            if self.take_in(_socket.SocketType(*kind, fd), address) is None or self.engine.descriptors.are_short:
                self._is_crowded = True
                return

    def take_in(self, connection: Any, address: Any) -> Newcomer | None:
        """Read from a new connection from now on; close it and return None if there are too many."""
        if not self.engine.descriptors.admit(connection.fileno()):
            connection.close()
            return None
        connection.setblocking(False)
        newcomer = Newcomer(self, connection, address)
        self.watch(newcomer)
        self._newcomers.start(newcomer, self.clock())
        self.engine.unfinished.hold(newcomer, 0, self.clock())
        return newcomer

    def watch(self, endpoint: Endpoint) -> None:
        """Read from an endpoint from now on."""
        fd = endpoint.connection.fileno()
        self._endpoints[fd] = endpoint
        self._epoll_of(endpoint).register(fd, _READ)

    def _epoll_of(self, endpoint: Endpoint) -> Any:
        return self._backends if isinstance(endpoint, BackendStream) else self._epoll

    def replace(self, endpoint: Endpoint) -> None:
        """Let an endpoint read in the place of the one that had its socket, and was not waiting to write."""
        self._endpoints[endpoint.connection.fileno()] = endpoint

    def unwatch(self, endpoint: Endpoint) -> None:
        """Read and write a socket no more."""
        fd = endpoint.connection.fileno()
        del self._endpoints[fd]
        self._epoll_of(endpoint).unregister(fd)
        self._newcomers.stop(endpoint)
        self._lingering.stop(endpoint)
        self.engine.unfinished.release(endpoint)

    def want_to_write(self, endpoint: Endpoint, *, wanted: bool) -> None:
        """Start or stop to be told that an endpoint can take more."""
        self._epoll.modify(endpoint.connection.fileno(), _READ | _WRITE if wanted else _READ)

    def linger(self, endpoint: Endpoint, outbox: Outbox | None = None) -> None:
        """Let a client hear the last words: send ``outbox``, and read over what still comes, lest that be a reset."""
        lingerer = Lingerer(self, endpoint.connection, outbox)
        self.replace(lingerer)
        self._lingering.start(lingerer, self.clock())
        self.engine.unfinished.release(endpoint)
        self.engine.unfinished.hold(lingerer, 0, self.clock())

    def welcome(self, newcomer: Newcomer, head: bytes) -> None:
        """Answer the handshake of a WebSocket, or hand over what is none."""
        environ = handshake.environ_of(head)
        if environ is None or (self.passing is not None and self.passing.other_of(f"?{environ['QUERY_STRING']}")):
            self.unwatch(newcomer)
            assert self._hand_over is not None
            self._hand_over(BegunSocket(newcomer.connection.detach(), head, self.engine), newcomer.address)
            return
        connection = newcomer.connection
        self._newcomers.stop(newcomer)
        self.engine.unfinished.release(newcomer)
        environ["REMOTE_ADDR"] = newcomer.address[0]
        try:
            handshake.check_origin(self.engine, environ)
            session, answer = handshake.accept_websocket(self.engine, environ, handshake.query_of(environ))
        except Refused as refusal:
            handshake.note_refusal(self.engine, environ, refusal)
            newcomer.say_last(http_heads.answer(refusal.status, refusal.body, "application/json", refusal.headers))
            return
        environ |= self._served_at
        self._carry(connection, session, answer, environ, self.replace)

    def _carry(
        self,
        connection: Any,
        session: EngineSession | None,
        answer: bytes,
        environ: Mapping[str, Any],
        watch: Callable[[LoopWebSocket], None],
    ) -> None:
        engine = self.engine
        if session is None:
            session = engine.open(environ)
            session.websocket = websocket = LoopWebSocket(self, connection, session)
            # In one piece with the open packet: cut off between the two, the official client waits for 20 s.
            session.pending = (answer,)
            engine.send_open_packet(session)
            watch(websocket)
            return
        websocket = LoopWebSocket(self, connection, session)
        watch(websocket)
        websocket.send_frame(answer)
        if not engine.start_upgrade(websocket):
            websocket.close(CloseCode.POLICY_VIOLATION)  # another WebSocket has it, or tries to
