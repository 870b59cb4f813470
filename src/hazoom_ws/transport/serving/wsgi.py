"""HTTP by `eventlet.wsgi`, with finite limits: it serves the connections that the loop hands over, or all of them.

eventlet restarts its time-out with every byte, takes 1,024 connections as it comes, and then goes silent; a client whose
bytes are always there already keeps everybody else waiting; a body that nobody reads is read over without end.

Of eventlet this replaces: in `wsgi.HttpProtocol` ``setup``, ``_read_request_line``, ``parse_request``, ``get_environ``,
``finish`` and ``log_request``; its ``Input`` by `_Input`, of which it asks what is there; in `greenio.GreenSocket`
``recv_into``; it calls `wsgi.Server.process_request` for each connection. The other modules here call `hubs.get_hub()`:
``add``, ``remove``, ``schedule_call_global`` and ``switch``, and take a socket from under a green one by ``fd.detach()``.
In tests/unit/test_library_facts.py the tests that use ``of_eventlet`` notice when any of it moves.
"""

import errno
import io
import logging
import os
import socket
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import eventlet
from eventlet import greenio, hubs, patcher, wsgi

from hazoom_ws.transport.bounds.refusals import REFUSED_REQUEST
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.http import heads as http_heads
from hazoom_ws.transport.http.bodies import UNREAD_LIMIT_BYTES, Body
from hazoom_ws.transport.http.heads import BadHead, Head, read_head
from hazoom_ws.transport.serving.gate import Gate
from hazoom_ws.transport.serving.incoming import Incoming
from hazoom_ws.transport.serving.passing import Passing
from hazoom_ws.transport.serving.reporting import reporting

logger = logging.getLogger(__name__)
_socket: Any = patcher.original("socket")

_CONNECTION_LIMIT = 16_384
_SILENCE_TIMEOUT_S = 30.0  # in the middle of a request's body
_ACCEPT_PAUSE_S = 0.05
_LINGER_S = 2.0


