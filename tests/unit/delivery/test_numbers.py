"""A message has its number when it is kept: whoever tells anybody of it before that tells another one."""

from collections import deque
from functools import partial
from typing import Any

import pytest
from msgspec import UNSET

from by_hand import FIRST_SEQ, ByHand, LogByHand
from clients import Client, MakeApp
from hazoom_ws import create_app
from hazoom_ws.delivery.effects import Later, Queued
from hazoom_ws.delivery.turns import Turns, argument_of
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.features import Chat, ClientPayload, Feature, Kept, ServerEvent, handles
from hazoom_ws.message_log.contract import Said
from hazoom_ws.namespaces.replies import fields_of, published, reply_when_kept, when_kept
from hazoom_ws.settings import Settings


class Note(ClientPayload, frozen=True):
    event = "note"


class Noted(ServerEvent, frozen=True):
    event = "noted"
    is_kept = True
    text: str


class Notes(Feature):
    name = "notes"
    events = (Noted,)
    said: list[Kept]

    def __init__(self, chat: Chat) -> None:
        super().__init__(chat)
        Notes.said = []

    @handles(Note)
    def note(self, _sender: Any, _payload: Note) -> None:
        kept = self.chat.broadcast("general", Noted(text="x"))
        assert kept is not None
        assert kept.seq < FIRST_SEQ, "the log would give it its number at once"
        self.said.append(kept)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> LogByHand:
    log = LogByHand()
    monkeypatch.setattr("hazoom_ws.app.open_log", lambda *_args, **_kwargs: log)
    return log


def arguments_of(client: Client, event: str) -> list[list[Any]]:
    return [item["args"] for item in client.socket.get_received("/") if item["name"] == event]


def test_what_clients_are_told_of_a_message_has_its_final_number(log: LogByHand, make_app: MakeApp) -> None:
    app = make_app(rate_limit_per_s=0, recovery_window_s=60)
    ann, bob = Client(app, user_name="Ann"), Client(app, user_name="Bob", recover=True)
    first = ann.call("message", {"message": "hi", "client_id": "1"})
    again = ann.call("message", {"message": "hi", "client_id": "1"})
    assert (first["seq"], again["seq"]) == (FIRST_SEQ, FIRST_SEQ)
    assert (first["id"], again["id"]) == (f"kept-{FIRST_SEQ}", f"kept-{FIRST_SEQ}")
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    [[shown, *offset]] = arguments_of(bob, "new_message")
    assert (shown["seq"], shown["id"]) == (FIRST_SEQ, first["id"])
    assert offset == [str(FIRST_SEQ)]
    [message] = bob.call("get_history", {})["messages"]
    assert (message["seq"], message["id"]) == (FIRST_SEQ, first["id"])
    second = app.extensions["hazoom_ws"].publish("general", "sale", user_name="Shop")
    assert second.seq == FIRST_SEQ + 1


def test_what_a_feature_keeps_has_its_final_number_when_that_is_told(log: LogByHand) -> None:
    app = create_app(Settings(), features=[Notes])
    ann = Client(app, user_name="Ann")
    reply = ann.call("note", {})
    assert reply["seq"] == Notes.said[0].seq == FIRST_SEQ
    log.fails_with = partial(LogUnavailable, "disk full")
    reply = ann.call("note", {})
    assert (reply["ok"], reply["error"]["event"]) == (False, "note")
    assert Notes.said[1].seq == 0
    app.extensions["hazoom_ws"].close()


class ByHandTurns(Turns):
    """Turns beside which a worker writes when the test says so."""

    def __init__(self, log: LogByHand, worker: ByHand) -> None:
        super().__init__(log, None, start_task=lambda _task: None, sleep=lambda _s: None, worker=worker)

    def _send(self, effect: Queued) -> None:
        assert isinstance(effect, Later)
        effect.send(argument_of(effect.reply))


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_reply_is_made_when_what_it_says_is_kept(log: LogByHand, is_kept: bool) -> None:
    worker, told = ByHand(), deque[Any]()
    turns = ByHandTurns(log, worker)
    with turns.turn():
        entry = log.append(room="r", user="Ann", message="hi", timestamp=1.0, client_id=UNSET)
    said, refused = Said(entry, duplicate=False), []
    answer = when_kept(entry, lambda: fields_of(published(said)))
    turns.reply(told.append, partial(reply_when_kept, "message", answer, refused.append))
    assert not told
    if not is_kept:
        log.fails_with = partial(LogUnavailable, "disk full")
        log.at_once = False
    worker.call_back()
    while worker.submitted:
        worker.do()
    [reply] = told
    assert reply["ok"] is is_kept
    assert refused == ([] if is_kept else ["internal"])
    if is_kept:
        assert reply["seq"] == FIRST_SEQ
    else:
        assert (reply["error"].code, reply["error"].event) == (LogUnavailable.code, "message")
