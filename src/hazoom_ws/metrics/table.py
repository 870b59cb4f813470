"""The one table of metrics: each has a name, a kind, a unit, labels, a sentence, and where it is read.

All of it is read when somebody asks (`hazoom_ws.metrics.prometheus`): nothing is added to the paths of messages, and a
server that nobody scrapes does nothing for it. Names follow Prometheus: base units, ``_total`` for what only grows, and
few labels, whose values are bounded and name no room and no user.

Source: https://prometheus.io/docs/practices/naming/.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Literal, NamedTuple

from hazoom_ws.histograms import Histogram
from hazoom_ws.metrics.sources import Sources
from hazoom_ws.version import __version__

Kind = Literal["counter", "gauge", "histogram"]
# A number, one for each value of the labels, or a histogram.
Value = float | Mapping[tuple[str, ...], float] | Histogram
_CIRCUITS = ("closed", "half_open", "open")


class Metric(NamedTuple):
    """One metric. ``unit`` is how the name ends, before ``_total``, "" for a count; ``read`` is called for each scrape.

    ``is_outside_turns``: it asks the disk, or takes a turn itself, and so is not read within one.
    """

    name: str
    kind: Kind
    unit: Literal["", "seconds", "bytes"]
    labels: tuple[str, ...]
    help: str
    read: Callable[[Sources], Value]
    is_outside_turns: bool = False


def _by_one(counted: Mapping[str, float]) -> Mapping[tuple[str, ...], float]:
    """Return what is counted by one label. A copy: others may count on meanwhile."""
    return {(label,): count for label, count in list(counted.items())}


def _sessions(sources: Sources) -> Mapping[tuple[str, ...], float]:
    sessions = list(sources.engine.sessions.values())
    polling_count = sum(session.websocket is None for session in sessions)
    return {("polling",): polling_count, ("websocket",): len(sessions) - polling_count}


def _answers_ended(sources: Sources) -> Mapping[tuple[str, ...], float]:
    bridge = sources.bridge
    ended: dict[tuple[str, ...], float] = {("finished", ""): bridge.finished_total, ("stopped", ""): bridge.cancelled_total}
    return ended | {("failed", code): count for code, count in list(bridge.failures.items())}


def _circuit(sources: Sources) -> Mapping[tuple[str, ...], float]:
    state = sources.bridge.circuit
    return {(one,): float(one == state) for one in _CIRCUITS}


def _recoveries(sources: Sources) -> Mapping[tuple[str, ...], float]:
    recoveries = sources.hub.recoveries
    return {("recovered",): recoveries["recovered"], ("lost",): recoveries["lost"]}


def _log_bytes(sources: Sources) -> float:
    """Return the size of the log's file with what SQLite keeps beside it, 0 where there is none."""
    path, size_bytes = sources.log.path, 0
    if path is not None:
        for ending in ("", "-wal"):
            with suppress(OSError):
                size_bytes += path.with_name(path.name + ending).stat().st_size
    return size_bytes


def _disk_free_bytes(sources: Sources) -> Mapping[tuple[str, ...], float]:
    path = sources.log.path
    try:
        return {} if path is None else {(): shutil.disk_usage(path.parent).free}
    except OSError:
        return {}


