"""Engine.IO over HTTP: long polling.

A poll waits in its WSGI request's thread or greenlet. Frames are kept as they would leave over a WebSocket, and unpacked
here: the polling client is the rare one.

Source: Engine.IO protocol revision 4, "HTTP long-polling".
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from hazoom_ws.transport.engineio import requests as handshake
from hazoom_ws.transport.engineio.engine import BAD_PACKET, Engine
from hazoom_ws.transport.engineio.requests import BAD_METHOD, BAD_REQUEST, Refused, process_of, refuse_session
from hazoom_ws.transport.engineio.session import EngineSession
from hazoom_ws.transport.websocket import frames

_SEPARATOR = "\x1e"
_NOOP = b"6"
_OK = b"ok"
_CLOSE = "1"
# A client's requests travel side by side: what it sent first may arrive a moment later. The reference server's time.
_CROSSING_S = 0.1
# What a client may send in one request: the official one sends what it has, a few dozen at most.
_PACKETS_LIMIT_COUNT = 10_000
# After so many, or after that time, everybody else has a turn.
_PACKETS_PER_TURN = 16
_TURN_S = 0.002


def serve(engine: Engine, environ: dict[str, Any], query: Mapping[str, str]) -> bytes:
    """Serve a poll, or a POST, and return the body of its answer; a poll waits. Raises `Refused`."""
    sid = query.get("sid")
    if sid is None:
        return _open(engine, environ, query)
    read_body = partial(_read_body, engine, environ)
    if engine.elsewhere is not None and sid not in engine.sessions and query.get("transport") == "polling":
        process = process_of(sid)
        if engine.elsewhere.has(process):
            return bytes(engine.elsewhere.serve(process, environ, sid, read_body))
    return serve_session(engine, environ["REQUEST_METHOD"], query, read_body)


def _open(engine: Engine, environ: dict[str, Any], query: Mapping[str, str]) -> bytes:
    """Open a session, and return what it is told first."""
    handshake.find_session(engine, query)
    if query["transport"] != "polling":
        raise Refused(BAD_REQUEST)
    if environ["REQUEST_METHOD"] != "GET":
        raise Refused(BAD_METHOD)
    handshake.admit(engine, environ)
    session = engine.open(environ)
    session.start_polling()
    engine.send_open_packet(session)
    return _poll(engine, session)


def serve_session(engine: Engine, method: str, query: Mapping[str, str], read_body: Callable[[], bytes]) -> bytes:
    """Serve a request of a session, which should be here. Raises `Refused`.

    ``read_body()`` returns what a POST has, and raises `Refused` if that cannot be.
    """
    parting = engine.parting.find(query["sid"])
    if parting is not None:
        return _last_words(engine, parting) if method == "GET" else _OK
    session = find_polling(engine, query)
    if method == "GET":
        return _poll(engine, session)
    if method == "POST":
        return _post(engine, session, read_body)
    raise Refused(BAD_REQUEST)


def find_polling(engine: Engine, query: Mapping[str, str]) -> EngineSession:
    """Return the session of a request, which should poll. Raises `Refused`."""
    session = handshake.find_session(engine, query)
    if session is None or session.websocket is not None or query["transport"] != "polling":
        raise Refused(BAD_REQUEST)  # it may have been upgraded
    return session


def _poll(engine: Engine, session: EngineSession) -> bytes:
    """Wait for something to send and return it.

    A poll ends without anything soon after a WebSocket has answered the probe, so that the client can finish the upgrade.
    One that is still here when it has finished, is of a client that may poll no more.
    """
    assert session.changed is not None
    assert session.outbox is not None
    with session.changed:
        is_alone, session.is_polled = not session.is_polled, True
    if not is_alone:
        raise refuse_session(engine, session)
    with session.changed:
        session.changed.notify_all()
        try:
            while session.is_open and not session.outbox and not _is_upgrading(session):
                session.changed.wait()
            if _is_upgrading(session):
                session.changed.wait_for(lambda: session.websocket or session.outbox or not session.is_open, _CROSSING_S)
            if not session.is_open:
                return _last_words(engine, session)
            if session.websocket is not None:
                raise Refused(BAD_REQUEST)
            return _payload(session.outbox.pop_all()) if session.outbox else _NOOP
        finally:
            session.is_polled = False


def _is_upgrading(session: EngineSession) -> bool:
    """Return whether a WebSocket has answered the probe, or has taken over."""
    return session.websocket is not None or (session.candidate is not None and session.candidate.has_probed)


def _last_words(engine: Engine, session: EngineSession) -> bytes:
    """Return what is left to be said in a session that was closed, or else its end."""
    assert session.outbox is not None
    last_words = _payload(session.outbox.pop_all())
    if last_words and not session.is_changing:
        return last_words
    engine.parting.end(session)
    return _SEPARATOR.encode().join(filter(None, [last_words, session.farewell]))


def _payload(framed: list[bytes]) -> bytes:
    messages = [message.data for one in framed for message in frames.opened_all(one)]
    packets = [data if isinstance(data, str) else "b" + base64.b64encode(data).decode() for data in messages]
    return _SEPARATOR.join(packets).encode()


def _post(engine: Engine, session: EngineSession, read_body: Callable[[], bytes]) -> bytes:
    """Take the packets that a client sends."""
    assert session.changed is not None
    with session.changed:
        is_alone, session.is_posting = not session.is_posting, True
    if not is_alone:
        raise refuse_session(engine, session)
    try:
        try:
            body = read_body()
        except Refused:
            engine.close(session, BAD_PACKET)
            raise
        turn_ends_at_s = engine.clock() + _TURN_S
        for number, packet in enumerate(_packets(engine, session, body), 1):
            if number % _PACKETS_PER_TURN == 0 or engine.clock() > turn_ends_at_s:
                engine.give_way()
                turn_ends_at_s = engine.clock() + _TURN_S
            if packet == _CLOSE:
                with session.changed:  # its poll is on its way, and is owed an answer
                    session.changed.wait_for(lambda: session.is_polled, _CROSSING_S)
            engine.receive(session, packet)
            if not session.is_open:
                if session.farewell == _NOOP:
                    return _OK  # it said so itself
                raise Refused(BAD_REQUEST)
    finally:
        session.is_posting = False
    return _OK


def _read_body(engine: Engine, environ: dict[str, Any]) -> bytes:
    """Return the body of a POST. Raises `Refused`."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if "HTTP_TRANSFER_ENCODING" in environ or not (length.isascii() and length.isdecimal()):
        raise Refused(BAD_REQUEST)  # the protocol's clients know how long a payload is before they send it
    if int(length) > engine.max_http_buffer_size:
        raise Refused(BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    body: bytes = environ["wsgi.input"].read(int(length))
    if len(body) < int(length) or body.count(_SEPARATOR.encode()) >= _PACKETS_LIMIT_COUNT:
        raise Refused(BAD_REQUEST)
    return body


def _packets(engine: Engine, session: EngineSession, body: bytes) -> Iterator[str | bytes]:
    """Yield the packets of a POST, each made when it is asked for: a million of them would fill the memory."""
    try:
        payload, start = body.decode(), 0
        while start <= len(payload):
            end = payload.find(_SEPARATOR, start)
            text = payload[start:] if end < 0 else payload[start:end]
            yield base64.b64decode(text[1:], validate=True) if text.startswith("b") else text
            start = len(payload) + 1 if end < 0 else end + len(_SEPARATOR)
    except ValueError:  # it is not UTF-8, or a part of it not Base64
        raise refuse_session(engine, session) from None
