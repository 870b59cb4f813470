"""Questions to the AI and their answers, on the wire."""

from typing import ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.events.base import ClientPayload, ErrorCode, Identifier, IfSlow, Seq, ServerEvent, Timestamp

IntelligenceLevel = Literal["nano", "standard", "super", "quantum"]


class LlmRequest(ClientPayload, frozen=True, kw_only=True):
    """Ask the AI: alone, or with ``room`` for all who are in it. The same ``request_id`` again asks once.

    ``document``: the answer is written there too, to the end of its shared text ``text``. ``on_error`` "remove": what was
    written is taken back if the answer fails. ``traceparent`` and ``tracestate``: as W3C Trace Context has them.
    """

    event = "llm_request"
    message: str
    intelligence_level: IntelligenceLevel = "super"
    room: str | UnsetType = UNSET
    stream: bool = True
    request_id: Identifier | UnsetType = UNSET
    session_id: Identifier | UnsetType = UNSET
    document: str | UnsetType = UNSET
    text: Identifier = "content"
    on_error: Literal["keep", "remove"] = "keep"
    traceparent: str | UnsetType = UNSET
    tracestate: str | UnsetType = UNSET


class LlmCancel(ClientPayload, frozen=True, kw_only=True):
    """Stop an answer; what there is of it stays."""

    event = "llm_cancel"
    request_id: Identifier


class LlmResume(ClientPayload, frozen=True, kw_only=True):
    """Get an answer from the token ``index`` on, and the rest as it comes."""

    event = "llm_resume"
    request_id: Identifier
    index: Seq


class LlmToken(ServerEvent, frozen=True, kw_only=True):
    """A piece of an answer. ``index`` counts Django's tokens from 0; several that are joined have the first one's."""

    event = "llm_token"
    is_numbered = True
    if_slow: ClassVar[IfSlow] = "joined"
    token: str
    request_id: str
    index: int
    room: str | UnsetType = UNSET


class LlmTokens(LlmToken, frozen=True, kw_only=True):
    """A slow reader gets several, joined. ``snapshot``: the whole answer so far, for who has come in the middle."""

    if_slow: ClassVar[IfSlow] = "patient"
    snapshot: bool | UnsetType = UNSET


class LlmStarted(ServerEvent, frozen=True, kw_only=True):
    """The backend is asked now; ``user`` is who has asked. What is said of the answer follows."""

    event = "llm_started"
    is_numbered = True
    request_id: str
    user: str
    intelligence_level: IntelligenceLevel
    room: str | UnsetType = UNSET


class LlmQueued(ServerEvent, frozen=True, kw_only=True):
    """The question waits for an answer to end; ``position`` 1 is the next of all that wait."""

    event = "llm_queued"
    if_slow = "dropped"
    request_id: str
    position: int


class LlmResponse(ServerEvent, frozen=True, kw_only=True):
    """A whole answer, for ``stream: false``; `LlmComplete` follows."""

    event = "llm_response"
    is_numbered = True
    if_slow = "patient"
    response: str
    intelligence_level: IntelligenceLevel
    request_id: str
    session_id: str
    room: str | UnsetType = UNSET


class LlmComplete(ServerEvent, frozen=True, kw_only=True):
    """The end of an answer, and the whole of it. ``finish_reason`` "cancelled": what there was of it.

    Durations are milliseconds since the request arrived, its waiting included; without a stream ``token_count`` is 0.
    """

    event = "llm_complete"
    is_numbered = True
    if_slow = "patient"
    message: str = "Response complete"
    timestamp: Timestamp
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
    """The end of an answer that has failed. ``retry``: asking again can succeed, from ``retry_at`` on if that is known."""

    event = "llm_error"
    is_numbered = True
    request_id: str
    code: ErrorCode
    message: str
    retry: bool
    retry_at: Timestamp | UnsetType = UNSET
    room: str | UnsetType = UNSET


class LlmAccepted(Struct, frozen=True, kw_only=True):
    """Acknowledgement of ``llm_request``, ``llm_cancel`` and ``llm_resume``."""

    request_id: str
