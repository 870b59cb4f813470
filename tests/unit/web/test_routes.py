import re
from pathlib import Path
from typing import Any

import pytest

import hazoom_ws
from clients import Client
from minting import SECRET

PAGES = ("/", "/board", "/stats")
STATIC = Path(hazoom_ws.__file__).parent / "web" / "static"
OWN_SCRIPTS = [path for path in STATIC.rglob("*.js") if path.parent.name != "vendor"]


def test_health_counts_connections_and_rooms(app):
    Client(app).call("join_room", {"room": "team"})
    reply = app.test_client().get("/health")
    assert reply.status_code == 200
    assert reply.json == {
        "status": "healthy",
        "service": "hazoom_ws",
        "version": hazoom_ws.__version__,
        "active_connections": 1,
        "rooms": 2,
    }


def test_ready_is_200(app):
    assert app.test_client().get("/ready").status_code == 200


def test_status_is_the_stats_object_with_the_service(app, ann):
    reply = app.test_client().get("/api/v1/status")
    stats = ann.call("get_stats")
    assert {"ok", *reply.json} == {"service", "version", "status", *stats}
    assert reply.json["active_users"] == 1


def test_an_unknown_path_is_404_without_a_traceback(app):
    assert app.test_client().get("/nothing").status_code == 404


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_only_its_own_scripts(app, path: str):
    reply = app.test_client().get(path)
    assert "vendor/socket.io.min.js" in reply.text
    assert "default-src 'self'" in reply.headers["Content-Security-Policy"]
    assert "unsafe" not in reply.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]
    assert not re.search(r"style=|<style|<script>| on\w+=", reply.text), "its own policy would stop it"


ANSWERS = {
    "a page": ("GET", "/", 200),
    "an address": ("GET", "/health", 200),
    "statistics": ("GET", "/api/v1/status", 200),
    "a file": ("GET", "/static/chat/chat.css", 200),
    "a file that is not there": ("GET", "/static/nothing", 404),
    "a path out of the folder": ("GET", "/static/../routes.py", 404),
    "a path that is not there": ("GET", "/nothing", 404),
    "a method that is not allowed": ("POST", "/health", 405),
    "a preflight": ("OPTIONS", "/health", 200),
    "a defect": ("GET", "/defect", 500),
    "a room without a key": ("GET", "/api/v1/rooms/a/messages", 403),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_answer_keeps_a_browser_from_harm_and_says_nothing_of_the_inside(app, answer: str):
    app.add_url_rule("/defect", view_func=lambda: 1 / 0)
    method, path, status = ANSWERS[answer]
    with app.test_client().open(path, method=method) as reply:
        text = reply.text
    assert reply.status_code == status
    assert_safe(reply.headers)
    if status >= 400:
        inside = r"traceback|division|site-packages|werkzeug|python|flask|\.py\b|[0-9]\.[0-9]"
        assert not re.search(inside, text, re.IGNORECASE)


def assert_safe(headers) -> None:
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy or "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"[0-9]", headers.get("Server", ""))


def test_a_route_of_the_application_may_have_a_policy_of_its_own(app):
    app.add_url_rule("/mine", view_func=lambda: ("<p>", {"Content-Security-Policy": "default-src https:"}))
    assert app.test_client().get("/mine").headers["Content-Security-Policy"] == "default-src https:"


# Who may see the pages

KEY = "key-" + "k" * 28
CLOSED = {"auth": "jwt", "jwt_secret": SECRET}
ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}
SHOWN_TO_FEW = (*PAGES, "/api/v1/status", "/metrics")
WITH_A_KEY: dict[str, dict[str, Any]] = {
    "the header": {"headers": {"X-API-Key": KEY}},
    "the query": {"query_string": {"api_key": KEY}},
    "a password": {"auth": ("anyone", KEY)},
}
WITHOUT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "another key": {"headers": {"X-API-Key": KEY[:-1]}},
    "an empty key": {"headers": {"X-API-Key": ""}, "query_string": {"api_key": ""}},
    "the name": {"auth": (KEY, "x")},
    "no password": {"headers": {"Authorization": "Basic eA=="}},
    "no Base64": {"headers": {"Authorization": "Basic \u00e9"}},
    "no text": {"headers": {"Authorization": "Basic /////w=="}},
    "a bearer": {"headers": {"Authorization": f"Bearer {KEY}"}},
    "a cookie": {"headers": {"Cookie": f"api_key={KEY}"}},
}


def test_on_this_machine_everybody_sees_them(make_app):
    client = make_app(api_keys=(KEY,)).test_client()
    assert [client.get(path).status_code for path in SHOWN_TO_FEW] == [200] * len(SHOWN_TO_FEW)
    assert "version" in client.get("/health").json


