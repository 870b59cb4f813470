"""What is asked of other servers: bounded in number, time and size."""

from collections.abc import Callable
from typing import Any

import pytest

from hazoom_ws.access import asking
from hazoom_ws.access.admission import Admission
from hazoom_ws.access.api_keys import ApiKeys
from hazoom_ws.access.asking import Answer, Asking, AskingFailed, Question
from hazoom_ws.access.limits import Account
from hazoom_ws.chat.presence import User
from hazoom_ws.settings import Settings
from identity_provider import identity_provider

QUESTION = Question("GET", "http://127.0.0.1:1/", {})


class Tasks:
    """Tasks that end when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.running: list[Callable[..., None]] = []
        self.asking = Asking(self.run, wake=lambda: None, clock=lambda: self.now_s)
        self.answers: list[Any] = []

    def run(self, _function: Callable[[], Any], done: Callable[..., None]) -> None:
        self.running.append(done)

    def ask(self) -> None:
        self.asking.ask(QUESTION, self.answers.append)

    def end(self, answer: Any, error: BaseException | None = None) -> None:
        self.running.pop(0)(answer, error)


@pytest.fixture
def tasks() -> Tasks:
    return Tasks()


def test_so_many_are_asked_at_once_and_others_wait_their_turn(tasks: Tasks) -> None:
    for _ in range(asking._AT_ONCE_LIMIT_COUNT + 2):
        tasks.ask()
    assert len(tasks.running) == asking._AT_ONCE_LIMIT_COUNT
    tasks.end(Answer(200, b""))
    assert len(tasks.running) == asking._AT_ONCE_LIMIT_COUNT
    assert len(tasks.answers) == 1


def test_what_takes_too_long_is_given_up_also_while_it_waits_and_its_answer_is_late(tasks: Tasks) -> None:
    for _ in range(asking._AT_ONCE_LIMIT_COUNT + 1):
        tasks.ask()
    assert tasks.asking.run_due() == asking.TIMEOUT_S
    tasks.now_s = asking.TIMEOUT_S
    assert tasks.asking.run_due() is None
    assert len(tasks.answers) == asking._AT_ONCE_LIMIT_COUNT + 1
    assert all(isinstance(answer, AskingFailed) for answer in tasks.answers)
    tasks.end(Answer(200, b"late"))
    assert len(tasks.answers) == asking._AT_ONCE_LIMIT_COUNT + 1


def test_too_many_that_wait_are_refused_at_once(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_WAITING_LIMIT_COUNT", 3)
    for _ in range(asking._AT_ONCE_LIMIT_COUNT + 4):
        tasks.ask()
    [refused] = tasks.answers
    assert "more than 3" in str(refused)


def test_a_defect_is_no_answer(tasks: Tasks) -> None:
    tasks.ask()
    tasks.end(None, RuntimeError("defect"))
    assert str(tasks.answers[0]) == "RuntimeError"


def fetched(status: int, body: bytes) -> Any:
    with identity_provider() as provider:
        provider.answer = lambda _: (status, body)
        return asking.fetched(Question("POST", f"{provider.url}/who", {}, b'{"auth": {}, "address": ""}'))


def test_an_answer_is_read_up_to_its_limit_and_no_redirect_is_followed() -> None:
    assert fetched(200, b"x" * 262_144) == Answer(200, b"x" * 262_144)
    assert isinstance(fetched(200, b"x" * 262_145), AskingFailed)
    assert fetched(302, b"").status == 302
    assert isinstance(asking.fetched(QUESTION), AskingFailed), "nobody listens there"


# About one connection


class Site:
    """Whom `auth_url` is asked about; the test answers."""

    def __init__(self) -> None:
        self.asked: list[Callable[[Answer], None]] = []
        self.asked_count = 0
        self.now_s = 0.0
        settings = Settings(auth="url", auth_url="http://127.0.0.1:1/who")
        self.admission = Admission(settings, self, ApiKeys(), lambda *_: None, clock=lambda: self.now_s)  # type: ignore[arg-type]
        self.account = Account(settings, "", lambda: 0.0)
        self.said: list[Any] = []

    def ask(self, _question: Question, done: Callable[[Answer], None]) -> None:
        self.asked.append(done)
        self.asked_count += 1

    def come(self, auth: object) -> None:
        self.admission.admit(self.account, auth, self.said.append)


ANN = Answer(200, b'{"user_id": "1", "user_name": "Ann"}')


def test_one_question_at_a_time_and_none_for_what_was_answered() -> None:
    site = Site()
    for _ in range(3):
        site.come({"a": 1})
    site.come({"a": 2})
    assert len(site.asked) == 1
    site.asked.pop()(ANN)
    assert site.said == [None, None, None]
    site.asked.pop()(Answer(200, b'{"user_id": "2", "user_name": "Ann"}'))
    assert site.said[3].code == "unauthorized", "another user on one connection"
    assert not site.asked


def test_namespaces_that_wait_for_an_answer_are_bounded() -> None:
    site = Site()
    for _ in range(18):
        site.come({})
    [refused] = site.said
    assert (refused.code, refused.retry) == ("unauthorized", True)


def test_who_was_refused_too_often_is_asked_about_no_more() -> None:
    site = Site()
    for number in range(12):
        site.come({"try": number})
        if site.asked:
            site.asked.pop()(Answer(403, b""))
    assert [error.code for error in site.said] == ["unauthorized"] * 12
    assert site.asked_count == 10


def test_a_site_that_is_away_counts_for_no_refusal() -> None:
    """Ten tries while it restarted, and the connection could never come in."""
    site = Site()
    for number in range(12):
        site.come({"try": number})
        site.asked.pop()(Answer(502, b""))
    assert [error.retry for error in site.said] == [True] * 12
    site.come({"try": 12})
    site.asked.pop()(ANN)
    assert site.said[-1] is None


def test_what_is_no_json_or_too_large_is_not_passed_on() -> None:
    site = Site()
    for auth in ({"x": "y" * 40_000}, {"x": object()}):
        site.come(auth)
    assert [error.code for error in site.said] == ["unauthorized"] * 2
    assert not site.asked


def test_a_token_of_somebody_else_is_refused_however_often_it_is_shown() -> None:
    site = Site()
    site.come({"token": "ann's"})
    site.asked.pop()(ANN)
    bob = Answer(200, b'{"user_id": "2", "user_name": "Bob"}')
    for _ in range(2):
        site.come({"token": "bob's"})
        site.asked.pop()(bob)
        site.admission.refresh(site.account, "bob's", site.said.append)
        site.asked.pop()(bob)
    assert [error and error.code for error in site.said] == [None] + ["unauthorized"] * 4


def test_a_refresh_is_always_asked_about() -> None:
    """What was asked before counted too, and who was shut out could stay for ever."""
    site = Site()
    site.come({"token": "ann's"})
    site.asked.pop()(ANN)
    site.admission.refresh(site.account, "ann's", site.said.append)
    site.asked.pop()(Answer(403, b""))
    assert site.said[1].code == "unauthorized"


def test_who_has_gone_while_somebody_was_asked_takes_nobody_s_place() -> None:
    site = Site()
    site.come({})
    site.account.close()
    site.asked.pop()(ANN)
    assert (site.account.user, site.account.identity) == (None, None)
    assert site.said[0].code == "unauthorized"


def test_who_was_logged_out_since_somebody_was_asked_does_not_come_in() -> None:
    site = Site()
    site.come({})
    site.admission.note_logged_out(User.identified("1", "Ann"))
    site.asked.pop()(ANN)
    assert (site.said[0].code, site.said[0].retry) == ("unauthorized", True)
    site.come({})
    site.asked.pop()(ANN)
    assert site.said[1].retry, "in the same instant"
    site.now_s += 0.1
    site.come({})
    site.asked.pop()(ANN)
    assert site.said[2] is None
