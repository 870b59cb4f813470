"""Whatever happens, in any order: all is kept or refused, nothing is shown too early, and nothing is stuck."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from greenlet import getcurrent, greenlet
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, integers, sampled_from

from by_hand import FIRST_SEQ, ByHand, LogByHand
from hazoom_ws.delivery.commit_beside_turns import CommitBesideTurns, State
from hazoom_ws.delivery.commit_in_turns import CommitInTurns
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import REVOKED, StoredSession

SESSION = StoredSession(user_id="name:Ann", user_name="Ann", conversation_id="s", since=0, rooms=["r"])
UNAVAILABLE, DEFECT = partial(LogUnavailable, "disk I/O error"), MemoryError
OUTCOMES = sampled_from([None, None, None, UNAVAILABLE, DEFECT])


Effect = tuple[int, NewMessage | None]


def is_settled(message: NewMessage | None) -> bool:
    """Return whether it is known what has become of a message: it has its number, or was revoked."""
    return message is None or message.seq == REVOKED or message.seq >= FIRST_SEQ


class Walk(RuleBasedStateMachine):
    """Turns, threads, time and failures in any order. An effect is a message, or None for anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.log = LogByHand()
        self.queued: list[Effect] = []
        self.sent: list[Effect] = []
        self.tasks: list[greenlet] = []
        self.is_sending = self.does_sending_fail = False
        self.commit = self.build()

    def build(self) -> CommitInTurns | CommitBesideTurns:
        return CommitInTurns(
            self.log, None, self.send_all, start_task=lambda task: self.tasks.append(greenlet(task)), sleep=self.sleep
        )

    def sleep(self, _seconds: float) -> None:
        parent = getcurrent().parent
        if parent is not None:
            parent.switch()

    def send_all(self, effects: deque[Effect]) -> None:
        if self.is_sending:
            return
        self.is_sending = True
        try:
            while effects:
                if self.does_sending_fail:
                    self.does_sending_fail = False
                    raise DEFECT
                number, message = effects.popleft()
                assert is_settled(message), "it was shown before it was kept"
                self.sent.append((number, message))
                self.commit.end_turn()  # sending ends the connection of a dead peer
        finally:
            self.is_sending = False

    def attempt(self, function: Callable[[], object]) -> None:
        """Call what may fail as it was told to: whoever calls it goes on."""
        with suppress(MemoryError):
            function()

    def add(self, message: NewMessage | None = None) -> None:
        effect = (len(self.queued), message)
        self.queued.append(effect)
        self.commit.effects.append(effect)

    @rule(count=integers(1, 3))
    def say(self, count: int) -> None:
        for _ in range(count):
            try:
                self.add(self.log.append(room="r", user="Ann", message="x", timestamp=1.0))
            except LogUnavailable:
                self.add()
        self.attempt(self.commit.end_turn)

    @rule()
    def find_the_log_unwell(self) -> None:
        """Say something, and read something in the same turn, which finds that the file is gone."""
        if self.log.problem is None:
            self.add(self.log.append(room="r", user="Ann", message="x", timestamp=1.0))
            self.log.problem = "gone"
        self.attempt(self.commit.end_turn)

    @rule()
    def come(self) -> None:
        self.add()
        self.attempt(self.commit.end_turn)

    @rule(key=sampled_from("abc"), can_wait=booleans())
    def save(self, key: str, can_wait: bool) -> None:
        self.log.save_session(key, SESSION, can_wait=can_wait)
        self.add()
        self.attempt(self.commit.end_turn)

    @rule(at_once=booleans(), fails_with=OUTCOMES)
    def be_told(self, at_once: bool, fails_with: Callable[[], Exception] | None) -> None:
        self.log.at_once = at_once
        self.log.fails_with = fails_with

    @rule()
    def fail_at_sending(self) -> None:
        self.does_sending_fail = True

    @rule()
    def have_much_to_do(self) -> None:
        self.log.has_to_tidy = self.log.has_to_checkpoint = True

    @precondition(lambda self: self.tasks)
    @rule()
    def mend(self) -> None:
        self.tasks = [task for task in self.tasks if not task.dead]
        if self.tasks and not self.is_reopening():
            self.attempt(self.tasks[-1].switch)

    def is_reopening(self) -> bool:
        """Return whether the task that mends waits for a thread."""
        return False

    @rule()
    def settle(self) -> None:
        self.attempt(self.commit.settle)

    @invariant()
    def all_is_in_order(self) -> None:
        assert [number for number, _ in self.sent] == list(range(len(self.sent)))
        assert sum(not task.dead for task in self.tasks) <= 1

    def drain(self) -> None:
        for _ in range(10):
            self.mend()
            self.attempt(self.commit.end_turn)

    def teardown(self) -> None:
        self.log.at_once, self.log.fails_with, self.does_sending_fail = True, None, False
        is_end_sudden = len(self.queued) % 2
        if not is_end_sudden:
            self.drain()
            assert self.sent == self.queued, "something is stuck"
            assert not self.log.is_dirty
            assert self.log.problem is None
        self.commit.close()
        assert self.sent == self.queued
        assert all(is_settled(message) for _, message in self.sent)


