"""What waits for the log: let out when it is kept, refused when it cannot be, and never left behind."""

import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from hazoom_ws.message_log import sqlite
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.namespaces.group_commit import GroupCommit
from hazoom_ws.settings import Settings


class ByHand:
    """A worker whose threads do the next thing when the test says so."""

    def __init__(self) -> None:
        self.called_soon: deque[Callable] = deque()
        self.submitted: deque[tuple] = deque()

    def soon(self, callback: Callable) -> None:
        self.called_soon.append(callback)

    def later(self, _delay_s: float, callback: Callable) -> None:
        self.called_soon.append(callback)

    def submit(self, done: Callable, function: Callable, *args: object) -> None:
        self.submitted.append((done, function, args))

    def run(self, function: Callable, *args: object) -> None:
        function(*args)

    def call_back(self) -> None:
        while self.called_soon:
            self.called_soon.popleft()()

    def do(self) -> str:
        """Do the first thing that was submitted, and return its name."""
        done, function, args = self.submitted.popleft()
        error = None
        try:
            function(*args)
        except Exception as raised:
            error = raised
        done(error)
        self.call_back()
        return function.__name__


class Scene:
    """One log in a file, and what was let out."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "log.sqlite3"
        self.worker = ByHand()
        self.log = open_log(Settings(log_url=f"sqlite:///{self.file}"), folder)
        self.out: list[object] = []
        self.tasks: list[Callable] = []
        self.slept = 0
        self.commit = GroupCommit(
            self.log, None, self._let_out, start_task=self.tasks.append, sleep=self._sleep, worker=self.worker
        )
        self.say("first")
        self.finish()

    def _let_out(self, effects: deque) -> None:
        self.out += effects
        effects.clear()

    def _sleep(self, _seconds: float) -> None:
        self.slept += 1
        if self.slept > 2 and self.worker.submitted:
            self.worker.do()

    def say(self, text: str) -> int:
        entry = self.log.append(room="r", user="Ann", message=text, timestamp=1.0)
        self.commit.effects.append(text)
        self.commit.end_turn()
        return entry.seq

    def finish(self) -> None:
        self.worker.call_back()
        while self.worker.submitted:
            self.worker.do()

    def history(self) -> list[str]:
        return [entry.message for entry in self.log.read("r", limit=3, newest=True).messages]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_S", 0)
    scene = Scene(tmp_path)
    yield scene
    scene.log.close()


def test_nothing_is_shown_before_it_is_kept_and_all_of_it_afterwards(scene: Scene) -> None:
    scene.say("a")
    scene.worker.call_back()
    scene.commit.effects.append("after a")
    scene.commit.end_turn()
    assert scene.out == ["first"], "what became true later is not shown earlier"
    scene.say("b")
    assert scene.worker.do() == "write"
    assert scene.out == ["first", "a"]
    assert scene.worker.do() == "write"
    assert scene.out == ["first", "a", "after a", "b"]
    scene.commit.effects.append("presence")
    scene.commit.end_turn()
    assert scene.out[-1] == "presence"


def test_what_came_while_tidying_failed_is_refused_and_holds_nothing_back(scene: Scene) -> None:
    with sqlite3.connect(scene.file, isolation_level=None) as other:
        for number in range(600):
            scene.say(str(number))
        scene.worker.call_back()
        assert scene.worker.do() == "write"
        other.execute("BEGIN IMMEDIATE")
        lost = scene.say("lost")
        assert scene.worker.do() == "tidy"
        assert scene.log.problem is not None
        assert lost in scene.commit.revoked
        assert scene.out[-1] == "lost", "who lets it out knows that it was revoked"
        scene.commit.effects.append("presence")
        scene.commit.end_turn()
        assert scene.out[-1] == "presence"
        other.execute("ROLLBACK")
    other.close()
    [reopen] = scene.tasks
    reopen()
    assert scene.log.problem is None
    scene.say("kept")
    scene.finish()
    assert scene.out[-1] == "kept"
    assert scene.history() == ["598", "599", "kept"]


def test_the_file_does_not_change_hands_during_a_checkpoint(scene: Scene) -> None:
    scene.say("x" * 5_000_000)
    scene.worker.call_back()
    assert scene.worker.do() == "write"
    names = [function.__name__ for _, function, _ in scene.worker.submitted]
    assert names[0] == "checkpoint"
    checkpoint = scene.worker.submitted.popleft()
    scene.finish()
    scene.worker.submitted.append(checkpoint)
    scene.log.problem = "disk I/O error"
    scene.commit.end_turn()
    [reopen] = scene.tasks
    reopen()
    assert scene.log.problem is None
    assert scene.slept == 3, "it waited until the checkpoint had ended"
