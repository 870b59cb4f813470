"""HTTP by werkzeug's server with a thread for each connection, which `blocking` uses for WebSockets; with finite limits.

As it comes it waits for a request for ever, and each wait is a thread; and it reads on after an answer, up to 10 GB.

Of werkzeug this replaces: in `ThreadedWSGIServer` ``get_request``, ``handle_error`` and ``log``; in `WSGIRequestHandler`
``setup``, ``handle_one_request``, ``parse_request``, ``make_environ``, ``finish``, ``version_string`` and ``log_request``.
In tests/unit/test_library_facts.py `test_werkzeug_reads_over_its_own_file_after_an_answer...` and
`test_the_methods_of_werkzeug_that_we_replace_are_there` notice when any of it moves.
"""

import errno
import io
import logging
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from hazoom_ws.deadlines import Deadlines
from hazoom_ws.transport.bounds.refusals import REFUSED_REQUEST
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.http import heads as http_heads
from hazoom_ws.transport.http.bodies import UNREAD_LIMIT_BYTES, Body
from hazoom_ws.transport.http.heads import BadHead, Head, read_head
from hazoom_ws.transport.serving.incoming import Incoming
from hazoom_ws.transport.serving.reporting import reporting

logger = logging.getLogger(__name__)

_ACCEPT_PAUSE_S = 0.05  # while there are no file descriptors
_CLOSING_PAUSE_S = 0.001  # for those who go for a new connection
_SILENCE_TIMEOUT_S = 30.0  # in the middle of a request's body
_LINGER_S = 2.0


class _Socket(Incoming, socket.socket):
    """A connection that counts what an HTTP server reads of it."""

    def __init__(self, fd: int, engine: Engine) -> None:
        super().__init__(fileno=fd)
        self.engine = engine
        self.await_request()

    def recv_into(self, *arguments: Any) -> int:
        size_bytes = super().recv_into(*arguments)
        self.count(size_bytes)
        return size_bytes


class _Server(ThreadedWSGIServer):
    """werkzeug's server, which outlives the moment in which there are no files left."""

    engine: Engine

    def get_request(self) -> Any:
        descriptors = self.engine.descriptors
        try:
            connection, address = super().get_request()
        except OSError as error:
            descriptors.accept_failed(error)
            time.sleep(_ACCEPT_PAUSE_S)  # trying again at once would be all that the process does
            raise
        is_admitted = descriptors.admit(connection.fileno())
        if descriptors.are_short:
            time.sleep(_CLOSING_PAUSE_S)
        if not is_admitted:
            connection.close()
            raise ConnectionAbortedError("turned away")  # the library goes on to the next
        return _Socket(connection.detach(), self.engine), address

    def handle_error(self, request: Any, _client_address: Any) -> None:
        """Log what went wrong with one connection; as it comes, each makes a traceback on stderr."""
        error = sys.exc_info()[1]
        if isinstance(error, RuntimeError) and isinstance(request, _Socket) and request.is_awaited:
            self.engine.refusals.note("no thread can be started for a connection", str(error), logging.WARNING)
        elif not isinstance(error, OSError):
            logger.exception("an HTTP connection failed")
        if isinstance(request, _Socket):
            request.request_is_whole()

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the library's name
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
            # After an answer werkzeug opens a selector, to see whether there is more to read.
            self.engine.refusals.note("a connection is closed", error.strerror or "", logging.WARNING)
        else:
            super().log(type, message, *args)


