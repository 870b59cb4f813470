"""The AI's answers, each an object of its own: asked, queued, watched, stopped, resumed, and kept for a while.

A connection never owns an answer: it belongs to its user, or to the room that it was asked in, and ends by finishing,
failing or being stopped. Everything that is sent of it has a number in the one order of the message log, which goes along
as the event's offset: so a client that has dropped gets what came after the last thing it heard. Not thread-safe:
what is not said to be called from outside is called within a turn.

It is long because it has all that happens to an answer from its question to its end.
"""

import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType

from hazoom_ws.chat.effects import Broadcast, Effect, Numbered, Push, place_of
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.chat.rooms import NOTICE_INTERVAL_S
from hazoom_ws.deadlines import Deadlines
from hazoom_ws.errors import BadPayload, Forbidden, Internal, LlmFailed, LogUnavailable, NotFound
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.llm import LlmComplete, LlmError, LlmQueued, LlmResponse, LlmStarted, LlmToken
from hazoom_ws.llm_bridge.answer import Answer, Writer, weave
from hazoom_ws.llm_bridge.bridge import LlmBridge
from hazoom_ws.llm_bridge.register import Register
from hazoom_ws.llm_bridge.slots import Slots
from hazoom_ws.llm_bridge.wire import Prompt, Writing, completion, error_event
from hazoom_ws.message_log.contract import MessageLog
from hazoom_ws.settings import Settings

logger = logging.getLogger(__name__)

_AWAY_LIMIT_COUNT = 10  # connections of one answer that may still come back


