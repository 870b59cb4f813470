"""Every event's payload, in and out: the one source of what is valid and of what is sent.

A client event is a `ClientPayload`, a server event a `ServerEvent`; the class names the event and the feature whose
namespaces carry it. Unknown fields are ignored, a field that may be left out is ``UNSET`` when it is. Limits that are
settings are checked by `parse`, the rest by the types. Field order is wire order.
"""

import time
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from hazoom_ws.errors import HazoomError

Feature = Literal["rooms", "typing", "stats", "llm"]
FEATURES: tuple[Feature, ...] = ("rooms", "typing", "stats", "llm")

Identifier = Annotated[str, Meta(min_length=1, max_length=128)]
Seq = Annotated[int, Meta(ge=0, le=2**53)]
PageSize = Annotated[int, Meta(ge=0, le=500)]
IntelligenceLevel = Literal["nano", "standard", "super", "quantum"]
FinishReason = Literal["stop", "cancelled", "failed"]
# What becomes of an event while its reader is slow: it waits; it may be lost; it waits joined with others of its stream; it
# waits, and its reader is not called slow for that (an answer of the AI, whose size others bound).
IfSlow = Literal["kept", "dropped", "joined", "patient"]


class ClientPayload(Struct, frozen=True, kw_only=True):
    """What a client sends: one JSON object."""

    event: ClassVar[str]
    feature: ClassVar[Feature]
    required: ClassVar[bool] = True


class Auth(Struct, frozen=True, kw_only=True):
    """The ``auth`` object of a CONNECT packet; all of it is optional in open mode. Some clients can send strings only.

    ``pid`` and ``offset`` are the official client's own, see `hazoom_ws.chat.recovery`; what they cannot be, they are not.
    """

    user_name: str | UnsetType = UNSET
    token: str | UnsetType = UNSET
    api_key: str | UnsetType = UNSET
    recover: bool | Literal["true", "false"] | UnsetType = UNSET
    pid: Any = None
    offset: Any = None

    def is_recoverable(self, *, takes_offsets: bool) -> bool:
        """Return whether the client wants to be able to come back, and can take the offsets that this needs.

        ``takes_offsets`` says so of a client that says nothing itself.
        """
        return takes_offsets if self.recover is UNSET else self.recover in (True, "true")


class JoinRoom(ClientPayload, frozen=True, kw_only=True):
    event = "join_room"
    feature = "rooms"
    room: str | UnsetType = UNSET
    since: Seq | UnsetType = UNSET
    history: PageSize = 50


class LeaveRoom(ClientPayload, frozen=True, kw_only=True):
    event = "leave_room"
    feature = "rooms"
    room: str | UnsetType = UNSET


class SendMessage(ClientPayload, frozen=True, kw_only=True):
    event = "message"
    feature = "rooms"
    message: str
    room: str | UnsetType = UNSET
    user_name: str | UnsetType = UNSET
    client_id: Identifier | UnsetType = UNSET


class GetHistory(ClientPayload, frozen=True, kw_only=True):
    event = "get_history"
    feature = "rooms"
    room: str | UnsetType = UNSET
    before: Seq | UnsetType = UNSET
    after: Seq | UnsetType = UNSET
    limit: PageSize = 50


class Typing(ClientPayload, frozen=True, kw_only=True):
    event = "typing"
    feature = "typing"
    room: str | UnsetType = UNSET
    is_typing: bool = True
    user_name: str | UnsetType = UNSET


class LlmRequest(ClientPayload, frozen=True, kw_only=True):
    event = "llm_request"
    feature = "llm"
    message: str
    intelligence_level: IntelligenceLevel = "super"
    room: str | UnsetType = UNSET
    stream: bool = True
    request_id: Identifier | UnsetType = UNSET
    session_id: Identifier | UnsetType = UNSET


class LlmCancel(ClientPayload, frozen=True, kw_only=True):
    event = "llm_cancel"
    feature = "llm"
    request_id: Identifier


