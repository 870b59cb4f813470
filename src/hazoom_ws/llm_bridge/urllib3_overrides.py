"""Where we reach into urllib3, and into the standard library's HTTP client below it, for the connections to the AI backend.

- `http.client.HTTPResponse`: ``begin``, ``_read_status``, ``_read_and_discard_trailer`` read heads, interim answers and
  trailers without a bound; here they have bounds, and the first byte of an answer is noticed.
- `urllib3` connections: ``getresponse`` tells the socket before it waits, so that another task can end the request.
- `urllib3` pools: ``_get_conn`` uses no connection that idled for long, and knows whether it was kept; ``_put_conn`` notes
  since when.
- `socket_of`: the socket below a response, by ``_fp.fp.raw._sock``.

In tests/unit/test_library_facts.py `test_the_response_of_the_standard_library_reads_heads_and_trailers...` and
`test_the_socket_is_where_the_bridge_looks_for_it...` notice when it moves, and tests/unit/llm_bridge/test_http_client.py
whether it does what it is for.
"""

import http.client
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter

Tell = Callable[[socket.socket], None]

# A backend sends none, or one that says to go on.
_INTERIM_LIMIT_COUNT = 8
# Of an answer with all interim ones before it, and of the trailers behind it.
_HEAD_LIMIT_BYTES = 65_536
_TRAILERS_LIMIT_BYTES = 16_384
_IDLE_LIMIT_S = 4.0  # gunicorn closes what is idle for 2 s, or 5 behind a proxy; most others wait for longer


class Current(threading.local):
    """The request of this task. ``is_on_kept``: on a connection that was kept, and no byte of an answer has come."""

    tell: Tell | None = None
    is_on_kept = False
    wants_new = False


current = Current()


def socket_of(raw: Any) -> socket.socket | None:
    """Return the socket under a urllib3 response; None once http.client has read the body to its end.

    http.client's response reads from a BufferedReader over a SocketIO over the socket, and with "Connection: close" it is
    the only one that still has it.
    """
    reader = raw._fp.fp
    return None if reader is None else reader.raw._sock


class _Head:
    """The file of a response until its headers are read, which may not be longer than they need."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left_bytes = _HEAD_LIMIT_BYTES

    def readline(self, limit_bytes: int) -> bytes:
        if current.is_on_kept and self._file.peek(1):  # a line that breaks off would not tell that it has begun
            current.is_on_kept = False
        line: bytes = self._file.readline(min(limit_bytes, self._left_bytes + 1))
        self._left_bytes -= len(line)
        if self._left_bytes < 0:
            raise http.client.HTTPException(f"the head of the answer is longer than {_HEAD_LIMIT_BYTES} bytes")
        return line

    def close(self) -> None:
        self._file.close()


class _Response(http.client.HTTPResponse):
    """The standard library's response with bounds. What is over them, `requests` reports as a lost connection."""

    _interim_count = 0

    def begin(self) -> None:
        file: Any = self.fp
        head: Any = _Head(file)
        self.fp = head
        try:
            super().begin()
        finally:
            if self.fp is head:  # else the library has closed it
                self.fp = file

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        if status == http.client.CONTINUE:
            self._interim_count += 1
            if self._interim_count > _INTERIM_LIMIT_COUNT:
                raise http.client.HTTPException(f"more than {_INTERIM_LIMIT_COUNT} interim answers")
        return version, status, reason

    def _read_and_discard_trailer(self) -> None:
        left_bytes = _TRAILERS_LIMIT_BYTES
        while (line := self.fp.readline(left_bytes + 1)) not in (b"", b"\n", b"\r\n"):
            left_bytes -= len(line)
            if left_bytes < 0:
                raise http.client.HTTPException(f"the trailers are longer than {_TRAILERS_LIMIT_BYTES} bytes")


class Telling:
    """Mixed into urllib3's connections."""

    sock: Any

    def getresponse(self) -> Any:
        if current.tell is not None:
            current.tell(self.sock)
        return super().getresponse()  # type: ignore[misc]


class _HttpConnection(Telling, urllib3.connection.HTTPConnection):
    response_class = _Response


class _HttpsConnection(Telling, urllib3.connection.HTTPSConnection):
    response_class = _Response


class _Pool:
    """Mixed into urllib3's pools."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)  # type: ignore[misc]
        if connection.sock is not None:
            kept_s = time.monotonic() - connection.kept_since_s
            if current.wants_new or kept_s > _IDLE_LIMIT_S:
                connection.close()  # it connects anew
        current.is_on_kept = connection.sock is not None
        return connection

    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            connection.kept_since_s = time.monotonic()
        super()._put_conn(connection)  # type: ignore[misc]


class _HttpPool(_Pool, urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(_Pool, urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = (("http", _HttpPool), ("https", _HttpsPool))


class Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = dict(_POOLS)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # those have connections of their own
            manager.pool_classes_by_scheme = dict(_POOLS)
        return manager
