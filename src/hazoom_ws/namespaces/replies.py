"""What an event is answered with: what its handler has returned, or why it is refused."""

import logging
import secrets
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from hazoom_ws.errors import HazoomError, Internal
from hazoom_ws.events.refusals import report_of

logger = logging.getLogger(__name__)


def fields_of(result: Struct) -> dict[str, Any]:
    """Return a struct's fields as they are on the wire, without those that are not set."""
    return {name: value for name, value in msgspec.structs.asdict(result).items() if value is not UNSET}


def refusal(error: HazoomError, event: str) -> dict[str, Any]:
    """Return the acknowledgement of an event that is refused."""
    return {"ok": False, "error": report_of(error, event)}


def logged(what: str) -> Internal:
    """Log the exception that is being handled, once, and return the error that refers to it."""
    error = Internal(secrets.token_hex(4))
    logger.exception("%s failed, reference %s", what, error.reference)
    return error
