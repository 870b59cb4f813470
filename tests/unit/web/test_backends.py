"""The HTTP routes of backends, without a server around the application."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from clients import Client, MakeApp
from hazoom_ws import errors
from hazoom_ws.errors import LogUnavailable, RateLimited
from hazoom_ws.web import backends

KEY, OTHER_KEY = "key-" + "k" * 28, "other-" + "k" * 26
ROOM = "team"


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(rate_limit_per_s=0, api_keys=(OTHER_KEY, KEY), cors_origins=("https://page.example",))


def path_of(room: str) -> str:
    return f"/api/v1/rooms/{quote(room, safe='')}/messages"


def post(app: Flask, payload: Any, room: str = ROOM, *, key: str | None = KEY, **options: Any) -> TestResponse:
    headers = options.pop("headers", {}) | ({} if key is None else {"X-API-Key": key})
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return app.test_client().post(
        path_of(room), data=body, headers=headers, **{"content_type": "application/json"} | options
    )


def get(app: Flask, room: str = ROOM, *, key: str = KEY, **query: Any) -> TestResponse:
    return app.test_client().get(path_of(room), query_string=query, headers={"X-API-Key": key})


def error_of(response: TestResponse) -> dict[str, Any]:
    assert response.mimetype == "application/json"
    assert response.json["ok"] is False
    return response.json["error"]


def test_a_message_is_kept_and_shown_to_the_room_as_a_clients(app, ann):
    ann.call("join_room", {"room": ROOM})
    ann.received()
    response = post(app, {"message": "a new order", "user_name": "Shop", "client_id": "1", "unknown": 1})
    assert response.status_code == 200
    assert {"ok", "id", "seq", "timestamp", "duplicate"} == set(response.json)
    assert response.json["duplicate"] is False
    (shown,) = ann.received("new_message")
    assert {name: shown[name] for name in ("user", "message", "room", "id", "seq", "client_id")} == {
        "user": "Shop",
        "message": "a new order",
        "room": ROOM,
        "id": response.json["id"],
        "seq": response.json["seq"],
        "client_id": "1",
    }


def test_the_same_client_id_again_is_the_first_message(app):
    first = post(app, {"message": "once", "user_name": "Shop", "client_id": "1"}).json
    again = post(app, {"message": "once", "user_name": "Shop", "client_id": "1"})
    assert (again.status_code, again.json) == (200, {**first, "duplicate": True})
    assert post(app, {"message": "x", "user_name": "Other", "client_id": "1"}).json["duplicate"] is False
    assert post(app, {"message": "x", "user_name": "Shop", "client_id": "1"}, "elsewhere").json["duplicate"] is False
    assert [entry["message"] for entry in get(app).json["messages"]] == ["once", "x"]


@pytest.mark.parametrize(
    "room", ["R\u00e9union", "a/b", "/a", "a//b/", "a/messages", "50 % + 1", "?&#;", "\U0001f986", "..", "a.b"]
)
def test_any_room_can_be_named(app, ann, room):
    ann.call("join_room", {"room": room})
    ann.received()
    assert post(app, {"message": "hi", "user_name": "Shop"}, room).status_code == 200
    assert ann.received("new_message")[0]["room"] == room
    page = get(app, room).json
    assert (page["room"], [entry["message"] for entry in page["messages"]]) == (room, ["hi"])


def test_names_are_compared_in_their_composed_form(app):
    post(app, {"message": "hi", "user_name": "Shop"}, "cafe\u0301")
    assert get(app, "caf\u00e9").json["room"] == "caf\u00e9"
    assert len(get(app, "caf\u00e9").json["messages"]) == 1


def test_a_path_that_is_no_text_is_refused(app):
    raw = {"PATH_INFO": "/api/v1/rooms/a\xff/messages"}
    response = app.test_client().get("/", headers={"X-API-Key": KEY}, environ_overrides=raw)
    assert response.status_code == 400
    assert error_of(response)["code"] == "bad_payload"


def test_history_has_pages_in_both_directions_for_whoever_has_the_key(app):
    seqs = [post(app, {"message": str(number), "user_name": "Shop"}).json["seq"] for number in range(5)]

    def page(**query: Any) -> tuple[list[str], bool]:
        response = get(app, **query)
        assert response.status_code == 200
        assert response.json["ok"] is True
        return [entry["message"] for entry in response.json["messages"]], response.json["complete"]

    assert page() == (["0", "1", "2", "3", "4"], True)
    assert page(limit=2) == (["3", "4"], False)
    assert page(before=seqs[3], limit=2) == (["1", "2"], False)
    assert page(after=seqs[1], limit=2) == (["2", "3"], False)
    assert page(after=seqs[4]) == ([], True)
    assert get(app, "a room that nobody was in").json == {
        "ok": True,
        "room": "a room that nobody was in",
        "messages": [],
        "complete": True,
    }


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "x"}, "limit"),
        ({"before": "-1"}, "before"),
        ({"after": "1" * 21}, "after"),
        ({"limit": "10000"}, "limit"),
    ],
)
def test_a_page_that_cannot_be_is_refused_as_the_event_is(app, ann, query, field):
    response = get(app, **query)
    error = error_of(response)
    assert (response.status_code, error["code"], error["event"]) == (400, "bad_payload", "get_history")
    assert error["message"].startswith(f"{field}: ")


@pytest.mark.parametrize("key", [None, "", "x" * 32, KEY[:-1], f"{KEY},{OTHER_KEY}", KEY.upper()])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_key_nothing_is_said_and_not_why(app, key, method):
    headers = {} if key is None else {"X-API-Key": key}
    client = app.test_client()
    answers = [
        client.open(path_of(room), method=method, headers=headers, json={"message": "hi", "user_name": "Shop"})
        for room in (ROOM, "no room")
    ]
    for response in answers:
        assert response.status_code == 401
        error = error_of(response)
        assert (error["code"], error["retry"]) == ("unauthorized", False)
        assert "key" not in error["message"]
        assert response.data == answers[0].data
    assert get(app).json["messages"] == []


@pytest.mark.parametrize(
    "where", [{"query_string": {"api_key": KEY}}, {"auth": ("x", KEY)}, {"headers": {"Cookie": f"api_key={KEY}"}}]
)
def test_a_key_counts_in_the_header_only(app, where):
    assert post(app, {"message": "hi", "user_name": "Shop"}, key=None, **where).status_code == 401


def test_each_of_several_keys_opens(app):
    assert [post(app, {"message": "hi", "user_name": "Shop"}, key=key).status_code for key in (KEY, OTHER_KEY)] == [
        200,
        200,
    ]


def test_without_any_key_configured_the_routes_are_closed(make_app, caplog):
    caplog.set_level("INFO")
    app = make_app()
    assert "HAZOOM_API_KEYS" in caplog.text
    for key in (None, "", KEY):
        response = post(app, {"message": "hi", "user_name": "Shop"}, key=key)
        assert (response.status_code, error_of(response)["code"]) == (403, "forbidden")
    assert app.test_client().post("/api/v1/users/Ann/disconnect", headers={"X-API-Key": ""}).status_code == 403


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", ""]
)
def test_only_json_is_taken(app, content_type):
    response = post(app, {"message": "hi", "user_name": "Shop"}, content_type=content_type)
    assert (response.status_code, error_of(response)["code"]) == (415, "bad_payload")
    assert get(app).json["messages"] == []


@pytest.mark.parametrize(
    ("payload", "status", "code", "word"),
    [
        ({"user_name": "Shop"}, 400, "bad_payload", "message"),
        ({"message": "hi"}, 400, "bad_payload", "user_name"),
        ({"message": " ", "user_name": "Shop"}, 400, "bad_payload", "message"),
        ({"message": 1, "user_name": "Shop"}, 400, "bad_payload", "message"),
        ({"message": "hi", "user_name": " "}, 400, "bad_payload", "user_name"),
        ({"message": "hi", "user_name": "assistant"}, 400, "bad_payload", "user_name"),
        ({"message": "hi", "user_name": "x" * 65}, 400, "bad_payload", "user_name"),
        ({"message": "hi", "user_name": "Shop", "client_id": "x" * 129}, 400, "bad_payload", "client_id"),
        ({"message": "hi", "user_name": "Shop", "client_id": 1}, 400, "bad_payload", "client_id"),
        ({"message": "x" * 65537, "user_name": "Shop"}, 413, "too_large", "65536"),
        ([1], 400, "bad_payload", "object"),
        ("x", 400, "bad_payload", "object"),
        (None, 400, "bad_payload", "object"),
        (b"", 400, "bad_payload", "JSON"),
        (b'{"message": "hi"', 400, "bad_payload", "JSON"),
        (b'{"message": NaN}', 400, "bad_payload", "JSON"),
        (b'{"message": "\xff"}', 400, "bad_payload", "UTF-8"),
        (b"[" * 60_000 + b"]" * 60_000, 400, "bad_payload", "deep"),
        (b'{"message": "hi", "user_name": "Shop", "x": "%b"}' % (b"x" * 131_072), 413, "too_large", "131072"),
        (b" " * 262_145, 413, "too_large", "131072"),
    ],
)
def test_what_may_not_be_is_refused_and_says_why(app, payload, status, code, word):
    response = post(app, payload)
    error = error_of(response)
    assert (response.status_code, error["code"], error["event"], error["retry"]) == (status, code, "message", False)
    assert word in error["message"]
    assert get(app).json["messages"] == []


def test_the_longest_message_may_be_written_in_escapes(app):
    """Python's ``json`` escapes all but ASCII: three times the bytes that count."""
    assert post(app, {"message": "\u00e9" * 32_768, "user_name": "Shop"}).status_code == 200


