"""Who asks another process hears an answer, or soon that there will be none."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from hazoom_ws.cluster import questions as module
from hazoom_ws.cluster.news import News
from hazoom_ws.cluster.questions import Questions
from hazoom_ws.message_log.peers import Heard

LONG_S = 20.0


class Process:
    """One process: what it knows of the others, and what it has of them."""

    def __init__(self, name: str, network: "Network") -> None:
        self.name = name
        self.on_back: list[Callable[[], object]] = []
        self.queued_bytes = 0
        self.published = 0
        self.problem: str | None = None
        self.known = {"one", "two"}
        self.on_ended: list[Callable[[str], object]] = []
        self.on_others_back: list[Callable[[str], object]] = []
        self.deaf_ones: set[str] = set()
        self.news = News(lambda _: None, decoded=lambda _: None)
        self._network = network
        self._lock = threading.RLock()
        processes: Any = type(
            "Processes", (), {"known": self.known, "on_ended": self.on_ended, "on_back": self.on_others_back}
        )
        self.questions = Questions(
            self,  # type: ignore[arg-type]
            self.news,
            processes,
            turn=self.turn,
            start_task=network.start,
            run_beside=self.run_beside,
        )

    def turn(self) -> AbstractContextManager[Any]:
        return self._lock

    def publish(self, channel: str, kind: bytes, data: bytes) -> None:
        self.published += 1
        self._network.publish(Heard(channel, self.name, kind, data))

    def run_beside(self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        if not self._network.has_threads:
            raise RuntimeError("can't start new thread")
        done(function(), None)

    def deaf(self, processes: set[str]) -> set[str]:
        return processes & self.deaf_ones


class Network:
    """Two processes. What is published arrives at once, unless it is cut; each answer is a task."""

    def __init__(self) -> None:
        self.is_cut = False
        self._heard: deque[Heard] = deque()
        self.one, self.two = self.processes = (Process("one", self), Process("two", self))
        self.has_threads = True
        self._threads: list[threading.Thread] = []

    def start(self, function: Callable[..., object], *arguments: Any) -> None:
        if not self.has_threads:
            raise RuntimeError("can't start new thread")
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()

    def publish(self, heard: Heard) -> None:
        if self.is_cut:
            return
        [process] = [one for one in self.processes if heard.channel == f"process:{one.name}"]
        with process.turn():
            process.news.tell(heard)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(LONG_S)


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.join()
    assert [len(process.questions) for process in network.processes] == [0, 0], "something is left"


def asked(network: Network, question: bytes = b"what?", limit_s: float = LONG_S) -> list[Any]:
    """Ask in a task; return a list that gets the answer, or what was raised."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(network.one.questions.ask("two", question, limit_s))
        except (LookupError, OSError) as error:
            results.append(error)

    before = network.one.published
    network.start(run)
    while network.one.published == before and not results:
        threading.Event().wait(0.001)
    return results


def test_the_answer_may_take_a_while_and_comes_to_who_has_asked(network: Network) -> None:
    gates = {b"first": threading.Event(), b"second": threading.Event()}

    def answer(question: bytes) -> bytes:
        gates[question].wait(LONG_S)
        return question + b"!"

    network.two.questions.on_asked = answer
    first, second = asked(network, b"first"), asked(network, b"second")
    assert len(network.one.questions) == len(network.two.questions) == 2
    for gate in reversed(gates.values()):
        gate.set()
    network.join()
    assert (first, second) == ([b"first!"], [b"second!"])


def test_only_other_processes_that_live_can_be_asked(network: Network) -> None:
    assert network.one.questions.has("two")
    for name in ("one", "three", ""):
        assert not network.one.questions.has(name)


def lose(network: Network, how: str) -> None:
    one = network.one
    with one.turn():
        for call in {"ended": one.on_ended, "other was away": one.on_others_back}.get(how, []):
            call("two")
        if how == "was away":
            for back in one.on_back:
                back()
    if how == "deaf":
        one.deaf_ones = {"two"}
        one.questions.sweep(100.0)
    elif how == "closed":
        one.questions.close()


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("ended", LookupError),
        ("deaf", LookupError),
        ("other was away", ConnectionError),
        ("was away", ConnectionError),
        ("closed", ConnectionError),
    ],
)
def test_who_waits_hears_at_once_that_no_answer_will_come(network: Network, how: str, error: type[Exception]) -> None:
    network.is_cut = True
    results = asked(network)
    for call in (*network.one.on_ended, *network.one.on_others_back):
        call("three")  # of whom nobody has asked anything
    network.one.questions.sweep(0.5)
    assert not results
    lose(network, how)
    network.join()
    assert type(results[0]) is error


