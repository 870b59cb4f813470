"""Every event's payload, in and out: the one source of what is valid and of what is sent.

A client event is a `ClientPayload`, a server event a `ServerEvent`; the class names the event and the feature whose
namespaces carry it. Unknown fields are ignored, a field that may be left out is ``UNSET`` when it is. Limits that are
settings are checked by `parse`, the rest by the types. Field order is wire order.
"""

from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hazoom_ws.errors import BadPayload, HazoomError, TooLarge
from hazoom_ws.settings import Settings

Feature = Literal["rooms", "typing", "stats", "llm"]
FEATURES: tuple[Feature, ...] = ("rooms", "typing", "stats", "llm")

Identifier = Annotated[str, Meta(min_length=1, max_length=128)]
Seq = Annotated[int, Meta(ge=0, le=2**53)]
PageSize = Annotated[int, Meta(ge=0, le=500)]
IntelligenceLevel = Literal["nano", "standard", "super", "quantum"]


class ClientPayload(Struct, frozen=True, kw_only=True):
    """What a client sends: one JSON object."""

    event: ClassVar[str]
    feature: ClassVar[Feature]
    required: ClassVar[bool] = True


class Auth(Struct, frozen=True, kw_only=True):
    """The ``auth`` object of a CONNECT packet; all of it is optional in open mode.

    ``pid`` and ``offset`` are the official client's own, see `hazoom_ws.chat.recovery`; what they cannot be, they are not.
    """

    user_name: str | UnsetType = UNSET
    token: str | UnsetType = UNSET
    api_key: str | UnsetType = UNSET
    recover: bool = True
    pid: Any = None
    offset: Any = None


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


class GetStats(ClientPayload, frozen=True, kw_only=True):
    event = "get_stats"
    feature = "stats"
    required = False


class ServerEvent(Struct, frozen=True, kw_only=True):
    """What the server sends on the namespaces of a feature. ``is_droppable``: a slow reader may miss it."""

    event: ClassVar[str]
    feature: ClassVar[Feature]
    is_droppable: ClassVar[bool] = False


class ServerInfo(Struct, frozen=True, kw_only=True):
    name: str
    version: str


class Status(Struct, frozen=True, kw_only=True):
    """The event ``status``, on each namespace when it accepts a client."""

    event: ClassVar[str] = "status"
    is_droppable: ClassVar[bool] = False
    connected: bool = True
    message: str = "Connected to hazoom_ws"
    sid: str
    user: str
    rooms: list[str]
    server: ServerInfo
    recovered: bool = False


class NewMessage(ServerEvent, frozen=True, kw_only=True, gc=False):
    """One message, as it is broadcast, kept and replayed. ``timestamp``: seconds since the epoch, UTC."""

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


class RoomJoined(ServerEvent, frozen=True, kw_only=True):
    """``users``: at most 200 names; ``complete``: nothing is missing before (or since) ``messages``."""

    event = "room_joined"
    feature = "rooms"
    room: str
    user_count: int
    users: list[str]
    messages: list[NewMessage]
    complete: bool


class RoomLeft(ServerEvent, frozen=True, kw_only=True):
    event = "room_left"
    feature = "rooms"
    room: str
    user_count: int


class UserJoined(ServerEvent, frozen=True, kw_only=True):
    event = "user_joined"
    feature = "rooms"
    is_droppable = True
    room: str
    user: str
    user_count: int


class UserLeft(ServerEvent, frozen=True, kw_only=True):
    event = "user_left"
    feature = "rooms"
    is_droppable = True
    room: str
    user: str
    user_count: int


class UserTyping(ServerEvent, frozen=True, kw_only=True):
    event = "user_typing"
    feature = "typing"
    is_droppable = True
    user: str
    is_typing: bool
    room: str


class LlmToken(ServerEvent, frozen=True, kw_only=True):
    """``index`` counts Django's tokens from 0."""

    event = "llm_token"
    feature = "llm"
    token: str
    request_id: str
    index: int
    room: str | UnsetType = UNSET


