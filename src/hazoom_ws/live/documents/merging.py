"""Merging into a document what a client says, and what is kept of it. Pure, but for the document; see there."""

import logging
from collections.abc import Iterable
from typing import NamedTuple

from hazoom_ws.live.documents.document import Document
from hazoom_ws.live.documents.errors import MalformedUpdate
from hazoom_ws.message_log.documents import DocumentUpdate

logger = logging.getLogger(__name__)


class Merged(NamedTuple):
    """What became of an update: the ``changes``, and whether something of it ``waits`` for what has not come."""

    changes: list[bytes]
    are_its_own: bool  # none of them has waited for it
    waits: bool


def merge(document: Document, update: bytes) -> Merged:
    """Merge an update of a client. Raises `MalformedUpdate`."""
    had_waiting = bool(document.waiting())
    changes = document.merge(update)
    if changes == [update]:  # as most do
        return Merged(changes, are_its_own=True, waits=False)
    return Merged(changes, are_its_own=not had_waiting, waits=document.waits(update))


def merge_kept(document: Document, entry: DocumentUpdate) -> list[bytes]:
    """Merge an update that is kept; return what that has changed."""
    try:
        changes = document.merge(entry.data)
    except MalformedUpdate as error:
        logger.error("a part of document %.64r cannot be read and is left out: %s", entry.document, error)
        return []
    if changes != [entry.data] and document.waits(entry.data):
        document.wait(entry)
    return changes


def bytes_of(waiting: Iterable[DocumentUpdate]) -> int:
    """Return how large updates are together."""
    return sum(len(entry.data) for entry in waiting)
