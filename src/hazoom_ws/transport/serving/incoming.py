"""What an HTTP server's connection has sent of a request, told to the engine's register of what is unfinished."""

import socket
from contextlib import suppress
from typing import Any

from hazoom_ws.transport.engineio.engine import Engine


class Incoming:
    """Mixed into the sockets of both HTTP servers. Between `await_request` and `request_is_whole` it is a holder.

    Whoever serves it calls `request_is_whole` at its end too.
    """

    engine: Engine
    shutdown: Any
    is_awaited = False
    _came_bytes = 0

    def await_request(self, came_bytes: int = 0) -> None:
        """Wait for a request, of which so much is here, unless it does."""
        if not self.is_awaited:
            self.is_awaited = True
            self._came_bytes = came_bytes
            self.engine.unfinished.hold(self, came_bytes, self.engine.clock())

    def count(self, size_bytes: int) -> None:
        """Note that so much came."""
        if self.is_awaited and size_bytes:
            self._came_bytes += size_bytes
            self.engine.unfinished.hold(self, self._came_bytes, self.engine.clock())

    def request_is_whole(self) -> None:
        """Note that the request which was read has come to its end."""
        if self.is_awaited:
            self.is_awaited = False
            self.engine.unfinished.release(self)

    def cut_off(self, _why: str) -> None:
        """End the connection; whoever reads from it finds out."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)
