"""A server whose handlers do what the protocol tests ask for, over our `Engine`, started as a child process.

``python tests/protocol_server.py --async-mode eventlet --protocol engine.io`` echoes each Engine.IO message, and
``--protocol socket.io`` serves the namespaces ``/`` and ``/custom``; ``--protocol application`` is an application of ours
to which somebody has added the namespace ``/mine``. The defaults are the times that the official test suites expect. Paths
are ``/socket.io/``, and ``/engine.io/`` too, where no WebSocket is answered by the loop itself.
"""

import argparse
import logging
import sys
import warnings
from typing import Any

# The official suite under Node misses an event that arrives in the same packet of bytes as the one before.
_AUTH_AFTER_S = 0.01


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--async-mode", choices=("eventlet", "threading"), default="eventlet")
    parser.add_argument("--protocol", choices=("engine.io", "socket.io", "application"), default="socket.io")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ping-interval-s", type=float, default=0.3)
    parser.add_argument("--ping-timeout-s", type=float, default=0.2)
    parser.add_argument("--connect-timeout-s", type=float, default=1.0)
    options = parser.parse_args()
    if options.async_mode == "eventlet":
        warnings.filterwarnings("ignore", message="\\s*Eventlet is deprecated")
        import eventlet

        eventlet.monkey_patch()
    logging.basicConfig(level=logging.INFO)
    serve(options)


