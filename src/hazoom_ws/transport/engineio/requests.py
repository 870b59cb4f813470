"""The opening handshake of a WebSocket, and what an Engine.IO request must look like. No I/O.

Source: RFC 6455, section 4.2; Engine.IO protocol revision 4, "Handshake". The error codes are those of the reference
server: 0 unknown transport, 1 unknown session, 2 bad handshake method, 3 bad request, 4 forbidden, 5 unsupported version.
"""

import logging
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from websockets.utils import accept_key

from hazoom_ws.transport.engineio.engine import BAD_PACKET, Engine
from hazoom_ws.transport.engineio.session import EngineSession
from hazoom_ws.transport.http import heads as http_heads

# A request that is not exactly like this goes to WSGI, which knows what to make of it. A name with an underscore would
# be taken for the one with a hyphen, a folded header for two, a bare line feed for none.
_HEAD = re.compile(r"GET /socket\.io/\?([!-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+)\r\n")
_HEADERS = re.compile(r"([^:]+):([^\r]*)\r\n")  # of what matches
# See `id_prefix`.
_WORKER = re.compile(r"[?&]sid=([1-9][0-9]{0,2})-")
_ID = re.compile(r"(?:[1-9][0-9]{0,2}-)?([0-9a-f]{16})-[0-9a-f]{1,64}")
_USUAL_QUERY = {"EIO": "4", "transport": "websocket"}
_SAID_CHARS = 32  # of what the client chose, in the log
_CLIENTS = {"2": "Socket.IO 1.0", "3": "Socket.IO 1 or 2"}  # by their version of Engine.IO
_BODY_HEADERS = frozenset({"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"})

Header = tuple[str, str]
UNKNOWN_TRANSPORT = (0, "Transport unknown")
UNKNOWN_SESSION = (1, "Session ID unknown")
BAD_METHOD = (2, "Bad handshake method")
BAD_REQUEST = (3, "Bad request")
FORBIDDEN = (4, "Forbidden")
UNSUPPORTED_VERSION = (5, "Unsupported protocol version")
# The reference server has no codes of its own for these.
STOPPING = (3, "The server is stopping")
TOO_MANY = (3, "Too many connections")


class Refused(Exception):
    """A request that is answered with an HTTP error: ``status``, ``headers`` and a JSON ``body``."""

    def __init__(
        self, error: tuple[int, str], status: HTTPStatus = HTTPStatus.BAD_REQUEST, *, headers: tuple[Header, ...] = ()
    ) -> None:
        super().__init__(error[1])
        self.error = error
        self.status = status
        self.headers = headers
        self.body = msgspec.json.encode({"code": error[0], "message": error[1]})


def note_refusal(engine: Engine, environ: Mapping[str, Any], refusal: Refused) -> None:
    """Count what a client is refused, and log it with what its user can do; origins are logged by who judges them."""
    engine.counts.refused[refusal.error[1].lower().replace(" ", "_")] += 1
    if refusal.error == FORBIDDEN:
        return
    query = query_of(environ)
    detail, level = "", logging.INFO
    if refusal.error == UNSUPPORTED_VERSION:
        version = query.get("EIO")
        said = "no EIO" if version is None else f"EIO={version[:_SAID_CHARS]}"
        detail, level = (
            f"{said} is {_CLIENTS.get(version or '', 'no version of it')}; install socket.io-client 4",
            logging.WARNING,
        )
    elif refusal.error == UNKNOWN_TRANSPORT:
        detail = f"transport={query['transport'][:_SAID_CHARS]}" if "transport" in query else "none is named"
    elif refusal.error == BAD_METHOD:
        detail = str(environ.get("REQUEST_METHOD", ""))[:_SAID_CHARS]
    engine.refusals.note(f"a Socket.IO request is refused, {refusal.error[1].lower()}", detail, level)


def check_origin(engine: Engine, environ: Mapping[str, Any]) -> None:
    """Raise `Refused` for a page that may not use this server."""
    origin = environ.get("HTTP_ORIGIN")
    if origin is None or engine.cors_allowed_origins == []:
        return
    allowed = engine._cors_allowed_origins(environ)
    if allowed is not None and origin not in allowed:
        raise Refused(FORBIDDEN)


