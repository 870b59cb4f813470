"""Sends what becomes of answers to those who get it, be it that they run here or on another process; and keeps their ends.

Called within turns.
"""

import logging
from collections.abc import Callable

from msgspec import UNSET

from hazoom_ws.chat.effects import Broadcast, Effect, Push
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection
from hazoom_ws.errors import LlmFailed, LogUnavailable
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.llm import LlmComplete, LlmError, LlmQueued, LlmStarted, LlmToken
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.llm_bridge.answer import Answer
from hazoom_ws.llm_bridge.missed import lost
from hazoom_ws.llm_bridge.register import Register
from hazoom_ws.message_log.contract import MessageLog

logger = logging.getLogger(__name__)


class Telling:
    """What is told of the answers of one application. ``clock`` and ``wake`` as in `Answers`."""

    def __init__(
        self, hub: Hub, log: MessageLog, register: Register, *, clock: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        self._hub = hub
        self._deliver: Callable[[Effect], None] = hub.deliver
        self._log = log
        self._register = register
        self._clock = clock
        self._wake = wake

    def start(self, answer: Answer, started: LlmStarted, *, is_told: bool = True) -> None:
        """Send that it is asked now. ``is_told`` False: note it only."""
        offset = self._log.next_offset()
        answer.beginning.append((started, offset))
        if is_told:
            self._send(answer, started, offset)

    def position(self, answer: Answer, position: int) -> None:
        """Send where it waits in the queue."""
        answer.position = position
        queued = LlmQueued(request_id=answer.prompt.request_id, position=position)
        for connection in answer.watchers or self._hub.connections_of(answer.user):
            self._deliver(Push(connection, queued))

    def tokens(self, answer: Answer, tokens: list[str]) -> None:
        """Send the next tokens of an answer."""
        prompt = answer.prompt
        for token in tokens:
            offset = self._log.next_offset()
            event = LlmToken(token=token, request_id=prompt.request_id, index=len(answer.tokens), room=prompt.room)
            answer.tokens.append(token)
            answer.offsets.append(offset)
            self._send(answer, event, offset)

    def snapshot(self, answer: Answer, tokens: list[str], *, is_told: bool = True) -> None:
        """Note the first tokens of an answer, and send them as one event: they have come before anybody here got it.

        ``is_told`` as in `start`.
        """
        for token in tokens:
            answer.tokens.append(token)
            answer.offsets.append(self._log.next_offset())
        if tokens and is_told:
            self._send(answer, answer.joined(0, snapshot=True), answer.offsets[-1])

    def conclude(self, answer: Answer, event: ServerEvent, *, is_told: bool = True) -> None:
        """Send an event that ends an answer, or comes before that one. ``is_told`` as in `start`."""
        offset = self._log.next_offset()
        answer.outcome.append((event, offset))
        if is_told:
            self._send(answer, event, offset)

    def finish(self, answer: Answer, kept_seq: int) -> None:
        """Note that all is told. ``kept_seq`` as in `Answer`."""
        answer.kept_seq = kept_seq
        answer.finish()
        if answer.asker.is_open or answer.room is not UNSET:  # else it is told when it comes back
            answer.asker.answers.pop(answer.prompt.request_id, None)
            self._hub.recoverable.save_answers(answer.asker)
        self._register.keep(answer, self._clock())
        self._wake()

    def lost(self, connection: Connection, request_id: str) -> None:
        """Tell a connection that nothing is known any more of an answer that it waits for."""
        room = connection.answers.pop(request_id, "")
        self._hub.recoverable.save_answers(connection)
        self._deliver(Push(connection, lost(request_id, room)))

    def _send(self, answer: Answer, event: ServerEvent, offset: int) -> None:
        if answer.room is not UNSET:
            self._deliver(Broadcast(answer.room, event, offset=offset))
        else:
            for connection in answer.watchers:
                self._deliver(Push(connection, event, offset))

    # What is kept in rooms

    def keep(self, answer: Answer, room: str, event: ServerEvent) -> NewMessage | None:
        """Keep what there is of an answer in its room's history, however it ended; None if that cannot be."""
        request_id, code = answer.prompt.request_id, event.code if isinstance(event, LlmError) else UNSET
        try:
            if isinstance(event, LlmComplete):
                return self._hub.publish_answer(room, event.response, request_id, event.finish_reason)
            return self._hub.publish_answer(room, answer.tokens.joined(), request_id, "failed", code)
        except LogUnavailable as error:
            logger.warning("the answer to AI request %r is in no history: %s", request_id, error.reason)
            return None

    def keep_failed(self, request_id: str, room: str) -> None:
        """Keep what is known of an answer whose process has died."""
        answer = self._register.get(request_id)
        text = "" if answer is None else answer.tokens.joined()
        try:
            self._hub.publish_answer(room, text, request_id, "failed", LlmFailed.code)
        except LogUnavailable as error:
            logger.warning("the answer to AI request %r is in no history: %s", request_id, error.reason)

    def keep_died(self) -> None:
        """Keep those that ended with an earlier process: their text is gone."""
        for request_id, room in self._hub.recoverable.died_answers.items():
            self.keep_failed(request_id, room)
