"""The one place where the parts are joined, each after those that it needs; it is long because there are many of them."""

import importlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask
from flask_cors import CORS
from werkzeug.test import create_environ

from hazoom_ws.access.accounts import Accounts
from hazoom_ws.access.admission import Admission
from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.asking import Asking
from hazoom_ws.access.journal import Journal
from hazoom_ws.access.origins import OriginCheck, cors_origins
from hazoom_ws.chat.hub import Hub
from hazoom_ws.cluster.answers import KIND as ANSWER
from hazoom_ws.cluster.answers import AnswersElsewhere
from hazoom_ws.cluster.application import ApplicationElsewhere
from hazoom_ws.cluster.boards import SharedBoards
from hazoom_ws.cluster.cluster import Cluster
from hazoom_ws.cluster.documents import OtherProcesses, SharedDocuments
from hazoom_ws.cluster.news import News
from hazoom_ws.commands.workers import worker_number
from hazoom_ws.delivery.beside import run_beside
from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.delivery.effects import Later
from hazoom_ws.delivery.ending import Ending
from hazoom_ws.delivery.listener import Listener
from hazoom_ws.delivery.ticker import Ticker
from hazoom_ws.delivery.timers import Timers
from hazoom_ws.events.connecting import Bye
from hazoom_ws.live.documents.documents import Documents
from hazoom_ws.live.documents.writer import Writer
from hazoom_ws.live.relay import Relay
from hazoom_ws.live.shared_state import States
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.llm_bridge.bridge import LlmBridge
from hazoom_ws.llm_bridge.proxies import check_proxy
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.metrics.charts import Charts
from hazoom_ws.metrics.process import Process
from hazoom_ws.metrics.prometheus import Scrape
from hazoom_ws.metrics.refused import Refused
from hazoom_ws.metrics.sources import Sources
from hazoom_ws.metrics.statistics import Statistics
from hazoom_ws.namespaces.application import FromApplication
from hazoom_ws.namespaces.backends import Backends
from hazoom_ws.namespaces.boards import JOIN, BoardsNamespace
from hazoom_ws.namespaces.boards import NAME as BOARDS
from hazoom_ws.namespaces.chat import Chat
from hazoom_ws.namespaces.documents import PREFIX as DOCUMENTS
from hazoom_ws.namespaces.documents import DocumentsNamespace, send_to_editors
from hazoom_ws.namespaces.features import Feature
from hazoom_ws.namespaces.identities import Identities
from hazoom_ws.namespaces.llm import stop_forbidden
from hazoom_ws.namespaces.loading import Loading
from hazoom_ws.namespaces.logging_out import LoggingOut
from hazoom_ws.namespaces.parts import Parts
from hazoom_ws.namespaces.registry import Registry
from hazoom_ws.namespaces.root import OWN_FEATURES, build_namespaces
from hazoom_ws.namespaces.tasks import Tasks
from hazoom_ws.schema.documents import Documents as SchemaDocuments
from hazoom_ws.settings import Settings, SettingsError
from hazoom_ws.settings.checks import checked
from hazoom_ws.settings.sources import load_settings
from hazoom_ws.transport.engineio.elsewhere import Elsewhere
from hazoom_ws.transport.engineio.engine import Engine
from hazoom_ws.transport.engineio.requests import id_prefix
from hazoom_ws.transport.serving.http_requests import handle_request
from hazoom_ws.transport.socketio.dispatch import Dispatcher
from hazoom_ws.transport.socketio.fan_out import FanOut
from hazoom_ws.transport.socketio.flask_socketio_test_client import TestClients
from hazoom_ws.transport.socketio.packet import limited_packet_type
from hazoom_ws.transport.socketio.quiet import quiet_logger
from hazoom_ws.web import gunicorn
from hazoom_ws.web.backends import OPEN_TO_PAGES, create_backends_blueprint
from hazoom_ws.web.development import Application, SocketIO, is_only_looked_at
from hazoom_ws.web.readiness import Readiness
from hazoom_ws.web.routes import create_blueprint


