"""An answer on two processes: whatever of what they tell each other is lost, in the end both have all of it, once."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hazoom_ws.chat.effects import Broadcast, Push
from hazoom_ws.chat.hub import Hub
from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.cluster import answer_claims
from hazoom_ws.cluster.answers import KIND, AnswersElsewhere
from hazoom_ws.cluster.processes import DIED, TAKEN
from hazoom_ws.events.llm import LlmComplete, LlmError, LlmStarted, LlmToken
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.llm_bridge.answer import Answer
from hazoom_ws.llm_bridge.register import Register
from hazoom_ws.llm_bridge.slots import Slots
from hazoom_ws.llm_bridge.telling import Telling
from hazoom_ws.llm_bridge.wire import Prompt, completion
from hazoom_ws.message_log.memory import MemoryLog
from hazoom_ws.message_log.peers import Heard
from hazoom_ws.settings import Settings

ROOM = "team"


class Wire:
    """What processes publish, told to all others in its order, or lost while ``is_cut``; and what is kept, and the time.

    ``died``: the answers that nobody has taken yet whose process has died, the room of each by id.
    """

    def __init__(self) -> None:
        self.died: dict[bytes, bytes] = {}
        self.now_s = 0.0
        self.is_cut = False
        self.processes: list[Process] = []
        self._queue: list[Heard] = []

    def publish(self, heard: Heard) -> None:
        if not self.is_cut:
            self._queue.append(heard)

    def deliver(self) -> None:
        while self._queue:
            heard = self._queue.pop(0)
            for process in self.processes:
                is_for_it = not heard.channel.startswith("process:") or heard.channel == f"process:{process.name}"
                if process.name != heard.process and is_for_it:
                    process.elsewhere.hear(heard)


class Process:
    """One process: what it knows of answers, and what a client in the room has been sent."""

    def __init__(self, name: str, wire: Wire) -> None:
        self.name = name
        self.before_back: list[Callable[[], object]] = []
        self.on_back: list[Callable[[], object]] = []
        self.on_follow: list[Any] = []
        self.text, self.ends, self.indexes = "", 0, []
        self.errors: list[LlmError] = []
        self.kept: list[tuple[str, str]] = []  # by this process: text and finish reason
        self.problem: str | None = None
        self.failed: list[bytes] = []  # ids of those of this process that others have told to have failed
        self.while_claiming: Callable[[], object] = lambda: None
        self.told: list[tuple[Any, ...]] = []
        self._wire = wire
        settings, log = Settings(), MemoryLog(room_limit_count=10, limit_bytes=10**6)
        hub = Hub(settings, log, self._send, wake=lambda: None, clock=lambda: 0.0, wall_clock=lambda: 0.0)
        register = Register(settings)
        telling = Telling(hub, log, register, clock=lambda: 0.0, wake=lambda: None)
        self.answers: Any = SimpleNamespace(
            register=register, telling=telling, slots=Slots(settings), start_waiting=lambda: None
        )
        self.elsewhere = AnswersElsewhere(
            self.answers,
            hub,
            self,  # type: ignore[arg-type]
            problem=lambda: self.problem,
            run_beside=lambda function, done: done(function(), None),
            wake=lambda: None,
            clock=lambda: wire.now_s,
        )
        wire.processes.append(self)

    def publish(self, channel: str, kind: bytes, data: bytes) -> None:
        self._wire.publish(Heard(channel, self.name, kind, data))

    def tell(self, *command: Any) -> None:
        """Take what is kept in Redis."""
        self.told.append(command)

    def ask(self, command: tuple[Any, ...]) -> list[Any]:
        assert command == ("HGETALL", DIED)
        return [dict(self._wire.died)]

    def script(self, text: str) -> Callable[[list[Any]], Any]:
        def take(arguments: list[str]) -> list[bytes]:
            return [name for name in map(str.encode, arguments[1:]) if self._wire.died.pop(name, None) is not None]

        def claim_again(_arguments: list[str]) -> list[bytes]:
            self.while_claiming()
            return self.failed

        if text == answer_claims._FIND:
            return lambda arguments: [None] * len(arguments)
        return {answer_claims._TAKE: take, answer_claims._CLAIM_AGAIN: claim_again}.get(text, lambda _: [])

    def _send(self, effect: Any) -> None:
        """Show what is sent to the room as a client does that appends tokens and begins anew with a snapshot."""
        if isinstance(effect, Broadcast) and isinstance(effect.event, LlmToken):
            event = effect.event
            if getattr(event, "snapshot", False) is True:
                self.text, self.indexes = "", []
            self.text += event.token
            self.indexes.append(event.index)
        elif isinstance(effect, Broadcast) and isinstance(effect.event, LlmComplete):
            self.ends += 1
        elif isinstance(effect, Broadcast | Push) and isinstance(effect.event, LlmError):
            self.errors.append(effect.event)
        elif isinstance(effect, Broadcast) and isinstance(effect.event, NewMessage):
            self.kept.append((effect.event.message, str(effect.event.finish_reason)))


def begin(owner: Process) -> Answer:
    prompt = Prompt(
        request_id="r",
        user_identifier="Ann",
        message="?",
        intelligence_level="super",
        session_id="s",
        stream=True,
        room=ROOM,
    )
    answer = Answer(prompt, Connection("c", User.named("Ann"), "s"), 0.0)
    owner.answers.register.add(answer)
    owner.answers.telling.start(answer, LlmStarted(request_id="r", user="Ann", intelligence_level="super", room=ROOM))
    owner.elsewhere.started(answer)
    return answer


STEPS = st.lists(st.sampled_from(["token", "told", "told", "tick", "cut", "join", "end"]), min_size=5, max_size=40)


@given(steps=STEPS)
def test_whatever_is_lost_all_see_all_of_an_answer_once_and_in_order(steps: list[str]) -> None:
    wire = Wire()
    owner, other = Process("a", wire), Process("b", wire)
    answer = begin(owner)
    count = 0
    for step in [*steps, "cut", "join", "token", "end"]:
        if step in ("token", "told") and not answer.is_ended:
            tokens = [f"{count}ü ", f"{count + 1} "]
            count += 2
            owner.answers.telling.tokens(answer, tokens)
            owner.elsewhere.add_tokens(answer, tokens)
        if step in ("tick", "told"):
            owner.elsewhere.run_due()
        elif step == "end" and not answer.is_ended:
            owner.answers.telling.conclude(answer, completion(answer.prompt, None, asked_s=0.0, now_s=0.0))
            owner.answers.telling.finish(answer, 17)
            owner.elsewhere.ended(answer)
        elif step == "cut":
            wire.is_cut = not wire.is_cut
        elif step == "join":
            if wire.is_cut:
                wire.is_cut = False
                wire.deliver()
            # What was told meanwhile is lost, and both know that they were cut off.
            for process in (owner, other):
                for call in process.on_back:
                    call()
        wire.deliver()
    wire.is_cut = False
    for call in (*owner.on_back, *other.on_back):
        call()
    wire.deliver()
    there = other.answers.register.get("r")
    if there is None:  # it had ended before anybody there could hear of it
        assert other.text == ""
        return
    assert there.tokens.joined() == answer.tokens.joined()
    assert there.is_ended
    assert there.kept_seq == 17
    if other.indexes:
        assert other.text == owner.text
        assert other.indexes == sorted(set(other.indexes))
    assert other.ends == owner.ends == 1


def test_where_nobody_else_wants_an_answer_its_tokens_are_told_to_nobody() -> None:
    wire = Wire()
    owner = Process("a", wire)
    answer = begin(owner)
    wire.deliver()
    published: list[bytes] = []
    owner.publish = lambda _channel, _kind, data: published.append(data)  # type: ignore[method-assign]
    for number in range(1000):
        owner.answers.telling.tokens(answer, [f"{number} "])
        owner.elsewhere.add_tokens(answer, [f"{number} "])
        owner.elsewhere.run_due()
    assert published == []


def test_tokens_of_one_interval_are_told_at_once() -> None:
    wire = Wire()
    owner, other = Process("a", wire), Process("b", wire)
    answer = begin(owner)
    wire.deliver()
    published: list[Heard] = []
    wire.publish = published.append  # type: ignore[method-assign]
    for number in range(1000):
        owner.answers.telling.tokens(answer, [f"{number} "])
        owner.elsewhere.add_tokens(answer, [f"{number} "])
    owner.elsewhere.run_due()
    assert len(published) == 1
    other.elsewhere.hear(published[0])
    assert other.text == owner.text
    assert len(other.indexes) == 1000


def test_what_is_not_understood_is_told_in_the_log_and_changes_nothing(caplog) -> None:
    process = Process("a", Wire())
    for data in (b"", b"\xc1", msgspec.msgpack.encode({"type": "New"}), msgspec.msgpack.encode([1] * 100)):
        process.elsewhere.hear(Heard(f"room:{ROOM}", "b", KIND, data))
    assert caplog.text.count("is not understood") == 4


def test_what_there_is_of_an_answer_whose_process_has_died_is_kept_once_if_possible_by_one_that_knows_it() -> None:
    wire = Wire()
    stranger, owner, one, other = [Process(name, wire) for name in "sabc"]
    wire.processes.remove(stranger)  # it has nobody in the room
    answer = begin(owner)
    wire.deliver()
    owner.answers.telling.tokens(answer, ["so ", "far"])
    owner.elsewhere.add_tokens(answer, ["so ", "far"])
    owner.elsewhere.run_due()
    wire.deliver()
    wire.processes = [stranger, one, other]
    wire.died = {b"r": ROOM.encode(), b"unknown": ROOM.encode()}
    for _ in range(2):
        for process in wire.processes:
            process.elsewhere.gone(owner.name)
            process.elsewhere.looked()
        wire.deliver()
    assert (stranger.kept, one.kept, other.kept) == ([], [("so far", "failed")], [])
    assert wire.died == {b"unknown": ROOM.encode()}, "somebody may know it who has not noticed yet"
    wire.now_s += 10
    for process in wire.processes:
        process.elsewhere.looked()
    wire.deliver()
    assert (stranger.kept, len(one.kept), other.kept) == ([("", "failed")], 1, [])
    assert wire.died == {}
    for process in wire.processes:
        ids = [error.request_id for error in process.errors]
        assert sorted(ids) == ["r", "unknown"]
        assert all(error.retry for error in process.errors)


def test_an_answer_that_others_run_is_not_lost_because_redis_is_full() -> None:
    """No process can renew its lease then, so nobody seems to have any."""
    process = Process("a", Wire())
    process.problem = "Redis is full"
    process.elsewhere.look_for(Connection("c", User.named("Ann"), "s"), {"r": ROOM})
    for _ in range(5):
        process.elsewhere.looked()
    assert process.errors == []
    process.problem = None
    for _ in range(2):
        process.elsewhere.looked()
    assert [error.request_id for error in process.errors] == ["r"], "now it is known"


def test_an_answer_that_is_forgotten_while_it_is_asked_what_has_failed_leaves_nothing_behind() -> None:
    """Its id stayed among those that have failed: the same question, asked here again, would have ended as failed too."""
    owner = Process("a", Wire())
    answer = begin(owner)

    def forget() -> None:
        owner.answers.register.drop(answer)
        owner.elsewhere.forget(answer)

    owner.failed, owner.while_claiming = [b"r"], forget
    owner.before_back[0]()
    again = begin(owner)
    assert not owner.elsewhere.has_failed(again)
    owner.on_back[0]()
    assert ("HDEL", f"{TAKEN}a", "r") in owner.told, "nor is it told that it failed when Redis is away the next time"
    assert not owner.elsewhere._failed
    owner.while_claiming = lambda: None
    owner.before_back[0]()
    assert owner.elsewhere.has_failed(again)