METRICS: tuple[Metric, ...] = (
    # The process
    Metric("hazoom_info", "gauge", "", ("version",), "1, with the version", lambda _: {(__version__,): 1}),
    Metric("hazoom_ready", "gauge", "", (), "1 while it takes traffic, as `/ready` says", lambda it: it.is_ready(), True),
    Metric(
        "hazoom_loop_lag_seconds",
        "histogram",
        "seconds",
        (),
        "How late the event loop was, measured ten times a second; empty where threads serve",
        lambda it: it.engine.counts.loop_lag_s,
    ),
    Metric(
        "process_start_time_seconds",
        "gauge",
        "seconds",
        (),
        "When the process started, since the epoch",
        lambda it: it.process.started_at,
    ),
    Metric(
        "process_cpu_seconds_total",
        "counter",
        "seconds",
        (),
        "How long its threads have run on a processor",
        lambda it: it.process.cpu_s(),
    ),
    Metric(
        "process_resident_memory_bytes",
        "gauge",
        "bytes",
        (),
        "What it has in memory",
        lambda it: it.process.resident_bytes(),
    ),
    Metric(
        "process_open_fds",
        "gauge",
        "",
        (),
        "Files and connections that are open",
        lambda it: it.process.open_descriptors_count(),
    ),
    Metric("process_max_fds", "gauge", "", (), "How many may be", lambda it: it.process.descriptors_limit_count()),
    # Who is there
    Metric(
        "hazoom_connections",
        "gauge",
        "",
        (),
        "Clients that are let in, one for each tab",
        lambda it: it.hub.connection_count,
    ),
    Metric("hazoom_users", "gauge", "", (), "Users with a connection", lambda it: it.hub.user_count),
    Metric("hazoom_rooms", "gauge", "", (), "Rooms with somebody in them", lambda it: len(it.hub.rooms)),
    Metric("hazoom_sessions", "gauge", "", ("transport",), "Engine.IO sessions, let in or not", _sessions),
    Metric(
        "hazoom_sessions_opened_total", "counter", "", (), "Sessions that were opened", lambda it: it.engine.counts.opened
    ),
    Metric(
        "hazoom_sessions_closed_total",
        "counter",
        "",
        ("reason",),
        "Sessions that have ended; `slow_reader`: it did not take what was sent to it",
        lambda it: _by_one(it.engine.counts.closed),
    ),
    Metric(
        "hazoom_recoveries_total",
        "counter",
        "",
        ("result",),
        "Clients that came back after a drop: `recovered`, or `lost` if it was too late",
        _recoveries,
    ),
    Metric(
        "hazoom_handshakes_refused_total",
        "counter",
        "",
        ("reason",),
        "Requests to /socket.io/ that were refused; `too_many_connections`: with 429",
        lambda it: _by_one(it.engine.counts.refused),
    ),
    Metric(
        "hazoom_refusals_total",
        "counter",
        "",
        ("code",),
        "Events, connects and requests of backends that were refused, by the code of the contract",
        lambda it: _by_one(it.refused.by_code),
    ),
    # What goes through
    Metric(
        "hazoom_messages_total",
        "counter",
        "",
        (),
        "Messages, prompts and answers in rooms",
        lambda it: it.hub.messages_total,
    ),
    Metric(
        "hazoom_deliveries_total",
        "counter",
        "",
        (),
        "Events that were sent to clients, each recipient counted",
        lambda it: it.fan_out.deliveries_total,
    ),
    Metric(
        "hazoom_outbox_bytes",
        "gauge",
        "bytes",
        (),
        "What waits for clients that read slowly",
        lambda it: it.engine.outbox_bytes,
    ),
    Metric("hazoom_relay_items_total", "counter", "", (), "Relayed items that came", lambda it: it.relay.items_total),
    Metric(
        "hazoom_relay_dropped_total",
        "counter",
        "",
        (),
        "Of those, what one tick of a room had no space for",
        lambda it: it.relay.dropped_total,
    ),
    Metric(
        "hazoom_relay_frames_total",
        "counter",
        "",
        (),
        "Events with relayed items that left, one for each tick of a room",
        lambda it: it.relay.frames_total,
    ),
    Metric(
        "hazoom_state_changes_total", "counter", "", (), "Changes of the state of rooms", lambda it: it.states.changes_total
    ),
    Metric("hazoom_documents", "gauge", "", (), "Documents in memory", lambda it: it.documents.open_count),
    Metric(
        "hazoom_document_updates_total", "counter", "", (), "Updates of documents", lambda it: it.documents.updates_total
    ),
    # The AI
    Metric("hazoom_llm_active", "gauge", "", (), "Answers that run", lambda it: it.bridge.active_count),
    Metric("hazoom_llm_queued", "gauge", "", (), "Questions that wait for a slot", lambda it: it.answers.waiting_count),
    Metric("hazoom_llm_tokens_total", "counter", "", (), "Tokens of answers", lambda it: it.bridge.tokens_total),
    Metric(
        "hazoom_llm_first_token_seconds",
        "histogram",
        "seconds",
        (),
        "From the question to the first token, the time in the queue included",
        lambda it: it.bridge.first_tokens.histogram,
    ),
    Metric(
        "hazoom_llm_answers_total",
        "counter",
        "",
        ("end", "code"),
        "Answers that have ended: `finished`, `stopped`, or `failed` with the code of `llm_error`",
        _answers_ended,
    ),
    Metric(
        "hazoom_llm_circuit",
        "gauge",
        "",
        ("state",),
        "1 for the state of the circuit breaker: `closed`, `half_open`, `open`",
        _circuit,
    ),
    # The message log
    Metric(
        "hazoom_log_commit_seconds",
        "histogram",
        "seconds",
        (),
        "How long it took to keep what was said at once, for which its senders wait",
        lambda it: it.delivery.commit_s,
    ),
    Metric(
        "hazoom_log_commits_failed_total",
        "counter",
        "",
        (),
        "Commits that were taken back, and their senders refused",
        lambda it: it.delivery.revoked_count,
    ),
    Metric("hazoom_log_bytes", "gauge", "bytes", (), "Size of the file of messages, 0 in memory", _log_bytes, True),
    Metric("hazoom_log_disk_free_bytes", "gauge", "bytes", (), "What is free on its disk", _disk_free_bytes, True),
)


def rows() -> Iterator[str]:
    """Yield the rows of the table in the guide, in Markdown."""
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"
