"""What every event has: its name, its feature, what becomes of it where its reader is slow. Types that features share."""

import time
from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Feature = Literal["rooms", "typing", "stats", "llm"]

FEATURES: tuple[Feature, ...] = ("rooms", "typing", "stats", "llm")

Identifier = Annotated[str, Meta(min_length=1, max_length=128)]

Seq = Annotated[int, Meta(ge=0, le=2**53)]

PageSize = Annotated[int, Meta(ge=0, le=500)]

FinishReason = Literal["stop", "cancelled", "failed"]

# What becomes of an event while its reader is slow: it waits; it may be lost; it waits joined with others of its stream; it
# waits, and its reader is not called slow for that (an answer of the AI, whose size others bound).
IfSlow = Literal["kept", "dropped", "joined", "patient"]


class ClientPayload(Struct, frozen=True, kw_only=True):
    """What a client sends: one JSON object."""

    event: ClassVar[str]
    feature: ClassVar[Feature]
    required: ClassVar[bool] = True


class ServerEvent(Struct, frozen=True, kw_only=True):
    """What the server sends on the namespaces of a feature. ``if_slow``: see `IfSlow`."""

    event: ClassVar[str]
    feature: ClassVar[Feature]
    if_slow: ClassVar[IfSlow] = "kept"


def retry_at(after_s: float | None) -> float | UnsetType:
    """Return the moment that comes ``after_s`` seconds from now, as clients are told it."""
    return UNSET if after_s is None else round(time.time() + after_s, 3)