class Answers:
    """All answers of one application that run, wait or can be resumed."""

    def __init__(
        self,
        settings: Settings,
        hub: Hub,
        log: MessageLog,
        bridge: LlmBridge,
        *,
        turn: Callable[[], AbstractContextManager[Any]],
        keeps_up: Callable[[str | UnsetType, Iterable[Connection]], bool],
        wake: Callable[[], None],
        after_kept: Callable[[Callable[[], None]], object] = lambda call: call(),
        open_writer: Callable[[Writing], Writer],
    ) -> None:
        """``keeps_up(room, connections)`` returns whether any of those who get an answer keeps up.

        ``wake`` is called when there is something that `run_due` has to do later. ``open_writer`` begins to write an answer
        into a document. ``after_kept`` calls when what was said so far has its number, which what follows is to be above.
        """
        self.turn = turn
        self.keeps_up = keeps_up
        self._settings = settings
        self._hub = hub
        self._log = log
        self._bridge = bridge
        self._deliver: Callable[[Effect], None] = hub.deliver
        self._clock = bridge.clock
        self._wake = wake
        self._after_kept = after_kept
        self._open_writer = open_writer
        self._register = Register(settings)
        self._waiting: dict[Answer, None] = {}  # the first one has waited longest
        self.slots = Slots(settings)
        self._gone: Deadlines[User] = Deadlines(settings.llm_user_grace_s)
        self._awaited: set[User] = set()  # gone for longer, but one of their clients may still recover
        self._positions_due_at_s = 0.0

    @property
    def waiting_count(self) -> int:
        """Answers that wait for a slot."""
        return len(self._waiting)

    def keep_died(self) -> None:
        """Keep the answers that ended with an earlier process, in the turn before anybody connects: their text is gone."""
        try:
            for request_id, room in self._hub.recoverable.died_answers.items():
                self._hub.publish_answer(room, "", request_id, "failed", LlmFailed.code)
        except LogUnavailable as error:
            logger.warning("the answers that ended with the last process are in no history: %s", error.reason)

    # What clients ask for

    def ask(self, connection: Connection, prompt: Prompt) -> None:
        """Ask now, or when there is room for one more. What was accepted before is accepted again, and asked once.

        Raises `BadPayload` for its id, `TooManyStreams`, `LlmUnavailable`, `ShuttingDown`, `NotInRoom`, `LogUnavailable`:
        then nobody has heard of it.
        """
        user, room, sessions = connection.user, prompt.room, self._hub.recoverable
        known = self._register.get(prompt.request_id)
        if known is not None:
            if known.user != user:
                raise BadPayload("request_id", "is the id of another request")
            if known.room is UNSET and connection not in known.watchers:
                self.resume(connection, prompt.request_id, 0)  # it waits for what another connection has asked
            return
        if room is not UNSET:
            self._hub.require_member(connection, room)
        has_to_wait = not self.slots.may_run(user, connection.address)
        if has_to_wait:
            self.slots.check_queue(user, connection.address)
        self._bridge.check()
        if room is not UNSET:
            self._hub.publish_prompt(connection, room, prompt.message, prompt.request_id)
            sessions.save_shared_answer(prompt.request_id, room)
        answer = Answer(prompt, connection, self._clock())
        self._register.add(answer)
        connection.answers[prompt.request_id] = "" if room is UNSET else room
        sessions.save_answers(connection)
        if not has_to_wait:
            self._start(answer)
            return
        self._waiting[answer] = None
        self.slots.waiting.add(user, answer.address)
        self._tell_position(answer, len(self._waiting))

    def cancel(self, connection: Connection, request_id: str) -> None:
        """End an answer with what there is of it. Raises `NotFound`, `Forbidden`."""
        answer = self._register.get(request_id)
        if answer is None or answer.is_ended:
            raise NotFound("request_id")
        if answer.user != connection.user:
            raise Forbidden("request_id")
        self._stop(answer)

    def stop_all(self, user: User, *, shared: bool = False, where: Callable[[Answer], bool] = lambda _: True) -> None:
        """End the private answers of a user, and with ``shared`` those that they have asked for in rooms."""
        for answer in self._register.asked_by(user) if shared else list(self._register.of_user(user)):
            if not answer.is_ended and where(answer):
                self._stop(answer)

    def resume(self, connection: Connection, request_id: str, index: int) -> None:
        """Send a connection what there is of an answer from a token on, and from now on the rest.

        Raises `NotFound`, `Forbidden`, `NotInRoom`, `BadPayload`.
        """
        answer = self._register.get(request_id)
        if answer is None:
            raise NotFound("request_id")
        if answer.room is not UNSET:
            self._hub.require_member(connection, answer.room)
        elif answer.user != connection.user:
            raise Forbidden("request_id")
        if index > len(answer.tokens):
            raise BadPayload("index", f"the answer has {len(answer.tokens)} tokens so far")
        if answer.room is UNSET and connection not in answer.watchers:
            away = [watcher for watcher in answer.watchers if not watcher.is_open and watcher.pid is not None]
            here = [watcher for watcher in answer.watchers if watcher.is_open]
            answer.watchers = [*away[-_AWAY_LIMIT_COUNT:], *here, connection]
        offset = self._log.last_seq
        if index < len(answer.tokens):
            self._deliver(Push(connection, answer.joined(index), offset))
        for event, _ in answer.outcome:
            self._deliver(Push(connection, event, offset))
        if answer in self._waiting:
            self._deliver(Push(connection, LlmQueued(request_id=request_id, position=answer.position)))
        elif not answer.tokens and not answer.is_ended:
            for event, _ in answer.beginning:
                self._deliver(Push(connection, event, offset))

    # Who comes and goes

    def snapshots(self, rooms: Iterable[str]) -> list[Numbered]:
        """Return what there is of the answers that run in rooms, for who comes in the middle; the live rest follows."""
        if not self._register.has_shared:
            return []
        events: list[ServerEvent] = []
        for room in rooms:
            for answer in self._register.of_room(room):
                if not answer.is_ended:
                    events += [event for event, _ in answer.beginning]
                    if answer.tokens:
                        events.append(answer.joined(0, snapshot=True))
        return [(event, self._log.last_seq) for event in events]

    def push_snapshots(self, connection: Connection, room: str) -> None:
        """Send the snapshots of a room to one who joins it, be it again."""
        for event, offset in self.snapshots([room]):
            self._deliver(Push(connection, event, offset))

    def catch_up(self, connection: Connection, offset: int, replayed: list[Numbered]) -> list[Numbered]:
        """Return ``replayed`` with what a recovered client missed of answers after ``offset``, all in its order.

        From now on its connection watches what it watched before.
        """
        events: list[Numbered] = []
        lost = self._lost(connection)
        private = self._register.of_user(connection.user)
        for answer in private:
            for position, watcher in enumerate(answer.watchers):
                if watcher.pid == connection.pid:
                    answer.watchers[position] = connection
        watched = [answer for answer in private if connection in answer.watchers]
        for room in connection.rooms:
            watched += self._register.of_room(room)
        for answer in watched:
            events += [numbered for numbered in (*answer.beginning, *answer.outcome) if place_of(numbered) > offset]
        return weave(watched, sorted(events + replayed, key=place_of), offset) + lost

    def _lost(self, connection: Connection) -> list[Numbered]:
        """Return the ends of answers that a recovered client waits for and that are kept nowhere, on each namespace."""
        if connection.lost_answers is None:
            connection.lost_answers = connection.died_answers.copy()
            connection.died_answers.clear()
            for request_id, room in list(connection.answers.items()):
                answer = self._register.get(request_id)
                if answer is None:
                    connection.lost_answers[request_id] = room
                else:
                    answer.asker = connection
                if answer is None or answer.is_ended:
                    del connection.answers[request_id]
            self._hub.recoverable.save_answers(connection)
        error = LlmFailed("this answer was lost, the server was restarted or you were away for too long; ask again")
        return [
            (error_event(request_id, error, room or UNSET), self._log.last_seq)
            for request_id, room in connection.lost_answers.items()
        ]

    def arrived(self, user: User) -> None:
        """Note that a user is here."""
        self._gone.stop(user)
        self._awaited.discard(user)

    def left(self, user: User) -> None:
        """Note that a user has no connection any more."""
        if any(not answer.is_ended for answer in self._register.of_user(user)):
            self._gone.start(user, self._clock())
            self._wake()

    def run_due(self) -> float | None:
        """Stop, forget and tell what is due; return the seconds until the next time."""
        now_s = self._clock()
        self._awaited.update(user for user, _ in self._gone.pop_due(now_s))
        # The hub, which is asked before, has ended the sessions whose time is over.
        for user in [user for user in self._awaited if not self._hub.recoverable.is_awaited(user)]:
            self._awaited.discard(user)
            self.stop_all(user)
        self._register.forget_due(now_s)
        if self._waiting and now_s >= self._positions_due_at_s:
            self._positions_due_at_s = now_s + NOTICE_INTERVAL_S
            for position, answer in enumerate(self._waiting, 1):
                if position != answer.position:
                    self._tell_position(answer, position)
        told_at_s = self._positions_due_at_s if self._waiting else None
        moments = (self._gone.next_due_at_s(), self._register.next_due_at_s(), told_at_s)
        return min((at_s - now_s for at_s in moments if at_s is not None), default=None)

    # What the bridge brings, from outside of turns

    def add_tokens(self, answer: Answer, tokens: list[str]) -> None:
        """Send the next tokens of an answer."""
        with self.turn():
            prompt = answer.prompt
            for token in tokens:
                offset = self._log.next_offset()
                event = LlmToken(token=token, request_id=prompt.request_id, index=len(answer.tokens), room=prompt.room)
                answer.tokens.append(token)
                answer.offsets.append(offset)
                self._send(answer, event, offset)
            if answer.writer is not None:
                answer.writer.add("".join(tokens))

    def respond(self, answer: Answer, response: LlmResponse) -> None:
        """Send an answer that was asked for without a stream; `end` follows."""
        with self.turn():
            self._conclude(answer, response)
            if answer.writer is not None:
                answer.writer.add(response.response)

    def end(self, answer: Answer, event: ServerEvent) -> None:
        """Send the event that ends an answer, and start those that waited for its slot."""
        with self.turn():
            self._release(answer)
            if not answer.is_ended:
                self._end(answer, event)
            self._start_waiting()

    # Inside

    def _start(self, answer: Answer) -> None:
        self.slots.running.add(answer.user, answer.address)
        try:
            answer.exchange = self._bridge.start(answer.prompt, _Sink(self, answer), answer.asked_s)
        except Exception:
            error = Internal(secrets.token_hex(4))
            logger.exception("AI request %r did not start, reference %s", answer.prompt.request_id, error.reference)
            self._release(answer)
            self._end(answer, error_event(answer.prompt.request_id, error, answer.room))
        else:
            self._wake()
            self._after_kept(partial(self._tell_start, answer))
            if answer.prompt.writing is not None:
                answer.writer = self._open_writer(answer.prompt.writing)

    def _tell_start(self, answer: Answer) -> None:
        prompt, offset = answer.prompt, self._log.next_offset()
        started = LlmStarted(
            request_id=prompt.request_id,
            user=answer.user.name,
            intelligence_level=prompt.intelligence_level,
            room=prompt.room,
        )
        answer.beginning.append((started, offset))
        self._send(answer, started, offset)

    def _start_waiting(self) -> None:
        for answer in self.slots.admitted(list(self._waiting)):
            self._unqueue(answer)
            self._start(answer)

    def _release(self, answer: Answer) -> None:
        self.slots.running.remove(answer.user, answer.address)

    def _unqueue(self, answer: Answer) -> None:
        del self._waiting[answer]
        self.slots.waiting.remove(answer.user, answer.address)

    def _tell_position(self, answer: Answer, position: int) -> None:
        answer.position = position
        self._wake()
        queued = LlmQueued(request_id=answer.prompt.request_id, position=position)
        for connection in answer.watchers or self._hub.connections_of(answer.user):
            self._deliver(Push(connection, queued))

    def _stop(self, answer: Answer) -> None:
        exchange = answer.exchange
        if exchange is None:
            self._unqueue(answer)
            self._bridge.note_cancelled(answer.prompt, answer.asked_s)
            self._end(answer, completion(answer.prompt, None, asked_s=answer.asked_s, now_s=self._clock()))
            return
        exchange.cancel()  # its task ends it, and gives its slot back
        if not exchange.is_connected:
            # Nothing wakes the task from making the connection, for which the asker need not wait.
            self._end(answer, exchange.completion())

    def _end(self, answer: Answer, event: ServerEvent) -> None:
        if answer.room is not UNSET:
            self._keep(answer, answer.room, event)
        answer.is_ended = True
        self._after_kept(partial(self._finish, answer, event))

    def _finish(self, answer: Answer, event: ServerEvent) -> None:
        self._conclude(answer, event)
        writer, writing = answer.writer, answer.prompt.writing
        if writer is not None and writing is not None:
            writer.end(undo=writing.is_removed_on_error and isinstance(event, LlmError))
        answer.finish()
        if answer.asker.is_open or answer.room is not UNSET:  # else it is told when it comes back
            answer.asker.answers.pop(answer.prompt.request_id, None)
            self._hub.recoverable.save_answers(answer.asker)
        self._register.keep(answer, self._clock())
        self._wake()

    def _keep(self, answer: Answer, room: str, event: ServerEvent) -> None:
        """Keep what there is of an answer in its room's history, however it ended."""
        request_id, code = answer.prompt.request_id, event.code if isinstance(event, LlmError) else UNSET
        try:
            if isinstance(event, LlmComplete):
                self._hub.publish_answer(room, event.response, request_id, event.finish_reason)
            else:
                self._hub.publish_answer(room, answer.tokens.joined(), request_id, "failed", code)
        except LogUnavailable as error:
            logger.warning("the answer to AI request %r is in no history: %s", request_id, error.reason)
        else:
            self._hub.recoverable.forget_shared_answer(request_id)

    def _conclude(self, answer: Answer, event: ServerEvent) -> None:
        offset = self._log.next_offset()
        answer.outcome.append((event, offset))
        self._send(answer, event, offset)

    def _send(self, answer: Answer, event: ServerEvent, offset: int) -> None:
        if answer.room is not UNSET:
            self._deliver(Broadcast(answer.room, event, offset=offset))
        else:
            for connection in answer.watchers:
                self._deliver(Push(connection, event, offset))


class _Sink:
    """The way of one answer from the bridge to those who watch it."""

    def __init__(self, answers: Answers, answer: Answer) -> None:
        self._answers = answers
        self._answer = answer

    def add_tokens(self, tokens: list[str]) -> None:
        self._answers.add_tokens(self._answer, tokens)

    def respond(self, response: LlmResponse) -> None:
        self._answers.respond(self._answer, response)

    def end(self, event: ServerEvent) -> None:
        self._answers.end(self._answer, event)

    def keeps_up(self) -> bool:
        with self._answers.turn():
            return self._answers.keeps_up(self._answer.room, self._answer.watchers)
