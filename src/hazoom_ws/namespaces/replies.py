"""What an event is answered with: what its handler has returned, or why it is refused."""

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct

from hazoom_ws.errors import HazoomError, Internal, LogUnavailable
from hazoom_ws.events.refusals import report_of
from hazoom_ws.events.rooms import NewMessage, Published
from hazoom_ws.message_log.contract import REVOKED, Said

logger = logging.getLogger(__name__)


def fields_of(result: Struct) -> dict[str, Any]:
    """Return a struct's fields as they are on the wire, without those that are not set."""
    return {name: value for name, value in msgspec.structs.asdict(result).items() if value is not UNSET}


class WhenKept(NamedTuple):
    """What a handler returns that has said ``entry``: ``fields()`` are those of the acknowledgement, once it is kept."""

    entry: NewMessage
    fields: Callable[[], Mapping[str, Any]]


def published(said: Said) -> Published:
    """Return what is told of a message that is kept."""
    entry = said.entry
    return Published(id=entry.id, seq=entry.seq, timestamp=entry.timestamp, duplicate=said.duplicate)


def require_kept(entry: NewMessage) -> None:
    """Raise `LogUnavailable` for what could not be kept."""
    if entry.seq == REVOKED:
        raise LogUnavailable("")


def reply_when_kept(event: str, when_kept: WhenKept) -> dict[str, Any]:
    """Return the acknowledgement of an event when what it has said is kept, or could not be."""
    if when_kept.entry.seq == REVOKED:
        return refusal(LogUnavailable(""), str(event))  # as plain text, be it a client's event
    return {"ok": True, **when_kept.fields()}


def refusal(error: HazoomError, event: str) -> dict[str, Any]:
    """Return the acknowledgement of an event that is refused."""
    return {"ok": False, "error": report_of(error, event)}


def logged(what: str) -> Internal:
    """Log the exception that is being handled, once, and return the error that refers to it."""
    error = Internal(secrets.token_hex(4))
    logger.exception("%s failed, reference %s", what, error.reference)
    return error