class _Handler(WSGIRequestHandler):
    """Serves one request on a connection."""

    engine: Engine
    server: _Server
    connection: _Socket
    timeout = _SILENCE_TIMEOUT_S  # restarts with every byte, which is why it is not enough

    def setup(self) -> None:
        super().setup()
        self._body: Body | None = None
        self._is_unread = False

    def handle_one_request(self) -> None:
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(http_heads.LINE_LIMIT_BYTES + 1)
        if self.raw_requestline and self.parse_request():
            file = self.rfile
            try:
                self.run_wsgi()
            except ValueError:
                self._refuse(BadHead("the target is none"))  # the library found out when it took the URL apart
            finally:
                self.rfile = file

    def parse_request(self) -> bool:
        try:
            head = read_head(self.raw_requestline, self.rfile.readline)
        except BadHead as error:
            self._refuse(error)
            return False
        if head is None:
            return False
        self.command, self.path, self.request_version = head.method, head.path, head.version
        self.headers, self.requestline = head.message(), ""
        del self.headers["Expect"]  # the library would answer it before it is known who wants the body
        self._head = head
        return True

    def make_environ(self) -> dict[str, Any]:
        environ = super().make_environ()
        head: Head = self._head
        self._body = Body(
            self.rfile,
            head.body_bytes,
            give_way=self.engine.give_way,
            on_whole=self.connection.request_is_whole,
            before=self._say_continue if head.expects_continue else None,
        )
        environ["wsgi.input"] = io.BufferedReader(self._body)
        environ["wsgi.input_terminated"] = True
        self.rfile = io.BytesIO()  # which is what the library reads over after the answer
        return environ

    def finish(self) -> None:
        if self._is_unread or (self._body is not None and not self._body.is_whole):
            with suppress(OSError):
                self._linger()
        self._body = None
        self.connection.request_is_whole()
        super().finish()

    def version_string(self) -> str:
        """Return what the header Server says: no version."""
        return "hazoom_ws"

    def log_request(self, *_: Any) -> None:
        """Log nothing per request."""

    def _say_continue(self) -> None:
        self.wfile.write(http_heads.CONTINUE)

    def _refuse(self, error: BadHead) -> None:
        self.engine.refusals.note(REFUSED_REQUEST, str(error))
        self._is_unread = True
        self.wfile.write(http_heads.refusal(error))

    def _linger(self) -> None:
        """Read over a little of what still comes, so that the answer is not lost to a reset."""
        connection = self.connection
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_LINGER_S)
        ends_at_s, left_bytes = time.monotonic() + _LINGER_S, UNREAD_LIMIT_BYTES
        while left_bytes > 0 and time.monotonic() < ends_at_s and (data := connection.recv(16_384)):
            left_bytes -= len(data)


class ThreadServer:
    """Serves one WSGI application on a listening socket. Its threads end with the process."""

    def __init__(self, app: Any, engine: Engine, listener: socket.socket, *, request_timeout_s: float) -> None:
        """``request_timeout_s`` is the time in which a request line and all headers have to arrive."""
        self._arriving: Deadlines[socket.socket] = Deadlines(request_timeout_s)
        self._lock = threading.Lock()
        self._engine = engine
        self._open: set[_Socket] = set()
        arriving, lock, open_ones = self._arriving, self._lock, self._open
        engine.descriptors.counts.append(self._open.__len__)

        class Handler(_Handler):
            def setup(self) -> None:
                super().setup()
                with lock:
                    arriving.start(self.connection, engine.clock())
                    open_ones.add(self.connection)

            def parse_request(self) -> bool:
                is_complete = super().parse_request()
                with lock:
                    arriving.stop(self.connection)
                return is_complete

            def finish(self) -> None:
                with lock:
                    arriving.stop(self.connection)
                try:
                    super().finish()
                finally:
                    with lock:
                        open_ones.discard(self.connection)

        Handler.engine = engine
        host, port = listener.getsockname()[:2]
        self._server = _Server(host, port, reporting(app), handler=Handler, fd=listener.fileno())
        self._server.engine = engine

    def start(self) -> None:
        """Start to accept. Returns at once."""
        self._engine.descriptors.sweep()
        self._engine.sweeps.append(self._sweep)
        self._engine.start_sweeping()
        threading.Thread(target=self._server.serve_forever, daemon=True, name="http").start()

    def _sweep(self, now_s: float) -> None:
        """End those who take too long to say what they want; their threads find out."""
        with self._lock:
            for connection, _ in self._arriving.pop_due(now_s):
                with suppress(OSError):  # it has gone by itself
                    connection.shutdown(socket.SHUT_RDWR)
