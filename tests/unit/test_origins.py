import logging

import pytest

from hazoom_ws.origins import OriginCheck
from hazoom_ws.settings import Settings


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
    assert OriginCheck(Settings())(origin, environ(host)) is allowed


def test_our_own_host_name_is_the_one_that_was_configured():
    check = OriginCheck(Settings(host="chat.example"))
    assert check("http://chat.example:5000", environ("chat.example:5000")) is True


def test_an_empty_list_allows_our_own_origin_only():
    check = OriginCheck(Settings(cors_origins=()))
    assert check("http://localhost:5173", environ("localhost:5000")) is False
    assert check("http://localhost:5000", environ("localhost:5000")) is True


def test_a_star_has_to_be_written():
    assert OriginCheck(Settings(cors_origins=("*",)))("http://evil.example", environ("localhost:5000")) is True


def test_a_refusal_says_once_how_to_allow_the_origin(caplog):
    check = OriginCheck(Settings())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            check("http://localhost:4200", environ("localhost:5000"))
        for number in range(1000):
            check(f"http://{number}.example", environ("localhost:5000"))
    assert "http://localhost:4200" in caplog.messages[0]
    assert "HAZOOM_CORS_ORIGINS" in caplog.messages[0]
    assert len(caplog.messages) == 100, "a stranger cannot fill the log"


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
