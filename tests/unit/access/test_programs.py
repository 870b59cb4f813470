import pytest

from hazoom_ws.access.programs import takes_offsets

SOCKET = {"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ=="}
OFFERS = {"HTTP_SEC_WEBSOCKET_EXTENSIONS": "permessage-deflate; client_max_window_bits"}
ORIGIN = {"HTTP_ORIGIN": "http://localhost:5000"}


@pytest.mark.parametrize(
    "user_agent",
    [
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
        "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36 Dart/3.5 okhttp/4.9",
        "node-XMLHttpRequest",
        "node",
        "Bun/1.3.0",
        "Deno/2.5.0",
        "Darwin",
        "x" * 100_000 + " okhttp/4.12.0",
        "",
    ],
)
def test_browsers_and_the_official_client_take_offsets(user_agent):
    assert takes_offsets({"HTTP_USER_AGENT": user_agent} | SOCKET)
    assert takes_offsets({"HTTP_USER_AGENT": user_agent} | ORIGIN)


@pytest.mark.parametrize(
    "user_agent",
    [
        "python-requests/2.34.2",
        "Python/3.11 aiohttp/3.14.5",
        "python-httpx/0.28.1",
        "python-websocket-client/1.9.2",
        "websocket-client",
        "okhttp/4.12.0",
        "OkHttp/5.0.0",
        "Dart/3.9 (dart:io)",
        "Chat/7 CFNetwork/1568.100.1 Darwin/24.0.0",
        "Swift",
        "Starscream/4.0",
        "Go-http-client/1.1",
    ],
)
def test_clients_whose_handlers_take_one_argument_get_none(user_agent):
    assert not takes_offsets({"HTTP_USER_AGENT": user_agent})
    assert not takes_offsets({"HTTP_USER_AGENT": user_agent} | SOCKET | ORIGIN | OFFERS)


def test_who_says_nothing_and_names_an_origin_is_not_the_official_client():
    assert not takes_offsets(SOCKET | ORIGIN)


@pytest.mark.parametrize("environ", [{}, SOCKET, SOCKET | OFFERS, SOCKET | OFFERS | ORIGIN, ORIGIN])
def test_who_says_nothing_else_may_be_the_official_client(environ):
    assert takes_offsets(environ)
