"""Who connects and says who they are, and what they are told."""

from typing import Any, ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.events.base import IfSlow, ServerEvent


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


class ServerInfo(Struct, frozen=True, kw_only=True):
    """What answers: its name and its version."""

    name: str
    version: str


class Status(Struct, frozen=True, kw_only=True):
    """The event ``status``, on each namespace when it accepts a client. ``client``: the connection's public id."""

    event: ClassVar[str] = "status"
    if_slow: ClassVar[IfSlow] = "kept"
    is_kept: ClassVar[bool] = False
    has_parts: ClassVar[bool] = False
    connected: bool = True
    message: str = "Connected to hazoom_ws"
    sid: str
    user: str
    rooms: list[str]
    server: ServerInfo
    recovered: bool = False
    client: str


class Bye(ServerEvent, frozen=True, kw_only=True):
    """The last event of a connection that the server closes on purpose, on each of our namespaces.

    ``reconnect``: the client is to come back, ``retry_after_ms`` milliseconds from now; the close is one after which the
    official client does that. False: it is one after which that stays away.
    """

    event: ClassVar[str] = "bye"
    reason: str
    reconnect: bool
    retry_after_ms: int = 0
