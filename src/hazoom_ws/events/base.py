"""What every event has: its name, what becomes of it where its reader is slow. Types that features share."""

import time
from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Identifier = Annotated[str, Meta(min_length=1, max_length=128)]

Seq = Annotated[int, Meta(ge=0, le=2**53)]

# What stands in JSON for the binary parts of an event, the first of them first: as many as one may have.
PLACEHOLDERS: tuple[Raw, ...] = tuple(Raw(b'{"_placeholder":true,"num":%d}' % number) for number in range(10))

PageSize = Annotated[int, Meta(ge=0, le=500)]

Timestamp = Annotated[float, Meta(description="Seconds since the epoch, UTC.")]

# For who makes types of the declarations (`hazoom_ws.schema`): a field that clients do not see; a text that is one of the
# codes of `hazoom_ws.errors`, or of a feature of the application.
HIDDEN = Meta(extra={"is_hidden": True})
ErrorCode = Annotated[str, Meta(extra={"is_error_code": True})]


def encoded(struct_type: type[Struct]) -> Meta:
    """Return what marks a field of `Raw` that holds such a struct, encoded before."""
    return Meta(extra={"holds": struct_type})


FinishReason = Literal["stop", "cancelled", "failed"]

# What becomes of an event while its reader is slow: it waits; it may be lost; it waits joined with others of its stream; it
# waits, and its reader is not called slow for that (an answer of the AI, whose size others bound).
IfSlow = Literal["kept", "dropped", "joined", "patient"]


class ClientPayload(Struct, frozen=True, kw_only=True):
    """What a client sends: one JSON object.

    ``required`` False: nothing at all is an empty object. ``is_fleeting``: nobody waits for it, and one that is over the
    rate is dropped without a word, unless its sender asks for an acknowledgement. ``has_own_rate``: it does not count as
    one of the events per second, only its bytes do. ``nullable``: fields in which ``null`` says something.
    ``takes_parts``: fields of the type ``bytes`` or ``Any`` may be binary parts of the packet, and are bytes then; text is
    never taken for bytes.
    """

    event: ClassVar[str]
    required: ClassVar[bool] = True
    is_fleeting: ClassVar[bool] = False
    has_own_rate: ClassVar[bool] = False
    nullable: ClassVar[frozenset[str]] = frozenset()
    takes_parts: ClassVar[bool] = False


class ServerEvent(Struct, frozen=True, kw_only=True):
    """What the server sends on the namespaces of the feature that declares it. ``if_slow``: see `IfSlow`.

    ``is_kept``: what is sent to a room is in the message log, with a place in the order, and replayed to who comes back.
    ``is_numbered``: it comes with its offset, as one more argument, to clients that recover; what is kept does anyway.
    ``has_parts``: it has a method ``split()``, which returns the struct that is sent as JSON, with one of `PLACEHOLDERS`
    for each binary part, and a tuple of these: ten at the most, none is fine too.
    """

    event: ClassVar[str]
    if_slow: ClassVar[IfSlow] = "kept"
    is_kept: ClassVar[bool] = False
    is_numbered: ClassVar[bool] = False
    has_parts: ClassVar[bool] = False


def retry_at(after_s: float | None) -> float | UnsetType:
    """Return the moment that comes ``after_s`` seconds from now, as clients are told it."""
    return UNSET if after_s is None else round(time.time() + after_s, 3)
