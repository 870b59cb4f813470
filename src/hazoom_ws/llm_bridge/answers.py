"""The AI's answers, each an object of its own: asked, queued, watched, stopped, resumed, and kept for a while.

A connection never owns an answer: it belongs to its user, or to the room that it was asked in, and ends by finishing,
failing or being stopped. One may run on another process (`elsewhere`), and is known here because somebody here gets it:
then it is fed by what that process tells, and goes out as one that runs here does.

Everything that is sent of an answer has a number in the one order of the message log, which goes along as the event's
offset: so a client that has dropped gets what came after the last thing it heard (`missed`). Not thread-safe: what is not
said to be called from outside is called within a turn.

It is long because it has all that happens to an answer from its question to its end.
"""

import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType

from hazoom_ws.chat.effects import Effect, Push
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.chat.rooms import NOTICE_INTERVAL_S
from hazoom_ws.deadlines import Deadlines
from hazoom_ws.errors import BadPayload, Forbidden, HazoomError, Internal, NotFound
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.llm import LlmError, LlmQueued, LlmResponse, LlmStarted
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.llm_bridge.answer import Answer, Writer
from hazoom_ws.llm_bridge.bridge import LlmBridge
from hazoom_ws.llm_bridge.elsewhere import Elsewhere
from hazoom_ws.llm_bridge.missed import Missed, died
from hazoom_ws.llm_bridge.register import Register
from hazoom_ws.llm_bridge.slots import Slots
from hazoom_ws.llm_bridge.telling import Telling
from hazoom_ws.llm_bridge.wire import Prompt, Writing, completion, error_event
from hazoom_ws.message_log.contract import REVOKED, MessageLog
from hazoom_ws.settings import Settings

logger = logging.getLogger(__name__)

