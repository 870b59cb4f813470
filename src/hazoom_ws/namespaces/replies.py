"""What an event is answered with: what its handler has returned, or why it is refused."""

import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from hazoom_ws.delivery.delivery import Delivery
from hazoom_ws.errors import HazoomError, Internal
from hazoom_ws.events.refusals import report_of
from hazoom_ws.transport.socketio.dispatch import Deferred

logger = logging.getLogger(__name__)


def fields_of(result: Struct) -> dict[str, Any]:
    """Return a struct's fields as they are on the wire, without those that are not set."""
    return {name: value for name, value in msgspec.structs.asdict(result).items() if value is not UNSET}


def refusal(error: HazoomError, event: str) -> dict[str, Any]:
    """Return the acknowledgement of an event that is refused."""
    return {"ok": False, "error": report_of(error, event)}


def when_kept(delivery: Delivery, event: str, reply: dict[str, Any]) -> Deferred:
    """Return how an event is answered when what has the ``seq`` of the reply is kept, or is refused if it could not be.

    A refusal may have a ``seq`` too: of what it tells. That is not sent.
    """

    def start(send: Callable[[Any], None]) -> None:
        delivery.reply(partial(_send_about, event, send), reply)

    return Deferred(start)


def _send_about(event: str, send: Callable[[Any], None], reply: dict[str, Any]) -> None:
    """Send a reply to an event, of which `Delivery` knows only what it has kept."""
    if "error" in reply:
        reply = {"ok": False, "error": msgspec.structs.replace(reply["error"], event=event)}
    send(reply)


def logged(what: str) -> Internal:
    """Log the exception that is being handled, once, and return the error that refers to it."""
    error = Internal(secrets.token_hex(4))
    logger.exception("%s failed, reference %s", what, error.reference)
    return error
