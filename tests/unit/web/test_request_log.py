"""A line for each HTTP request: its route and not what stood in it, bounded."""

import logging

from hazoom_ws.log_fields import fields_of
from hazoom_ws.web import request_log

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def lines(caplog) -> list[dict]:
    return [dict(fields_of(record)) for record in caplog.records if fields_of(record)["event"] == "http_request"]


def test_each_request_has_a_line_with_its_route_status_and_time(make_app, caplog):
    caplog.set_level(logging.INFO)
    http = make_app(log_format="json").test_client()
    http.get("/health?token=s3cret", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    http.post("/api/v1/rooms/secret-room/messages", json={"message": "secret text"})
    http.get("/wp-login/secret.php")
    assert [(line.get("method"), line.get("route"), line["status"]) for line in lines(caplog)] == [
        ("GET", "/health", 200),
        ("POST", "/api/v1/rooms/<room>/messages", 403),
        (None, None, 404),
    ]
    assert [line.get("trace_id") for line in lines(caplog)] == [TRACE, None, None]
    assert all(line["duration_ms"] >= 0 for line in lines(caplog))
    assert "secret" not in "".join(str(vars(record)) for record in caplog.records if "request_log" in record.name)


def test_more_requests_than_a_log_should_hold_are_counted(make_app, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(request_log, "_LINES_BURST_COUNT", 3)
    monkeypatch.setattr(request_log, "_LINES_PER_S", 1e-9)
    http = make_app(log_format="json").test_client()
    for _ in range(5):
        http.get("/health")
    assert len(lines(caplog)) == 3


def test_in_text_there_are_no_such_lines(make_app, caplog):
    caplog.set_level(logging.INFO)
    make_app().test_client().get("/health")
    assert lines(caplog) == []