_MOVING_S = 2.0  # for which an answer goes on that nobody watches, as far as this process knows
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
        self.elsewhere = Elsewhere()  # what other processes have of answers; none, unless the application says so
        self.register = Register(settings)
        self.register.on_forgotten = self._forgotten
        self.missed = Missed(self.register, hub, log, lambda: self.elsewhere)
        self.telling = Telling(hub, log, self.register, clock=bridge.clock, wake=wake)
        self._waiting: dict[Answer, None] = {}  # the first one has waited longest
        self.slots = Slots(settings)
        self._gone: Deadlines[User] = Deadlines(settings.llm_user_grace_s)
        # Gone for longer, but one of their clients may still recover; or since when none may.
        self._awaited: dict[User, float | None] = {}
        self._positions_due_at_s = 0.0

    @property
    def waiting_count(self) -> int:
        """Answers that wait for a slot."""
        return len(self._waiting)

    def keep_died(self) -> None:
        """Keep the answers that ended with an earlier process, in the turn before anybody connects: their text is gone.

        Of several processes one does that when another one ends.
        """
        if self.elsewhere.is_alone:
            self.telling.keep_died()

    # What clients ask for

    def ask(self, connection: Connection, prompt: Prompt, *, is_new: bool = False) -> None:
        """Ask now, or when there is room for one more. What was accepted before is accepted again, and asked once.

        ``is_new``: its id was made for it. Raises `BadPayload` for its id, `TooManyStreams`, `LlmUnavailable`,
        `ShuttingDown`, `NotInRoom`, `LogUnavailable`, `NotLoaded`: then nobody has heard of it.
        """
        user, room = connection.user, prompt.room
        known = self.register.get(prompt.request_id)
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
        claimed = None if is_new else self.elsewhere.claim(prompt.request_id, user, "" if room is UNSET else room)
        if claimed is not None:
            if claimed.user_id != user.id:
                raise BadPayload("request_id", "is the id of another request")
            self._wait_for(connection, prompt.request_id, claimed.room)
            if not claimed.room:
                self.elsewhere.watch(connection, prompt.request_id, claimed.process, 0)
            return
        try:
            self._accept(connection, prompt)
        except HazoomError:
            self.elsewhere.release(prompt.request_id)
            raise
        answer = Answer(prompt, connection, self._clock())
        self.register.add(answer)
        self.elsewhere.accepted(answer)
        if not has_to_wait:
            self._start(answer)
            return
        self._waiting[answer] = None
        self.slots.waiting.add(user, answer.address)
        self.elsewhere.count(user, answer.address)
        self._tell_position(answer, len(self._waiting))

    def _accept(self, connection: Connection, prompt: Prompt) -> None:
        room = prompt.room
        if room is not UNSET:
            self._hub.publish_prompt(connection, room, prompt.message, prompt.request_id)
            if self.elsewhere.is_alone:
                self._hub.recoverable.save_shared_answer(prompt.request_id, room)
        self._wait_for(connection, prompt.request_id, "" if room is UNSET else room)

    def _wait_for(self, connection: Connection, request_id: str, room: str) -> None:
        connection.answers[request_id] = room
        self._hub.recoverable.save_answers(connection)

    def cancel(self, connection: Connection, request_id: str) -> None:
        """End an answer with what there is of it. Raises `NotFound`, `Forbidden`, `NotLoaded`, `LogUnavailable`."""
        answer = self.register.get(request_id)
        if answer is None:
            self._cancel_elsewhere(connection, request_id)
            return
        if answer.is_ended:
            raise NotFound("request_id")
        if answer.user != connection.user:
            raise Forbidden("request_id")
        self.stop(answer)

    def _cancel_elsewhere(self, connection: Connection, request_id: str) -> None:
        known = self.elsewhere.find(request_id)
        if known is None or not known.is_running:
            raise NotFound("request_id")
        if known.user_id != connection.user.id:
            raise Forbidden("request_id")
        self.elsewhere.cancel(request_id, known.process, connection.user)

    def stop_all(self, user: User, *, shared: bool = False, where: Callable[[Answer], bool] = lambda _: True) -> None:
        """End the private answers of a user, and with ``shared`` those that they have asked for in rooms."""
        for answer in self.register.asked_by(user) if shared else list(self.register.of_user(user)):
            if not answer.is_ended and where(answer):
                self.stop(answer)

    def resume(self, connection: Connection, request_id: str, index: int, *, is_snapshot: bool = False) -> None:
        """Send a connection what there is of an answer from a token on, and from now on the rest.

        ``is_snapshot``: it is to forget what it had of it. What runs on another process and nobody here gets yet is sent
        soon. Raises `NotFound`, `Forbidden`, `NotInRoom`, `BadPayload`, `NotLoaded`, `LogUnavailable`.
        """
        answer = self.register.get(request_id)
        if answer is None:
            self._resume_elsewhere(connection, request_id, index)
            return
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
            self._deliver(Push(connection, answer.joined(index, snapshot=is_snapshot), offset))
        for event, _ in answer.outcome:
            self._deliver(Push(connection, event, offset))
        if not answer.beginning and not answer.is_ended and answer.position:
            self._deliver(Push(connection, LlmQueued(request_id=request_id, position=answer.position)))
        elif not answer.tokens and not answer.is_ended:
            for event, _ in answer.beginning:
                self._deliver(Push(connection, event, offset))

    def _resume_elsewhere(self, connection: Connection, request_id: str, index: int) -> None:
        known = self.elsewhere.find(request_id)
        if known is None:
            raise NotFound("request_id")
        if known.room:
            self._hub.require_member(connection, known.room)
        elif known.user_id != connection.user.id:
            raise Forbidden("request_id")
        self.elsewhere.watch(connection, request_id, known.process, index)

    # Who comes and goes

    def push_snapshots(self, connection: Connection, room: str) -> None:
        """Send the snapshots of a room to one who joins it, be it again."""
        for event, offset in self.missed.snapshots([room]):
            self._deliver(Push(connection, event, offset))

    def arrived(self, user: User) -> None:
        """Note that a user is here."""
        self._gone.stop(user)
        self._awaited.pop(user, None)

    def left(self, user: User) -> None:
        """Note that a user has no connection any more."""
        if any(not answer.is_ended for answer in self.register.of_user(user)):
            self._gone.start(user, self._clock())
            self._wake()

    def run_due(self) -> float | None:
        """Stop, forget and tell what is due; return the seconds until the next time."""
        now_s = self._clock()
        self._awaited.update((user, None) for user, _ in self._gone.pop_due(now_s))
        # The hub, which is asked before, has ended the sessions whose time is over.
        for user in [user for user in self._awaited if not self._hub.recoverable.is_awaited(user)]:
            since_s = self._awaited[user] = self._awaited[user] or now_s
            # Who has come back to another process is about to say so.
            if self.elsewhere.is_alone or now_s - since_s >= _MOVING_S:
                del self._awaited[user]
                self._gave_up(user)
        self.register.forget_due(now_s)
        if self._waiting and now_s >= self._positions_due_at_s:
            self._positions_due_at_s = now_s + NOTICE_INTERVAL_S
            for position, answer in enumerate(self._waiting, 1):
                if position != answer.position:
                    self._tell_position(answer, position)
        told_at_s = self._positions_due_at_s if self._waiting else None
        moving_at_s = min((since_s + _MOVING_S for since_s in self._awaited.values() if since_s), default=None)
        moments = (self._gone.next_due_at_s(), self.register.next_due_at_s(), told_at_s, moving_at_s)
        return min((at_s - now_s for at_s in moments if at_s is not None), default=None)

    def _gave_up(self, user: User) -> None:
        """Stop the private answers of a user who is gone, but for those that are watched on another process."""
        for answer in list(self.register.of_user(user)):
            if answer.is_ended:
                continue
            if answer.owner:
                self.register.drop(answer)
                self.elsewhere.leave(answer)
            elif not self.elsewhere.is_watched(answer):
                self.stop(answer)

    # What the bridge brings, from outside of turns

    def add_tokens(self, answer: Answer, tokens: list[str]) -> None:
        """Send the next tokens of an answer."""
        with self.turn():
            self.telling.tokens(answer, tokens)
            self.elsewhere.add_tokens(answer, tokens)
            if answer.writer is not None:
                answer.writer.add("".join(tokens))

    def respond(self, answer: Answer, response: LlmResponse) -> None:
        """Send an answer that was asked for without a stream; `end` follows."""
        with self.turn():
            self.telling.conclude(answer, response)
            if answer.writer is not None:
                answer.writer.add(response.response)

    def end(self, answer: Answer, event: ServerEvent) -> None:
        """Send the event that ends an answer, and start those that waited for its slot."""
        with self.turn():
            self._release(answer)
            if not answer.is_ended:
                self._end(answer, event)
            self.start_waiting()

    # Inside

    def _start(self, answer: Answer) -> None:
        self.slots.running.add(answer.user, answer.address)
        self.elsewhere.count(answer.user, answer.address)
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
        prompt = answer.prompt
        started = LlmStarted(
            request_id=prompt.request_id,
            user=answer.user.name,
            intelligence_level=prompt.intelligence_level,
            room=prompt.room,
        )
        self.telling.start(answer, started)
        self.elsewhere.started(answer)

    def start_waiting(self) -> None:
        """Ask what may be asked now, since slots are free."""
        for answer in self.slots.admitted(list(self._waiting)):
            self._unqueue(answer)
            self._start(answer)

    def _release(self, answer: Answer) -> None:
        self.slots.running.remove(answer.user, answer.address)
        self.elsewhere.count(answer.user, answer.address)

    def _unqueue(self, answer: Answer) -> None:
        del self._waiting[answer]
        answer.position = 0
        self.slots.waiting.remove(answer.user, answer.address)
        self.elsewhere.count(answer.user, answer.address)

    def _tell_position(self, answer: Answer, position: int) -> None:
        self._wake()
        self.telling.position(answer, position)
        self.elsewhere.started(answer)

    def stop(self, answer: Answer) -> None:
        """End an answer that has not ended with what there is of it."""
        exchange = answer.exchange
        if answer.owner:
            self.elsewhere.cancel(answer.prompt.request_id, answer.owner, answer.user)
            return
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
        self.elsewhere.flush(answer)
        is_kept_here = not self.elsewhere.has_failed(answer)
        entry = self._keep(answer, answer.room, event) if answer.room is not UNSET and is_kept_here else None
        answer.is_ended = True
        self._after_kept(partial(self._finish, answer, event, entry))

    def _finish(self, answer: Answer, event: ServerEvent, entry: NewMessage | None) -> None:
        room, is_refused = answer.room or "", entry is None or entry.seq == REVOKED
        if self.elsewhere.has_failed(answer):
            event = died(answer.prompt.request_id, room)
        elif room and is_refused and self.elsewhere.postpone(partial(self._end, answer, event)):
            return
        self.telling.conclude(answer, event)
        writer, writing = answer.writer, answer.prompt.writing
        if writer is not None and writing is not None:
            writer.end(undo=writing.is_removed_on_error and isinstance(event, LlmError))
        self.telling.finish(answer, 0 if entry is None else max(entry.seq, REVOKED))
        self.elsewhere.ended(answer)

    def _forgotten(self, answer: Answer) -> None:
        if not answer.owner:
            self.elsewhere.forget(answer)

    def _keep(self, answer: Answer, room: str, event: ServerEvent) -> NewMessage | None:
        entry = self.telling.keep(answer, room, event)
        if entry is not None and self.elsewhere.is_alone:
            self._hub.recoverable.forget_shared_answer(answer.prompt.request_id)
        return entry


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