def serve(options: argparse.Namespace) -> None:
    """Serve for ever."""
    import socket
    import threading

    from hazoom_ws import cli

    app = application(options) if options.protocol == "application" else create_app(options)
    listener = socket.create_server(("127.0.0.1", options.port), backlog=128)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    (cli.serve_with_eventlet if options.async_mode == "eventlet" else cli.serve_with_threads)(app, listener)
    sys.stdout.write(f"protocol_server ready on http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Event().wait()


def create_app(options: argparse.Namespace) -> Any:
    import engineio
    import flask_socketio
    from flask import Flask

    from hazoom_ws.transport.engineio.engine import Engine
    from hazoom_ws.transport.serving.http_requests import handle_request
    from hazoom_ws.transport.socketio.dispatch import Dispatcher
    from hazoom_ws.transport.socketio.fan_out import FanOut

    app = Flask("protocol_server")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    socketio = flask_socketio.SocketIO(
        app,
        async_mode=options.async_mode,
        async_handlers=False,
        manage_session=False,
        monitor_clients=False,
        serializer=packet_with_parts_anywhere(),
        client_manager=FanOut(),
    )
    engine = Engine(
        handle_request=handle_request,
        async_mode=options.async_mode,
        async_handlers=False,
        monitor_clients=False,
        ping_interval=options.ping_interval_s,
        ping_timeout=options.ping_timeout_s,
        connect_timeout_s=options.connect_timeout_s,
    )
    engine.install(socketio.server)
    Dispatcher(
        socketio.server,
        engine,
        socketio.server.manager,
        reply=lambda send, argument: send(argument),
        environ={"flask.app": app},
        open_account=lambda _session_id, _environ: Unlimited(),
        close_account=lambda _session_id, _reason: None,
        admit=lambda _account, auth, then: then({"message": str(auth())} if callable(auth) else None),
        admits_in_turns=False,
        paced={},
    )
    app.wsgi_app = engineio.WSGIApp(engine, app.wsgi_app, engineio_path="engine.io")
    if options.protocol == "engine.io":
        echo_messages(engine)
    else:
        for namespace in ("/", "/custom"):
            echo_events(socketio.server, namespace)

    @app.get("/sessions/<sid>")
    def session(sid: str) -> dict[str, bool]:
        """Return what a test has to wait for, all False for a session that is gone."""
        session = engine.sessions.get(sid)
        return {name: bool(session and getattr(session, name)) for name in ("is_open", "is_polled", "is_posting")}

    return app


def application(options: argparse.Namespace) -> Any:
    """Return an application with handlers as Flask-SocketIO's manual shows them, which ask what the request said."""
    import flask

    import hazoom_ws
    from hazoom_ws.settings import Settings

    app = hazoom_ws.create_app(Settings(log_url="memory://"), async_mode=options.async_mode)
    socketio = app.extensions["socketio"]

    @socketio.on("connect", namespace="/mine")
    def connect() -> bool:
        return flask.request.args["token"] == flask.request.headers["X-Token"]

    @socketio.on("who", namespace="/mine")
    def who() -> list[Any]:
        request = flask.request
        return [request.path, request.args["transport"], request.host, request.server, request.remote_addr]

    say_from_outside(app, options.async_mode)
    return app


def say_from_outside(app: Any, async_mode: str) -> None:
    """Let ``POST /say`` call what an application calls to reach the clients, and answer with what that returns or raises.

    The body is `{what, arguments?, options?, where?}`: a method of Flask-SocketIO's object, or "publish"; in the route, in
    a background task or in a thread of the system's. The event ``say`` of ``/mine`` does that in its handler.
    """
    import queue

    import flask
    import msgspec

    socketio = app.extensions["socketio"]

    def say(said: dict[str, Any]) -> dict[str, Any]:
        what, arguments, options = said["what"], said.get("arguments", []), said.get("options", {})
        call = app.extensions["hazoom_ws"].publish if what == "publish" else getattr(socketio, what)
        try:
            return {"result": msgspec.to_builtins(call(*arguments, **options))}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def say_in_background(said: dict[str, Any]) -> dict[str, Any]:
        answers: queue.Queue[dict[str, Any]] = queue.Queue()
        socketio.start_background_task(lambda: answers.put(say(said)))
        return answers.get()

    def say_in_thread(said: dict[str, Any]) -> dict[str, Any]:
        if async_mode == "threading":
            return say_in_background(said)
        from eventlet import tpool

        return tpool.execute(say, said)

    ways = {"route": say, "background": say_in_background, "thread": say_in_thread}

    @app.post("/say")
    def say_in_route() -> dict[str, Any]:
        said = flask.request.get_json()
        return ways[said.get("where", "route")](said)

    socketio.on("say", namespace="/mine")(say)


def packet_with_parts_anywhere() -> type:
    """Return our packet class, but that bytes are looked for in all that is sent: ours takes whole arguments only."""
    from hazoom_ws.transport.socketio.packet import Packet, encoded

    class PacketWithPartsAnywhere(Packet):
        def encode(self) -> Any:
            if not self.data_is_binary(self.data):
                return super().encode()
            data, parts = self.deconstruct_binary(self.data)
            return [encoded(self.packet_type, self.namespace, self.id, data, len(parts)).decode(), *parts]

    return PacketWithPartsAnywhere


class Unlimited:
    """The account of a session that may do what it likes."""

    is_limited = False

    def close(self) -> None:
        """Nothing is shared."""


def echo_messages(engine: Any) -> None:
    """Send each message back; answer ``flood N`` with N numbers, between which others get their turn."""

    def flood(sid: str, count: int) -> None:
        for number in range(count):
            engine.send(sid, str(number))
            engine.sleep(0)

    def take(sid: str, data: str | bytes) -> None:
        if isinstance(data, str) and data.startswith("flood "):
            engine.start_background_task(flood, sid, int(data.removeprefix("flood ")))
        else:
            engine.send(sid, data)

    def ignore(*_: Any) -> None:
        """Nothing is kept of a session."""

    engine.on("connect", lambda sid, _: engine.joined(sid))
    engine.on("message", take)
    engine.on("disconnect", ignore)


def echo_events(server: Any, namespace: str) -> None:
    """Tell a client what it authenticated with, and send back the arguments of ``message`` and ``message-with-ack``."""

    @server.on("connect", namespace=namespace)
    def connect(sid: str, environ: Any, auth: Any) -> None:
        server.start_background_task(tell, sid, auth or {})

    def tell(sid: str, auth: Any) -> None:
        server.sleep(_AUTH_AFTER_S)
        server.emit("auth", auth, to=sid, namespace=namespace)

    @server.on("message", namespace=namespace)
    def message(sid: str, *arguments: Any) -> None:
        server.emit("message-back", arguments, to=sid, namespace=namespace)

    @server.on("message-with-ack", namespace=namespace)
    def message_with_ack(sid: str, *arguments: Any) -> tuple[Any, ...]:
        return arguments


if __name__ == "__main__":
    main()