def test_half_a_character_is_as_in_an_event(app):
    assert post(app, b'{"message": "a\\ud83d", "user_name": "Shop"}').status_code == 200
    assert get(app).json["messages"][0]["message"] == "a\ufffd"


def test_a_room_that_cannot_be_is_refused(app):
    for room in ("x" * 129, "\u200b", "a\nb"):
        for response in (post(app, {"message": "hi", "user_name": "Shop"}, room), get(app, room)):
            assert (response.status_code, error_of(response)["code"]) == (400, "bad_payload")


@pytest.mark.parametrize("origin", ["https://page.example", "https://evil.example", "http://localhost", "null"])
def test_no_page_may_call_them(app, origin):
    client = app.test_client()
    ask = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    for path in (path_of(ROOM), "/api/v1/users/Ann/disconnect"):
        preflight = client.options(path, headers=ask)
        assert not [name for name, _ in preflight.headers if name.lower().startswith("access-control")]
    response = post(app, {"message": "hi", "user_name": "Shop"}, headers={"Origin": origin})
    assert (response.status_code, error_of(response)["code"]) == (403, "forbidden")
    assert not [name for name, _ in response.headers if name.lower().startswith("access-control")]
    assert get(app).json["messages"] == []
    assert "Access-Control-Allow-Origin" in client.get("/health", headers={"Origin": "https://page.example"}).headers


