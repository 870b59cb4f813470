import logging
import re

import pytest

from hazoom_ws.access.origins import OriginCheck, normal_origin
from hazoom_ws.settings import Settings


def check_of(settings: Settings) -> OriginCheck:
    return OriginCheck(settings.cors_origins, settings.host)


def environ(host: str, scheme: str = "http") -> dict[str, str]:
    return {"wsgi.url_scheme": scheme, "HTTP_HOST": host}


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://localhost:5173", "127.0.0.1:5000", True),
        ("HTTP://LOCALHOST:3000", "127.0.0.1:5000", True),
        ("http://localhost:5174", "127.0.0.1:5000", False),
        ("https://localhost:5173", "127.0.0.1:5000", False),
        ("http://localhost:5000", "localhost:5000", True),
        ("http://127.0.0.1:5000", "127.0.0.1:5000", True),
        ("http://192.168.1.5:5000", "192.168.1.5:5000", True),
        ("http://[::1]:5000", "[::1]:5000", True),
        ("http://localhost:5001", "localhost:5000", False),
        ("http://evil.example:5000", "evil.example:5000", False),
        ("http://chat.example", "chat.example", False),
        ("null", "127.0.0.1:5000", False),
        ("", "127.0.0.1:5000", False),
        ("http://[:5000", "[:5000", False),
        (None, "127.0.0.1:5000", True),
    ],
)
def test_an_origin_is_allowed_if_it_is_listed_or_our_own(origin, host, allowed):
    assert check_of(Settings())(origin, environ(host)) is allowed


def test_our_own_host_name_is_the_one_that_was_configured():
    check = check_of(Settings(host="chat.example"))
    assert check("http://chat.example:5000", environ("chat.example:5000")) is True


def test_an_empty_list_allows_our_own_origin_only():
    check = check_of(Settings(cors_origins=()))
    assert check("http://localhost:5173", environ("localhost:5000")) is False
    assert check("http://localhost:5000", environ("localhost:5000")) is True


def test_a_star_has_to_be_written():
    assert check_of(Settings(cors_origins=("*",)))("http://evil.example", environ("localhost:5000")) is True


def test_a_refusal_says_once_how_to_allow_the_origin(caplog):
    check = check_of(Settings())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            check("http://localhost:4200", environ("localhost:5000"))
        for number in range(1000):
            check(f"http://{number}.example", environ("localhost:5000"))
    assert "http://localhost:4200" in caplog.messages[0]
    assert "HAZOOM_CORS_ORIGINS" in caplog.messages[0]
    assert len(caplog.messages) == 100, "a stranger cannot fill the log"


LISTED = (
    "https://*.example.com",
    "https://*.example.net:8443",
    "http://[::1]:5173",
    "capacitor://localhost",
    "tauri://localhost",
    "http://tauri.localhost",
    "https://a.example",
)
JUDGED = {
    "https://chat.example.com": True,
    "https://a.b.example.com": True,
    "HTTPS://Chat.Example.COM": True,
    "https://example.com": False,
    "https://.example.com": False,
    "https://a..example.com": False,
    "https://aexample.com": False,
    "https://aexample.com.evil.org": False,
    "https://a.example.com.evil.org": False,
    "https://a.example.com:8443": False,
    "https://a.example.com/": False,
    "https://evil.org/a.example.com": False,
    "https://evil.org#.example.com": False,
    "https://u:p@a.example.com": False,
    "https://evil.org:80.example.com": False,
    "https://axexampleycom": False,
    "http://a.example.com": False,
    "https://a.example.net:8443": True,
    "https://a.example.net": False,
    "http://[::1]:5173": True,
    "http://::1:5173": False,
    "http://:5173": False,
    "http://[::1]:51730": False,
    "capacitor://localhost": True,
    "capacitor://localhost.evil.org": False,
    "tauri://localhost": True,
    "http://tauri.localhost": True,
    "tauri://localhost:1": False,
    "https://a.example": True,
    "https://a.example.evil.org": False,
    "https://aXexample": False,
    "null": False,
}


