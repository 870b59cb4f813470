"""The tables of states: each move happens, no other one can, and the text says the same."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from types import ModuleType

import pytest
from greenlet import getcurrent, greenlet

from by_hand import ByHand, LogByHand
from hazoom_ws.delivery import commit_beside_turns, mending
from hazoom_ws.delivery.commit_beside_turns import CommitBesideTurns, State
from hazoom_ws.delivery.mending import Health, Mending
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import REVOKED
from hazoom_ws.states import IllegalMove, moved

UNAVAILABLE, DEFECT = partial(LogUnavailable, "disk I/O error"), MemoryError

TABLES = [
    pytest.param(commit_beside_turns, State, id="commit_beside_turns"),
    pytest.param(mending, Health, id="mending"),
]


def moves_of(module: ModuleType) -> set[tuple[StrEnum, StrEnum]]:
    return {(state, to) for state, targets in module.MOVES.items() for to in targets}


def moves_in_text(module: ModuleType, states: type[StrEnum]) -> Iterator[tuple[StrEnum, StrEnum]]:
    """Yield the moves that a module's docstring lists, each a line with an arrow."""
    state = ""
    for word, to in re.findall(r"^ +(\w+)? *-> ([A-Z]+)\b", module.__doc__ or "", re.MULTILINE):
        state = word or state
        to_state = states[to]
        yield from (
            (each, to_state) for each in states if state in (each.name, "any") and (state != "any" or each != to_state)
        )


@pytest.mark.parametrize(("module", "states"), TABLES)
def test_the_text_lists_the_moves_that_there_are(module: ModuleType, states: type[StrEnum]) -> None:
    assert set(moves_in_text(module, states)) == moves_of(module)
    assert set(module.MOVES) == set(states)
    for state in states:
        assert re.search(rf"^    {state.name} +[a-z]", module.__doc__ or "", re.MULTILINE), f"{state} is not explained"


@pytest.mark.parametrize(("module", "states"), TABLES)
def test_there_is_no_other_move(module: ModuleType, states: type[StrEnum]) -> None:
    for state in states:
        for to in states:
            if (state, to) in moves_of(module):
                assert moved(module.MOVES, state, to) is to
            else:
                with pytest.raises(IllegalMove, match=f"cannot become {to} while {state}"):
                    moved(module.MOVES, state, to)


class WatchedCommit(CommitBesideTurns):
    """Notes in ``moves`` how its state changes."""

    @property
    def state(self) -> State:
        return self._now

    @state.setter
    def state(self, to: State) -> None:
        if not hasattr(self, "moves"):
            self.moves: set[tuple[State, State]] = set()
        else:
            self.moves.add((self._now, to))
        self._now = to


class WatchedMending(Mending):
    """Notes in ``moves`` how its health changes."""

    @property
    def health(self) -> Health:
        return self._now

    @health.setter
    def health(self, to: Health) -> None:
        if not hasattr(self, "moves"):
            self.moves: set[tuple[Health, Health]] = set()
        else:
            self.moves.add((self._now, to))
        self._now = to


class Scene:
    """A group commit beside turns, over a log that does as it is told."""

    def __init__(self) -> None:
        self.log = LogByHand()
        self.worker = ByHand()
        self.said: list[NewMessage] = []
        self.out: list[str] = []
        self.commit = WatchedCommit(
            self.log, self._send_all, start_task=lambda _task: None, sleep=lambda _s: None, worker=self.worker
        )

    def _send_all(self, effects: deque[str]) -> None:
        while effects:
            self.out.append(effects.popleft())

    def say(self, text: str) -> None:
        self.said.append(self.log.append(room="r", user="Ann", message=text, timestamp=1.0))
        self.commit.effects.append(text)
        self.commit.end_turn()

    def write_in_thread(self) -> None:
        """Come to a state in which a thread writes."""
        self.log.at_once = False
        self.say("a")
        self.worker.call_back()
        assert self.commit.state is State.WRITING

    def tidy(self) -> None:
        """Come to a state in which a thread tidies."""
        self.log.has_to_tidy = True
        self.say("a")
        self.worker.call_back()
        self.worker.pass_time()
        assert self.commit.state is State.TIDYING

    def fail(self) -> None:
        """Come to a state in which it is to be tried again."""
        self.log.fails_with = DEFECT
        self.say("lost")
        self.worker.call_back()
        self.log.fails_with = None
        assert self.commit.state is State.RETRYING


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_every_move_happens(scene: Scene) -> None:
    seen = set()

    def again() -> Scene:
        nonlocal scene
        seen.update(scene.commit.moves)
        scene = Scene()
        return scene

    scene.say("a")
    scene.worker.call_back()
    scene.write_in_thread()
    scene.worker.do()
    assert scene.out == ["a", "a"]
    again().write_in_thread()
    scene.log.fails_with = DEFECT
    scene.worker.do()
    assert scene.commit.state is State.RETRYING
    scene.worker.pass_time()
    again().tidy()
    scene.worker.do()
    assert scene.commit.state is State.IDLE
    again().tidy()
    scene.log.at_once = False
    scene.say("b")
    scene.worker.do()
    assert scene.commit.state is State.WRITING
    again().tidy()
    scene.worker.submitted.append((scene.worker.submitted.popleft()[0], lambda: None, ()))  # it does less than all
    scene.worker.submitted[0][1].__name__ = "tidy"
    scene.worker.do()
    assert scene.commit.state is State.TIDYING
    again().tidy()
    scene.log.fails_with = DEFECT
    scene.say("b")
    scene.worker.do()
    assert scene.commit.state is State.RETRYING
    again().fail()
    scene.worker.pass_time()
    scene.commit.close()
    again().say("a")
    scene.commit.close()
    for come in (scene.write_in_thread, scene.tidy, scene.fail):
        getattr(again(), come.__name__)()
        scene.commit.close()
    again()
    assert seen == moves_of(commit_beside_turns)


