"""HTTP by werkzeug's server with a thread for each connection, which `blocking` uses for WebSockets; with finite limits.

As it comes it waits for a request for ever, and each wait is a thread.
"""

import errno
import logging
import socket
import sys
import threading
import time
from typing import Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from hazoom_ws.deadlines import Deadlines
from hazoom_ws.transport.engine import Engine

logger = logging.getLogger(__name__)

_ACCEPT_PAUSE_S = 0.1  # while there are no file descriptors
_SILENCE_TIMEOUT_S = 30.0  # in the middle of a request's body


class _Server(ThreadedWSGIServer):
    """werkzeug's server, which outlives the moment in which there are no files left, and says so in one line."""

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError as error:
            # Trying again at once would be all that the process does.
            logger.warning("cannot accept connections for a moment: %s", error.strerror or error)
            time.sleep(_ACCEPT_PAUSE_S)
            raise

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the library's name
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
            # After an answer werkzeug opens a selector, to see whether there is more to read.
            logger.warning("a connection is closed: %s", error.strerror)
        else:
            super().log(type, message, *args)


class ThreadServer:
    """Serves one WSGI application on a listening socket. Its threads end with the process."""

    def __init__(self, app: Any, engine: Engine, listener: socket.socket, *, request_timeout_s: float) -> None:
        """``request_timeout_s`` is the time in which a request line and all headers have to arrive."""
        self._arriving: Deadlines[socket.socket] = Deadlines(request_timeout_s)
        self._lock = threading.Lock()
        self._engine = engine
        arriving, lock = self._arriving, self._lock

        class Handler(WSGIRequestHandler):
            timeout = _SILENCE_TIMEOUT_S  # restarts with every byte, which is why it is not enough

            def setup(self) -> None:
                super().setup()
                with lock:
                    arriving.start(self.connection, engine.clock())

            def parse_request(self) -> bool:
                is_complete = super().parse_request()
                with lock:
                    arriving.stop(self.connection)
                return is_complete

            def finish(self) -> None:
                with lock:
                    arriving.stop(self.connection)
                super().finish()

            def log_request(self, *_: Any) -> None:
                """Log nothing per request."""

            def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Log what a client did wrong, which is no error of ours."""
                logger.info(format, *args)

        host, port = listener.getsockname()[:2]
        self._server = _Server(host, port, app, handler=Handler, fd=listener.fileno())

    def start(self) -> None:
        """Start to accept. Returns at once."""
        self._engine.sweeps.append(self._sweep)
        self._engine.start_sweeping()
        threading.Thread(target=self._server.serve_forever, daemon=True, name="http").start()

    def _sweep(self, now_s: float) -> None:
        """End those who take too long to say what they want; their threads find out."""
        with self._lock:
            for connection, _ in self._arriving.take_due(now_s):
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it has gone by itself
