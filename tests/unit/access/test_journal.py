"""Lines of connections and of what they are refused: bounded, with ids, and only as JSON."""

import logging
import time
from typing import Any

import pytest

from hazoom_ws.access.journal import CONNECTION_REFUSALS_LIMIT_COUNT
from hazoom_ws.log_fields import fields_of
from visitors import Visitor

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [dict(fields_of(record)) for record in caplog.records if fields_of(record)["event"] == event]


def client_of(visitor: Visitor) -> str:
    """Connect, and return the public id that the client is told."""
    visitor.send("40")
    [status] = visitor.events("status")
    return status["client"]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def test_a_connection_has_two_lines_with_its_public_id_whatever_namespaces_it_enters(make_app, told) -> None:
    ann = Visitor(make_app(log_format="json"), HTTP_TRACEPARENT=f"00-{TRACE}-00f067aa0ba902b7-01")
    client = client_of(ann)
    ann.connect("/rooms,")
    assert lines(told, "connection_closed") == []
    ann.engine.close(ann.session, "ping timeout")
    [opened], [closed] = lines(told, "connection_opened"), lines(told, "connection_closed")
    assert opened == {
        "event": "connection_opened",
        "connection": client,
        "namespace": "/",
        "transport": "polling",
        "trace_id": TRACE,
    }
    assert (closed["connection"], closed["reason"], closed["refusals_count"]) == (client, "ping timeout", 0)
    assert closed["duration_ms"] >= 0


def test_who_has_a_document_open_first_keeps_its_id_and_the_name_of_the_document_is_not_told(make_app, told) -> None:
    ann = Visitor(make_app(log_format="json"))
    ann.send("40/yjs|secret-plans,")
    client = client_of(ann)
    [opened] = lines(told, "connection_opened")
    assert (opened["connection"], opened["namespace"]) == (client, "/yjs")
    ann.engine.close(ann.session, "transport close")


def test_refusals_have_a_line_each_up_to_a_number_and_are_counted_beyond_it(make_app, told) -> None:
    ann = Visitor(make_app(log_format="json", rate_limit_per_s=0))
    ann.connect(user_name="Ann")
    for _ in range(CONNECTION_REFUSALS_LIMIT_COUNT + 5):
        ann.call("message", {"message": "to nobody", "room": "elsewhere"})
    assert [line["code"] for line in lines(told, "event_refused")] == ["not_in_room"] * CONNECTION_REFUSALS_LIMIT_COUNT
    assert {line["client_event"] for line in lines(told, "event_refused")} == {"message"}
    ann.engine.close(ann.session, "transport close")
    assert lines(told, "connection_closed")[0]["refusals_count"] == CONNECTION_REFUSALS_LIMIT_COUNT + 5


def test_all_connections_together_cannot_fill_the_log_with_refusals(make_app, told) -> None:
    app = make_app(log_format="json", rate_limit_per_s=0)
    now_s = time.monotonic()
    app.extensions["hazoom_ws"].identities.journal._clock = lambda: now_s  # no time passes
    for _ in range(30):
        visitor = Visitor(app)
        visitor.connect()
        for _ in range(CONNECTION_REFUSALS_LIMIT_COUNT):
            visitor.call("hello", {})
        visitor.engine.close(visitor.session, "transport close")
    refused = lines(told, "event_refused")
    assert 0 < len(refused) <= 200
    assert all("client_event" not in line for line in refused), "a name that we do not know is the client's text"
    assert sum(line["refusals_count"] for line in lines(told, "connection_closed")) == 300


def test_who_enters_no_namespace_has_no_lines(make_app, told) -> None:
    stranger = Visitor(make_app(log_format="json", auth="api_key", api_keys=("k" * 16,)))
    stranger.send("40")
    stranger.engine.close(stranger.session, "transport close")
    assert lines(told, "connection_opened") == lines(told, "connection_closed") == []
    assert [line["reason"] for line in lines(told, "refused")] == ["who connects is not let in"]


def test_who_goes_while_it_comes_leaves_nothing_behind(make_app, told) -> None:
    app = make_app(log_format="json")
    ann, journal = Visitor(app), app.extensions["hazoom_ws"].identities.journal
    account = journal._find(ann.session.id)
    ann.engine.close(ann.session, "transport close")
    journal._find, journal._transport_of = lambda _: account, lambda _: "polling"
    journal.entered(ann.session.id, "/")
    assert len(lines(told, "connection_opened")) == len(lines(told, "connection_closed")) == 1
    assert journal._entries == {}


def test_in_text_there_are_no_such_lines(make_app, told) -> None:
    ann = Visitor(make_app())
    ann.connect(user_name="Ann")
    ann.call("message", {"message": "to nobody", "room": "elsewhere"})
    ann.engine.close(ann.session, "transport close")
    assert not {fields_of(record)["event"] for record in told.records} & {
        "connection_opened",
        "connection_closed",
        "event_refused",
    }
