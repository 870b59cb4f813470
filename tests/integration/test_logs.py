"""The log as JSON, of a server as operators run it: ids tie a connection, its questions and Django's requests together."""

import json
from typing import Any

import requests

from hazoom_ws.version import __version__
from servers import DEADLINE_S, Backend, OfficialClient, hazoom, unique, wait_until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEY = "a-key-that-no-log-shows-0123456789"
LEVELS = {"debug", "info", "warning", "error", "critical"}


def lines_of(log: str) -> list[dict[str, Any]]:
    """Return the lines of a log, each of which has to be one JSON object with what all of them have."""
    lines = [json.loads(line) for line in log.splitlines()]
    for line in lines:
        assert {"time", "level", "logger", "event", "process", "message"} <= line.keys(), line
        assert line["level"] in LEVELS
        assert line["time"].endswith("Z")
    return lines


def of_event(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


def test_one_line_for_each_connection_request_and_refusal_with_ids_that_tie_them_together(
    client: OfficialClient, backend: Backend, async_mode: str
) -> None:
    said, asked, room, request_id = unique("hello-said"), unique("why-asked"), unique("room-named"), unique("request")
    env = {"HAZOOM_LOG_FORMAT": "json", "HAZOOM_AUTH": "api_key", "HAZOOM_API_KEYS": KEY}
    with hazoom(async_mode=async_mode, llm_url=backend.chat_url, env=env) as server:
        user = client.connect(server.url, auth={"user_name": "Ann-named", "api_key": KEY})
        status = user.received("status")[0]
        assert user.emit("message", {"message": said})["ok"]
        assert user.emit("message", {"message": said, "room": room})["error"]["code"] == "not_in_room"
        named = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        user.emit("llm_request", {"message": asked, "request_id": request_id, "room": "general", **named})
        answer = user.wait_for("llm_complete")["response"]
        user.emit("llm_request", {"message": "do:status 500", "session_id": unique("session-named")})
        user.wait_for("llm_error")
        refused = client.try_to_connect(server.url, auth={"api_key": "a-wrong-key-0123456789"}, reconnection=False)
        refused.wait_for("connect_error")
        posted = requests.post(
            f"{server.url}/api/v1/rooms/{room}/messages?api_key={KEY}",
            json={"message": said, "user_name": "Shop-named"},
            headers={"X-API-Key": KEY, "traceparent": named["traceparent"]},
            timeout=DEADLINE_S,
        )
        assert posted.ok
        user.disconnect()
        wait_until(lambda: of_event(lines_of(server.log), "connection_closed"), "the end of the connection is logged")
        assert server.child.stop() == 0
        log = server.log
    lines = lines_of(log)
    assert {line["process"] for line in lines} == {server.child.process.pid}

    assert (lines[0]["event"], lines[0]["version"]) == ("server_starting", __version__)
    assert of_event(lines, "server_stopping")[0]["signal"] == "SIGTERM"

    [opened], [closed] = of_event(lines, "connection_opened"), of_event(lines, "connection_closed")
    assert (opened["connection"], opened["transport"]) == (status["client"], "polling")
    assert closed["connection"] == status["client"]
    assert (closed["reason"], closed["refusals_count"]) == ("transport close", 1)
    assert closed["duration_ms"] > 0

    [event_refused] = of_event(lines, "event_refused")
    assert event_refused["connection"] == status["client"]
    assert (event_refused["client_event"], event_refused["code"]) == ("message", "not_in_room")
    assert [(line["reason"], line["count"]) for line in of_event(lines, "refused")] == [("who connects is not let in", 1)]

    answered, failed = of_event(lines, "ai_request")
    assert (answered["connection"], answered["request_id"]) == (status["client"], request_id)
    assert (answered["outcome"], answered["is_shared"]) == ("stop", True)
    assert answered["duration_ms"] >= answered["ttft_ms"] >= 0
    assert answered["token_count"] > 0
    [received] = backend.received(asked)
    told = received["trace"]["traceparent"].split("-")
    assert (answered["trace_id"], answered["span_id"], answered["parent_span_id"]) == (TRACE, told[2], SPAN)
    assert told[1] == TRACE
    assert (failed["outcome"], failed["level"], failed["connection"]) == ("llm_failed", "warning", status["client"])
    assert "trace_id" not in failed

    [http_request] = [line for line in of_event(lines, "http_request") if line.get("method") == "POST"]
    assert (http_request["route"], http_request["status"]) == ("/api/v1/rooms/<room>/messages", 200)
    assert http_request["trace_id"] == TRACE

    for secret in (KEY, "a-wrong-key", said, asked, room, answer, answer[:5], "-named", status["sid"]):
        assert secret not in log, secret
    assert status["guest_key"] not in log if "guest_key" in status else True
