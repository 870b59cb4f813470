"""Writes an answer of the AI into a document, as a client of its own that others see. Called within turns."""

import json
import logging
import secrets
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from hazoom_ws.errors import HazoomError
from hazoom_ws.live.documents.document import Pen
from hazoom_ws.live.documents.documents import Documents
from hazoom_ws.live.documents.keeping import Opened
from hazoom_ws.message_log.contract import REVOKED
from hazoom_ws.message_log.documents import DocumentUpdate

logger = logging.getLogger(__name__)

_COLOR, _COLOR_LIGHT = "#7c3aed", "#7c3aed33"  # of its name and cursor, as editors take them from a user
_ID_BITS = 32  # as Yjs has them


class Writer:
    """Writes one answer. It holds the document open until `end`, and is a `Peer` that is asked nothing."""

    def __init__(self, documents: Documents, name: str, text: str, user_name: str) -> None:
        """Write to the shared text ``text`` of the document ``name``; others see ``user_name`` where it writes."""
        self._documents = documents
        self._name = name
        self._text = text
        self._user = {"name": user_name, "color": _COLOR, "colorLight": _COLOR_LIGHT}
        self._id = secrets.randbits(_ID_BITS)
        self._pen: Pen | None = None
        self._unwritten: deque[str] = deque()
        self._unkept: deque[tuple[DocumentUpdate, str]] = deque()  # the last ones; most of them are kept by now
        self._refused: list[tuple[DocumentUpdate, str]] = []  # in a document that was closed for that
        self._is_ended = False
        self._opened = documents.enter(self, name)

    def add(self, text: str) -> None:
        """Write what comes next, as soon as the document can be written to."""
        if text:
            self._unwritten.append(text)
            self._do(self._write)

    def end(self, *, undo: bool) -> None:
        """Write no more. ``undo``: take back what was written; what others have written there stays."""
        self._is_ended = True
        if undo:
            self._unwritten.clear()
        self._do(self._take_back if undo else self._write)
        self._do(lambda _: self._documents.leave(self))

    def _do(self, job: Callable[[Opened], None]) -> None:
        if not self._opened.is_open:
            self._enter_again()
        opened = self._opened
        opened.do(partial(job, opened))

    def _enter_again(self) -> None:
        """Open the document again: something in it could not be kept. What of that was ours is written again."""
        self._documents.leave(self)
        self._refused += [each for each in self._unkept if each[0].seq == REVOKED]
        self._unkept.clear()
        self._pen = None
        self._opened = self._documents.enter(self, self._name)

    def _write(self, opened: Opened) -> None:
        # Where a log is elsewhere, what was refused may be kept all the same: there was no answer.
        lost = [text for entry, text in self._refused if opened.document.waits(entry.data)]
        self._unwritten.extendleft(reversed(lost))
        self._refused.clear()
        if not self._unwritten:
            return
        pen = self._pen = self._pen or opened.document.pen(self._text, f"{self._id}")
        text = "".join(self._unwritten)
        self._unwritten.clear()
        while len(self._unkept) > max(1, opened.unkept_count):
            self._unkept.popleft()
        for update in pen.write(text):
            entry = self._documents.keep(opened, update, self)
            if entry is None:
                self._unwritten.append(text)
                return
            self._unkept.append((entry, text))
        state = {"user": self._user, "cursor": {"anchor": pen.position, "head": pen.position}}
        self._documents.say(self, self._id, json.dumps(state))

    def _take_back(self, opened: Opened) -> None:
        for update in [] if self._pen is None else self._pen.undo():
            self._documents.keep(opened, update, self)

    # As a `Peer`

    def send(self, event: str, argument: bytes) -> None:
        """Hear nothing: what the document says is what it writes to."""

    def ask(self, event: str, argument: bytes, on_reply: Callable[[Any], None]) -> None:
        """Answer nothing: what it has is in the document."""

    def dismiss(self, error: HazoomError | None = None) -> None:
        """There is no connection."""

    def close(self) -> None:
        """Open the document again with what comes next, if anything does."""
        if self._is_ended:
            logger.warning("the end of an answer is not in document %.64r", self._name)
            self._documents.leave(self)
