"""Statistics on the wire."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.events.base import ClientPayload, ServerEvent, Timestamp


class GetStats(ClientPayload, frozen=True, kw_only=True):
    """Ask for the numbers of the whole server."""

    event = "get_stats"
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


class Stats(ServerEvent, frozen=True, kw_only=True):
    """``rooms``: users per room, for the thousand oldest rooms; ``rss_mb``: resident memory, 2**20 bytes."""

    event = "stats"
    if_slow = "dropped"
    active_users: int
    rooms: dict[str, int]
    total_connections: int
    uptime_s: float
    messages_total: int
    llm: LlmStats
    rss_mb: float
