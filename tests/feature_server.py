"""An application with features of its own, started as a child process: ``python tests/feature_server.py``.

Its settings come from the environment. ``POST /close`` ends the application, but not the process; ``POST /alarm/<room>``
emits an event of the application's own in a room.
"""

import argparse
import logging
import sys
import warnings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--async-mode", choices=("eventlet", "threading"), default="eventlet")
    options = parser.parse_args()
    if options.async_mode == "eventlet":
        warnings.filterwarnings("ignore", message="\\s*Eventlet is deprecated")
        import eventlet

        eventlet.monkey_patch()
    logging.basicConfig(level=logging.INFO)
    serve(options.async_mode)


def serve(async_mode: str) -> None:
    """Serve for ever."""
    import socket
    import threading

    import hazoom_ws
    from features.broken import Broken
    from features.cheer import Cheering
    from features.game import Game
    from features.polls import Polls
    from hazoom_ws import cli

    app = hazoom_ws.create_app(async_mode=async_mode, features=[Polls, Game, Broken, Cheering])

    @app.post("/close")
    def close() -> str:
        app.extensions["hazoom_ws"].close()
        return "closed"

    @app.post("/alarm/<room>")
    def alarm(room: str) -> str:
        app.extensions["socketio"].emit("alarm", {"room": room}, to=room)
        return "emitted"

    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    (cli.serve_with_eventlet if async_mode == "eventlet" else cli.serve_with_threads)(app, listener)
    sys.stdout.write(f"feature_server ready on http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