class WalkBesideTurns(Walk):
    """The same, where a worker writes."""

    def build(self) -> CommitBesideTurns:
        self.worker = SlowByHand()
        return CommitBesideTurns(
            self.log,
            self.send_all,
            start_task=lambda task: self.tasks.append(greenlet(task)),
            sleep=self.sleep,
            worker=self.worker,
        )

    @rule()
    def handle_all(self) -> None:
        if self.worker.called_soon:
            self.attempt(self.worker.called_soon.popleft())

    @rule()
    def pass_time(self) -> None:
        if self.worker.called_later:
            self.worker.called_soon.append(self.worker.called_later.popleft())
            self.handle_all()

    @rule(index=integers(0, 1))
    def end_thread(self, index: int) -> None:
        if self.worker.submitted:
            self.worker.submitted.rotate(-index)
            self.attempt(self.worker.end_one)

    @rule()
    def have_no_thread(self) -> None:
        self.worker.is_submit_broken = True

    @invariant()
    def threads_keep_out_of_each_others_way(self) -> None:
        names = sorted(function.__name__ for _, function, _ in self.worker.submitted)
        assert len(names) == len(set(names))
        assert not {"write", "tidy"} <= set(names)
        assert "reopen" not in names or names == ["reopen"], "the file changes hands while a thread uses it"
        state = self.commit.state
        assert ("write" in names, "tidy" in names) == (state is State.WRITING, state is State.TIDYING)

    def is_reopening(self) -> bool:
        return any(function.__name__ == "reopen" for _, function, _ in self.worker.submitted)

    def drain(self) -> None:
        self.worker.is_submit_broken = False
        for _ in range(30):
            self.end_thread(0)
            self.handle_all()
            self.pass_time()
            self.mend()
            self.attempt(self.commit.end_turn)
        assert self.commit.state is State.IDLE
        assert not self.worker.submitted

    def sleep(self, seconds: float) -> None:
        if getcurrent().parent is None:
            self.end_thread(0)  # `settle` and `close` wait for it
            self.handle_all()
        super().sleep(seconds)


class SlowByHand(ByHand):
    """A worker for whose threads greenlets wait, and which once has none if it is told so."""

    is_submit_broken = False

    def submit(self, done: Callable, function: Callable, *args: object) -> None:
        if self.is_submit_broken:
            self.is_submit_broken = False
            raise MemoryError
        super().submit(done, function, *args)

    def run(self, function: Callable, *args: object) -> None:
        caller = getcurrent()
        super().submit(caller.switch, function, *args)
        error = caller.parent.switch()
        if error is not None:
            raise error

    def end_one(self) -> None:
        done, function, args = self.submitted.popleft()
        error = None
        try:
            function(*args)
        except Exception as raised:
            error = raised
        done(error)


WALK = settings(max_examples=60, stateful_step_count=30, suppress_health_check=list(HealthCheck))
TestWalk = Walk.TestCase
TestWalk.settings = WALK
TestWalkBesideTurns = WalkBesideTurns.TestCase
TestWalkBesideTurns.settings = WALK
