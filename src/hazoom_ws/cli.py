"""Options, binding, the ready line, signals: everything around the application.

Runs in the main thread (or main greenlet) and returns the exit status: 0 after a signal, 2 for anything that the user can
mend, said in one line on stderr.
"""

import argparse
import gc
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import closing, suppress

import msgspec
from flask import Flask

from hazoom_ws.access.json_logs import set_up_log
from hazoom_ws.access.redaction import without_secrets
from hazoom_ws.app import create_app
from hazoom_ws.commands import PROGRAM, Parser, program_name, summaries
from hazoom_ws.commands.listening import listening, listening_together, say_ready
from hazoom_ws.commands.open_files import grow_table, raise_limit
from hazoom_ws.commands.options import add_server_options, load_features, settings_of
from hazoom_ws.commands.workers import Worker, check_workers, supervise, this_worker, wait_for_word
from hazoom_ws.llm_bridge.demo import DemoBackend
from hazoom_ws.log_fields import fields
from hazoom_ws.namespaces.features import Feature
from hazoom_ws.settings import Settings, SettingsError
from hazoom_ws.settings.checks import is_loopback
from hazoom_ws.version import __version__

logger = logging.getLogger(__name__)

_EXIT_MARGIN_S = 0.1  # which the process itself takes to end
_SUPERVISORS_WORD = 0  # beside the numbers of signals


def main(arguments: list[str]) -> int:
    """Serve until a signal comes; return the exit status."""
    try:
        _run(_parse(arguments))
    except SettingsError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    worker = this_worker()
    settings = settings_of(options)
    check_workers(settings, options.async_mode)
    features = load_features(options.feature)
    if worker is not None:
        listener = _green(worker.listener_fd)
    elif settings.workers > 1:
        supervise(settings, listening_together(settings))
    else:
        listener = listening(settings)
    if worker is not None:
        wait_for_word(worker)
    set_up_log(settings.log_level, settings.log_format)
    for library in ("urllib3", "werkzeug", "flask_cors"):
        logging.getLogger(library).setLevel(logging.WARNING)  # below it they log every request
    with closing(listener):
        if options.demo:
            with DemoBackend() as demo:
                settings = msgspec.structs.replace(settings, llm_url=demo.url)
                _serve(settings, listener, options.async_mode, features, f"the demo backend on {demo.url}", worker=worker)
        else:
            _serve(settings, listener, options.async_mode, features, without_secrets(settings.llm_url), worker=worker)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog=program_name(),
        usage="%(prog)s [options]\n       %(prog)s COMMAND ...",
        description="A real-time chat and AI-streaming server for socket.io-client. Without a command it serves.",
        epilog=f"""commands, each with a --help of its own:
{summaries()}

Every setting can also come from the environment (HAZOOM_PORT=8000) or the config file; config/hazoom.toml
shows them all.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_server_options(parser)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser.parse_args(arguments)


def _tune_garbage_collection() -> None:
    """Keep the collector from walking over every connection again and again.

    Connections are freed by reference counting: what they consist of forms no cycles once they are closed. As it comes, the
    collector looks at all of them whenever their number has grown by a quarter, and nobody is served meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _green(fd: int) -> socket.socket:
    """Return eventlet's socket for a file descriptor, of whatever family it is."""
    from eventlet import patcher

    return socket.socket(patcher.original("socket").socket(fileno=fd))


def _serve(
    settings: Settings,
    listener: socket.socket,
    async_mode: str,
    features: list[type[Feature]],
    ai: str,
    *,
    worker: Worker | None,
) -> None:
    app = create_app(settings, async_mode=async_mode, features=features)
    logger.info("AI answers come from %s", ai, extra=fields("server_starting", version=__version__, async_mode=async_mode))
    raise_limit()
    grow_table(listener.fileno())
    _tune_garbage_collection()
    with closing(_Signals(settings.shutdown_grace_s, async_mode)) as signals:
        if async_mode == "eventlet":
            serve_with_eventlet(
                app,
                listener,
                request_timeout_s=settings.request_timeout_s,
                keep_alive_timeout_s=settings.keep_alive_timeout_s,
                worker=worker,
            )
        else:
            serve_with_threads(app, listener, request_timeout_s=settings.request_timeout_s)
        host, port = listener.getsockname()[:2]
        if worker is None:
            say_ready(host, port)
        else:
            signals.obey(worker.control_fd)
        if worker is None or worker.number == 1:  # several say it once
            if settings.auth == "open" and not is_loopback(host):
                logger.warning("open to everyone who can reach %s port %s: auth is open", host, port)
            if "*" in settings.cors_origins:
                logger.warning("cors_origins holds '*': pages of any origin may use this server")
        signal_name = signals.wait()
        logger.info("stopping on %s", signal_name, extra=fields("server_stopping", signal=signal_name))
        app.extensions["hazoom_ws"].stop()


