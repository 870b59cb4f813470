"""What becomes of a connection whose identity changes or ends, over the application's own engine; no time passes."""

import pytest
from flask import Flask

from minting import SECRET, token
from visitors import Visitor

NOW = 4_000_000_000.0


class Clocks:
    """The times of one application's `Expiry`, which stand still until the test moves them."""

    def __init__(self, app: Flask) -> None:
        self._parts = app.extensions["hazoom_ws"]
        self._expiry = self._parts.identities.expiry
        admission = self._parts.identities._admission
        admission._wall_clock = admission._tokens._clock = lambda: self.now
        self._expiry._clock = self._expiry._wall_clock = lambda: self.now
        self._expiry._wake = lambda: None
        self.now = NOW

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        with self._parts.delivery.turn():
            self._expiry.run_due()


@pytest.fixture
def app(make_app) -> Flask:
    return make_app(auth="jwt", jwt_secret=SECRET, rate_limit_per_s=0)


@pytest.fixture
def clocks(app: Flask) -> Clocks:
    return Clocks(app)


def test_who_lets_a_token_end_is_told_works_on_and_is_closed_after_25_s(app: Flask, clocks: Clocks) -> None:
    ann, bob = Visitor(app), Visitor(app)
    ann.connect(token=token(exp=NOW + 10))
    ann.connect("/rooms,", token=token(exp=NOW + 10))
    bob.connect(token=token(sub="bob", exp=NOW + 1000))
    clocks.pass_time(10)
    errors = ann.events("error")
    assert [(error["code"], error["retry"]) for error in errors] == [("unauthorized", True)] * 2, "on each namespace"
    clocks.pass_time(24)
    assert ann.call("message", {"message": "still works"})["ok"]
    clocks.pass_time(1)
    assert [(bye["reason"], bye["reconnect"]) for bye in ann.events("bye")] == [("expired", True)] * 2
    assert (ann.session.is_open, bob.session.is_open) == (False, True)


def test_who_shows_another_token_in_time_stays(app: Flask, clocks: Clocks) -> None:
    ann = Visitor(app)
    ann.connect(token=token(exp=NOW + 10))
    clocks.pass_time(30)
    assert ann.call("refresh_token", {"token": token(exp=NOW + 100)}) == {"ok": True, "expires_at": NOW + 100}
    clocks.pass_time(30)
    assert ann.session.is_open
    clocks.pass_time(40)
    clocks.pass_time(25)
    assert not ann.session.is_open


def test_who_has_a_document_open_only_is_closed_too(app: Flask, clocks: Clocks) -> None:
    ann = Visitor(app)
    ann.connect("/yjs|team,", token=token(exp=NOW + 10))
    clocks.pass_time(10)
    clocks.pass_time(25)
    assert not ann.session.is_open


@pytest.mark.parametrize(
    "settings",
    [
        {"auth": "jwt", "jwt_secret": SECRET},
        {"auth": "api_key", "api_keys": ("a-key-of-sixteen-characters",)},
        {"auth": "url", "auth_url": "http://127.0.0.1:1/"},
    ],
    ids=lambda settings: settings["auth"],
)
@pytest.mark.parametrize("auth", ['{"x":NaN}', "[" * 3000, r'{"x":"\ud800"}', '{"token":1e999}', "7", '"x"'])
@pytest.mark.parametrize("namespace", ["", "/rooms,", "/yjs|team,", "/excalidraw,"])
def test_what_cannot_be_read_lets_nobody_in(make_app, settings: dict, auth: str, namespace: str) -> None:
    """Documents and boards, which look at no auth themselves, were open to whoever sent NaN."""
    app = make_app(**settings)
    stranger = Visitor(app)
    stranger.send(f"40{namespace}{auth}")
    assert not [text for text in stranger.said() if text.startswith("40")]
    account = app.extensions["hazoom_ws"].identities._accounts.get(stranger.session.id)
    is_there = account is not None  # what is no JSON, which from Python 3.12 on the deep list is, closes the connection
    if is_there and settings["auth"] != "api_key":
        assert not account.rights.may_enter("team")
        assert not account.rights.may_ask


def test_a_further_namespace_makes_nothing_last_longer_and_gives_no_other_rights(app: Flask, clocks: Clocks) -> None:
    """Who opened one every 20 s stayed for ever, with the rights of a token that had ended."""
    ann = Visitor(app)
    ann.connect(token=token(exp=NOW + 10))
    ann.call("join_room", {"room": "team"})
    clocks.pass_time(20)
    assert "sid" in ann.connect("/rooms,", token=token(exp=NOW + 1000, rooms=[]))
    assert ann.call("message", {"room": "team", "message": "by the first token"})["ok"]
    clocks.pass_time(25)
    assert not ann.session.is_open


