"""The one place where the parts are joined."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

from flask import Flask
from flask_cors import CORS
from werkzeug.test import create_environ

from hazoom_ws.addresses import address_reader
from hazoom_ws.answers import Answers
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.limits import Account
from hazoom_ws.development import Application, SocketIO, is_only_looked_at
from hazoom_ws.llm_bridge import LlmBridge
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.namespaces.application import FromApplication
from hazoom_ws.namespaces.base import Parts
from hazoom_ws.namespaces.delivery import Delivery
from hazoom_ws.namespaces.root import build_namespaces
from hazoom_ws.namespaces.timers import Timers
from hazoom_ws.origins import OriginCheck, cors_origins
from hazoom_ws.programs import takes_offsets
from hazoom_ws.settings import Settings
from hazoom_ws.settings_checks import checked
from hazoom_ws.settings_sources import load_settings
from hazoom_ws.statistics import Statistics
from hazoom_ws.transport.dispatch import Dispatcher
from hazoom_ws.transport.engine import Engine
from hazoom_ws.transport.fan_out import FanOut
from hazoom_ws.transport.packet import limited_packet_type
from hazoom_ws.web.routes import create_blueprint


def create_app(settings: Settings | None = None, *, async_mode: str = "threading") -> Flask:
    """Build an application that shares nothing with any other.

    In one process the default file of messages is the first one's; each further one gets its own beside it, and says so.

    ``settings`` None means the defaults with the ``HAZOOM_*`` environment over them. ``async_mode`` is Flask-SocketIO's:
    "threading", or "eventlet" in a process that is monkey-patched and served by eventlet, as ``python -m hazoom_ws`` does.
    The Socket.IO side is ``app.extensions["socketio"]``, whose ``test_client(app)`` works as Flask-SocketIO documents it;
    its ``emit`` and ``send`` reach who is in our rooms. ``app.extensions["hazoom_ws"].publish(...)`` says something in one
    (`FromApplication`), ``.close()`` ends the application and gives back what it holds of the system.
    Raises `SettingsError` for a bad environment, or a message log that cannot be used.
    """
    settings = load_settings() if settings is None else checked(settings)
    app = Application("hazoom_ws", template_folder="web/templates", static_folder="web/static")
    CORS(app, origins=cors_origins(settings), always_send=False)
    fan_out = FanOut()
    socketio = SocketIO(
        app,
        async_mode=async_mode,
        async_handlers=False,  # one client's events in the order sent
        logger=_quiet_logger("socketio"),
        manage_session=False,
        serializer=limited_packet_type(settings.event_limit_bytes),
        client_manager=fan_out,
        monitor_clients=False,
    )
    engine = Engine(
        async_mode=async_mode,
        async_handlers=False,
        logger=_quiet_logger("engineio"),
        monitor_clients=False,
        cors_allowed_origins=OriginCheck(settings),
        ping_interval=settings.ping_interval_s,
        ping_timeout=settings.ping_timeout_s,
        connect_timeout_s=settings.connect_timeout_s,
        outbox_limit_bytes=settings.outbox_limit_bytes,
        outbox_total_limit_bytes=settings.outbox_total_limit_bytes,
        incoming_total_limit_bytes=settings.incoming_total_limit_bytes,
        message_timeout_s=settings.message_timeout_s,
    )
    engine.install(socketio.server)
    # Greenlets change places only where they wait, and nothing in a turn does; eventlet's lock costs more than a turn.
    lock = threading.RLock() if async_mode == "threading" else None
    log = open_log(settings, Path(app.instance_path), is_kept=not is_only_looked_at())
    # The task of the timers is to know nothing of an application that is not used any more.
    start_task, sleep = socketio.start_background_task, time.sleep if async_mode == "threading" else socketio.sleep
    worker = _worker(engine) if async_mode == "eventlet" else None
    delivery = Delivery(
        fan_out,
        log,
        lock,
        start_task=start_task,
        sleep=sleep,
        worker=worker,
        outbox_limit_bytes=settings.outbox_limit_bytes,
    )
    engine.sweeps.append(delivery.look_at_log)
    with delivery.turn():
        pass  # a log that was not well when it was opened is tried again from now on
    # For handlers that others add, which find the client's request in Flask's.
    environ = {**create_environ("/socket.io/"), "flask.app": app}
    address_of = address_reader(settings.trusted_proxies)
    Dispatcher(
        socketio.server,
        engine,
        fan_out,
        reply=delivery.reply,
        environ=environ,
        open_account=lambda request: Account(
            settings, address_of(request), time.monotonic, takes_offsets=takes_offsets(request)
        ),
    )
    hub = Hub(
        settings,
        log,
        delivery.add,
        wake=lambda: timers.ensure_running(),  # noqa: PLW0108 - it does not exist yet
        clock=time.monotonic,
        wall_clock=time.time,
    )
    timers = Timers(delivery, start_task=start_task, sleep=sleep)
    bridge = LlmBridge(
        settings,
        start_task=start_task,
        read=lambda: engine.loop and engine.loop.read,
        give_way=lambda: engine.give_way(),  # noqa: PLW0108 - whoever serves changes it
    )
    answers = Answers(
        settings,
        hub,
        log,
        bridge,
        turn=delivery.turn,
        can_take=lambda room, connections: delivery.can_take(room, connections, settings.outbox_limit_bytes // 2),
        wake=timers.ensure_running,
    )
    with delivery.turn():
        answers.keep_died()
    timers.serve(hub.run_due, answers.run_due, bridge.run_due)
    statistics = Statistics(hub, answers, bridge)

    def close() -> None:
        timers.close()
        bridge.close()
        engine.stop()
        delivery.close_log()
        if worker is not None:
            worker.close()

    app.let_go = close
    outside = FromApplication(
        settings,
        hub,
        log,
        delivery,
        fan_out=fan_out,
        emit=socketio.server.emit,
        is_one_thread=async_mode == "eventlet",
        may_wait=lambda: engine.loop is None or not engine.loop.is_current(),
    )
    parts = Parts(settings, hub, answers, statistics, delivery, log, close, outside.publish)
    for namespace in build_namespaces(parts):
        socketio.on_namespace(namespace)
        outside.ours.add(namespace.namespace)
    socketio.server.emit = outside.emit
    app.extensions["hazoom_ws"] = parts
    app.register_blueprint(create_blueprint(parts.hub, parts.statistics, parts.delivery, log))
    return app


def _worker(engine: Engine) -> Any:
    """Return what calls functions that may block: greenlets must not wait for them."""
    from hazoom_ws.transport.offload import Worker

    return Worker(lambda: engine.loop)


def _quiet_logger(name: str) -> logging.Logger:
    """Return a logger for a library that passes on crashes only.

    Below that level the libraries log whole packets, which hold messages and tokens; their refused requests are ours to
    report (`OriginCheck`) or nobody's concern.
    """
    logger = logging.getLogger(f"hazoom_ws.{name}")
    logger.setLevel(logging.ERROR)
    if not logger.filters:
        logger.addFilter(lambda record: record.exc_info is not None)
    return logger
