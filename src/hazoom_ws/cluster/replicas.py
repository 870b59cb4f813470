"""The answers of other processes that somebody here gets: each is an `Answer` here too, fed by what its process tells.

What is heard twice is seen by the tokens' index; if something is missing all of it is asked for again. Called within turns.
"""

import logging
from collections import defaultdict
from collections.abc import Callable

from hazoom_ws.chat.effects import Broadcast
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection
from hazoom_ws.cluster import answer_notes as notes
from hazoom_ws.errors import HazoomError
from hazoom_ws.events.llm import LlmStarted
from hazoom_ws.llm_bridge.answer import Answer
from hazoom_ws.llm_bridge.answers import Answers
from hazoom_ws.llm_bridge.missed import died
from hazoom_ws.message_log.peers import Heard

logger = logging.getLogger(__name__)


class Replicas:
    """Those of one process. ``publish(channel, note)`` tells others."""

    def __init__(
        self, answers: Answers, hub: Hub, publish: Callable[[str, notes.Note], object], clock: Callable[[], float]
    ) -> None:
        self._answers = answers
        self._telling = answers.telling
        self._get = answers.register.get
        self._hub = hub
        self._publish = publish
        self._clock = clock
        # Who waits for the state of which, from which process and token on (None: all of it).
        self._awaited: defaultdict[str, list[tuple[Connection, str, int | None]]] = defaultdict(list)

    def await_state(self, connection: Connection, request_id: str, process: str, index: int | None) -> None:
        """Ask for an answer, and send it to a connection when it comes, from a token on or (None) as a snapshot."""
        self._awaited[request_id].append((connection, process, index))
        self._publish(f"process:{process}", notes.Watch(request_id))

    def ask_again(self) -> None:
        """Ask again for all that has not ended: what was told lately may be lost."""
        for answer in self._running():
            self._publish(f"process:{answer.owner}", notes.Watch(answer.prompt.request_id))
        for request_id, waiting in self._awaited.items():
            for process in {process for _, process, _ in waiting}:
                self._publish(f"process:{process}", notes.Watch(request_id))

    def _running(self) -> list[Answer]:
        return [answer for answer in self._answers.register.all() if answer.owner and not answer.is_ended]

    def hear_state(self, heard: Heard, note: notes.State) -> None:
        """Take all there is of an answer."""
        answer = self._get(note.id)
        if answer is not None and answer.owner != heard.process:
            return  # it was asked again after its process was taken for dead
        if heard.channel.startswith("room:"):
            self._publish(f"process:{heard.process}", notes.Watch(note.id))
        if answer is None:
            answer = self._take_new(heard.process, note)
        else:
            self._take_more(answer, note)
        for connection, _, index in self._awaited.pop(note.id, ()):
            self._begin_to_send(answer, connection, index)

    def _take_new(self, process: str, note: notes.State) -> Answer:
        answer = notes.answer_of(note, process, self._clock())
        answer.position = note.position
        self._answers.register.add(answer)
        is_told = not note.is_ended  # else only who has asked is told
        for event in notes.events_of(note.beginning):
            if isinstance(event, LlmStarted):
                self._telling.start(answer, event, is_told=is_told)
        self._telling.snapshot(answer, note.tokens, is_told=is_told)
        if note.is_ended:
            self._take_end(answer, note, is_told=False)
        return answer

    def _take_more(self, answer: Answer, note: notes.State) -> None:
        if answer.is_ended:
            return
        if note.position and note.position != answer.position:
            self._telling.position(answer, note.position)
        for event in notes.events_of(note.beginning)[len(answer.beginning) :]:
            if isinstance(event, LlmStarted):
                self._telling.start(answer, event)
        self._telling.tokens(answer, note.tokens[len(answer.tokens) :])
        if note.is_ended:
            self._take_end(answer, note)

    def _begin_to_send(self, answer: Answer, connection: Connection, index: int | None) -> None:
        request_id = answer.prompt.request_id
        if not connection.is_open:
            return
        if request_id in connection.answers:
            answer.asker = connection
            if answer.is_ended:
                del connection.answers[request_id]
                self._hub.recoverable.save_answers(connection)
        first = 0 if index is None else min(index, len(answer.tokens))
        try:
            self._answers.resume(connection, request_id, first, is_snapshot=index is None)
        except HazoomError as error:
            logger.info("AI request %r is not resumed: %s", request_id, error)

    def hear_tokens(self, heard: Heard, note: notes.Tokens) -> None:
        """Take what has come of one."""
        answer = self._of(heard, note.id)
        if answer is None:
            return
        known_count = len(answer.tokens)
        if note.index > known_count:
            self._publish(f"process:{heard.process}", notes.Watch(note.id))
        else:
            self._telling.tokens(answer, note.tokens[known_count - note.index :])

    def hear_ended(self, heard: Heard, note: notes.Ended) -> None:
        """Take how one ended."""
        answer = self._of(heard, note.id)
        if answer is None:
            return
        if note.tokens_count > len(answer.tokens):
            self._publish(f"process:{heard.process}", notes.Watch(note.id))
        else:
            self._take_end(answer, note)

    def _of(self, heard: Heard, request_id: str) -> Answer | None:
        """Return an answer that runs in the process that tells of it, None if nobody here gets it."""
        answer = self._get(request_id)
        return answer if answer is not None and answer.owner == heard.process and not answer.is_ended else None

    def _take_end(self, answer: Answer, note: notes.State | notes.Ended, *, is_told: bool = True) -> None:
        answer.told_seq = note.told_seq
        for event in notes.events_of(note.outcome):
            self._telling.conclude(answer, event, is_told=is_told)
        self._telling.finish(answer, note.kept_seq)

    def lose(self, process: str, request_id: str) -> None:
        """Tell who waits for an answer of a process, or gets it, that there is no more of it."""
        waiting = self._awaited.pop(request_id, [])
        for connection, of_process, index in waiting:
            if of_process != process:
                self._awaited[request_id].append((connection, of_process, index))
            elif connection.is_open:
                self._telling.lost(connection, request_id)
        answer = self._get(request_id)
        if answer is not None and answer.owner == process and not answer.is_ended:
            self._fail(answer)

    def _fail(self, answer: Answer) -> None:
        self._telling.conclude(answer, died(answer.prompt.request_id, answer.room or ""))
        self._telling.finish(answer, 0)

    def tell_died(self, request_id: str, room: str) -> None:
        """Tell a room that an answer there has died, unless it knows that."""
        answer = self._get(request_id)
        if answer is None:
            self._hub.deliver(Broadcast(room, died(request_id, room)))
        elif answer.owner and not answer.is_ended:
            self._fail(answer)

    def lose_all(self, process: str) -> None:
        """Tell who waits for answers of a process, or gets them, that it has died."""
        for answer in self._running():
            if answer.owner == process:
                self._fail(answer)
        for request_id in list(self._awaited):
            self.lose(process, request_id)