class _Signals:
    """Waits for the signal that ends the server, from the moment it is made.

    The second one ends the process at once, as it would any other: nothing that was acknowledged is lost by that. Neither
    is by the end that comes with status 0 when stopping takes longer than it may, because something hangs.

    A handler runs only when the interpreter gets to run, which an event loop that sleeps in the kernel does not allow on
    every platform; the byte that Python writes into the wakeup descriptor wakes it everywhere.
    """

    def __init__(self, grace_s: float, async_mode: str) -> None:
        timer_type = threading.Timer
        if async_mode == "eventlet":
            from eventlet import patcher

            timer_type = patcher.original("threading").Timer  # a real thread: the greenlets may be what hangs
        self._stop_limit_s = max(0.0, grace_s - _EXIT_MARGIN_S)
        self._deadline = timer_type(self._stop_limit_s, _cut_off)
        self._deadline.daemon = True
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
        for number in self._numbers:
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)

    def wait(self) -> str:
        """Return the name of the signal that came; other tasks run meanwhile."""
        while True:
            number = self._receiver.recv(1)[0]
            if number == _SUPERVISORS_WORD:
                return "its supervisor's word, or end"
            if number in self._numbers:
                return signal.Signals(number).name

    def obey(self, control_fd: int) -> None:
        """Tell the supervisor that this worker serves, and end when it says so, or has ended itself.

        That is no signal: one that comes at the same time is the first.
        """
        from eventlet import patcher

        sleep = patcher.original("time").sleep

        def wait() -> None:
            while os.read(control_fd, 16):
                pass
            with suppress(OSError):  # it ends already
                os.write(self._sender.fileno(), bytes([_SUPERVISORS_WORD]))
            sleep(self._stop_limit_s)
            _cut_off()

        with suppress(OSError):  # it has ended already, which is found out in a moment
            os.write(control_fd, b"+")
        patcher.original("threading").Thread(target=wait, daemon=True).start()  # a real one, which may block

    def _on_signal(self, number: int, _frame: object) -> None:
        self._give_back()
        if self._deadline.is_alive():
            os.kill(os.getpid(), number)  # two came at once
        else:
            self._deadline.start()

    def _give_back(self) -> None:
        for number in self._numbers:
            signal.signal(number, signal.SIG_DFL)

    def close(self) -> None:
        """Give the signals back."""
        signal.set_wakeup_fd(-1)
        self._give_back()
        self._deadline.cancel()
        self._receiver.close()
        self._sender.close()


def _cut_off() -> None:
    """End the process: stopping has taken as long as it may."""
    os.write(2, f"{PROGRAM}: stopping takes too long and is cut off; what was acknowledged is kept\n".encode())
    os._exit(0)


def serve_with_eventlet(
    app: Flask,
    listener: socket.socket,
    *,
    request_timeout_s: float = 10.0,
    keep_alive_timeout_s: float = 75.0,
    worker: Worker | None = None,
) -> None:
    """Start to accept. There is no stopping: the process ends every connection.

    ``worker``: which of several processes this is, None where it serves alone.
    """
    import eventlet
    from eventlet import patcher

    from hazoom_ws.transport.serving.passing import Inbox, Passing
    from hazoom_ws.transport.serving.watchdog import Watchdog
    from hazoom_ws.transport.serving.wsgi import HttpServer

    engine = app.extensions["socketio"].server.eio
    passing = None
    if worker is not None:
        scrape = app.extensions["hazoom_ws"].scrape
        passing = Passing(worker.inbox_fd, worker.outbox_fds, scrape.tell)
        scrape.ask_others = passing.ask_others
    http = HttpServer(
        app,
        engine,
        listener,
        request_timeout_s=request_timeout_s,
        keep_alive_timeout_s=keep_alive_timeout_s,
        passing=passing,
    )
    if hasattr(patcher.original("select"), "epoll"):
        from hazoom_ws.transport.serving.loop import Loop

        loop = Loop(engine, request_timeout_s=request_timeout_s)
        loop.serve(listener, http.serve_connection)
        if passing is not None:
            loop.passing = passing
            loop.watch(Inbox(passing, loop))
    else:
        eventlet.spawn(http.serve)
    Watchdog(engine).start()
    eventlet.sleep(0)  # let it get to its first accept


def serve_with_threads(app: Flask, listener: socket.socket, *, request_timeout_s: float = 10.0) -> None:
    """Start to accept, with a daemon thread per connection, which end with the process.

    A connection takes one request, and the answer says so: one that idles would be a thread that waits.
    """
    from hazoom_ws.transport.serving.threads import ThreadServer

    ThreadServer(app, app.extensions["socketio"].server.eio, listener, request_timeout_s=request_timeout_s).start()