class LlmResume(ClientPayload, frozen=True, kw_only=True):
    event = "llm_resume"
    feature = "llm"
    request_id: Identifier
    index: Seq


class GetStats(ClientPayload, frozen=True, kw_only=True):
    event = "get_stats"
    feature = "stats"
    required = False


class ServerEvent(Struct, frozen=True, kw_only=True):
    """What the server sends on the namespaces of a feature. ``if_slow``: see `IfSlow`."""

    event: ClassVar[str]
    feature: ClassVar[Feature]
    if_slow: ClassVar[IfSlow] = "kept"


class ServerInfo(Struct, frozen=True, kw_only=True):
    name: str
    version: str


class Status(Struct, frozen=True, kw_only=True):
    """The event ``status``, on each namespace when it accepts a client."""

    event: ClassVar[str] = "status"
    if_slow: ClassVar[IfSlow] = "kept"
    connected: bool = True
    message: str = "Connected to hazoom_ws"
    sid: str
    user: str
    rooms: list[str]
    server: ServerInfo
    recovered: bool = False


class NewMessage(ServerEvent, frozen=True, kw_only=True, gc=False):
    """One message, as it is broadcast, kept and replayed. ``timestamp``: seconds since the epoch, UTC.

    An answer of the AI (``kind`` "assistant") is kept however it ended, with what there was of it, "" if there was nothing:
    ``finish_reason``, and ``code`` if it failed. What earlier versions have kept has neither.
    """

    event = "new_message"
    feature = "rooms"
    user: str
    message: str
    timestamp: float
    room: str
    id: str
    seq: int
    client_id: str | UnsetType = UNSET
    kind: Literal["prompt", "assistant"] | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    finish_reason: FinishReason | UnsetType = UNSET
    code: str | UnsetType = UNSET


class RoomJoined(ServerEvent, frozen=True, kw_only=True):
    """``users``: at most 200 names; ``complete``: nothing is missing before (or since) ``messages``.

    Who has asked for an acknowledgement gets ``messages`` there, and not here too.
    """

    event = "room_joined"
    feature = "rooms"
    room: str
    user_count: int
    users: list[str]
    messages: list[NewMessage] | UnsetType = UNSET
    complete: bool


class RoomLeft(ServerEvent, frozen=True, kw_only=True):
    event = "room_left"
    feature = "rooms"
    room: str
    user_count: int


class UserJoined(ServerEvent, frozen=True, kw_only=True):
    event = "user_joined"
    feature = "rooms"
    if_slow = "dropped"
    room: str
    user: str
    user_count: int


class UserLeft(ServerEvent, frozen=True, kw_only=True):
    event = "user_left"
    feature = "rooms"
    if_slow = "dropped"
    room: str
    user: str
    user_count: int


class UserTyping(ServerEvent, frozen=True, kw_only=True):
    event = "user_typing"
    feature = "typing"
    if_slow = "dropped"
    user: str
    is_typing: bool
    room: str


class LlmToken(ServerEvent, frozen=True, kw_only=True):
    """``index`` counts Django's tokens from 0; a slow reader gets several joined, with the first one's ``index``."""

    event = "llm_token"
    feature = "llm"
    if_slow: ClassVar[IfSlow] = "joined"
    token: str
    request_id: str
    index: int
    room: str | UnsetType = UNSET


class LlmTokens(LlmToken, frozen=True, kw_only=True):
    """Several tokens, joined. ``snapshot``: the whole answer so far, for who has come in the middle."""

    if_slow: ClassVar[IfSlow] = "patient"
    snapshot: bool | UnsetType = UNSET


class LlmStarted(ServerEvent, frozen=True, kw_only=True):
    """The backend is asked now; ``user`` is who has asked. What is said of the answer follows."""

    event = "llm_started"
    feature = "llm"
    request_id: str
    user: str
    intelligence_level: IntelligenceLevel
    room: str | UnsetType = UNSET


