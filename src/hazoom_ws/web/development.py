"""What is done with an application in processes that do not serve it, or that did not make it.

The reloader (``flask run --debug``, ``app.run(debug=True)``, ``socketio.run(app, debug=True)``) loads it in two processes:
one serves, and its parent only watches the files. ``flask routes`` looks at it. The file of messages is for one process, so
these leave it alone. Servers that fork after they have loaded it (uWSGI, as it comes) would share it: that is refused.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click
import flask.cli
import flask_socketio
from flask import Flask
from flask.helpers import get_debug_flag
from werkzeug.serving import is_running_from_reloader

from hazoom_ws.access.redaction import RedactedFile, redact_logs_of_servers

logger = logging.getLogger(__name__)

_NOT_HERE = b"the server's log says why this application cannot be served\n"


def is_only_looked_at() -> bool:
    """Return whether a command of Flask's makes the application that at hand, and will not serve it."""
    context = click.get_current_context(silent=True)
    if context is None:
        return False
    if context.command is flask.cli.run_command:
        reload = context.params.get("reload")
        return not is_running_from_reloader() and bool(get_debug_flag() if reload is None else reload)
    return context.command is flask.cli.routes_command


class Application(Flask):
    """A Flask application that calls ``let_go`` when this process turns out to be the reloader's parent.

    It answers 503 in a process that was forked off the one that made it: threads are not there, and a file of SQLite's
    that goes through a fork may be damaged.
    """

    let_go: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        redact_logs_of_servers()
        self._process_id = os.getpid()
        self._is_told = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve a request, as WSGI asks."""
        if os.getpid() != self._process_id:
            return self._refuse_fork(start_response)
        answer: Iterable[bytes] = super().__call__(environ, start_response)
        return answer

    def _refuse_fork(self, start_response: Any) -> Iterable[bytes]:
        if not self._is_told:
            self._is_told = True
            logger.error(
                "nothing is served: create_app was called before this process was forked; call it in the process that "
                "serves (gunicorn: 'hazoom_ws:create_app()' without --preload; uWSGI: lazy-apps = true)"
            )
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(_NOT_HERE)))]
        start_response("503 Service Unavailable", headers)
        return [_NOT_HERE]

    def run(self, *args: Any, **options: Any) -> None:
        """Run Flask's development server. See `flask.Flask.run`."""
        debug = options.get("debug", args[2] if len(args) > 2 else None)
        is_reloading = options.get("use_reloader", self.debug if debug is None else debug)
        self.prepare_to_run(is_reloading=bool(is_reloading))
        super().run(*args, **options)

    def prepare_to_run(self, *, is_reloading: bool) -> None:
        """Let go of the file of messages, if the process that the reloader starts next is to have it."""
        if is_reloading and not is_running_from_reloader():
            self.let_go()


class SocketIO(flask_socketio.SocketIO):  # type: ignore[misc]
    """Flask-SocketIO's, with the same for its own way to run an application."""

    def run(self, app: Application, *args: Any, **options: Any) -> None:
        """Run the server for ``app``. See `flask_socketio.SocketIO.run`."""
        app.prepare_to_run(is_reloading=bool(options.get("use_reloader", options.get("debug", app.debug))))
        if self.async_mode == "eventlet":
            options.setdefault("log", RedactedFile(sys.stderr))
        super().run(app, *args, **options)