def test_a_token_that_has_ended_refreshes_nothing_within_the_leeway_either(app: Flask, clocks: Clocks) -> None:
    ann = Visitor(app)
    ann.connect(token=token(exp=NOW + 10))
    clocks.pass_time(12)
    assert ann.call("refresh_token", {"token": token(exp=NOW + 10)})["error"]["code"] == "unauthorized"
    clocks.pass_time(25)
    assert not ann.session.is_open


def test_an_id_is_compared_as_it_is(app: Flask) -> None:
    disconnect = app.extensions["hazoom_ws"].disconnect_user
    ids = ["Zo\u00eb", "Zoe\u0308", " ann", "ann"]
    visitors = [Visitor(app) for _ in ids]
    for visitor, user_id in zip(visitors, ids, strict=True):
        assert "sid" in visitor.connect(token=token(sub=user_id))
    for visitor, user_id in zip(visitors, ids, strict=True):
        assert disconnect(user_id) == 1
        assert not visitor.session.is_open


def test_a_question_that_waits_is_not_asked_when_it_may_not_be_any_more(make_app) -> None:
    app = make_app(auth="jwt", jwt_secret=SECRET, llm_streams_limit=1, llm_url="http://127.0.0.1:1")
    ann = Visitor(app)
    ann.connect(token=token())
    ann.call("join_room", {"room": "team"})
    answers = app.extensions["hazoom_ws"].answers
    answers.slots.may_run = lambda *_: False
    for room in ("general", "team"):
        assert ann.call("llm_request", {"message": "x", "room": room, "request_id": room})["ok"]
    assert answers.waiting_count == 2
    assert ann.call("refresh_token", {"token": token(rooms=["general"])})["ok"]
    assert answers.waiting_count == 1
    assert ann.call("refresh_token", {"token": token(llm=False)})["ok"]
    assert answers.waiting_count == 0


def test_refreshing_needs_a_text_and_identities_that_are_checked(app: Flask, make_app) -> None:
    ann = Visitor(app)
    ann.connect(token=token())
    for payload in ({}, {"token": 5}, {"token": ""}, {"token": "x" * 16_385}):
        assert ann.call("refresh_token", payload)["error"]["code"] == "bad_payload"
    bob = Visitor(make_app())
    bob.connect(user_name="Bob")
    assert bob.call("refresh_token", {"token": token()})["error"]["code"] == "forbidden"


def test_a_failure_that_nobody_has_asked_about_is_an_event(app: Flask) -> None:
    ann = Visitor(app)
    ann.connect(token=token())
    ann.said()
    ann.send('42["refresh_token",{"token":"x"}]')
    [error] = ann.events("error")
    assert (error["code"], error["event"]) == ("unauthorized", "refresh_token")


def test_rights_that_are_lost_close_rooms_at_once_for_the_others_too(app: Flask) -> None:
    ann, bob = Visitor(app), Visitor(app)
    ann.connect(token=token())
    bob.connect(token=token(sub="bob", name="Bob"))
    for visitor in (ann, bob):
        visitor.call("join_room", {"room": "team"})
        visitor.said()
    assert ann.call("refresh_token", {"token": token(rooms=["general"], llm=False)})["ok"]
    assert [left["user"] for left in bob.events("user_left")] == ["Ann"]
    bob.send('42["message",{"room":"team","message":"not for Ann"}]')
    assert ann.events("new_message") == []
    assert ann.call("llm_request", {"message": "x"})["error"]["code"] == "forbidden"
    assert ann.call("refresh_token", {"token": token()})["ok"]
    assert ann.call("join_room", {"room": "team"})["ok"], "what is given again may be entered again"


def test_one_user_has_so_many_connections_whatever_the_name(make_app) -> None:
    app = make_app(auth="jwt", jwt_secret=SECRET, connections_per_user_limit=2)
    tabs = [Visitor(app) for _ in range(3)]
    answers = [tab.connect(token=token(name=f"Ann {number}")) for number, tab in enumerate(tabs)]
    assert ["sid" in answer for answer in answers] == [True, True, False]
    assert answers[2]["data"]["code"] == "rate_limited"
    other = Visitor(app)
    assert "sid" in other.connect(token=token(sub="another"))


def test_two_names_of_one_user_are_one_in_a_room(app: Flask) -> None:
    first, second = Visitor(app), Visitor(app)
    first.connect(token=token(name="Ann"))
    second.connect(token=token(name="Anne"))
    joined = second.call("join_room", {"room": "team"})
    assert first.call("join_room", {"room": "team"})["user_count"] == joined["user_count"] == 1
