"""Which process has which answer of the AI, as several find it in one Redis."""

import importlib
from collections.abc import Iterator

import pytest

from hazoom_ws.chat.presence import Connection, User
from hazoom_ws.cluster.answer_claims import Claims
from hazoom_ws.cluster.processes import Processes
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.llm_bridge.answer import Answer
from hazoom_ws.llm_bridge.elsewhere import Known
from hazoom_ws.llm_bridge.wire import Prompt
from hazoom_ws.message_log.contract import NotLoaded
from hazoom_ws.message_log.redis.log import RedisLog
from hazoom_ws.settings import Settings
from redis_server import Databases, loaded
from servers import wait_until

pytestmark = pytest.mark.redis

ANN = User.named("Ann")


class Process:
    """A process that has a log in Redis, and its claims."""

    def __init__(self, url: str) -> None:
        self.log = RedisLog(Settings(log_url=url), importlib.import_module)
        self.name = self.log.peers.name
        self.now_s = 0.0
        self.claims = Claims(self.log.peers, lambda: self.log.problem, lambda: self.now_s)
        self.processes = Processes(
            self.log.peers,
            lambda function, done: done(function(), None),
            problem=lambda: self.log.problem,
            grace_s=0.0,
            clock=lambda: self.now_s,
        )
        self.forgotten: list[str] = []
        self.processes.on_ended.append(self.forgotten.append)

    def claim(self, request_id: str, room: str = "") -> Known:
        known: Known = loaded(self.claims.claim, request_id, ANN, room)
        return known

    def find(self, request_id: str) -> Known | None:
        known: Known | None = loaded(self.claims.find, request_id)
        return known

    def accept(self, request_id: str, room: str) -> Answer:
        prompt = Prompt(
            request_id=request_id,
            user_identifier="",
            message="",
            intelligence_level="super",
            session_id="",
            stream=True,
            room=room,
        )
        answer = Answer(prompt, Connection("c", ANN, "s"), 0.0)
        self.claims.accepted(answer)
        return answer

    def wait_until_told(self) -> None:
        """Wait until Redis has all that this process has told it."""
        self.log.peers.close()

    def look(self) -> None:
        """Look who lives, for long enough to judge."""
        for _ in range(12):
            self.now_s += 1
            self.processes.sweep(self.now_s)

    def die(self) -> None:
        """Have no lease any more, be it that it is paused."""
        self.log.peers.ask(("DEL", f"{{hazoom}}:process:{self.name}"))


@pytest.fixture
def three(databases: Databases) -> Iterator[list[Process]]:
    url = databases.next_url()
    processes = [Process(url) for _ in range(3)]
    yield processes
    for process in processes:
        process.log.close()


def test_a_question_is_claimed_by_one_process_until_that_dies(three: list[Process]) -> None:
    one, other, third = three
    assert one.find("r") is None
    assert one.claim("r", "team") == Known(one.name, ANN.id, "team", is_running=False)
    assert other.claim("r", "else") == other.find("r") == one.claim("r") == one.find("r")
    assert other.find("r") == Known(one.name, ANN.id, "team", is_running=False)
    assert [known and known.process for known in third.claims.look_up(["x", "r"])] == [None, one.name]
    one.die()
    assert third.find("r") is None
    assert other.claim("r", "else") == Known(other.name, ANN.id, "else", is_running=False)


def test_what_a_dead_process_had_is_taken_once_by_one_that_lives(three: list[Process]) -> None:
    one, other, third = three
    for request_id, room in (("a", "team"), ("b", "side by side"), ("private", ""), ("ended", "team")):
        one.accept(request_id, room)
    one.claims.ended(one.accept("ended", "team"))
    one.claim("unused")
    one.wait_until_told()
    assert other.find("a") == Known(one.name, ANN.id, "team", is_running=True)
    assert other.find("ended") == Known(one.name, ANN.id, "team", is_running=False)
    other.look()
    assert other.claims.died() == {}, "it lives"
    one.die()
    other.look()
    third.look()
    assert other.claims.died() == third.claims.died() == {"a": "team", "b": "side by side"}
    assert other.claims.take(["a", "x"]) == {"a"}
    assert third.claims.take(["a"]) == set()
    third.die()
    assert third.claims.take(["b"]) == set(), "others are about to take it for dead too"
    assert other.claims.take(["b"]) == {"b"}
    assert other.claims.died() == {}
    assert other.log.peers.ask(("HGETALL", "{hazoom}:answers")) == [{}]


def test_a_process_that_was_taken_for_dead_finds_which_questions_it_has_no_more(three: list[Process]) -> None:
    one, other, third = three
    failed, private, done = one.accept("failed", "team"), one.accept("private", ""), one.accept("done", "")
    one.claims.ended(done)
    done.size_bytes = 1
    wait_until(lambda: (known := other.find("done")) is not None and not known.is_running, "Redis has all")
    assert one.claims.claim_again([failed, private, done]) == set(), "nobody has taken it for dead"
    one.die()
    other.look()
    third.look()  # who notices later changes nothing
    assert other.claim("done").process == other.name, "it was asked again"
    assert one.claims.claim_again([failed]) == set(), "it has not begun anew"
    one.log.reopen()
    forgotten = one.accept("forgotten", "team")  # by Redis, say
    for _ in range(2):  # the first answer may have been lost
        assert one.claims.claim_again([failed, private, done, forgotten]) == {"failed", "private", "done"}
    assert other.find("failed") is None
    assert other.find("done") == Known(other.name, ANN.id, "", is_running=False)
    assert other.find("forgotten") == Known(one.name, ANN.id, "team", is_running=True)
    one.claims.forget_failed("failed")
    wait_until(lambda: one.claims.claim_again([failed]) == set(), "it may be asked again")


def test_nobody_is_taken_for_dead_while_redis_is_full(three: list[Process], databases: Databases) -> None:
    """No lease could be renewed, and what is told of a dead process could be written all the same."""
    one, other, third = three
    answer = one.accept("a", "team")
    wait_until(lambda: other.find("a") is not None, "Redis has it")
    databases.server.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        for process in three:
            process.log.reopen()
            assert process.log.problem == "Redis is full"
            process.die()  # as it does in 15 s
        other.look()
        third.look()
    finally:
        databases.server.ask("CONFIG", "SET", "maxmemory", "0")
    for process in three:
        process.log.reopen()
        process.look()
        assert (process.log.problem, process.forgotten) == (None, [])
    assert one.claims.claim_again([answer]) == set()
    assert other.find("a") == Known(one.name, ANN.id, "team", is_running=True)
    one.die()
    other.look()
    assert other.forgotten == [one.name], "now there is space"


def test_what_was_claimed_for_who_did_not_come_again_is_let_go(three: list[Process]) -> None:
    one, other, _ = three
    for request_id in ("used", "unused"):
        with pytest.raises(NotLoaded) as missing:
            one.claims.claim(request_id, ANN, "")
        missing.value.load()()
    one.now_s = 61.0
    one.claims.forget_unused(lambda request_id: request_id == "used")
    one.wait_until_told()
    assert other.find("unused") is None
    assert other.find("used") is not None


def test_nothing_is_asked_while_redis_is_known_to_be_away(three: list[Process]) -> None:
    three[0].log.problem = "Redis is away"
    with pytest.raises(LogUnavailable, match="kept") as refusal:
        three[0].claims.find("r")
    assert not isinstance(refusal.value, NotLoaded)