def query_of(environ: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the query's parameters; of one that is repeated the first."""
    query = environ.get("QUERY_STRING", "")
    return _USUAL_QUERY if query == "EIO=4&transport=websocket" else dict(reversed(parse_qsl(query)))


def id_prefix(worker_number: int, process_name: str) -> str:
    """Return what the ids of a process begin with, so that a request which comes to another one gets to it.

    ``worker_number``: which one it is of several on one port, 0 where it is alone there. ``process_name``: 16 hexadecimal
    digits, by which it is known to all that share a Redis; "" where it shares none.
    """
    return "".join(f"{part}-" for part in (worker_number, process_name) if part)


def worker_of(target: str) -> int:
    """Return the number of the worker that has the session which a request names, 0 where its id says none."""
    named = _WORKER.search(target)
    return int(named[1]) if named else 0


def process_of(sid: str) -> str:
    """Return the name of the process that has a session, "" where the id says none."""
    named = _ID.fullmatch(sid)
    return named[1] if named else ""


def find_session(engine: Engine, query: Mapping[str, str]) -> EngineSession | None:
    """Return the session that a request belongs to, None if it wants to open one. Raises `Refused`."""
    if query.get("transport") not in engine.transports:
        raise Refused(UNKNOWN_TRANSPORT)
    sid = query.get("sid")
    if sid is None:
        if query.get("EIO") != "4":
            raise Refused(UNSUPPORTED_VERSION)
        if not engine.takes_new:
            raise Refused(STOPPING, HTTPStatus.SERVICE_UNAVAILABLE)
        return None
    session = engine.sessions.get(sid)
    if session is None or not session.is_open:
        raise Refused(UNKNOWN_SESSION)
    if engine.is_overdue(session):
        engine.close(session, engine.reason.PING_TIMEOUT)
        raise Refused(UNKNOWN_SESSION)
    return session


def admit(engine: Engine, environ: Mapping[str, Any]) -> None:
    """Count a handshake that is as it should be. Raises `Refused`, after which the official client comes back by itself."""
    retry_after_s = engine.admit(environ)
    if retry_after_s:
        raise too_many(retry_after_s)


def too_many(retry_after_s: float) -> Refused:
    """Return what refuses who has had their share of handshakes, and may come again after so many seconds."""
    retry_after = ("Retry-After", str(math.ceil(retry_after_s)))
    return Refused(TOO_MANY, HTTPStatus.TOO_MANY_REQUESTS, headers=(retry_after,))


def is_websocket(environ: Mapping[str, Any]) -> bool:
    """Return whether a request asks for a WebSocket."""
    return (
        environ.get("HTTP_UPGRADE", "").lower() == "websocket" and "upgrade" in environ.get("HTTP_CONNECTION", "").lower()
    )


def has_body(environ: Mapping[str, Any]) -> bool:
    """Return whether a request announces a body."""
    return environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ


def accept_websocket(
    engine: Engine, environ: Mapping[str, Any], query: Mapping[str, str]
) -> tuple[EngineSession | None, bytes]:
    """Return the polling session that wants to upgrade (None: open one), and the bytes of the HTTP answer.

    Where another WebSocket carries that session or tries to, this one is accepted and then closed, as on the reference
    server.
    Extensions that the client offers are not negotiated: compression costs 100 KB a client and one run per recipient.
    Raises `Refused`.
    """
    session = find_session(engine, query)
    if query["transport"] != "websocket" or environ.get("REQUEST_METHOD") != "GET" or has_body(environ):
        raise Refused(BAD_REQUEST)
    key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13" or len(key) != 24:
        raise Refused(BAD_REQUEST)
    if session is None:
        admit(engine, environ)
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
    )
    return session, answer.encode("ascii")


def refuse_session(engine: Engine, session: EngineSession) -> Refused:
    """Close the session of a client that broke the protocol over HTTP, and return what to answer it."""
    engine.close(session, BAD_PACKET)
    return Refused(BAD_REQUEST)


def environ_of(head: bytes) -> dict[str, str] | None:
    """Return what the handshake needs of a WebSocket's request, None for any other request or an unusual one."""
    parts = _HEAD.fullmatch(head.decode("latin-1"))
    if parts is None:
        return None
    headers = _HEADERS.findall(parts[2])
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value.strip(" \t") for name, value in headers}
    if len(environ) < len(headers) or len(headers) > http_heads.FIELDS_LIMIT_COUNT or not _BODY_HEADERS.isdisjoint(environ):
        return None
    if not http_heads.is_host(environ.get("HTTP_HOST", " ")):
        return None
    environ |= {"REQUEST_METHOD": "GET", "QUERY_STRING": parts[1], "wsgi.url_scheme": "http"}
    return environ if is_websocket(environ) else None
