"""An Engine.IO request as WSGI hands it over: may its page, then a poll or a WebSocket. The `Engine` is given this."""

from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Any

from hazoom_ws.transport.engineio import polling
from hazoom_ws.transport.engineio import requests as handshake
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.requests import Refused
from hazoom_ws.transport.http import heads as http_heads
from hazoom_ws.transport.serving import blocking


def handle_request(engine: Engine, environ: dict[str, Any], start_response: Callable[..., Any]) -> Collection[bytes]:
    """Serve one request as WSGI asks. A WebSocket may end before this returns, or live on in the loop."""
    more: tuple[tuple[str, str], ...] = ()
    try:
        handshake.check_origin(engine, environ)
        if environ["REQUEST_METHOD"] == "OPTIONS":
            status, body = HTTPStatus.OK, b""
        else:
            query = handshake.query_of(environ)
            if handshake.is_websocket(environ):
                session, answer = handshake.accept_websocket(engine, environ, query)
                return blocking.carry(engine, session, answer, environ)
            status, body = HTTPStatus.OK, polling.serve(engine, environ, query)
    except Refused as refusal:
        handshake.note_refusal(engine, environ, refusal)
        status, body, more = refusal.status, refusal.body, refusal.headers
    headers = [
        ("Content-Type", "text/plain; charset=UTF-8" if status == HTTPStatus.OK else "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *http_heads.SECURITY_HEADERS,
        *more,
        *engine._cors_headers(environ),
    ]
    start_response(f"{status.value} {status.phrase}", headers)
    return _Body(engine, body)


class _Body(list[bytes]):
    """The body of an answer, which is on its way until the WSGI server closes it, as it does in any case."""

    def __init__(self, engine: Engine, body: bytes) -> None:
        super().__init__([body])
        self._engine = engine
        engine.parting.busy.add(id(self))

    def close(self) -> None:
        self._engine.parting.busy.discard(id(self))
