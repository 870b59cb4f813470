"""Where we reach into python-engineio's server, whose place ours takes below python-socketio.

What python-socketio and Flask-SocketIO ask of it is answered here, by the methods that python-engineio documents: sending,
sessions' dictionaries, the transport of a session, HTTP. Of its insides we use ``handlers`` (whom `on` has registered),
``reason`` (why a session has ended, in its words), ``_async`` (how to sleep and to start tasks in an async mode) and
``_cors_allowed_origins``, ``_cors_headers`` (its configuration of origins). In tests/unit/test_library_facts.py
`test_the_engine_has_what_we_use_and_replace` notices when any of it moves.
"""

from collections.abc import Callable, Collection
from typing import Any

import engineio

from hazoom_ws.transport.engineio.session import EngineSession, Outlet
from hazoom_ws.transport.websocket import frames
from hazoom_ws.transport.websocket.frames import frame

HandleRequest = Callable[[Any, dict[str, Any], Callable[..., Any]], Collection[bytes]]  # of an engine, as WSGI asks


class LibraryFace(engineio.Server):  # type: ignore[misc]
    """An Engine.IO server as python-socketio knows it, over the sessions of an `Engine`."""

    max_http_buffer_size: int
    ping_interval: float
    ping_timeout: float
    handlers: dict[str, Callable[..., Any]]
    outlet: Outlet

    def __init__(self, handle_request: HandleRequest | None, **options: Any) -> None:
        """``handle_request(engine, environ, start_response)`` serves HTTP; None: there is none."""
        super().__init__(**options)
        self._handle_request = handle_request
        self.sessions: dict[str, EngineSession] = {}
        self._ending: dict[str, EngineSession] = {}  # closed, but their disconnect handlers may still ask for them

    def install(self, server: Any) -> None:
        """Take the place of the Engine.IO server below ``server``, a `socketio.Server` that nobody uses yet."""
        self.on("connect", server._handle_eio_connect)
        self.on("message", server._handle_eio_message)
        self.on("disconnect", server._handle_eio_disconnect)
        server.eio = self

    def handle_request(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Collection[bytes]:
        """Serve one HTTP request, a WebSocket's included."""
        assert self._handle_request is not None
        return self._handle_request(self, environ, start_response)

    def send(self, sid: str, data: str | bytes | list[str | bytes]) -> None:
        """Send a message, or several as one unit, to a session; one that is closed loses it."""
        session = self.sessions.get(sid)
        if session is not None:
            self.outlet.push(session, message_frame(data))

    def send_packet(self, sid: str, pkt: Any) -> None:
        """Send an `engineio.packet.Packet` of type MESSAGE."""
        self.send(sid, pkt.data)

    def get_session(self, sid: str) -> dict[str, Any]:
        """Return the dictionary that the application keeps with a session. Raises KeyError for one that has ended."""
        session = self._session(sid)
        if session.state is None:
            session.state = {}
        return session.state

    def save_session(self, sid: str, session: dict[str, Any]) -> None:
        """Keep that dictionary. Raises KeyError for a session that has ended."""
        self._session(sid).state = session

    def transport(self, sid: str) -> str:
        """Return "polling" or "websocket". Raises KeyError for a session that has ended."""
        return "polling" if self._session(sid).websocket is None else "websocket"

    def _session(self, sid: str) -> EngineSession:
        return self.sessions.get(sid) or self._ending[sid]


def message_frame(data: str | bytes | list[str | bytes]) -> bytes:
    """Return the frame of a message packet, or those of several in one piece: nothing comes between them."""
    if isinstance(data, list):
        return b"".join(map(message_frame, data))
    return text_message_frame(data.encode()) if isinstance(data, str) else frame(frames.BINARY, data)


def text_message_frame(utf8: bytes) -> bytes:
    """Return the frame of a message packet whose text is given in UTF-8."""
    return frame(frames.TEXT, b"4" + utf8)
