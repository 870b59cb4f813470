"""The HTTP connections to the AI backend: pooled by `requests`, and known by their sockets.

Neither `requests` nor urllib3 lets a time-out change after the headers, another task end a request that waits for them, or
somebody else read the body; all are done with the socket. The standard library below them reads interim answers, heads and
trailers without a bound and, as long as they come, without a turn for others: here they have bounds. A kept connection may
be closed by the backend in the moment in which it is used again: one that was idle for long is not, and a request that got
no byte of an answer on one that was kept is sent once more, on a new one.
tests/unit/test_library_facts.py notices when what this relies on changes.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from hazoom_ws.llm_bridge.http_chunks import ChunkDecoder

_Tell = Callable[[socket.socket], None]

# A backend sends none, or one that says to go on.
_INTERIM_LIMIT_COUNT = 8
# Of an answer with all interim ones before it, and of the trailers behind it.
_HEAD_LIMIT_BYTES = 65_536
_TRAILERS_LIMIT_BYTES = 16_384
_PIECE_BYTES = 4096
_IDLE_LIMIT_S = 4.0  # gunicorn closes what is idle for 2 s, or 5 behind a proxy; most others wait for longer


class _Current(threading.local):
    """The request of this task. ``is_on_kept``: on a connection that was kept, and no byte of an answer has come."""

    tell: _Tell | None = None
    is_on_kept = False
    wants_new = False


_current = _Current()


@contextmanager
def telling_connection(tell: _Tell) -> Iterator[None]:
    """Call ``tell`` with the socket of each request that this task sends meanwhile, before it waits for the answer.

    An OSError that ``tell`` raises ends the request as a lost connection does.
    """
    _current.tell = tell
    try:
        yield
    finally:
        _current.tell = None


class HttpClient:
    """Sends requests to one address. Keeps up to so many connections open, no cookies, and asks for no compression."""

    def __init__(self, url: str, connections: int) -> None:
        session = self._session = requests.Session()
        # The backend sets a session cookie on every answer; one that is kept would hand a user's conversation to the next.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.get_redirect_target = lambda _: None  # type: ignore[assignment,method-assign]  # it would read the body
        adapter = _Adapter(pool_connections=1, pool_maxsize=connections)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        # What is the same for every request is found out once: it is most of what a request costs.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}  # compression would hold tokens back
        self._request = session.prepare_request(requests.Request("POST", url, headers=headers))
        self._is_encrypted = url.startswith("https:")
        self._options = session.merge_environment_settings(url, {}, stream=True, verify=None, cert=None)
        if is_loopback(urlsplit(url).hostname or ""):
            self._options["proxies"] = {}  # what the environment names has another loopback

    def post(
        self,
        body: bytes,
        *,
        accept: str,
        timeout_s: tuple[float, float],
        keep_alive: bool = True,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> requests.Response:
        """Send ``body`` and return the response, its own body not read yet. Raises `requests.RequestException`.

        ``timeout_s``: to connect, and to the response's headers. Redirects are not followed. ``is_wanted()`` is asked
        before it is sent again.
        """
        request = self._request.copy()
        request.headers["Accept"] = accept
        if not keep_alive or self._is_encrypted:
            request.headers["Connection"] = "close"
        request.prepare_body(body, None)
        _current.is_on_kept = _current.wants_new = False
        try:
            return self._send(request, timeout_s)
        except requests.ConnectionError:
            if not (_current.is_on_kept and is_wanted()):
                raise
        _current.wants_new = True
        return self._send(request, timeout_s)

    def _send(self, request: requests.PreparedRequest, timeout_s: tuple[float, float]) -> requests.Response:
        return self._session.send(request, timeout=timeout_s, allow_redirects=False, **self._options)

    def close(self) -> None:
        """Close the connections that serve nobody now."""
        self._session.close()


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or address alone; names are not looked up."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # 127.1 is one too
        except OSError:
            return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    return address.is_loopback or address.is_unspecified


def socket_of(raw: Any) -> socket.socket | None:
    """Return the socket under a urllib3 response; None once http.client has read the body to its end.

    http.client's response reads from a BufferedReader over a SocketIO over the socket, and with "Connection: close" it is
    the only one that still has it.
    """
    reader = raw._fp.fp
    return None if reader is None else reader.raw._sock


class RawBody:
    """The body of a response, which somebody reads from ``connection`` instead of from the response.

    ``first`` has come already; ``is_chunked``: it is in the chunked transfer coding, else it ends with the connection.
    """

    __slots__ = ("_raw", "connection", "first", "is_chunked")

    def __init__(self, raw: Any, connection: socket.socket) -> None:
        self._raw = raw
        self.connection = connection
        self.is_chunked: bool = raw._fp.chunked
        timeout_s = connection.gettimeout()
        connection.settimeout(0)
        try:
            self.first: bytes = raw._fp.fp.peek()  # what is in its buffer, and then the buffer is not read any more
        finally:
            connection.settimeout(timeout_s)

    def close(self, *, is_whole: bool) -> None:
        """End it: the connection serves the next request if the body ``is_whole`` and the backend keeps it open."""
        if is_whole and not self._raw._fp.will_close:
            self._raw._fp.close()
            self._raw.release_conn()
        else:
            self._raw.close()


def raw_body(response: requests.Response) -> RawBody | None:
    """Return the body of a response of which nothing was read, None if only `requests` can read it (TLS, an encoding)."""
    raw: Any = response.raw
    connection = socket_of(raw)
    # The URL does not tell: a proxy may be behind TLS, and the backend not.
    is_plain = not isinstance(connection, ssl.SSLSocket) and "Content-Encoding" not in raw.headers
    if connection is None or not is_plain or raw._fp.length is not None:
        return None
    return RawBody(raw, connection)


def beginning_of(response: requests.Response, *, limit_bytes: int, timeout_s: float) -> bytes:
    """Return what comes of a body, of which nothing was read, within bounds of bytes and time; then it is to be closed.

    It may wait as `requests` does, but for no longer: http.client waits anew for each byte of a chunk's size.
    """
    raw: Any = response.raw
    connection = socket_of(raw)
    if connection is None or "Content-Encoding" in raw.headers:
        return b""
    chunks = ChunkDecoder() if raw._fp.chunked else None
    left_bytes = limit_bytes if raw._fp.length is None else min(limit_bytes, raw._fp.length)
    ends_at_s = time.monotonic() + timeout_s
    pieces: list[bytes] = []
    with suppress(OSError, ValueError):
        while left_bytes > 0 and (left_s := ends_at_s - time.monotonic()) > 0:
            connection.settimeout(left_s)
            piece: bytes = raw._fp.fp.read1(min(left_bytes, _PIECE_BYTES))  # receives once, or not at all
            left_bytes -= len(piece)
            pieces.append(chunks.feed(piece) if chunks is not None else piece)
            if not piece or (chunks is not None and chunks.is_whole):
                break
    return b"".join(pieces)


class _Head:
    """The file of a response until its headers are read, which may not be longer than they need."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left_bytes = _HEAD_LIMIT_BYTES

    def readline(self, limit_bytes: int) -> bytes:
        if _current.is_on_kept and self._file.peek(1):  # a line that breaks off would not tell that it has begun
            _current.is_on_kept = False
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


class _Telling:
    """Mixed into urllib3's connections."""

    sock: Any

    def getresponse(self) -> Any:
        if _current.tell is not None:
            _current.tell(self.sock)
        return super().getresponse()  # type: ignore[misc]


class _HttpConnection(_Telling, urllib3.connection.HTTPConnection):
    response_class = _Response


class _HttpsConnection(_Telling, urllib3.connection.HTTPSConnection):
    response_class = _Response


class _Pool:
    """Mixed into urllib3's pools."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)  # type: ignore[misc]
        if connection.sock is not None:
            kept_s = time.monotonic() - connection.kept_since_s
            if _current.wants_new or kept_s > _IDLE_LIMIT_S:
                connection.close()  # it connects anew
        _current.is_on_kept = connection.sock is not None
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


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = dict(_POOLS)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # those have connections of their own
            manager.pool_classes_by_scheme = dict(_POOLS)
        return manager
