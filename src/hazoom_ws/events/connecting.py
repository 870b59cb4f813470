"""Who connects and says who they are, and what they are told."""

import re
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from hazoom_ws.events.base import HIDDEN, ClientPayload, IfSlow, ServerEvent, Timestamp, encoded
from hazoom_ws.settings import Settings

TOKEN_LIMIT_CHARS = 16_384
_OFFSET = re.compile(r"([0-9]{1,16})(?:\.([0-9a-zA-Z]{1,32}))?")  # 16 digits are those of 2**53


class Auth(Struct, frozen=True, kw_only=True):
    """The ``auth`` object of a CONNECT packet; all of it is optional in open mode.

    ``guest_key``: the one of an earlier ``status``, to be the same guest again. ``recover``: whether the client can come
    back and get what it missed, for which its handlers take one more argument; some clients can send strings only.
    """

    user_name: str | UnsetType = UNSET
    token: str | UnsetType = UNSET
    api_key: str | UnsetType = UNSET
    guest_key: str | UnsetType = UNSET
    recover: bool | Literal["true", "false"] | UnsetType = UNSET
    # The official client's own, see `hazoom_ws.chat.recovery`; what they cannot be, they are not.
    pid: Annotated[Any, HIDDEN] = None
    offset: Annotated[Any, HIDDEN] = None

    def is_recoverable(self, *, takes_offsets: bool) -> bool:
        """Return whether the client wants to be able to come back, and can take the offsets that this needs.

        ``takes_offsets`` says so of a client that says nothing itself.
        """
        return takes_offsets if self.recover is UNSET else self.recover in (True, "true")


def offset_in(offset: object) -> int | None:
    """Return the number that an offset is, as a client has said it; None if it is none of ours."""
    found = _OFFSET.fullmatch(offset) if isinstance(offset, str) else None
    return None if found is None else int(found[1])


def numbered_by(offset: object) -> str:
    """Return the name of the process that has given an offset, "" if it does not say that.

    Of several processes each numbers what is not kept by itself: only in its own numbers it sees what a client has missed
    of that. Numbers of what is kept are the same for all.
    """
    found = _OFFSET.fullmatch(offset) if isinstance(offset, str) else None
    return "" if found is None else found[2] or ""


class RefreshToken(ClientPayload, frozen=True, kw_only=True):
    """Another token, of the same user, before the one of CONNECT ends."""

    event: ClassVar[str] = "refresh_token"
    token: Annotated[str, Meta(min_length=1, max_length=TOKEN_LIMIT_CHARS)]


class TokenRefreshed(Struct, frozen=True, kw_only=True):
    """Until when the token counts; null: for ever."""

    expires_at: Timestamp | None


class ServerInfo(Struct, frozen=True, kw_only=True):
    """What answers: its name and its version."""

    name: str
    version: str


class Limits(Struct, frozen=True, kw_only=True):
    """How much a client may, as `status` tells it. A rate of 0 is none: there is no limit then."""

    events_per_s: float
    events_burst_count: int
    bytes_per_s: float
    burst_bytes: int
    relayed_per_s: float
    relayed_burst_count: int
    user_events_per_s: float
    user_events_burst_count: int
    user_connections_count: int
    event_bytes: int
    message_bytes: int
    relayed_bytes: int
    document_update_bytes: int
    rooms_count: int
    room_name_chars: int
    user_name_chars: int
    answers_count: int
    questions_waiting_count: int


def limits_of(settings: Settings, relayed_bytes: int) -> Raw:
    """Return `Limits` as they go out, encoded once: they are told on every connect."""
    limits = Limits(
        events_per_s=settings.rate_limit_per_s,
        events_burst_count=settings.rate_limit_burst_count,
        bytes_per_s=settings.rate_limit_bytes_per_s if settings.rate_limit_per_s else 0,
        burst_bytes=settings.rate_limit_burst_bytes,
        relayed_per_s=settings.relay_rate_limit_per_s,
        relayed_burst_count=settings.relay_rate_limit_burst_count,
        user_events_per_s=settings.user_rate_limit_per_s if settings.rate_limit_per_s else 0,
        user_events_burst_count=settings.user_rate_limit_burst_count,
        user_connections_count=settings.connections_per_user_limit,
        event_bytes=settings.event_limit_bytes,
        message_bytes=settings.message_limit_bytes,
        relayed_bytes=relayed_bytes,
        document_update_bytes=settings.document_update_limit_bytes,
        rooms_count=settings.rooms_per_connection_limit,
        room_name_chars=settings.room_name_limit_chars,
        user_name_chars=settings.user_name_limit_chars,
        answers_count=settings.llm_streams_per_user_limit,
        questions_waiting_count=settings.llm_queue_per_user_limit,
    )
    return Raw(msgspec.json.encode(limits))


class Status(Struct, frozen=True, kw_only=True):
    """Who and where one is, on each namespace when it accepts a client. ``client``: the connection's public id.

    ``sid``: the client's id in this namespace. ``recovered``: what was missed follows. ``guest_key``: a secret, with which
    a guest is the same one again for a day. ``user_id``: one's own, where identities are checked, as messages have it.
    """

    event: ClassVar[str] = "status"
    if_slow: ClassVar[IfSlow] = "kept"
    is_kept: ClassVar[bool] = False
    is_numbered: ClassVar[bool] = True
    has_parts: ClassVar[bool] = False
    connected: bool = True
    message: str = "Connected to hazoom_ws"
    sid: str
    user: str
    rooms: list[str]
    server: ServerInfo
    recovered: bool = False
    client: str
    limits: Annotated[Raw, encoded(Limits)]
    guest_key: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET


class Bye(ServerEvent, frozen=True, kw_only=True):
    """The last event of a connection that the server closes on purpose, on each of our namespaces.

    ``reconnect``: the client is to come back, ``retry_after_ms`` milliseconds from now; the close is one after which the
    official client does that. False: it is one after which that stays away.
    """

    event: ClassVar[str] = "bye"
    reason: str
    reconnect: bool
    retry_after_ms: int = 0
