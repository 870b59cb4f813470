"""Answers of the AI across processes: each runs in the process that was asked, and all who get it anywhere see it there.

How an answer comes to another process
    A process that wants one says `Watch` to its owner, which answers with the `State`, all there is of it, and then tells
    what comes: `Tokens` of up to one interval at once, how it `Ended`. The other one has an `Answer` of its own from then
    on, which goes out to who is here as one that runs here would. What is heard twice is seen by the tokens' index; if
    something is missing the state is asked for again.
    Of an answer in a room its owner tells all who hear the room when it starts, and who begins to hear a room asks what
    runs there (`WatchRoom`): so there it is known before anybody asks. Where no other process wants an answer, nothing is
    told of its tokens.

Which process that is
    `answer_claims`: so a question that is sent again elsewhere is asked once, and who wants to resume or stop an answer, or
    comes back and waits for one, finds its process.

When a process dies
    `processes` tells of it. Who watches its answers tells that they failed, and that asking again may succeed. Of each one
    process, if possible one that knows it, keeps what there is of it in its room, and tells all who hear that.

When a process was paused for longer than its lease
    Then it was taken for dead, and others have told all that. When it begins anew it finds which of its answers that were:
    it stops them, tells its own clients that they failed, as others have, and keeps nothing of them.

Slots of users and addresses count on all processes (`slots`).

All of it is called within turns.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.cluster import answer_notes as notes
from hazoom_ws.cluster.answer_claims import Claims
from hazoom_ws.cluster.processes import EVERYBODY, RunBeside
from hazoom_ws.cluster.replicas import Replicas
from hazoom_ws.cluster.slots import SlotsElsewhere
from hazoom_ws.llm_bridge.answer import Answer
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.llm_bridge.elsewhere import Elsewhere, Known
from hazoom_ws.message_log.peers import EXPIRED, Heard, Peers

logger = logging.getLogger(__name__)

KIND = b"answer"
_FIRST_S = 6.0  # for which an answer whose process has died is left to those that know it


class AnswersElsewhere(Elsewhere):
    """What one process has to do with the answers of others."""

    is_alone = False

    def __init__(
        self,
        answers: Answers,
        hub: Hub,
        peers: Peers,
        *,
        problem: Callable[[], str | None],
        run_beside: RunBeside,
        wake: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        """``problem`` as in `Claims`. ``wake`` is called when there is something for `run_due`."""
        self._answers = answers
        self._telling = answers.telling
        self._get = answers.register.get
        self._hub = hub
        self._peers = peers
        self._claims = Claims(peers, problem, clock)
        self._problem = problem
        self._clock = clock
        self._run_beside = run_beside
        self._wake = wake
        self._replicas = replicas = Replicas(answers, hub, self._publish, clock)
        self._slots = SlotsElsewhere(answers.slots, lambda note: self._publish(EVERYBODY, note))
        self._on: Mapping[type, Callable[[Heard, Any], object]] = {
            notes.State: replicas.hear_state,
            notes.Tokens: replicas.hear_tokens,
            notes.Ended: replicas.hear_ended,
            notes.Watch: self._hear_watch,
            notes.WatchRoom: self._hear_watch_room,
            notes.Leave: self._hear_leave,
            notes.Cancel: self._hear_cancel,
            notes.Unknown: lambda heard, note: replicas.lose(heard.process, note.id),
            notes.Died: lambda heard, note: replicas.tell_died(note.id, heard.channel.removeprefix("room:")),
            notes.Slots: self._hear_slots,
            notes.TellSlots: lambda heard, _: self._publish(f"process:{heard.process}", self._slots.all()),
        }
        self._watching: dict[Answer, set[str]] = {}  # the processes that get one that runs here
        self._untold: dict[Answer, list[str]] = {}  # tokens, of those
        self._searches: list[tuple[Connection, list[str], bool]] = []  # that are done with the next look
        self._failed: set[Answer] = set()  # of this process, and others have told that they failed
        self._postponed: list[Callable[[], object]] = []  # ends of answers
        self._died_at_s: dict[str, float] = {}  # since when it is known of answers that nobody has taken
        peers.before_back.append(self._claim_again)
        peers.on_back.append(self._after_away)
        peers.on_follow.append(lambda rooms: partial(self._watch_rooms, list(rooms)))

    def greet(self) -> None:
        """Ask others for what they tell only when it changes."""
        self._publish(EVERYBODY, notes.TellSlots())

    # Which process has an answer

    def find(self, request_id: str) -> Known | None:
        known = self._claims.find(request_id)
        return None if known is None or known.process == self._peers.name else known

    def claim(self, request_id: str, user: User, room: str) -> Known | None:
        known = self._claims.claim(request_id, user, room)
        return None if known.process == self._peers.name else known

    def release(self, request_id: str) -> None:
        self._claims.forget(request_id)

    # What becomes of answers that run here

    def accepted(self, answer: Answer) -> None:
        self._claims.accepted(answer)

    def started(self, answer: Answer) -> None:
        self._slots.tell_changed()  # so who hears of an answer has heard of its slot
        if answer.room is not UNSET and answer.beginning:
            self._publish(f"room:{answer.room}", notes.state_of(answer))
        elif answer in self._watching:
            self._tell(answer, notes.state_of(answer))

    def add_tokens(self, answer: Answer, tokens: list[str]) -> None:
        if answer in self._watching:
            self._untold.setdefault(answer, []).extend(tokens)
            self._wake()

    def ended(self, answer: Answer) -> None:
        if not self.has_failed(answer):
            self._claims.ended(answer)
        if answer in self._watching:
            self.flush(answer)
            outcome, told_seq = notes.told(answer.outcome), notes.told_seq_of(answer)
            note = notes.Ended(answer.prompt.request_id, len(answer.tokens), outcome, answer.kept_seq, told_seq)
            self._tell(answer, note)
            del self._watching[answer]

    def forget(self, answer: Answer) -> None:
        request_id = answer.prompt.request_id
        if self.has_failed(answer):
            self._failed.discard(answer)
            self._claims.forget_failed(request_id)
        else:
            self._claims.forget(request_id)

    def has_failed(self, answer: Answer) -> bool:
        return answer in self._failed

    def postpone(self, end: Callable[[], object]) -> bool:
        if self._problem() != EXPIRED:
            return False
        self._postponed.append(end)
        return True

    def is_watched(self, answer: Answer) -> bool:
        return answer in self._watching

    def count(self, user: User, address: str) -> None:
        self._slots.note_changed(user, address)
        self._wake()

    def run_due(self) -> float | None:
        """Tell what has gathered; for a `Ticker`."""
        for answer in list(self._untold):
            self.flush(answer)
        self._slots.tell_changed()
        return None

    def flush(self, answer: Answer) -> None:
        tokens = self._untold.pop(answer, None)
        if tokens:
            self._tell(answer, notes.Tokens(answer.prompt.request_id, len(answer.tokens) - len(tokens), tokens))

    def _tell(self, answer: Answer, note: notes.Note) -> None:
        if answer.room is not UNSET:
            self._publish(f"room:{answer.room}", note)
            return
        for process in self._watching.get(answer, ()):
            self._publish(f"process:{process}", note)

    def _publish(self, channel: str, note: notes.Note) -> None:
        self._peers.publish(channel, KIND, notes.encode(note))

    # What clients here want of answers that run elsewhere

    def watch(self, connection: Connection, request_id: str, process: str, index: int | None) -> None:
        self._replicas.await_state(connection, request_id, process, index)

    def look_for(self, connection: Connection, answers: Mapping[str, str]) -> None:
        connection.answers.update(answers)
        self._look_for(connection, list(answers), is_last=False)

    def _look_for(self, connection: Connection, request_ids: list[str], *, is_last: bool) -> None:
        """Get answers for a connection. ``is_last``: what is not found is lost; else its process may be about to tell."""

        def take(found: Any, error: BaseException | None) -> None:
            if error is not None:
                self._searches.append((connection, request_ids, is_last))
                return
            missing = []
            for request_id, known in zip(request_ids, found, strict=True):
                if known is not None and known.process != self._peers.name:
                    self.watch(connection, request_id, known.process, None)
                elif self._get(request_id) is None:
                    missing.append(request_id)
            is_well = self._problem() is None  # else no process may have been able to renew its lease
            if missing and not (is_last and is_well):
                self._searches.append((connection, missing, is_well))
            for request_id in missing if is_last and is_well else ():
                self._telling.lost(connection, request_id)

        if connection.is_open:
            self._run_beside(lambda: self._claims.look_up(request_ids), take)

    def leave(self, answer: Answer) -> None:
        self._publish(f"process:{answer.owner}", notes.Leave(answer.prompt.request_id))

    def cancel(self, request_id: str, process: str, user: User) -> None:
        self._publish(f"process:{process}", notes.Cancel(request_id, user.id))

    def _watch_rooms(self, rooms: list[str]) -> None:
        for room in rooms:
            self._publish(f"room:{room}", notes.WatchRoom())

    # What others tell

    def hear(self, heard: Heard) -> None:
        """Do what a note asks for, or take what it tells."""
        try:
            note = notes.decode(heard.data)
            self._on[type(note)](heard, note)
        except (msgspec.MsgspecError, KeyError) as error:
            logger.warning("process %s tells of an answer what is not understood: %s", heard.process, error)

    def _hear_watch(self, heard: Heard, note: notes.Watch) -> None:
        answer = self._get(note.id)
        if answer is None or answer.owner:
            self._publish(f"process:{heard.process}", notes.Unknown(note.id))
        else:
            self._tell_state(answer, heard.process)

    def _hear_watch_room(self, heard: Heard, _: notes.WatchRoom) -> None:
        for answer in self._answers.register.of_room(heard.channel.removeprefix("room:")):
            if not answer.owner and not answer.is_ended and answer.beginning:
                self._tell_state(answer, heard.process)

    def _tell_state(self, answer: Answer, process: str) -> None:
        self.flush(answer)  # to who has the rest
        if not answer.size_bytes:  # it has not ended
            self._watching.setdefault(answer, set()).add(process)
        self._publish(f"process:{process}", notes.state_of(answer))

    def _hear_leave(self, heard: Heard, note: notes.Leave) -> None:
        answer = self._get(note.id)
        if answer is not None:
            self._watched_no_more(answer, heard.process)

    def _watched_no_more(self, answer: Answer, process: str) -> None:
        processes = self._watching.get(answer, set())
        processes.discard(process)
        if not processes and self._watching.pop(answer, None) is not None:
            self._untold.pop(answer, None)
            if answer.room is UNSET and not self._hub.connections_of(answer.user):
                self._answers.left(answer.user)

    def _hear_cancel(self, _: Heard, note: notes.Cancel) -> None:
        answer = self._get(note.id)
        if answer is not None and not answer.owner and not answer.is_ended and answer.user.id == note.user_id:
            self._answers.stop(answer)

    def _hear_slots(self, heard: Heard, note: notes.Slots) -> None:
        self._slots.hear(heard.process, note)
        self._answers.start_waiting()

    # When Redis was away, and when another process has died

    def _claim_again(self) -> None:
        """Find out which answers have failed, as others have it. Beside turns."""
        mine = [answer for answer in self._answers.register.all() if not answer.owner]
        gone = self._claims.claim_again(mine)
        self._failed.update([answer for answer in mine if answer.prompt.request_id in gone])

    def _after_away(self) -> None:
        """Stop what has failed; tell and ask again what may be lost of what was told meanwhile."""
        for answer in self._failed.difference(self._answers.register.all()):
            self.forget(answer)  # again: it was forgotten while it was found out that it has failed
        for answer in self._answers.register.all():
            if answer.owner:
                continue
            if self.has_failed(answer):
                if not answer.is_ended:
                    logger.warning("AI request %r has failed: this process was taken for dead", answer.prompt.request_id)
                    self._answers.stop(answer)  # how it ends then `has_failed` says
            elif answer.size_bytes:
                self._claims.ended(answer)
            elif answer.beginning:
                self.started(answer)
        postponed, self._postponed = self._postponed, []
        for end in postponed:
            end()
        self._replicas.ask_again()
        self._watch_rooms(self._hub.rooms.names())
        self._slots.tell_again()
        self._wake()
        self.greet()

    def gone(self, process: str) -> None:
        """Note that a process has died, or ended and said so."""
        self._replicas.lose_all(process)
        for answer in list(self._watching):
            self._watched_no_more(answer, process)
        self._answers.slots.elsewhere.forget(process)
        self._answers.start_waiting()

    def looked(self) -> None:
        """Do again what could not be done while Redis was away, and look for answers whose process has died.

        To be called every second or so while Redis is there.
        """
        searches, self._searches = self._searches, []
        for connection, request_ids, is_last in searches:
            self._look_for(connection, request_ids, is_last=is_last)
        self._claims.forget_unused(lambda request_id: self._get(request_id) is not None)
        self._run_beside(self._claims.died, self._take_died)

    def _take_died(self, died: dict[str, str] | None, error: BaseException | None) -> None:
        """Keep answers in their rooms: those that are known here, and those that nobody seems to know."""
        if error is not None or died is None or self._problem() is not None:
            return  # nothing can be kept
        now_s = self._clock()
        self._died_at_s = {request_id: self._died_at_s.get(request_id, now_s) for request_id in died}
        chosen = [
            request_id
            for request_id, since_s in self._died_at_s.items()
            if self._get(request_id) is not None or now_s - since_s >= _FIRST_S
        ]

        def keep(mine: set[str] | None, error: BaseException | None) -> None:
            for request_id in mine or () if error is None else ():
                room = died[request_id]
                logger.warning("AI request %r ended with its process", request_id)
                self._telling.keep_failed(request_id, room)
                self._publish(f"room:{room}", notes.Died(request_id))
                self._replicas.tell_died(request_id, room)

        if chosen:
            self._run_beside(lambda: self._claims.take(chosen), keep)
