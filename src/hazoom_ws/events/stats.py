"""Statistics on the wire."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.events.base import ClientPayload, ServerEvent, Timestamp


class GetStats(ClientPayload, frozen=True, kw_only=True):
    """Ask for the numbers of the whole server."""

    event = "get_stats"
    required = False


class SubscribeStats(ClientPayload, frozen=True, kw_only=True):
    """Ask for what the last quarter of an hour was like, and for a sample a second from now on.

    ``since``: only for what came after that; all that there is by default.
    """

    event = "stats_subscribe"
    required = False
    since: Timestamp | UnsetType = UNSET


class UnsubscribeStats(ClientPayload, frozen=True, kw_only=True):
    """Ask for no more samples. Who disconnects need not say so."""

    event = "stats_unsubscribe"
    required = False


class LlmStats(Struct, frozen=True, kw_only=True):
    """Percentiles are over the last thousand requests, 0 before the first; times are milliseconds since the question.

    ``failures_total``: by code. ``circuit``: open while the backend is out of reach and not asked, until ``retry_at``.
    """

    active: int
    queued: int
    requests_total: int
    cancelled_total: int
    failures_total: dict[str, int]
    tokens_total: int
    ttft_ms_p50: float
    ttft_ms_p99: float
    duration_ms_p50: float
    duration_ms_p99: float
    queue_ms_p50: float
    queue_ms_p99: float
    tokens_per_s_p50: float
    circuit: Literal["closed", "open", "half_open"]
    retry_at: Timestamp | UnsetType = UNSET


class ProcessStats(Struct, frozen=True, kw_only=True):
    """One of several processes on one Redis, as it was a second ago at most. ``name``: it makes one up when it starts.

    ``rss_mb``: resident memory, 2**20 bytes.
    """

    name: str
    users: int
    connections: int
    messages_total: int
    llm_active: int
    llm_queued: int
    uptime_s: float
    rss_mb: float


class Stats(ServerEvent, frozen=True, kw_only=True):
    """``rooms``: users per room, for the thousand oldest rooms; ``rss_mb``: resident memory, 2**20 bytes.

    ``processes``: with several on one Redis, each of them, the one that answers first. Then users, connections, messages,
    and answers that run or wait are those of all; the rest is of the one that answers.
    """

    event = "stats"
    if_slow = "dropped"
    active_users: int
    rooms: dict[str, int]
    total_connections: int
    uptime_s: float
    messages_total: int
    llm: LlmStats
    rss_mb: float
    processes: list[ProcessStats] | UnsetType = UNSET


class StatsSample(Struct, frozen=True, kw_only=True):
    """What one process was like for about a second, up to ``at``.

    Rates are per second of that time. ``ttft_ms_...``: from a question to the first token of its answer, percentiles of the
    last minute, null if no answer has begun since. ``cpu_percent``: of one processor. ``rss_mb``: resident memory, 2**20
    bytes. ``refusals``: how many there were in that time, by code.
    """

    at: Timestamp
    connections: int
    users: int
    rooms: int
    messages_per_s: float
    deliveries_per_s: float
    relay_frames_per_s: float
    llm_active: int
    llm_queued: int
    tokens_per_s: float
    ttft_ms_p50: float | None
    ttft_ms_p99: float | None
    loop_lag_ms: float
    cpu_percent: float
    rss_mb: float
    refusals: dict[str, int]


class StatsTick(ServerEvent, frozen=True, kw_only=True):
    """The newest sample of a process. ``process`` is an id that each process makes up when it starts."""

    event = "stats_tick"
    if_slow = "dropped"
    process: str
    sample: StatsSample


class StatsSeries(Struct, frozen=True, kw_only=True):
    """Many samples, the oldest first: of each field of `StatsSample` a list. A quarter of the bytes that objects take."""

    at: list[Timestamp]
    connections: list[int]
    users: list[int]
    rooms: list[int]
    messages_per_s: list[float]
    deliveries_per_s: list[float]
    relay_frames_per_s: list[float]
    llm_active: list[int]
    llm_queued: list[int]
    tokens_per_s: list[float]
    ttft_ms_p50: list[float | None]
    ttft_ms_p99: list[float | None]
    loop_lag_ms: list[float]
    cpu_percent: list[float]
    rss_mb: list[float]
    refusals: list[dict[str, int]]


class StatsHistory(Struct, frozen=True, kw_only=True):
    """What one process was like. ``process``: as in `StatsTick`; ``version`` and ``uptime_s`` are its own."""

    process: str
    version: str
    uptime_s: float
    samples: StatsSeries
