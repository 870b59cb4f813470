"""States of rooms and documents in the group commit: kept and revoked like messages, snapshots when it is calm."""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from by_hand import ByHand, LogByHand
from hazoom_ws.delivery.commit_beside_turns import CommitBesideTurns
from hazoom_ws.delivery.commit_in_turns import CommitInTurns
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import REVOKED, MessageLog
from hazoom_ws.message_log.documents import StoredDocument
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.settings import Settings


def set_value(log: MessageLog, text: bytes):
    return log.states.set("r", {"x": text}, user="Ann", timestamp=1.0)


class Scene:
    """A log whose batches are written beside turns, by the hand of the test."""

    def __init__(self, log: MessageLog) -> None:
        self.log = log
        self.worker = ByHand()
        self.out: list[str] = []
        self.tasks: list[Callable] = []
        self.commit = CommitBesideTurns(
            log, self._send_all, start_task=self.tasks.append, sleep=lambda _s: None, worker=self.worker
        )

    def _send_all(self, effects: deque) -> None:
        self.out += effects
        effects.clear()

    def add(self, effect: str) -> None:
        self.commit.effects.append(effect)
        self.commit.end_turn()


@pytest.fixture
def scene() -> Scene:
    return Scene(LogByHand())


@pytest.fixture
def file_scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(open_log(Settings(log_url="sqlite:///log.sqlite3"), tmp_path))
    yield scene
    scene.log.close()


def test_a_change_of_state_is_shown_when_it_is_kept(scene: Scene) -> None:
    change = set_value(scene.log, b"1")
    scene.add("change")
    update = scene.log.documents.add_update("d", b"1")
    scene.add("update")
    assert scene.out == []
    scene.worker.call_back()
    assert scene.out == ["change", "update"]
    assert scene.log.kept == [change, update]
    assert scene.log.documents.read("d").updates == [(update.seq, b"1")]


def test_what_could_not_be_kept_is_marked(scene: Scene) -> None:
    kept = set_value(scene.log, b"1")
    scene.add("kept")
    scene.worker.call_back()
    scene.log.fails_with = lambda: LogUnavailable("full")
    change, update = set_value(scene.log, b"2"), scene.log.documents.add_update("d", b"1")
    scene.log.at_once = False
    scene.add("lost")
    scene.worker.call_back()
    newer = set_value(scene.log, b"3")
    scene.add("lost too")
    while scene.worker.submitted:
        scene.worker.do()
        scene.worker.call_back()
    assert [entry.seq for entry in (change, newer, update)] == [REVOKED] * 3
    assert kept.seq != REVOKED
    assert scene.log.states.get("r", "x").value == b"1"
    assert scene.log.documents.read("d") is None
    assert scene.out == ["kept", "lost", "lost too"], "who sends them looks at the seq"
    with pytest.raises(LogUnavailable):
        set_value(scene.log, b"4")


def test_where_threads_take_turns_what_could_not_be_kept_is_marked() -> None:
    log = LogByHand()
    commit = CommitInTurns(log, None, lambda effects: effects.clear(), start_task=lambda _f: None, sleep=lambda _s: None)
    log.fails_with = lambda: LogUnavailable("full")
    change, update = set_value(log, b"2"), log.documents.add_update("d", b"1")
    commit.end_turn()
    assert (change.seq, update.seq) == (REVOKED, REVOKED)
    assert log.states.read("r").values == {}


def test_a_snapshot_is_written_in_a_thread_when_it_is_calm(file_scene: Scene) -> None:
    log = file_scene.log
    update = log.documents.add_update("d", b"1")
    file_scene.add("update")
    file_scene.worker.call_back()
    while file_scene.worker.submitted:
        file_scene.worker.do()
    log.documents.save_snapshot("d", b"s" * 1000, update.seq)
    file_scene.add("nothing")
    assert file_scene.out == ["update", "nothing"], "nothing waits for it"
    names = []
    for _ in range(5):
        file_scene.worker.pass_time()
        while file_scene.worker.submitted:
            names.append(file_scene.worker.do())
    assert set(names) == {"tidy"}
    assert log.documents.read("d") == StoredDocument(b"s" * 1000, update.seq, [])
    assert not log.is_untidy


def test_a_large_update_is_written_beside_the_turns(file_scene: Scene) -> None:
    file_scene.log.documents.add_update("d", bytes(600_000))
    file_scene.add("update")
    file_scene.worker.call_back()
    assert file_scene.out == []
    assert file_scene.worker.do() == "write"
    assert file_scene.out == ["update"]