class LlmResponse(ServerEvent, frozen=True, kw_only=True):
    event = "llm_response"
    feature = "llm"
    response: str
    intelligence_level: IntelligenceLevel
    request_id: str
    session_id: str
    room: str | UnsetType = UNSET


class LlmComplete(ServerEvent, frozen=True, kw_only=True):
    """Durations are milliseconds since the request arrived; without a stream ``token_count`` is 0."""

    event = "llm_complete"
    feature = "llm"
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
    event = "llm_error"
    feature = "llm"
    request_id: str
    code: str
    message: str
    retry: bool
    room: str | UnsetType = UNSET


class LlmStats(Struct, frozen=True, kw_only=True):
    """Times to first token are milliseconds over the last thousand answers, 0 before the first."""

    active: int
    requests_total: int
    tokens_total: int
    ttft_ms_p50: float
    ttft_ms_p99: float


class Stats(ServerEvent, frozen=True, kw_only=True):
    """``rooms``: users per room, for the thousand oldest rooms; ``rss_mb``: resident memory, 2**20 bytes."""

    event = "stats"
    feature = "stats"
    is_droppable = True
    active_users: int
    rooms: dict[str, int]
    total_connections: int
    uptime_s: float
    messages_total: int
    llm: LlmStats
    rss_mb: float


class ErrorReport(Struct, frozen=True, kw_only=True):
    """A refusal: the ``error`` of a failed acknowledgement, or the event ``error`` on the namespace that refused."""

    code: str
    message: str
    event: str
    retry: bool


def report_of(error: HazoomError, event: str) -> ErrorReport:
    """Return what a client is told of ``error``, which its ``event`` met."""
    return ErrorReport(code=error.code, message=str(error), event=event, retry=error.retry)


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
    """Acknowledgement of ``llm_request`` and ``llm_cancel``."""

    request_id: str


CLIENT_EVENTS: dict[str, type[ClientPayload]] = {
    payload.event: payload
    for payload in (JoinRoom, LeaveRoom, SendMessage, GetHistory, Typing, LlmRequest, LlmCancel, GetStats)
}

T = TypeVar("T", bound=Struct)


def parse(payload_type: type[T], payload: object, settings: Settings) -> T:
    """Turn decoded JSON into ``payload_type``.

    Raises `BadPayload` with the field's name and its limit, or `TooLarge` for a ``message`` over its limit.
    """
    try:
        parsed = msgspec.convert(payload, payload_type)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    _check_text(parsed, "room", settings.room_name_limit_chars, may_be_blank=False)
    _check_text(parsed, "user_name", settings.user_name_limit_chars, may_be_blank=True)
    message: Any = getattr(parsed, "message", UNSET)
    if message is not UNSET:
        # Four bytes a character is the most that UTF-8 needs: most messages are never encoded to be measured.
        if len(message) * 4 > settings.message_limit_bytes:
            size_bytes = len(message.encode())
            if size_bytes > settings.message_limit_bytes:
                raise TooLarge("message", settings.message_limit_bytes, size_bytes)
        if not message.strip():
            raise BadPayload("message", "must not be empty or blank")
    return parsed


def _check_text(parsed: Struct, field: str, limit_chars: int, *, may_be_blank: bool) -> None:
    text: Any = getattr(parsed, field, UNSET)
    if text is UNSET:
        return
    if len(text) > limit_chars:
        raise BadPayload(field, f"{len(text)} characters, the limit is {limit_chars}")
    if not may_be_blank and not text.strip():
        raise BadPayload(field, "must not be empty or blank")


def _refusal(text: str) -> BadPayload:
    """Turn msgspec's "Expected `str`, got `int` - at `$.room`" into "room: expected str, got int"."""
    problem, _, path = text.replace("`", "").partition(" - at ")
    field = path.removeprefix("$").removeprefix(".") or "payload"
    if problem.startswith("Object missing required field "):
        return BadPayload(problem.rsplit(" ", 1)[1], "is required")
    return BadPayload(field, problem[0].lower() + problem[1:])