class LlmQueued(ServerEvent, frozen=True, kw_only=True):
    """The question waits for an answer to end; ``position`` 1 is the next of all that wait."""

    event = "llm_queued"
    feature = "llm"
    if_slow = "dropped"
    request_id: str
    position: int


class LlmResponse(ServerEvent, frozen=True, kw_only=True):
    event = "llm_response"
    feature = "llm"
    if_slow = "patient"
    response: str
    intelligence_level: IntelligenceLevel
    request_id: str
    session_id: str
    room: str | UnsetType = UNSET


class LlmComplete(ServerEvent, frozen=True, kw_only=True):
    """Durations are milliseconds since the request arrived, its waiting included; without a stream ``token_count`` is 0."""

    event = "llm_complete"
    feature = "llm"
    if_slow = "patient"
    message: str = "Response complete"
    timestamp: float
    request_id: str
    response: str
    finish_reason: Literal["stop", "cancelled"] = "stop"
    intelligence_level: IntelligenceLevel
    session_id: str
    token_count: int
    ttft_ms: float
    duration_ms: float
    room: str | UnsetType = UNSET


class LlmError(ServerEvent, frozen=True, kw_only=True):
    """``retry_at``: seconds since the epoch, UTC, where it is known when asking again makes sense."""

    event = "llm_error"
    feature = "llm"
    request_id: str
    code: str
    message: str
    retry: bool
    retry_at: float | UnsetType = UNSET
    room: str | UnsetType = UNSET


class LlmStats(Struct, frozen=True, kw_only=True):
    """Percentiles are over the last thousand requests, 0 before the first; times are milliseconds since the question.

    ``failures_total``: by code. ``circuit``: open while the backend is out of reach and not asked, until ``retry_at``
    (seconds since the epoch, UTC).
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
    retry_at: float | UnsetType = UNSET


class Stats(ServerEvent, frozen=True, kw_only=True):
    """``rooms``: users per room, for the thousand oldest rooms; ``rss_mb``: resident memory, 2**20 bytes."""

    event = "stats"
    feature = "stats"
    if_slow = "dropped"
    active_users: int
    rooms: dict[str, int]
    total_connections: int
    uptime_s: float
    messages_total: int
    llm: LlmStats
    rss_mb: float


class ErrorReport(Struct, frozen=True, kw_only=True):
    """A refusal: the ``error`` of a failed acknowledgement, or the event ``error`` on the namespace that refused.

    ``retry_at``: seconds since the epoch, UTC, where it is known when ``retry`` makes sense.
    """

    code: str
    message: str
    event: str
    retry: bool
    retry_at: float | UnsetType = UNSET


def report_of(error: HazoomError, event: str) -> ErrorReport:
    """Return what a client is told of ``error``, which its ``event`` met."""
    return ErrorReport(
        code=error.code, message=str(error), event=event, retry=error.retry, retry_at=retry_at(error.retry_after_s)
    )


def retry_at(after_s: float | None) -> float | UnsetType:
    """Return the moment that comes ``after_s`` seconds from now, as clients are told it."""
    return UNSET if after_s is None else round(time.time() + after_s, 3)


class Published(Struct, frozen=True, kw_only=True):
    """Acknowledgement of ``message``."""

    id: str
    seq: int
    timestamp: float
    duplicate: bool


class HistoryPage(Struct, frozen=True, kw_only=True):
    """Acknowledgement of ``get_history``: ascending by ``seq``; ``complete``: there is no more in that direction."""

    room: str
    messages: list[NewMessage]
    complete: bool


class LlmAccepted(Struct, frozen=True, kw_only=True):
    """Acknowledgement of ``llm_request``, ``llm_cancel`` and ``llm_resume``."""

    request_id: str


CLIENT_EVENTS: dict[str, type[ClientPayload]] = {
    payload.event: payload
    for payload in (JoinRoom, LeaveRoom, SendMessage, GetHistory, Typing, LlmRequest, LlmCancel, LlmResume, GetStats)
}