@pytest.mark.parametrize("credentials", WITH_A_KEY)
def test_elsewhere_a_key_shows_them(make_app, credentials: str):
    client, options = make_app(host="0.0.0.0", auth="api_key", api_keys=(KEY,)).test_client(), WITH_A_KEY[credentials]
    assert [client.get(path, **options).status_code for path in SHOWN_TO_FEW] == [200] * len(SHOWN_TO_FEW)
    assert "version" in client.get("/health", **options).json


@pytest.mark.parametrize("credentials", WITHOUT)
def test_elsewhere_nobody_else_sees_them(make_app, credentials: str):
    app = make_app(host="0.0.0.0", auth="api_key", api_keys=(KEY,))
    Client(app, api_key=KEY).call("join_room", {"room": "a secret room"})
    client, options = app.test_client(), WITHOUT[credentials]
    for path in SHOWN_TO_FEW:
        reply = client.get(path, **options)
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"].startswith('Basic realm="hazoom_ws"')
        assert not re.search(r"secret|general|<|[0-9]\.[0-9]", reply.text)
        assert_safe(reply.headers)
    health = client.get("/health", **options)
    assert health.status_code == client.get("/ready", **options).status_code == 200
    assert set(health.json) == {"status", "service", "active_connections", "rooms"}


def test_without_any_key_nobody_sees_them_elsewhere(make_app):
    client = make_app(host="0.0.0.0", auth="jwt", jwt_secret=SECRET).test_client()
    for options in (*WITHOUT.values(), *WITH_A_KEY.values()):
        assert client.get("/", **options).status_code == 401


def test_where_identities_are_checked_only_a_key_shows_the_names_of_rooms(make_app):
    app = make_app(auth="api_key", api_keys=(KEY,))
    Client(app, api_key=KEY).call("join_room", {"room": "a secret room"})
    client = app.test_client()
    assert client.get("/api/v1/status").json["rooms"] == {}
    assert "a secret room" in client.get("/api/v1/status", headers={"X-API-Key": KEY}).json["rooms"]


@pytest.mark.parametrize(
    ("host", "is_told"), [("localhost:5000", True), ("127.0.0.1", True), ("[::1]:5000", True), ("evil.example", False)]
)
def test_a_page_whose_name_was_led_here_is_told_no_rooms(make_app, host: str, is_told: bool):
    app = make_app()
    Client(app).call("join_room", {"room": "a secret room"})
    rooms = app.test_client().get("/api/v1/status", headers={"Host": host}).json["rooms"]
    assert bool(rooms) is is_told


@pytest.mark.parametrize(
    ("settings", "environ", "is_shown"),
    [
        ({}, {}, True),
        ({"host": "localhost"}, {}, True),
        ({"host": "::1"}, {"REMOTE_ADDR": "::1"}, True),
        ({"host": "::", **CLOSED}, {}, False),
        ({"host": "192.0.2.1", **CLOSED}, {}, False),
        ({"host": "chat.example", **CLOSED}, {}, False),
        # Where anybody may come in, anybody may see them.
        ({"host": "192.0.2.1", "allow_open": True}, {}, True),
        ({"allow_open": True}, ELSEWHERE, True),
        # Another server (gunicorn) listens elsewhere than we are told.
        ({}, ELSEWHERE, False),
        ({}, {"REMOTE_ADDR": ""}, False),
        # A proxy on this machine passes on what comes from elsewhere, or may.
        ({}, {"HTTP_X_FORWARDED_FOR": "192.0.2.7"}, False),
        ({}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, False),
        ({}, {"HTTP_X_FORWARDED_FOR": ""}, False),
        ({}, {"HTTP_FORWARDED": "for=127.0.0.1"}, False),
        ({}, {"HTTP_X_REAL_IP": "127.0.0.1"}, False),
        ({}, {"HTTP_VIA": "1.1 nginx"}, False),
        ({"trusted_proxies": ("127.0.0.0/8",)}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, False),
    ],
)
def test_who_is_on_this_machine(make_app, settings, environ, is_shown: bool):
    client = make_app(**settings).test_client()
    for path in SHOWN_TO_FEW:
        assert client.get(path, environ_overrides=environ).status_code == (200 if is_shown else 401)


def test_no_script_makes_markup_or_code_of_text():
    makes = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|eval\(|new Function")
    scripts = OWN_SCRIPTS
    assert [path.name for path in scripts if makes.search(path.read_text("utf-8"))] == []


def test_the_modules_of_the_pages_import_what_is_there_and_are_read_in_one_go():
    for path in OWN_SCRIPTS:
        script = path.read_text("utf-8")
        assert all((path.parent / name).is_file() for name in re.findall(r'(?:from|import\() ?"([^"]+)"', script))
        assert not re.search(r'from "(?!\.\.?/)', script), "nothing comes from elsewhere"
        assert len(script.splitlines()) <= 300