def test_who_waits_for_too_long_waits_no_more_and_a_late_answer_is_nobodys(network: Network) -> None:
    gate = threading.Event()
    network.two.questions.on_asked = lambda _: b"late" if gate.wait(LONG_S) else b""
    with pytest.raises(TimeoutError):
        network.one.questions.ask("two", b"what?", 0.01)
    gate.set()


def test_nothing_is_asked_while_redis_is_away(network: Network) -> None:
    network.one.problem = "Redis cannot be reached"
    assert isinstance(asked(network)[0], ConnectionError)
    assert network.one.published == 0


def test_what_is_asked_and_answered_at_once_is_bounded(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT_COUNT", 2)
    gate = threading.Event()
    network.two.questions.on_asked = lambda _: b"yes" if gate.wait(LONG_S) else b""
    accepted = [asked(network) for _ in range(2)]
    assert isinstance(asked(network)[0], ConnectionError)
    gate.set()
    network.join()
    assert accepted == [[b"yes"], [b"yes"]]


def test_bytes_that_wait_are_bounded_at_both_ends(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    network.two.questions.on_asked = lambda question: question
    monkeypatch.setattr(module, "_QUEUED_LIMIT_BYTES", 100)
    assert network.one.questions.ask("two", b"x" * 100, LONG_S) == b"x" * 100
    for one, other in (network.processes, reversed(network.processes)):
        one.queued_bytes, other.queued_bytes = 1, 0
        with pytest.raises(ConnectionError):
            network.one.questions.ask("two", b"x" * 100, LONG_S)
    monkeypatch.setattr(module, "_ANSWERING_LIMIT_BYTES", 99)
    network.one.queued_bytes = network.two.queued_bytes = 0
    assert network.one.questions.ask("two", b"x" * 99, LONG_S) == b"x" * 99
    with pytest.raises(ConnectionError):
        network.one.questions.ask("two", b"x" * 100, LONG_S)


def test_a_question_that_fails_has_no_answer_and_is_logged(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    network.two.questions.on_asked = {}.__getitem__
    with pytest.raises(ConnectionError):
        network.one.questions.ask("two", b"what?", LONG_S)
    assert "a question of process one was not answered" in caplog.text


def test_who_tells_waits_for_no_answer(network: Network) -> None:
    heard: list[bytes] = []
    network.two.questions.on_asked = lambda question: heard.append(question) or b"ignored"
    network.one.questions.tell("two", b"this")
    network.join()
    assert (heard, network.two.published) == ([b"this"], 0)


def test_who_tells_is_bounded_like_who_asks(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    network.two.questions.on_asked = lambda question: heard.append(question) or b""
    monkeypatch.setattr(module, "_QUEUED_LIMIT_BYTES", 100)
    network.one.questions.tell("two", b"x" * 101)
    monkeypatch.setattr(module, "_ANSWERING_LIMIT_BYTES", 99)
    network.one.questions.tell("two", b"x" * 100)
    network.join()
    assert (heard, network.two.published) == ([], 0)


def test_a_question_for_which_no_thread_can_be_started_is_refused_and_forgotten(network: Network) -> None:
    network.two.questions.on_asked = lambda question: question
    network.has_threads = False
    with pytest.raises(ConnectionError):
        network.one.questions.ask("two", b"what?", LONG_S)
    network.one.questions.tell("two", b"this")
    assert len(network.two.questions) == 0
    network.has_threads = True
    assert network.one.questions.ask("two", b"what?", LONG_S) == b"what?"


def test_a_look_for_which_no_thread_can_be_started_is_not_the_last(network: Network) -> None:
    network.is_cut = True
    results = asked(network)
    network.one.deaf_ones = {"two"}
    network.has_threads = False
    with pytest.raises(RuntimeError):
        network.one.questions.sweep(100.0)
    network.has_threads = True
    network.one.questions.sweep(200.0)
    network.join()
    assert type(results[0]) is LookupError
