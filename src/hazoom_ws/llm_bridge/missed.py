"""What who comes, or comes back, is told of answers. Called within turns."""

from collections.abc import Callable, Iterable

from msgspec import UNSET

from hazoom_ws.chat.effects import Numbered, place_of
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection
from hazoom_ws.errors import LlmFailed
from hazoom_ws.events.base import ServerEvent
from hazoom_ws.events.llm import LlmError
from hazoom_ws.llm_bridge.answer import Answer, weave
from hazoom_ws.llm_bridge.elsewhere import Elsewhere
from hazoom_ws.llm_bridge.register import Register
from hazoom_ws.llm_bridge.wire import error_event
from hazoom_ws.message_log.contract import MessageLog


def lost(request_id: str, room: str) -> LlmError:
    """Return the end of an answer of which nothing is known any more. ``room`` "": it was private."""
    error = LlmFailed("this answer was lost, the server was restarted or you were away for too long; ask again")
    return error_event(request_id, error, room or UNSET)


def died(request_id: str, room: str) -> LlmError:
    """Return the end of an answer whose process has died, or was taken for dead. ``room`` as in `lost`."""
    error = LlmFailed("the server that had asked the AI has ended in the middle of the answer; ask again")
    return error_event(request_id, error, room or UNSET)


class Missed:
    """What there is of answers, for one connection. ``elsewhere()`` as in `Answers`."""

    def __init__(self, register: Register, hub: Hub, log: MessageLog, elsewhere: Callable[[], Elsewhere]) -> None:
        self._register = register
        self._hub = hub
        self._log = log
        self._elsewhere = elsewhere

    def snapshots(self, rooms: Iterable[str]) -> list[Numbered]:
        """Return what there is of the answers that run in rooms, for who comes in the middle; the live rest follows."""
        if not self._register.has_shared:
            return []
        return self._so_far(answer for room in rooms for answer in self._register.of_room(room))

    def _so_far(self, answers: Iterable[Answer]) -> list[Numbered]:
        """Return what there is of those of ``answers`` that run."""
        events: list[ServerEvent] = []
        for answer in answers:
            if not answer.is_ended:
                events += [event for event, _ in answer.beginning]
                if answer.tokens:
                    events.append(answer.joined(0, snapshot=True))
        return [(event, self._log.last_seq) for event in events]

    def catch_up(self, connection: Connection, offset: int, replayed: list[Numbered], process: str) -> list[Numbered]:
        """Return ``replayed`` with what a recovered client missed of answers after ``offset``, all in its order.

        From now on its connection watches what it watched before. ``process``: which one has given the offset, "" for this
        one. Another one numbers tokens in its own way: so all that there is of a running answer is sent then. The end of
        one that has ended is sent if that process has told it after the offset; where it has not told that, if the room's
        record of the answer, which all number alike, is after the offset, or the client has waited for a private one.
        """
        events: list[Numbered] = []
        awaited = set(connection.answers)
        ends = self._lost(connection)
        private = self._register.of_user(connection.user)
        for answer in private:
            for position, watcher in enumerate(answer.watchers):
                if watcher.pid == connection.pid:
                    answer.watchers[position] = connection
            if process and answer.prompt.request_id in awaited and connection not in answer.watchers:
                answer.watchers.append(connection)
        watched = [answer for answer in private if connection in answer.watchers]
        for room in connection.rooms:
            watched += self._register.of_room(room)
        if process:
            for answer in watched:
                if answer.owner == process or answer.room is not UNSET:
                    seq = answer.told_seq if answer.owner == process else answer.kept_seq
                    is_missed = (seq or max(map(place_of, answer.outcome), default=0)) > offset
                else:
                    is_missed = answer.prompt.request_id in awaited
                if answer.is_ended and is_missed:
                    events += [(event, self._log.last_seq) for event, _ in answer.outcome]
            return [*replayed, *self._so_far(watched), *events, *ends]
        for answer in watched:
            events += [numbered for numbered in (*answer.beginning, *answer.outcome) if place_of(numbered) > offset]
        return weave(watched, sorted(events + replayed, key=place_of), offset) + ends

    def _lost(self, connection: Connection) -> list[Numbered]:
        """Return the ends of answers that a recovered client waits for and that are kept nowhere, on each namespace.

        Where there are other processes, they are asked first.
        """
        elsewhere = self._elsewhere()
        if connection.lost_answers is None:
            unknown = connection.died_answers.copy()
            connection.died_answers.clear()
            for request_id, room in list(connection.answers.items()):
                answer = self._register.get(request_id)
                if answer is None:
                    unknown[request_id] = room
                else:
                    answer.asker = connection
                if (answer is None and elsewhere.is_alone) or (answer is not None and answer.is_ended):
                    del connection.answers[request_id]
            connection.lost_answers = unknown if elsewhere.is_alone else {}
            self._hub.recoverable.save_answers(connection)
            if unknown and not elsewhere.is_alone:
                elsewhere.look_for(connection, unknown)
        return [(lost(request_id, room), self._log.last_seq) for request_id, room in connection.lost_answers.items()]
