"""What an event is answered with: what its handler has returned, or why it is refused."""

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct

from hazoom_ws.errors import HazoomError, Internal, LogUnavailable, MayBeKept
from hazoom_ws.events.refusals import report_of
from hazoom_ws.events.rooms import Published
from hazoom_ws.message_log.contract import REVOKED, Entry, Said, is_doubtful, number_of

logger = logging.getLogger(__name__)


NoteRefusal = Callable[[str], object]  # counts one, of a code


def fields_of(result: Struct) -> dict[str, Any]:
    """Return a struct's fields as they are on the wire, without those that are not set."""
    return {name: value for name, value in msgspec.structs.asdict(result).items() if value is not UNSET}


class WhenKept(NamedTuple):
    """What a handler returns whose answer has to wait until something is kept.

    ``is_kept()`` is asked when that is known. ``fields()`` are those of the acknowledgement, unless there is a ``refusal``:
    it tells what may not have been kept. ``unkept()`` is the error if it is not.
    """

    is_kept: Callable[[], bool]
    fields: Callable[[], Mapping[str, Any]] = dict
    refusal: HazoomError | None = None
    unkept: Callable[[], HazoomError] = lambda: LogUnavailable("")


def when_kept(entry: Entry, fields: Callable[[], Mapping[str, Any]]) -> WhenKept:
    """Return the answer of who has said ``entry``."""
    return WhenKept(lambda: entry.seq != REVOKED, fields, unkept=lambda: unkept(entry))


def unkept(entry: Entry) -> LogUnavailable:
    """Return the error of what could not be kept, or may have been."""
    return MayBeKept() if is_doubtful(entry) else LogUnavailable("")


def published(said: Said) -> Published:
    """Return what is told of a message that is kept."""
    entry = said.entry
    return Published(
        id=entry.id, seq=number_of(entry), timestamp=entry.timestamp, duplicate=said.duplicate or entry.seq < REVOKED
    )


def require_kept(entry: Entry) -> None:
    """Raise `LogUnavailable` for what could not be kept."""
    if entry.seq == REVOKED:
        raise unkept(entry)


def reply_when_kept(event: str, answer: WhenKept, note_refusal: NoteRefusal) -> dict[str, Any]:
    """Return the acknowledgement of an event when what it has said is kept, or could not be."""
    error = answer.refusal if answer.is_kept() else answer.unkept()
    if error is not None:
        return refusal(error, str(event), note_refusal)  # as plain text, be it a client's event
    return {"ok": True, **answer.fields()}


def refusal(error: HazoomError, event: str, note_refusal: NoteRefusal) -> dict[str, Any]:
    """Count a refusal, and return the acknowledgement of the event that is refused."""
    note_refusal(error.code)
    return {"ok": False, "error": report_of(error, event)}


def logged(what: str, cause: BaseException | None = None) -> Internal:
    """Log an exception, by default the one that is being handled, once; return the error that refers to it."""
    error = Internal(secrets.token_hex(4))
    logger.error("%s failed, reference %s", what, error.reference, exc_info=cause or True)
    return error