def test_what_nobody_waits_for_is_loud(scene: Scene) -> None:
    """A second wake-up wrote a second batch while a thread wrote the first, and then nobody knew of that one."""
    scene.write_in_thread()
    written, _, _ = scene.worker.submitted[0]
    scene.worker.do()
    with pytest.raises(IllegalMove):
        written(None)
    scene.log.fails_with = DEFECT
    scene.say("b")
    go_on = scene.worker.called_soon[-1]
    scene.log.fails_with = None
    scene.worker.call_back()
    with pytest.raises(IllegalMove):
        go_on()
    assert scene.commit.state is State.WRITING
    scene.worker.do()
    assert scene.out == ["a", "b"]


def test_the_end_of_the_process_leaves_one_wake_up(scene: Scene) -> None:
    """After `settle` a turn asked for another one: two wrote at a time."""
    scene.log.at_once = False
    scene.say("a")
    scene.commit.settle()
    scene.say("b")
    assert len(scene.worker.called_soon) == 1
    scene.worker.call_back()
    assert [function.__name__ for _, function, _ in scene.worker.submitted] == ["write"]
    scene.worker.do()
    assert scene.out == ["a", "b"]


@pytest.mark.parametrize("come", [Scene.write_in_thread, Scene.tidy, Scene.fail])
def test_closing_refuses_what_no_thread_has_kept_and_sends_all_that_waits(
    come: Callable[[Scene], None], scene: Scene
) -> None:
    come(scene)
    lost = [entry for entry in scene.said if entry not in scene.log.kept]
    scene.commit.effects.append("presence")
    scene.commit.close()
    assert scene.out[-1] == "presence"
    assert [entry for entry in scene.said if entry.seq == REVOKED] == lost
    assert scene.log.is_closed
    done = [*scene.worker.called_soon, *scene.worker.called_later, *(done for done, _, _ in scene.worker.submitted)]
    out = list(scene.out)
    for callback in done:
        callback(*(() if callback in scene.worker.called_soon or callback in scene.worker.called_later else (None,)))
    scene.commit.close()
    assert scene.commit.state is State.CLOSED
    assert scene.out == out
    assert not scene.worker.called_soon


class Sick:
    """A log that is mended; ``tasks`` are in greenlets, and so is what they wait for."""

    def __init__(self) -> None:
        self.log = LogByHand()
        self.log.problem = "disk full"
        self.tasks: list[greenlet] = []
        self.is_slow = self.is_in_use = False
        self.well = 0
        self.mending = WatchedMending(
            self.log,
            Lock(),
            reopen=self._reopen,
            is_in_use=lambda: self.is_in_use,
            on_well=self._on_well,
            start_task=lambda task: self.tasks.append(greenlet(task)),
            sleep=lambda _s: getcurrent().parent.switch(),
        )

    def _reopen(self) -> None:
        if self.is_slow:
            getcurrent().parent.switch()
        self.log.reopen()

    def _on_well(self) -> None:
        self.well += 1

    def go_on(self) -> None:
        self.tasks[-1].switch()


class Lock:
    """Says whether it is held."""

    is_held = False

    def __enter__(self) -> None:
        assert not self.is_held
        self.is_held = True

    def __exit__(self, *_: object) -> None:
        self.is_held = False


def test_every_move_of_mending_happens() -> None:
    seen = set()
    sick = Sick()
    sick.mending.begin()
    sick.mending.begin()
    assert len(sick.tasks) == 1
    sick.go_on()
    sick.is_in_use = True
    sick.go_on()
    assert sick.mending.health is Health.MENDING, "a thread has the file"
    sick.is_in_use = False
    sick.log.fails_with = UNAVAILABLE
    sick.go_on()
    assert sick.mending.health is Health.MENDING
    sick.log.fails_with = None
    sick.go_on()
    assert (sick.mending.health, sick.well, sick.tasks[0].dead) == (Health.WELL, 1, True)
    sick.mending.close()
    seen |= sick.mending.moves
    for waits_in in (Health.MENDING, Health.REOPENING):
        sick = Sick()
        sick.is_slow = True
        sick.mending.begin()
        sick.go_on()
        if waits_in is Health.REOPENING:
            sick.go_on()
        assert sick.mending.health is waits_in
        sick.mending.close()
        sick.mending.close()
        assert sick.mending.is_closed
        assert sick.mending.is_reopening is (waits_in is Health.REOPENING)
        sick.go_on()
        assert (sick.mending.health, sick.well, sick.tasks[0].dead) == (Health.CLOSED, 0, True)
        sick.mending.begin()
        assert len(sick.tasks) == 1
        seen |= sick.mending.moves
    assert seen == moves_of(mending)


def test_without_a_task_it_is_tried_again_by_the_next_turn() -> None:
    tasks: list[Callable[[], None]] = []

    def start(task: Callable[[], None]) -> None:
        tasks.append(task)
        if len(tasks) == 1:
            raise RuntimeError("can't start new thread")

    log = LogByHand()
    log.problem = "disk full"
    mended = Mending(
        log,
        Lock(),
        reopen=log.reopen,
        is_in_use=lambda: False,
        on_well=lambda: None,
        start_task=start,
        sleep=lambda _s: None,
    )
    with pytest.raises(RuntimeError):
        mended.begin()
    mended.begin()
    tasks[-1]()
    assert log.problem is None
