"""What waits for the log: let out when it is kept, refused when it cannot be, and never left behind."""

import json
import math
import sqlite3
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from by_hand import BreaksOnce, ByHand, LogByHand
from hazoom_ws.delivery.commit_beside_turns import CommitBesideTurns
from hazoom_ws.delivery.commit_in_turns import CommitInTurns
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.events.rooms import NewMessage
from hazoom_ws.message_log.contract import REVOKED, StoredSession
from hazoom_ws.message_log.opening import open_log
from hazoom_ws.message_log.sqlite import file as sqlite_file
from hazoom_ws.message_log.sqlite import writer as sqlite_writer
from hazoom_ws.message_log.sqlite.log import SqliteLog
from hazoom_ws.settings import Settings

SESSION = StoredSession(user_id="name:Ann", user_name="Ann", conversation_id="s", since=0, rooms=["r"])


class FailsOnce:
    """A connection on which memory runs out once, at a statement that begins as `fail_at` says."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._statement: str | None = None

    def fail_at(self, statement: str) -> None:
        self._statement = statement

    def execute(self, statement: str, *parameters: object) -> object:
        self._fail(statement)
        return self._connection.execute(statement, *parameters)

    def executemany(self, statement: str, parameters: object) -> object:
        self._fail(statement)
        return self._connection.executemany(statement, parameters)

    def _fail(self, statement: str) -> None:
        if self._statement is not None and statement.startswith(self._statement):
            self._statement = None
            raise MemoryError

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


class Scene:
    """One log in a file, and what was sent. ``connection`` is the one that writes."""

    connection: FailsOnce

    def __init__(self, folder: Path, log_fsync: str) -> None:
        self.file = folder / "log.sqlite3"
        self.worker = ByHand()
        self.log = open_log(Settings(log_url=f"sqlite:///{self.file}", log_fsync=log_fsync), folder)
        self.out: list[str] = []
        self.said: dict[str, NewMessage] = {}
        self.tasks: list[Callable] = []
        self.slept = 0
        self._is_sending = False
        self.commit = CommitBesideTurns(
            self.log,
            lambda effects: self.send_all(effects),  # noqa: PLW0108 - a test may replace it
            start_task=self.tasks.append,
            sleep=self._sleep,
            worker=self.worker,
        )
        self.say("first")
        self.finish()
        self.worker.pass_time()
        self.finish()

    def send_all(self, effects: deque) -> None:
        if self._is_sending:
            return
        self._is_sending = True
        while effects:
            effect = effects.popleft()
            if effect not in self.revoked:
                self.out.append(effect)
            self.commit.end_turn()  # sending ends the connection of a dead peer
        self._is_sending = False

    @property
    def revoked(self) -> set[str]:
        return {text for text, entry in self.said.items() if entry.seq == REVOKED}

    def _sleep(self, _seconds: float) -> None:
        self.slept += 1
        if self.slept > 2 and self.worker.submitted:
            self.worker.do()

    def say(self, text: str) -> None:
        entry = self.log.append(room="r", user="Ann", message=text, timestamp=time.time())
        self.said[text] = entry
        self.add(text)

    def say_many(self, count: int) -> None:
        for number in range(count):
            self.say(str(number))
            if number % 100 == 99:
                self.handle_all()

    def add(self, effect: str) -> None:
        self.commit.effects.append(effect)
        self.commit.end_turn()

    def handle_all(self) -> None:
        """Come to the moment when all that has arrived was handled."""
        self.worker.call_back()

    def finish(self) -> None:
        self.worker.call_back()
        while self.worker.submitted:
            self.worker.do()

    def history(self) -> list[str]:
        return [entry.message for entry in self.log.read("r", limit=3, newest=True).messages]

    def sessions(self) -> set[str]:
        """Return the keys of the sessions that the file holds, be they filed or not."""
        with closing(sqlite3.connect(self.file)) as connection:
            kept = {key for (key,) in connection.execute("SELECT key FROM sessions")}
            for (batch,) in connection.execute("SELECT sessions FROM tail ORDER BY number"):
                for key, session in json.loads(batch).items():
                    (kept.add if session else kept.discard)(key)
            return kept

    def filed(self) -> int:
        with closing(sqlite3.connect(self.file)) as connection:
            [[count]] = connection.execute("SELECT count(*) FROM messages")
            return count


@pytest.fixture
def make_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_writer, "_BUSY_TIMEOUT_S", 0)
    monkeypatch.setattr(sqlite_writer, "_SLOW_S", math.inf)  # whatever else this machine does
    scenes: list[Scene] = []
    connections: list[FailsOnce] = []

    def open_file(path: Path, **options: float) -> FailsOnce:
        connection = FailsOnce(sqlite_file.open_file(path, **options))
        if options:  # it waits for who else holds the file, for it writes
            connections.append(connection)
        return connection

    monkeypatch.setattr(sqlite_writer, "open_file", open_file)

    def make(log_fsync: str) -> Scene:
        scenes.append(Scene(tmp_path, log_fsync))
        scenes[-1].connection = connections[-1]
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.log.close()


@pytest.fixture
def scene(make_scene) -> Scene:
    """Return one whose batches are written within turns."""
    return make_scene("normal")


@pytest.fixture
def waiting_scene(make_scene) -> Scene:
    """Return one whose batches have to wait for the disk."""
    return make_scene("full")


def test_a_turns_messages_are_one_batch_that_nothing_waits_for(scene: Scene) -> None:
    scene.say("a")
    scene.add("after a")
    scene.say("b")
    assert scene.out == ["first"], "nothing is shown before it is kept"
    scene.handle_all()
    assert scene.out == ["first", "a", "after a", "b"]
    assert not scene.worker.submitted
    with closing(sqlite3.connect(scene.file)) as connection:
        assert [text for (text,) in connection.execute("SELECT json_array_length(messages) FROM tail")] == [2]


def test_nothing_is_shown_before_it_is_kept_and_all_of_it_afterwards(waiting_scene: Scene) -> None:
    scene = waiting_scene
    scene.say("a")
    scene.handle_all()
    scene.add("after a")
    assert scene.out == ["first"], "what became true later is not shown earlier"
    scene.say("b")
    assert scene.worker.do() == "write"
    assert scene.out == ["first", "a"]
    assert scene.worker.do() == "write"
    assert scene.out == ["first", "a", "after a", "b"]
    scene.add("presence")
    assert scene.out[-1] == "presence"


def test_who_else_holds_the_file_is_waited_for_beside_the_turns(scene: Scene) -> None:
    with closing(sqlite3.connect(scene.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        scene.say("a")
        scene.handle_all()
        assert scene.out == ["first"]
        other.execute("ROLLBACK")
    assert scene.worker.do() == "write"
    assert scene.out == ["first", "a"]
    assert scene.history() == ["first", "a"]


def test_a_slow_disk_is_waited_for_beside_the_turns(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "_SLOW_S", 0)
    scene.say("a")
    scene.handle_all()
    assert scene.out[-1] == "a"
    scene.say("b")
    scene.handle_all()
    assert scene.out[-1] == "a"
    assert scene.worker.do() == "write"
    assert scene.out[-1] == "b"
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600)
    monkeypatch.setattr(sqlite_writer, "time", later)
    scene.say("c")
    scene.handle_all()
    assert scene.out[-1] == "c", "it is tried again after a while"


@pytest.mark.parametrize("text", ["x" * 600_000, "\N{SNOWMAN}" * 200_000, "\x01" * 100_000])
def test_large_batches_are_written_beside_the_turns(scene: Scene, text: str) -> None:
    scene.say(text)
    scene.handle_all()
    assert scene.worker.do() == "write"
    assert scene.out[-1] == text


def test_a_checkpoint_and_what_follows_it_are_waited_for_beside_the_turns(scene: Scene) -> None:
    scene.say("x" * 5_000_000)
    scene.handle_all()
    assert scene.worker.do() == "write"
    scene.say("during the checkpoint")
    scene.handle_all()
    assert [function.__name__ for _, function, _ in scene.worker.submitted] == ["checkpoint", "write"]
    scene.worker.submitted.rotate()
    assert scene.worker.do() == "write"
    assert scene.worker.do() == "checkpoint"
    scene.say("after it")
    scene.handle_all()
    assert scene.out[-1] == "during the checkpoint"
    assert scene.worker.do() == "write"
    scene.say("at once again")
    scene.handle_all()
    assert scene.out[-1] == "at once again"


def test_a_checkpoint_that_filing_makes_due_waits_for_no_message(scene: Scene) -> None:
    scene.say("x" * 3_000_000)
    scene.handle_all()
    assert scene.worker.do() == "write"
    assert not scene.worker.submitted
    scene.worker.pass_time()
    assert scene.worker.do() == "tidy"
    assert scene.worker.do() == "checkpoint"


def test_many_sessions_are_written_beside_the_turns(scene: Scene) -> None:
    rooms = [f"{number:0128}" for number in range(50)]
    session = StoredSession(user_id="name:Ann", user_name="Ann", conversation_id="s", since=0, rooms=rooms)
    for number in range(100):
        scene.log.save_session(str(number), session)
    scene.commit.end_turn()
    scene.handle_all()
    assert scene.worker.do() == "write"


def test_a_full_tail_is_filed_beside_the_turns(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "_TAIL_LIMIT_COUNT", 2)
    filed = scene.filed()
    for text in ("a", "b", "c"):
        scene.say(text)
        scene.handle_all()
    assert scene.worker.do() == "write"
    assert scene.filed() == filed + 2
    assert scene.out[-1] == "c"


def test_sessions_that_can_wait_do_so_whatever_else_is_pressing(scene: Scene) -> None:
    for key in ("1", "2"):
        scene.log.save_session(key, SESSION, can_wait=True)
        scene.add("joined")
        scene.handle_all()
    assert scene.out == ["first", "joined", "joined"], "nobody waits for them"
    assert scene.sessions() == set()
    scene.worker.pass_time()
    assert scene.sessions() == {"1", "2"}
    scene.log.save_session("3", SESSION, can_wait=True)
    scene.say("a")
    scene.handle_all()
    assert scene.sessions() == {"1", "2"}
    scene.log.save_session("1", None, can_wait=True)
    scene.log.save_session("3", SESSION)
    scene.add("joined a room")
    scene.handle_all()
    assert scene.sessions() == {"1", "2", "3"}, "before anybody hears of it"
    scene.log.save_session("2", None)
    scene.log.save_session("2", SESSION, can_wait=True)
    scene.log.save_session("4", SESSION, can_wait=True)
    scene.commit.settle()
    assert scene.sessions() == {"2", "3", "4"}, "the newest of each, and the end of the process is not waited for"
    scene.log.save_session("5", SESSION, can_wait=True)
    scene.log.save_session("5", None)
    scene.commit.end_turn()
    scene.handle_all()
    scene.worker.pass_time()
    scene.commit.settle()
    assert scene.sessions() == {"2", "3", "4"}, "what had waited is older than what was pressing"


def test_nobody_hears_of_a_pressing_session_before_it_is_kept(waiting_scene: Scene) -> None:
    scene = waiting_scene
    scene.log.save_session("1", SESSION)
    scene.add("joined a room")
    scene.handle_all()
    scene.add("later")
    assert scene.out == ["first"]
    assert scene.worker.do() == "write"
    assert scene.sessions() == {"1"}
    assert scene.out == ["first", "joined a room", "later"]


def test_a_session_that_cannot_be_kept_holds_nothing_back(scene: Scene) -> None:
    with closing(sqlite3.connect(scene.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        scene.log.save_session("1", SESSION)
        scene.add("joined a room")
        scene.handle_all()
        assert scene.worker.do() == "write"
        assert scene.log.problem is not None
        scene.log.save_session("2", SESSION)
        scene.add("joined another")
        assert scene.out == ["first", "joined a room", "joined another"]
    [reopen] = scene.tasks
    reopen()
    scene.finish()
    assert scene.sessions() == {"1", "2"}


def test_sessions_that_have_waited_while_a_thread_writes_go_with_the_next_batch(waiting_scene: Scene) -> None:
    waiting_scene.log.save_session("1", SESSION, can_wait=True)
    waiting_scene.commit.end_turn()
    waiting_scene.say("a")
    waiting_scene.handle_all()
    waiting_scene.say("b")
    waiting_scene.worker.pass_time()
    assert [waiting_scene.worker.do() for _ in range(2)] == ["write", "write"]
    assert waiting_scene.sessions() == {"1"}


def test_the_log_is_tidied_when_nothing_has_been_said_for_a_while(scene: Scene) -> None:
    scene.say_many(600)
    scene.say("more")
    scene.handle_all()
    scene.worker.pass_time()
    assert not scene.worker.submitted, "there is too much to do"
    scene.worker.pass_time()
    assert scene.worker.do() == "tidy"
    assert scene.filed() == 601
    assert scene.out[-1] == "more"


def test_where_it_is_never_quiet_the_log_is_tidied_as_long_as_there_is_not_much_to_do(scene: Scene) -> None:
    """Batches less than 10 ms apart put filing off for ever, and what was not filed stayed in memory."""
    scene.say_many(600)
    for number in range(30):
        scene.say(f"trickle {number}")
        scene.handle_all()
        scene.worker.pass_time()
        if scene.worker.submitted:
            break
    assert scene.worker.do() == "tidy"
    assert scene.filed() > 500
    scene.finish()


def test_under_full_load_the_log_is_not_tidied(scene: Scene) -> None:
    scene.say_many(600)
    for _ in range(30):
        scene.say_many(100)
        scene.worker.pass_time()
        assert not scene.worker.submitted


@pytest.mark.parametrize("log_fsync", ["normal", "full"])
@pytest.mark.parametrize("name", ["write_at_once", "pop_batch", "forget", "write"])
def test_a_defect_in_the_middle_of_writing_does_not_end_it(make_scene, monkeypatch, name: str, log_fsync: str) -> None:
    """What was raised there left the log busy for ever: nothing was written or shown any more."""
    scene = make_scene(log_fsync)
    broken = BreaksOnce(getattr(scene.log, name))
    monkeypatch.setattr(scene.log, name, broken)
    if name == "forget":
        monkeypatch.setattr(scene.log, "write_at_once", BreaksOnce(scene.log.write_at_once))
    scene.log.save_session("1", SESSION)
    scene.say("a")
    shown_early = [text for text in scene.out if text not in scene.history()]
    scene.finish()
    scene.say("b")
    scene.finish()
    scene.worker.pass_time()
    scene.finish()
    scene.say("c")
    scene.finish()
    scene.worker.pass_time()
    scene.finish()
    assert broken.has_broken or (name, log_fsync) == ("write", "normal")
    assert not shown_early
    assert scene.out[-1] == "c"
    assert scene.out == [text for text in ("first", "a", "b", "c") if text not in scene.revoked]
    if name != "forget":
        assert scene.history() == scene.out[-3:]
        assert scene.sessions() == {"1"}


@pytest.mark.parametrize(("target", "when"), [("send_all", "write"), ("checkpoint", "write"), ("checkpoint", "tidy")])
def test_a_defect_in_what_follows_a_thread_does_not_end_writing(make_scene, monkeypatch, target: str, when: str) -> None:
    scene = make_scene("full")
    scene.say("a")
    scene.handle_all()
    if when == "tidy":
        scene.finish()
        scene.say_many(600)
        scene.finish()
        scene.worker.pass_time()
        scene.worker.pass_time()
    if target == "send_all":
        broken = BreaksOnce(scene.send_all)
        monkeypatch.setattr(scene, "send_all", broken)
    else:
        broken = BreaksOnce(SqliteLog.is_checkpoint_due.fget)
        monkeypatch.setattr(SqliteLog, "is_checkpoint_due", property(broken))
    scene.say("b")
    scene.finish()
    assert broken.has_broken
    scene.worker.pass_time()
    scene.finish()
    scene.say("c")
    scene.finish()
    assert scene.out[-2:] == ["b", "c"]
    assert scene.history()[-2:] == ["b", "c"]


def test_no_thread_for_a_batch_loses_the_batch_and_not_the_log(waiting_scene: Scene, monkeypatch) -> None:
    scene = waiting_scene
    monkeypatch.setattr(scene.worker, "submit", BreaksOnce(scene.worker.submit))
    scene.say("a")
    scene.finish()
    scene.say("b")
    scene.finish()
    assert scene.out == ["first"]
    assert scene.revoked == {"a"}
    scene.worker.pass_time()
    scene.finish()
    assert scene.out == ["first", "b"]


@pytest.mark.parametrize("has_messages", [False, True])
def test_where_threads_take_turns_a_defect_loses_its_batch_only(tmp_path: Path, monkeypatch, has_messages: bool) -> None:
    """Without a batch, what it held was shown with the next turn, though it was never kept."""
    log = open_log(Settings(log_url=f"sqlite:///{tmp_path}/log.sqlite3"), tmp_path)
    out: list[str] = []
    commit = CommitInTurns(
        log,
        nullcontext(),
        lambda effects: [out.append(effects.popleft()) for _ in range(len(effects))],
        start_task=lambda _task: None,
        sleep=lambda _s: None,
    )
    monkeypatch.setattr(log, "write", BreaksOnce(log.write))
    log.save_session("1", SESSION)
    lost = log.append(room="r", user="Ann", message="a", timestamp=1.0) if has_messages else None
    commit.end_turn()
    assert not log.problem
    assert lost is None or lost.seq == REVOKED
    log.append(room="r", user="Ann", message="b", timestamp=1.0)
    commit.effects.append("b")
    commit.end_turn()
    assert out == ["b"]
    assert [entry.message for entry in log.read("r", limit=9, newest=True).messages] == ["b"]
    log.close()
    log = open_log(Settings(log_url=f"sqlite:///{tmp_path}/log.sqlite3"), tmp_path)
    assert dict(log.sessions()) == {"1": SESSION}
    log.close()


def test_where_threads_take_turns_what_was_said_before_the_log_was_found_unwell_is_refused() -> None:
    """Its sender was told that it is kept, and everybody waited with it until the log was well again."""
    log, out, tasks = LogByHand(), [], []
    commit = CommitInTurns(
        log,
        None,
        lambda effects: [out.append(effects.popleft()) for _ in range(len(effects))],
        start_task=tasks.append,
        sleep=lambda _s: None,
    )
    lost = log.append(room="r", user="Ann", message="a", timestamp=1.0)
    log.problem = "gone"  # as reading finds it
    commit.effects += ["a", "presence"]
    commit.end_turn()
    assert lost.seq == REVOKED
    assert out == ["a", "presence"]
    tasks.pop()()
    assert log.problem is None
    assert not log.kept


def test_what_came_while_tidying_failed_is_refused_and_holds_nothing_back(scene: Scene) -> None:
    with closing(sqlite3.connect(scene.file, isolation_level=None)) as other:
        scene.say_many(600)
        scene.worker.pass_time()
        scene.worker.pass_time()
        assert scene.worker.submitted
        other.execute("BEGIN IMMEDIATE")
        scene.say("lost")
        assert scene.worker.do() == "tidy"
        assert scene.log.problem is not None
        assert scene.revoked == {"lost"}
        scene.add("presence")
        assert scene.out[-1] == "presence"
        other.execute("ROLLBACK")
    [reopen] = scene.tasks
    reopen()
    assert scene.log.problem is None
    scene.say("kept")
    scene.finish()
    assert scene.out[-1] == "kept"
    assert scene.history() == ["598", "599", "kept"]


def test_the_file_does_not_change_hands_during_a_checkpoint(scene: Scene) -> None:
    scene.say("x" * 5_000_000)
    scene.handle_all()
    assert scene.worker.do() == "write"
    names = [function.__name__ for _, function, _ in scene.worker.submitted]
    assert names == ["checkpoint"]
    scene.log.problem = "disk I/O error"
    scene.commit.end_turn()
    [reopen] = scene.tasks
    reopen()
    assert scene.log.problem is None
    assert scene.slept == 3, "it waited until the checkpoint had ended"


def test_the_file_does_not_change_hands_before_it_is_known_what_a_thread_did(waiting_scene: Scene) -> None:
    scene = waiting_scene
    with closing(sqlite3.connect(scene.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        scene.say("lost")
        scene.handle_all()
        done, write, batch = scene.worker.submitted.popleft()
        with pytest.raises(LogUnavailable) as raised:
            write(*batch)
        scene.add("presence")  # a turn, before the thread's end is told
    [reopen] = scene.tasks

    def tell() -> None:
        assert scene.log.problem is not None, "the file is as the thread left it"
        raise raised.value

    scene.worker.submitted.append((done, tell, ()))  # it is told while `reopen` sleeps
    reopen()
    assert scene.log.problem is None
    assert scene.revoked == {"lost"}
    assert scene.out == ["first", "presence"]


def test_of_many_that_could_not_be_kept_none_is_shown(scene: Scene) -> None:
    with closing(sqlite3.connect(scene.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        scene.say("0")
        scene.handle_all()
        for number in range(1, 3000):
            scene.say(str(number))
        assert scene.worker.do() == "write"
        other.execute("ROLLBACK")
    scene.add("presence")
    assert scene.out == ["first", "presence"]


def test_of_a_session_in_a_batch_that_failed_what_is_pressing_since_stays(waiting_scene: Scene) -> None:
    scene = waiting_scene
    scene.connection.fail_at("INSERT INTO tail")
    scene.log.save_session("1", SESSION)
    scene.log.save_session("2", SESSION)
    scene.say("lost")
    scene.handle_all()
    scene.log.save_session("1", None)
    scene.say("kept")
    assert scene.worker.do() == "write"
    assert scene.revoked == {"lost"}, "the log is well"
    assert scene.out == ["first"], "what came since waits for its own batch"
    scene.worker.pass_time()
    scene.finish()
    scene.worker.pass_time()
    scene.finish()
    assert scene.out == ["first", "kept"]
    assert scene.sessions() == {"2"}


def test_nobody_waits_for_what_could_wait(waiting_scene: Scene) -> None:
    scene = waiting_scene
    scene.log.save_session("1", SESSION, can_wait=True)
    scene.commit.end_turn()
    scene.worker.pass_time()
    assert scene.worker.submitted
    scene.add("presence")
    assert scene.out == ["first", "presence"]


def test_a_session_that_is_newer_than_a_batch_that_failed_stays(scene: Scene) -> None:
    with closing(sqlite3.connect(scene.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        scene.log.save_session("1", SESSION)
        scene.say("lost")
        scene.handle_all()
        scene.log.save_session("1", None)
        scene.commit.end_turn()
        assert scene.worker.do() == "write"
        other.execute("ROLLBACK")
        [reopen] = scene.tasks
        reopen()
        scene.say("kept")
        scene.finish()
    assert scene.sessions() == set()


def test_a_batch_that_fails_is_written_again(scene: Scene) -> None:
    scene.connection.fail_at("INSERT INTO tail")
    scene.log.save_session("1", SESSION)
    scene.say("a")
    scene.handle_all()
    assert scene.worker.do() == "write"
    assert scene.out == ["first", "a"]
    assert scene.sessions() == {"1"}
    with closing(sqlite3.connect(scene.file)) as other:
        assert other.execute("SELECT json_extract(messages, '$[0].message') FROM tail").fetchall() == [("a",)]


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT OR IGNORE", "INSERT OR REPLACE", "DELETE FROM tail", "COMMIT"])
def test_filing_that_fails_in_the_middle_changes_nothing_and_is_tried_again(scene: Scene, statement: str) -> None:
    for key, state in (("1", SESSION), ("2", SESSION), ("1", None)):
        scene.log.save_session(key, state)
        scene.say(key)
        scene.handle_all()
    filed = scene.filed()
    scene.say_many(600)
    scene.connection.fail_at(statement)
    for filed_by_then in (filed, filed + 603):
        scene.worker.pass_time()
        scene.worker.pass_time()
        assert scene.worker.do() == "tidy"
        assert scene.filed() == filed_by_then
        assert scene.sessions() == {"2"}


def test_the_end_of_the_process_waits_for_the_thread_that_writes(waiting_scene: Scene) -> None:
    waiting_scene.say("a")
    waiting_scene.handle_all()
    waiting_scene.log.save_session("1", SESSION)
    waiting_scene.commit.settle()
    assert waiting_scene.out[-1] == "a"
    assert waiting_scene.sessions() == {"1"}


def test_what_a_disk_is_waited_for_is_counted_by_the_page(scene: Scene) -> None:
    done = []
    for number in range(1100):
        scene.say(str(number))
        scene.handle_all()
        while scene.worker.submitted:
            done.append(scene.worker.do())
        if "checkpoint" in done:
            break
    assert done[-1] == "checkpoint"
    assert set(done) <= {"checkpoint", "write"}  # a disk that is busy with something else is waited for in a thread


def test_what_filing_changes_in_indexes_is_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "_CHECKPOINT_BYTES", 1e9)  # one would begin the write-ahead log anew
    wal = scene.file.with_name(scene.file.name + "-wal")
    before_bytes, counted_before_bytes = wal.stat().st_size, scene.log._writer._wal_bytes
    for _ in range(8):
        for number in range(600):
            key = uuid.uuid4().hex
            scene.log.append(room=key, user="Ann", message=str(number), timestamp=time.time(), client_id=key)
        scene.commit.end_turn()
        scene.handle_all()
        scene.worker.pass_time()
        scene.worker.pass_time()
        while scene.worker.submitted:
            assert scene.worker.do() in {"tidy", "write"}
    assert scene.log._writer._wal_bytes - counted_before_bytes > wal.stat().st_size - before_bytes