def test_every_error_has_a_status():
    statuses = {code: backends._STATUSES.get(code, 500) for code in errors.CODES}
    assert {code for code, status in statuses.items() if status == 500} == {
        "internal",
        "llm_unavailable",
        "llm_failed",
        "llm_timeout",
    }


def test_what_can_be_tried_again_says_when(app, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise refused

    monkeypatch.setattr(app.extensions["hazoom_ws"].hub, "publish", refuse)
    refused: Exception = RateLimited(1.0, "events", 2.6)
    response = post(app, {"message": "hi", "user_name": "Shop"})
    assert (response.status_code, response.headers["Retry-After"]) == (429, "3")
    assert error_of(response)["retry"] is True
    assert error_of(response)["retry_at"] > 0
    refused = LogUnavailable("/a/path")
    response = post(app, {"message": "hi", "user_name": "Shop"})
    assert (response.status_code, error_of(response)["code"], error_of(response)["retry"]) == (503, "internal", True)
    assert "/a/path" not in response.text


def test_a_defect_is_in_the_log_and_not_in_the_answer(app, monkeypatch, caplog):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(app.extensions["hazoom_ws"].hub, "publish", fail)
    response = post(app, {"message": "hi", "user_name": "Shop"})
    error = error_of(response)
    assert (response.status_code, error["code"]) == (500, "internal")
    assert "secret" not in response.text
    reference = error["message"].rsplit(" ", 1)[1]
    assert reference in caplog.text
    assert "secret detail" in caplog.text


def test_another_method_is_refused(app):
    assert app.test_client().put(path_of(ROOM), headers={"X-API-Key": KEY}).status_code == 405


def disconnect(app: Flask, user_id: str, key: str = KEY) -> TestResponse:
    return app.test_client().post(f"/api/v1/users/{quote(user_id, safe='')}/disconnect", headers={"X-API-Key": key})


def test_a_user_is_logged_out_with_all_tabs_and_others_stay(app):
    tabs, bob = [Client(app, user_name="Ann B/c\u00e9") for _ in range(2)], Client(app, user_name="Bob")
    assert disconnect(app, "Ann B/ce\u0301", key="x" * 32).status_code == 401
    assert all(tab.socket.is_connected() for tab in tabs)
    response = disconnect(app, "Ann B/ce\u0301")
    assert (response.status_code, response.json) == (200, {"ok": True, "connections": 2})
    assert not any(tab.socket.is_connected() for tab in tabs)
    assert bob.socket.is_connected()
    assert disconnect(app, "Ann B/c\u00e9").json == {"ok": True, "connections": 0}
    assert app.extensions["hazoom_ws"].disconnect_user("Bob") == 1
