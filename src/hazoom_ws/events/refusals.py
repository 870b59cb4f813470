"""What a client is told of what it may not, or of what went wrong."""

from msgspec import UNSET, Struct, UnsetType

from hazoom_ws.errors import HazoomError
from hazoom_ws.events.base import retry_at


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
