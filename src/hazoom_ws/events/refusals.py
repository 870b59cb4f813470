"""What a client is told of what it may not, or of what went wrong."""

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.errors import Conflict, HazoomError
from hazoom_ws.events.base import ErrorCode, Timestamp, retry_at


class ErrorReport(Struct, frozen=True, kw_only=True):
    """A refusal: the ``error`` of a failed acknowledgement, or the event ``error`` on the namespace that refused.

    ``message``: a sentence for people. ``event``: which one of the client. ``retry``: whether the same call can succeed
    later, and ``retry_at`` when, where that is known. ``key``, ``seq``, ``value``: of a "conflict", what is there.
    """

    code: ErrorCode
    message: str
    event: str
    retry: bool
    retry_at: Timestamp | UnsetType = UNSET
    key: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    value: Any = UNSET


def report_of(error: HazoomError, event: str) -> ErrorReport:
    """Return what a client is told of ``error``, which its ``event`` met."""
    report = ErrorReport(
        code=error.code, message=str(error), event=event, retry=error.retry, retry_at=retry_at(error.retry_after_s)
    )
    if isinstance(error, Conflict):
        return msgspec.structs.replace(report, key=error.key, seq=error.seq, value=error.value)
    return report