class BegunSocket(Incoming, greenio.GreenSocket):  # type: ignore[misc]
    """Eventlet's socket around a file descriptor of which ``head`` was read already: only a file of it begins with that."""

    def __init__(self, fd: int, head: bytes, engine: Engine) -> None:
        super().__init__(_socket.socket(fileno=fd))
        self.engine = engine
        self._head = head
        self._is_left_alone = False
        self.await_request(len(head))

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if not self._head:
            if self._is_left_alone:
                raise BlockingIOError(errno.EAGAIN, "what comes now is for another process")
            size_bytes: int = super().recv_into(buffer, nbytes, flags)
            self.count(size_bytes)
            return size_bytes
        taken = self._head[: nbytes or len(buffer)]
        self._head = self._head[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def read_already(self, file: Any) -> bytes:
        """Return what ``file`` has read of this connection and not returned yet, and read no more."""
        self._is_left_alone = True
        try:
            already: bytes = file.peek()
        finally:
            self._is_left_alone = False
        return already + self._head

    def let_go(self) -> None:
        """Close this process's side of it only: the connection stays open where it was passed on to."""
        os.close(self.fd.detach())


class _Input:
    """A body as `eventlet.wsgi` asks for it, after the answer."""

    content_length = position = 0  # which say nothing of a chunked body, and `chunked_input` says it of any

    def __init__(self, body: Body, connection: BegunSocket, *, is_expected: bool) -> None:
        self._body = body
        self._connection = connection
        self._is_expected = is_expected
        self.headers_sent: list[int] = []

    @property
    def should_send_hundred_continue(self) -> bool:
        """Whether the client still waits for a word before it sends the body."""
        return self._is_expected and not self._body.is_begun

    @property
    def chunked_input(self) -> bool:
        """Whether there is something to `discard`."""
        return not self._body.is_whole

    def discard(self) -> None:
        """Read over what is left. Raises OSError if that is too much, which ends the connection."""
        if not self._body.is_short():
            raise ConnectionError("more of a body is unread than is worth reading over")

    def get_socket(self) -> BegunSocket:
        return self._connection


class _Protocol(wsgi.HttpProtocol):  # type: ignore[misc]
    """Serves one connection. What all of them share are attributes of a class that `HttpServer` derives."""

    engine: Engine
    gate: Gate
    request_timeout_s: float
    keep_alive_timeout_s: float
    passing: Passing | None
    environ: Any = None

    def setup(self) -> None:
        super().setup()
        self._file = self.rfile
        self._is_unread = False  # something that came will not be read
        self._body: Body | None = None
        self._is_kept = False  # from one request for another
        self._turn = self.gate.enter()

    def _read_request_line(self) -> bytes:
        self.connection.await_request()
        if self._is_kept:
            self._wait_for_another()
        self._is_kept = True
        with eventlet.Timeout(self.request_timeout_s, TimeoutError("no request line in time")):
            line: bytes = super()._read_request_line()
        if line and self._turn != self.gate.turn:
            self.gate.enter()
        self._turn = -1  # good for one request
        if len(line) > http_heads.LINE_LIMIT_BYTES:
            self._refuse(BadHead("the request line is too long", HTTPStatus.REQUEST_URI_TOO_LONG))
            return b""
        return line

    def _wait_for_another(self) -> None:
        """Wait until another request begins, or the client has gone. Raises TimeoutError, which ends the connection.

        Proxies keep connections for a minute: one that is closed as it is used again makes an error of theirs.
        """
        if self._file.closed:
            return
        self.connection.settimeout(None)
        with eventlet.Timeout(self.keep_alive_timeout_s, TimeoutError("no other request in time")):
            self._file.peek(1)
        self.connection.settimeout(_SILENCE_TIMEOUT_S)

    def parse_request(self) -> bool:
        self.close_connection = True
        lines = [self.raw_requestline]
        read_line = self._file.readline if self.passing is None else partial(self._read_line, lines)
        try:
            with eventlet.Timeout(self.request_timeout_s, TimeoutError("no headers in time")):
                head = read_head(self.raw_requestline, read_line)
        except BadHead as error:
            self._refuse(error)
            return False
        if head is None or (self.passing is not None and self._pass_on(head, b"".join(lines), self.passing)):
            return False
        self.command, self.path, self.request_version = head.method, head.path, head.version
        self.headers, self.requestline = head.message(), ""
        self.close_connection = not head.keeps_alive or self.engine.descriptors.are_short
        self._head = head
        return True

    def _read_line(self, lines: list[bytes], limit_bytes: int) -> bytes:
        line: bytes = self._file.readline(limit_bytes)
        lines.append(line)
        return line

    def _pass_on(self, head: Head, raw_head: bytes, passing: Passing) -> bool:
        """Pass the connection on to the process that has the session of this request; return False if this one answers.

        A connection that is kept may bring requests of several clients, a proxy's most of all, so each is looked at.
        """
        number = passing.other_of(head.target)
        connection: BegunSocket = self.connection
        if not number or not passing.pass_on(connection.fileno(), raw_head + connection.read_already(self._file), number):
            return False
        connection.request_is_whole()
        connection.let_go()
        return True

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        head: Head = self._head
        connection: BegunSocket = self.connection
        body = self._body = Body(
            self._file,
            head.body_bytes,
            give_way=self.gate.enter,
            on_whole=connection.request_is_whole,
            before=self._say_continue if head.expects_continue else None,
        )
        environ["eventlet.input"] = _Input(body, connection, is_expected=head.expects_continue)
        environ["wsgi.input"] = io.BufferedReader(body)
        environ["wsgi.input_terminated"] = True
        return environ

    def finish(self) -> None:
        """Close both files, which hold the socket open: the library stops at the first that cannot be flushed."""
        if self._is_unread or (self._body is not None and not self._body.is_whole):
            with suppress(OSError):
                self._linger()
        # The library puts something into the environment that refers back: parted, all of it is freed at once.
        self._body = self.environ = None
        super().finish()
        for file in (self.wfile, self.rfile):
            with suppress(OSError):
                file.close()

    def log_request(self, *_: Any) -> None:
        """Log nothing per request."""

    def _say_continue(self) -> None:
        if not self.environ["eventlet.input"].headers_sent:
            self.wfile.write(http_heads.CONTINUE)
            self.wfile.flush()

    def _refuse(self, error: BadHead) -> None:
        self.engine.refusals.note(REFUSED_REQUEST, str(error))
        self._is_unread = True
        self.wfile.write(http_heads.refusal(error))

    def _linger(self) -> None:
        """Read over a little of what still comes, so that the answer is not lost to a reset."""
        connection: BegunSocket = self.connection
        self.wfile.flush()
        connection.shutdown(socket.SHUT_WR)
        left_bytes = UNREAD_LIMIT_BYTES
        with eventlet.Timeout(_LINGER_S, False):
            while left_bytes > 0 and (data := connection.recv(16_384)):
                left_bytes -= len(data)
                self.gate.enter()


class HttpServer:
    """Serves one WSGI application."""

    def __init__(
        self,
        app: Any,
        engine: Engine,
        listener: Any,
        *,
        request_timeout_s: float,
        keep_alive_timeout_s: float,
        passing: Passing | None = None,
    ) -> None:
        """``request_timeout_s`` bounds the time in which a request line, and then all headers, arrive.

        ``keep_alive_timeout_s`` bounds the time between an answer and the first byte of the next request. ``passing`` is
        how connections get to other processes of the same port, None where there are none.
        """
        self._engine = engine
        self._listener = listener
        self._pool = eventlet.GreenPool(_CONNECTION_LIMIT)
        gate = Gate()
        engine.give_way = gate.enter
        engine.descriptors.counts.append(self._pool.running)
        shared = {
            "engine": engine,
            "gate": gate,
            "request_timeout_s": request_timeout_s,
            "keep_alive_timeout_s": keep_alive_timeout_s,
            "passing": passing,
        }
        self._server = wsgi.Server(
            listener,
            listener.getsockname(),
            reporting(app),
            protocol=type("Protocol", (_Protocol,), shared),
            log_output=False,
            socket_timeout=_SILENCE_TIMEOUT_S,
            debug=False,  # tracebacks are for the log, not for clients
            url_length_limit=http_heads.LINE_LIMIT_BYTES + 1,
        )

    def serve(self) -> None:
        """Accept every connection and serve it. Never returns."""
        descriptors = self._engine.descriptors
        if type(hubs.get_hub()).__module__.endswith("selects"):
            descriptors.watched_by_select()
        descriptors.sweep()
        self._engine.start_sweeping()
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError as error:
                # Most likely there are no file descriptors left, which is where eventlet's own loop would end.
                descriptors.accept_failed(error)
                eventlet.sleep(_ACCEPT_PAUSE_S)
                continue
            if not descriptors.admit(connection.fileno()):
                connection.close()
            else:
                self.serve_connection(BegunSocket(connection.fd.detach(), b"", self._engine), address)
            if descriptors.are_short:
                eventlet.sleep(0)  # those who go for it have to find out

    def serve_connection(self, connection: BegunSocket, address: Any) -> None:
        """Serve a connection that somebody else has accepted, in a greenlet of its own; close it if there are too many."""
        if self._pool.free() <= 0:
            self._engine.refusals.note(f"more than {_CONNECTION_LIMIT} HTTP connections at once", level=logging.WARNING)
            connection.request_is_whole()
            connection.close()
            return
        self._pool.spawn_n(self._serve_one, connection, address)

    def _serve_one(self, connection: BegunSocket, address: Any) -> None:
        connection.settimeout(_SILENCE_TIMEOUT_S)
        try:
            self._server.process_request([address, connection, wsgi.STATE_IDLE])
        except OSError:
            pass  # it went away in the middle
        except Exception:
            logger.exception("an HTTP connection failed")
        finally:
            connection.request_is_whole()
            greenio.shutdown_safe(connection)
            connection.close()
