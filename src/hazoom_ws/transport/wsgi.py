"""HTTP by `eventlet.wsgi`, with finite limits: it serves the connections that the loop hands over, or all of them.

eventlet restarts its time-out with every byte, takes 1,024 connections as it comes, and then goes silent.
"""

import logging
import socket
from typing import Any

import eventlet
from eventlet import greenio, wsgi

logger = logging.getLogger(__name__)

_CONNECTION_LIMIT = 16_384
_REQUEST_TIMEOUT_S = 30.0  # a request that takes longer to arrive has no browser behind it
_HEAD_TIMEOUT_S = 10.0


class _Protocol(wsgi.HttpProtocol):  # type: ignore[misc]
    """Bounds the time in which a whole request line, and then all headers, arrive."""

    def _read_request_line(self) -> bytes:
        with eventlet.Timeout(_REQUEST_TIMEOUT_S, TimeoutError("no request line in time")):
            line: bytes = super()._read_request_line()
        return line

    def parse_request(self) -> bool:
        with eventlet.Timeout(_HEAD_TIMEOUT_S, TimeoutError("no headers in time")):
            complete: bool = super().parse_request()
        return complete


_OPTIONS: dict[str, Any] = {
    "log": logging.getLogger("hazoom_ws.http"),
    "log_output": False,
    "socket_timeout": _REQUEST_TIMEOUT_S,
    "keepalive": _REQUEST_TIMEOUT_S,
    "debug": False,  # tracebacks are for the log, not for clients
    "protocol": _Protocol,
}


class HttpServer:
    """Serves one WSGI application."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        self._app = app
        self._listener = listener
        self._pool = eventlet.GreenPool(_CONNECTION_LIMIT)
        self._server = wsgi.Server(listener, listener.getsockname(), app, **_OPTIONS)

    def serve(self) -> None:
        """Accept every connection and serve it. Never returns."""
        wsgi.server(self._listener, self._app, custom_pool=self._pool, **_OPTIONS)

    def take(self, connection: Any, address: Any) -> None:
        """Serve a connection that somebody else has accepted, in a greenlet of its own; close it if there are too many."""
        if self._pool.free() <= 0:
            logger.warning("more than %d HTTP connections at once: one is closed", _CONNECTION_LIMIT)
            connection.close()
            return
        self._pool.spawn_n(self._serve_one, connection, address)

    def _serve_one(self, connection: Any, address: Any) -> None:
        connection.settimeout(_REQUEST_TIMEOUT_S)
        try:
            self._server.process_request([address, connection, wsgi.STATE_IDLE])
        except OSError:
            pass  # it went away in the middle
        except Exception:
            logger.exception("an HTTP connection failed")
        finally:
            greenio.shutdown_safe(connection)
            connection.close()
