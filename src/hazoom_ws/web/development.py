"""What Flask's tools for developers do with an application that they load and never serve.

The reloader (``flask run --debug``, ``app.run(debug=True)``, ``socketio.run(app, debug=True)``) loads it in two processes:
one serves, and its parent only watches the files. ``flask routes`` looks at it. The file of messages is for one process, so
these leave it alone.
"""

from collections.abc import Callable
from typing import Any

import click
import flask.cli
import flask_socketio
from flask import Flask
from flask.helpers import get_debug_flag
from werkzeug.serving import is_running_from_reloader


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
    """A Flask application that calls ``let_go`` when this process turns out to be the reloader's parent."""

    let_go: Callable[[], object] = staticmethod(lambda: None)

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
        super().run(app, *args, **options)