@pytest.mark.parametrize(("origin", "allowed"), JUDGED.items())
def test_a_list_has_one_meaning_for_http_and_for_socketio(make_app, origin, allowed):
    web = make_app(cors_origins=LISTED).test_client()
    headers = {"Origin": origin}
    reply = web.get("/health", headers=headers)
    assert reply.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
    assert web.get("/socket.io/?EIO=4&transport=polling", headers=headers).status_code == (200 if allowed else 400)


@pytest.mark.parametrize(("listed", "allowed"), [(("null",), True), (("NULL",), True), (("*",), True), ((), False)])
def test_null_is_nobody_unless_it_is_named(make_app, listed, allowed):
    web = make_app(cors_origins=listed).test_client()
    headers = {"Origin": "null"}
    assert web.get("/health", headers=headers).headers.get("Access-Control-Allow-Origin") == ("null" if allowed else None)
    assert web.get("/socket.io/?EIO=4&transport=polling", headers=headers).status_code == (200 if allowed else 400)


def test_a_newline_ends_no_origin():
    assert check_of(Settings(cors_origins=("https://a.example",)))("https://a.example\n", environ("x")) is False


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://Chat.Example.com", "https://chat.example.com"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("https://*.example.com:443", "https://*.example.com"),
        ("http://[0:0:0:0:0:0:0:1]:05173", "http://[::1]:5173"),
        ("http://[::ffff:7f00:1]", "http://[::ffff:7f00:1]"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("app://.", "app://."),
        ("tauri://localhost:1420", "tauri://localhost:1420"),
        ("Null", "null"),
        ("*", "*"),
    ],
)
def test_an_item_of_the_list_is_as_browsers_send_it(text, normal):
    assert normal_origin(text) == normal
    assert normal_origin(normal) == normal


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://*", "star"),
        ("https://*.", "not an origin"),
        ("https://a*.example.com", "star"),
        ("https://*a.example.com", "star"),
        ("https://a.*.example.com", "star"),
        ("https://*.*.example.com", "star"),
        ("http://localhost:*", "star"),
        ("*://a.example", "star"),
        ("*.example.com", "star"),
        ("**", "star"),
        ("https://*.127.0.0.1", "IP address"),
        ("https://*.[::1]", "not an origin"),
        ("https://a.example/", "write https://a.example"),
        ("https://*.example.com/chat", "write https://*.example.com"),
        ("https://a.example?x", "write https://a.example"),
        ("https://u:p@a.example", "not an origin"),
        ("https://a.example:", "not an origin"),
        ("https://a.example:99999", "65535"),
        ("https://a.example:0", "65535"),
        ("https://", "not an origin"),
        ("://a.example", "not an origin"),
        ("localhost:3000", "https://chat.example.com"),
        ("https:a.example", "not an origin"),
        ("https://a.example https://b.example", "not an origin"),
        ("http://[::1", "not an origin"),
        ("http://[::zz]", "not an origin"),
        ("http://[1:2]", "not an IPv6 address"),
        ("https://m\u00fcnchen.example", "xn--"),
        ("wss://a.example", "https://a.example"),
        ("^https://.+$", "not an origin"),
        ("", "not an origin"),
    ],
)
def test_what_no_browser_sends_is_refused_at_the_start(text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        normal_origin(text)


def test_socketio_and_http_get_the_same_answer(make_app):
    app = make_app(cors_origins=("http://page.example",))
    web = app.test_client()
    for path in ("/health", "/socket.io/?EIO=4&transport=polling"):
        reply = web.get(path, headers={"Origin": "http://page.example"})
        assert reply.headers["Access-Control-Allow-Origin"] == "http://page.example"
        reply = web.get(path, headers={"Origin": "http://evil.example"})
        assert "Access-Control-Allow-Origin" not in reply.headers
    assert web.get("/socket.io/?EIO=4&transport=polling", headers={"Origin": "http://evil.example"}).status_code == 400


@pytest.mark.parametrize("origins", [(), ("http://localhost:3000",)])
def test_no_list_means_no_check(make_app, origins):
    web = make_app(cors_origins=origins).test_client()
    reply = web.get("/socket.io/?EIO=4&transport=polling", headers={"Origin": "http://evil.example"})
    assert reply.status_code == 400
    assert "Access-Control-Allow-Origin" not in web.get("/health", headers={"Origin": "http://evil.example"}).headers
    assert "Access-Control-Allow-Origin" not in web.get("/health").headers