@gunicorn.in_one_line()
def create_app(  # noqa: PLR0915 - it joins the parts, one after the other
    settings: Settings | None = None, *, async_mode: str = "threading", features: Sequence[type[Feature]] = ()
) -> Flask:
    """Build an application that shares nothing with any other.

    In one process the default file of messages is the first one's; each further one gets its own beside it, and says so.

    ``settings`` None means the defaults with the ``HAZOOM_*`` environment over them. ``async_mode`` is Flask-SocketIO's:
    "threading", or "eventlet" in a process that is monkey-patched and served by eventlet, as ``python -m hazoom_ws`` does.
    The Socket.IO side is ``app.extensions["socketio"]``, whose ``test_client(app)`` works as Flask-SocketIO documents it;
    its ``emit`` and ``send`` reach who is in our rooms. ``app.extensions["hazoom_ws"].publish(...)`` says something in one
    (`FromApplication`), ``.close()`` ends the application and gives back what it holds of the system.
    ``features`` are classes of the application's own (`hazoom_ws.features`), served on ``/`` beside ours.
    Raises `SettingsError` for a bad environment, a message log or a proxy that cannot be used, or a way to be served that
    cannot work (several workers of gunicorn's, its ``--preload``); TypeError and ValueError for features that cannot be,
    such as one with a name of ours.
    """
    settings = load_settings() if settings is None else checked(settings)
    number = worker_number()
    if settings.workers > 1 and not number:
        raise SettingsError(
            f"workers is {settings.workers}, and only the command hazoom-ws starts so many processes; leave it out here"
        )
    registry, api_keys = Registry(OWN_FEATURES, features), ApiKeys.of(settings)
    gunicorn_worker = gunicorn.checked_worker()
    check_proxy(settings.llm_url)
    app = Application("hazoom_ws", template_folder="web/templates", static_folder="web/static")
    CORS(app, resources={OPEN_TO_PAGES: {"origins": cors_origins(settings.cors_origins)}}, always_send=False)

    # The transport: bytes to events, and back.
    fan_out = FanOut()
    socketio = SocketIO(
        app,
        async_mode=async_mode,
        async_handlers=False,  # one client's events in the order sent
        logger=quiet_logger("socketio"),
        manage_session=False,
        serializer=limited_packet_type(settings.event_limit_bytes),
        client_manager=fan_out,
        monitor_clients=False,
    )
    accounts = Accounts(settings, api_keys)
    engine = Engine(
        async_mode=async_mode,
        async_handlers=False,
        logger=quiet_logger("engineio"),
        monitor_clients=False,
        cors_allowed_origins=OriginCheck(settings.cors_origins, settings.host),
        ping_interval=settings.ping_interval_s,
        ping_timeout=settings.ping_timeout_s,
        connect_timeout_s=settings.connect_timeout_s,
        outbox_limit_bytes=settings.outbox_limit_bytes,
        outbox_total_limit_bytes=settings.outbox_total_limit_bytes,
        incoming_total_limit_bytes=settings.incoming_total_limit_bytes,
        message_timeout_s=settings.message_timeout_s,
        handle_request=handle_request,
        admit=accounts.admit,
    )
    engine.install(socketio.server)

    # What was said, and the turns in which it is.
    folder = Path(app.instance_path)
    import_module = _import_unpatched() if async_mode == "eventlet" else importlib.import_module
    open_it = partial(open_log, settings, folder, is_kept=not is_only_looked_at(), import_module=import_module)
    log = gunicorn.when_free(gunicorn_worker, open_it)
    # Tasks are to know nothing of an application that is not used any more.
    start_task, sleep = socketio.start_background_task, time.sleep if async_mode == "threading" else socketio.sleep
    worker = _worker(engine) if async_mode == "eventlet" else None
    delivery = Delivery(
        fan_out,
        log,
        # Greenlets change places only where they wait, and nothing in a turn does; eventlet's lock costs more than a turn.
        threading.RLock() if async_mode == "threading" else None,
        start_task=start_task,
        sleep=sleep,
        worker=worker,
        outbox_limit_bytes=settings.outbox_limit_bytes,
        namespaces_of=registry.namespaces_of,
    )
    engine.parting.last_words = partial(delivery.frames_of_bye, bye=Bye(reason="slow_reader", reconnect=True))
    engine.sweeps += [delivery.look_at_log, accounts.sweep]
    timers = Timers(delivery, start_task=start_task, sleep=sleep)

    # Chat, and the AI's answers.
    hub = Hub(settings, log, delivery.add, wake=timers.ensure_running, clock=time.monotonic, wall_clock=time.time)
    news = News(delivery.add, decoded=registry.decoded)
    delivery.tell = news.tell
    listener = Listener(delivery.hear)
    ticker = Ticker(
        delivery, interval_s=settings.relay_interval_ms / 1000, worker=worker, start_task=start_task, sleep=sleep
    )
    relay = Relay(
        delivery.add,
        slow_in=delivery.slow_in,
        backlog_bytes=delivery.backlog_bytes,
        wake=ticker.ensure_running,
        interval_s=settings.relay_interval_ms / 1000,
        clock=time.monotonic,
        wall_clock=time.time,
    )
    beside = run_beside(delivery, worker, start_task)
    loading = Loading(hub, delivery, beside, close=fan_out.close)
    states = States(log.states, delivery.add, wall_clock=time.time)
    hub.on_parted = relay.leave
    cluster = None
    if log.peers is not None:
        cluster = Cluster(
            settings,
            log.peers,
            hub,
            relay,
            news,
            problem=lambda: log.problem,
            take_over=log.take_over,
            turn=delivery.turn,
            start_task=start_task,
            run_beside=beside,
            wake=timers.ensure_running,
            wake_ticker=ticker.ensure_running,
            clock=time.monotonic,
        )
        engine.sweeps.append(cluster.processes.sweep)
        engine.sweeps.append(cluster.questions.sweep)
        engine.parting.counts.append(cluster.questions.__len__)
        engine.elsewhere = Elsewhere(engine, cluster.questions, wait_s=accounts.wait_s, note_unknown=accounts.note_unknown)
        cluster.questions.on_asked = engine.elsewhere.answer
        engine.id_prefix = id_prefix(number, log.peers.name)
    documents = Documents(
        log.documents,
        queue=lambda send: delivery.add_when_kept(Later(lambda _: send())),
        send_all=partial(send_to_editors, fan_out),
        run_beside=beside,
        note=engine.refusals.note,
        wake=ticker.ensure_running,
        wake_idle=timers.ensure_running,
        clock=time.monotonic,
        update_limit_bytes=settings.document_update_limit_bytes,
        document_limit_bytes=settings.document_limit_bytes,
        idle_s=settings.document_idle_s,
        interval_s=settings.relay_interval_ms / 1000,
        others=None if log.peers is None else OtherProcesses(log.peers),
    )
    bridge = LlmBridge(settings, start_task=start_task, read=engine.loop_reader, give_way=engine.let_others)
    answers = Answers(
        settings,
        hub,
        log,
        bridge,
        turn=delivery.turn,
        keeps_up=partial(delivery.keeps_up, limit_bytes=settings.outbox_limit_bytes // 2),
        wake=timers.ensure_running,
        after_kept=delivery.when_kept,
        open_writer=lambda writing: Writer(documents, writing.document, writing.text, settings.assistant_name),
    )
    on_tick: list[Callable[[], float | None]] = [relay.run_due, documents.run_due]
    if log.peers is not None:
        answers.elsewhere = elsewhere = AnswersElsewhere(
            answers,
            hub,
            log.peers,
            problem=lambda: log.problem,
            run_beside=beside,
            wake=ticker.ensure_running,
            clock=time.monotonic,
        )
        news.on[ANSWER] = elsewhere.hear
        on_tick.append(elsewhere.run_due)
        elsewhere.greet()
    if cluster is not None:
        on_tick.append(cluster.tick)
    ticker.serve(*on_tick)

    # The numbers of all that.
    process, refused = Process(), Refused()
    statistics = Statistics(hub, answers, bridge, process)
    if cluster is not None:
        cluster.count(accounts, statistics)
    sources = Sources(
        hub=hub,
        answers=answers,
        bridge=bridge,
        relay=relay,
        states=states,
        documents=documents,
        delivery=delivery,
        fan_out=fan_out,
        engine=engine,
        log=log,
        process=process,
        refused=refused,
        is_ready=lambda: readiness.why_not() is None,
    )
    charts = Charts(sources, delivery.push_to_many, wake=timers.ensure_running, clock=time.monotonic, wall_clock=time.time)
    engine.sweeps.append(charts.sweep)

    # Who calls all that: clients, the application around us, HTTP.
    asking = Asking(run_beside(delivery, None, start_task), wake=timers.ensure_running)
    admission = Admission(settings, asking, api_keys, engine.refusals.note)
    identities = Identities(
        hub,
        delivery,
        accounts,
        admission,
        emit=fan_out.emit,
        wake=timers.ensure_running,
        note_refusal=refused.note,
    )
    if settings.log_format == "json":
        identities.journal = Journal(accounts.get, engine.transport)
        fan_out.on_entered = identities.journal.entered
    dispatcher = Dispatcher(
        socketio.server,
        engine,
        fan_out,
        reply=delivery.reply,
        # Handlers that others add find the client's request in Flask's.
        environ={**create_environ("/socket.io/"), "flask.app": app},
        open_account=accounts.open,
        close_account=identities.close,
        admit=loading.admit(identities.admit) if log.reads_beside else identities.admit,
        admits_in_turns=admission.has_state or log.reads_beside,
        paced=registry.paced(),
    )
    editors = DocumentsNamespace(documents, settings, delivery, fan_out, dispatcher.disconnect, note_refusal=refused.note)
    identities.on_rights_changed += [partial(stop_forbidden, answers), editors.check_rights]
    boards = BoardsNamespace(settings, delivery, fan_out, refused.note)
    dispatcher.serve_protocols({BOARDS: boards}, {DOCUMENTS: editors})
    shared: list[Callable[[], float | None]] = []  # what is due where there are other processes
    if log.peers is not None and cluster is not None:
        wake = timers.ensure_running
        shared_documents = SharedDocuments(documents, log.peers, news, wake=wake, clock=time.monotonic)
        shared_boards = SharedBoards(
            boards.boards,
            log.peers,
            news,
            run_beside=beside,
            refuse=partial(boards.refuse, event=JOIN),
            wake=wake,
            clock=time.monotonic,
        )
        cluster.processes.on_ended += [elsewhere.gone, documents.lose, shared_boards.lose]
        cluster.processes.on_gone.append(elsewhere.gone)  # Redis has named it to who looks for one until then
        cluster.processes.on_looked.append(elsewhere.looked)
        shared += [shared_documents.run_due, shared_boards.run_due]
    TestClients(socketio.server, fan_out, dispatcher)
    outside = FromApplication(
        settings,
        hub,
        log,
        delivery,
        fan_out=fan_out,
        emit=socketio.server.emit,
        is_one_thread=async_mode == "eventlet",
        may_wait=engine.may_wait,
        wait_for=worker.run if worker is not None else lambda function: function(),
    )
    running = _Running(
        grace_s=gunicorn.grace_s(gunicorn_worker, settings.shutdown_grace_s),
        sleep=sleep,
        registry=registry,
        delivery=delivery,
        timers=timers,
        ticker=ticker,
        answers=answers,
        documents=documents,
        bridge=bridge,
        engine=engine,
        worker=worker,
        listener=listener,
        leave=(lambda: None) if cluster is None else cluster.end,
        end_elsewhere=(lambda: None) if engine.elsewhere is None else engine.elsewhere.end,
    )
    logging_out = LoggingOut(hub, answers, accounts, delivery, turn=outside.turn, note=admission.note_logged_out)
    if cluster is not None:
        logging_out.tell_others = cluster.log_out_with(logging_out.end)
    parts = Parts(
        settings,
        hub,
        answers,
        statistics,
        charts,
        Scrape(sources, number),
        refused,
        delivery,
        log,
        relay,
        states,
        identities,
        loading,
        running.close,
        outside.publish,
        logging_out.disconnect_user,
        running.stop,
    )
    tasks = Tasks(delivery, start_task, refused.note)
    chat = Chat(
        hub,
        log,
        delivery,
        outside,
        declared=registry.added_events,
        tasks=tasks,
        kept_limit_bytes=settings.message_limit_bytes,
        wall_clock=time.time,
    )
    if log.peers is not None:
        chat.elsewhere = elsewhere_too = ApplicationElsewhere(
            log.peers,
            news,
            hub,
            accounts.users,
            decode=registry.event_of,
            emit_here=outside.emit_here,
        )
        outside.tell_others = elsewhere_too.emit
    if features:
        hub.rooms.on_left = partial(chat.in_turn, registry.left)
    for namespace in build_namespaces(registry, parts, chat, tasks):
        socketio.on_namespace(namespace)
        outside.ours.add(namespace.namespace)
    socketio.server.emit = outside.emit
    app.extensions["hazoom_ws"] = parts
    app.let_go = running.close
    readiness = Readiness(
        delivery,
        log,
        is_ending=lambda: running.ending.is_begun,
        disk_free_limit_bytes=settings.disk_free_limit_bytes,
        lag_s=lambda: float(engine.lag_s()),  # whoever serves puts it there later
    )
    app.register_blueprint(
        create_blueprint(
            settings,
            api_keys,
            hub=hub,
            statistics=statistics,
            scrape=parts.scrape,
            delivery=delivery,
            why_not_ready=readiness.why_not,
            documents=SchemaDocuments(registry, settings),
            backends=create_backends_blueprint(api_keys, Backends(settings, outside), parts.disconnect_user, refused.note),
            give_way=engine.let_others,
        )
    )

    timers.serve(
        hub.run_due,
        answers.run_due,
        bridge.run_due,
        documents.let_go_idle,
        asking.run_due,
        identities.expiry.run_due,
        charts.run_due,
        *shared,
        *([cluster.run_due] if cluster else []),
    )
    # From now on there is somebody for all that is heard.
    wake_to_hear = listener.wake if worker is None else partial(worker.wake, delivery.hear)
    log.listen(wake_to_hear, lambda: [*hub.rooms.names(), *answers.register.rooms()], delivery.hear)
    running.start()
    if gunicorn_worker is not None:
        _watch(gunicorn_worker, engine, partial(start_task, running.stop))  # the sweeps go on meanwhile
    return app


class _Running:
    """What an application has of the system: tasks, threads, connections, the file of its log."""

    def __init__(
        self,
        *,
        grace_s: float,
        sleep: Callable[[float], object],
        registry: Registry,
        delivery: Delivery,
        timers: Timers,
        ticker: Ticker,
        answers: Answers,
        documents: Documents,
        bridge: LlmBridge,
        engine: Engine,
        worker: Any,
        listener: Listener,
        leave: Callable[[], object],
        end_elsewhere: Callable[[], object],
    ) -> None:
        """``leave`` tells other processes that this one ends; ``end_elsewhere`` as in `Ending`."""
        self.ending = Ending(
            delivery,
            refuse_new=(engine.refuse_new, bridge.refuse_new),
            sessions=lambda: list(engine.sessions),
            hear_no_more=engine.hear_no_more,
            answers_count=answers.slots.taken_count,
            is_upgrading=engine.is_upgrading,
            end_elsewhere=end_elsewhere,
            is_all_heard=engine.parting.is_over,
            grace_s=grace_s,
            clock=time.monotonic,
            sleep=sleep,
        )
        self._delivery = delivery
        self._leave = leave
        self._answers = answers
        self._engine = engine
        # In this order: nothing is asked any more, the last words are sent and kept, what they needed is given back.
        self._closes: list[Callable[[], object]] = [registry.close, timers.close, ticker.close, bridge.close]
        self._closes += [self.ending.let_go_now, engine.stop, documents.close, leave, delivery.close_log]
        self._closes.append(listener.close)
        if worker is not None:
            self._closes.append(worker.close)

    def start(self) -> None:
        """End the answers that died with an earlier process; a log that is not well is tried again from now on."""
        with self._delivery.turn():
            self._answers.keep_died()

    def stop(self) -> None:
        """Let every client go, to come back, and keep what was said: the process is about to end."""
        self.ending.run()
        self._engine.stop()
        self._delivery.settle()
        self._leave()

    def close(self) -> None:
        """Give all of it back; calling it again changes nothing."""
        for close in self._closes:
            close()


def _watch(gunicorn_worker: Any, engine: Engine, stop: Callable[[], object]) -> None:
    """Stop when gunicorn's worker is to end."""
    warn = partial(engine.refusals.note, level=logging.WARNING)
    engine.sweeps.append(gunicorn.end_watch(gunicorn_worker, stop, engine.sessions.__len__, warn))


def _worker(engine: Engine) -> Any:
    """Return what calls functions that may block: greenlets must not wait for them."""
    from hazoom_ws.transport.serving.offload import Worker  # which imports eventlet

    return Worker(engine.current_loop)


def _import_unpatched() -> Callable[[str], Any]:
    """Return what imports libraries for the threads of `_worker`."""
    from hazoom_ws.transport.serving.unpatched import import_unpatched  # which imports eventlet

    return import_unpatched
