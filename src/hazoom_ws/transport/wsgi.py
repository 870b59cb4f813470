"""HTTP by `eventlet.wsgi`, with finite limits: it serves the connections that the loop hands over, or all of them.

eventlet restarts its time-out with every byte, takes 1,024 connections as it comes, and then goes silent.
"""

import logging
import socket
from contextlib import suppress
from typing import Any

import eventlet
from eventlet import greenio, patcher, wsgi

logger = logging.getLogger(__name__)
_socket: Any = patcher.original("socket")

_CONNECTION_LIMIT = 16_384
_SILENCE_TIMEOUT_S = 30.0  # in the middle of a request's body
_ACCEPT_PAUSE_S = 0.5


class BegunSocket(greenio.GreenSocket):  # type: ignore[misc]
    """Eventlet's socket around a file descriptor of which ``head`` was read already: only a file of it begins with that."""

    def __init__(self, fd: int, head: bytes) -> None:
        super().__init__(_socket.socket(fileno=fd))
        self._head = head

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if not self._head:
            size_bytes: int = super().recv_into(buffer, nbytes, flags)
            return size_bytes
        taken = self._head[: nbytes or len(buffer)]
        self._head = self._head[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


class HttpServer:
    """Serves one WSGI application."""

    def __init__(self, app: Any, listener: socket.socket, *, request_timeout_s: float) -> None:
        """``request_timeout_s`` bounds the time in which a request line, and then all headers, arrive."""

        class Protocol(wsgi.HttpProtocol):  # type: ignore[misc]
            def _read_request_line(self) -> bytes:
                with eventlet.Timeout(request_timeout_s, TimeoutError("no request line in time")):
                    line: bytes = super()._read_request_line()
                return line

            def parse_request(self) -> bool:
                with eventlet.Timeout(request_timeout_s, TimeoutError("no headers in time")):
                    complete: bool = super().parse_request()
                return complete

            def finish(self) -> None:
                """Close both files, which hold the socket open: the library stops at the first that cannot be flushed."""
                super().finish()
                for file in (self.wfile, self.rfile):
                    with suppress(OSError):
                        file.close()

            def log_request(self, *_: Any) -> None:
                """Log nothing per request."""

            def log_error(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Log what a client did wrong, which is no error of ours."""
                logger.info(format, *args)

        self._listener = listener
        self._pool = eventlet.GreenPool(_CONNECTION_LIMIT)
        self._server = wsgi.Server(
            listener,
            listener.getsockname(),
            _reporting(app),
            protocol=Protocol,
            log_output=False,
            socket_timeout=_SILENCE_TIMEOUT_S,
            debug=False,  # tracebacks are for the log, not for clients
        )

    def serve(self) -> None:
        """Accept every connection and serve it. Never returns."""
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError as error:
                # Most likely there are no file descriptors left, which is where eventlet's own loop would end.
                logger.warning("cannot accept connections for a moment: %s", error.strerror or error)
                eventlet.sleep(_ACCEPT_PAUSE_S)
            else:
                self.take(connection, address)

    def take(self, connection: Any, address: Any) -> None:
        """Serve a connection that somebody else has accepted, in a greenlet of its own; close it if there are too many."""
        if self._pool.free() <= 0:
            logger.warning("more than %d HTTP connections at once: one is closed", _CONNECTION_LIMIT)
            connection.close()
            return
        self._pool.spawn_n(self._serve_one, connection, address)

    def _serve_one(self, connection: Any, address: Any) -> None:
        connection.settimeout(_SILENCE_TIMEOUT_S)
        try:
            self._server.process_request([address, connection, wsgi.STATE_IDLE])
        except OSError:
            pass  # it went away in the middle
        except Exception:
            logger.exception("an HTTP connection failed")
        finally:
            greenio.shutdown_safe(connection)
            connection.close()


def _reporting(app: Any) -> Any:
    """Return a WSGI application that logs what crashes in ``app``: without its access log eventlet keeps that to itself."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            return app(environ, start_response)
        except OSError:
            raise  # its client went away
        except Exception:
            logger.exception("a request failed")
            raise

    return call
