"""Which pages may use the server, over HTTP and over WebSockets."""

import base64
import os
import socket

import pytest

from servers import DEADLINE_S, Hazoom, hazoom, wait_until


def ask(server: Hazoom, *, websocket: bool, **headers: str) -> str:
    """Send a handshake with the given headers and return the answer's head."""
    transport = "websocket" if websocket else "polling"
    lines = [
        f"GET /socket.io/?EIO=4&transport={transport} HTTP/1.1",
        f"Host: {headers.pop('host', f'127.0.0.1:{server.port}')}",
    ]
    if websocket:
        key = base64.b64encode(os.urandom(16)).decode()
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
    return head.partition(b"\r\n\r\n")[0].decode()


def accepts(server: Hazoom, *, websocket: bool, **headers: str) -> bool:
    status = ask(server, websocket=websocket, **headers).split(" ")[1]
    assert status in ("400", "101" if websocket else "200")
    return status != "400"


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "polling"])
def test_an_origin_is_judged_before_anything_else(async_mode: str, websocket: bool) -> None:
    with hazoom(async_mode=async_mode, env={"HAZOOM_CORS_ORIGINS": "https://page.example"}) as server:
        port = server.port
        assert accepts(server, websocket=websocket)
        assert accepts(server, websocket=websocket, origin="https://page.example")
        assert accepts(server, websocket=websocket, origin=f"http://127.0.0.1:{port}")
        assert accepts(server, websocket=websocket, origin=f"http://localhost:{port}", host=f"localhost:{port}")
        assert not accepts(server, websocket=websocket, origin="https://evil.example")
        assert not accepts(server, websocket=websocket, origin="http://localhost:3000"), "the list replaces the default"
        rebound = f"evil.example:{port}"
        assert not accepts(server, websocket=websocket, origin=f"http://{rebound}", host=rebound)
        assert not accepts(server, websocket=websocket, origin="null")
        wait_until(lambda: "'https://evil.example' refused" in server.log and "HAZOOM_CORS_ORIGINS" in server.log, "log")


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "polling"])
def test_shells_and_names_before_a_dot_can_be_listed(async_mode: str, websocket: bool) -> None:
    origins = "capacitor://localhost, tauri://localhost, https://*.example.com, http://[::1]:5173"
    with hazoom(async_mode=async_mode, env={"HAZOOM_CORS_ORIGINS": origins}) as server:
        for origin in ("capacitor://localhost", "tauri://localhost", "https://a.b.example.com", "http://[::1]:5173"):
            head = ask(server, websocket=websocket, origin=origin)
            assert head.split(" ")[1] == ("101" if websocket else "200")
            assert websocket or f"access-control-allow-origin: {origin}" in head.lower()
        for origin in ("https://aexample.com.evil.org", "https://example.com", "ionic://localhost", "null"):
            assert not accepts(server, websocket=websocket, origin=origin)


@pytest.mark.parametrize("origins", ["", "[]"])
def test_an_empty_list_is_not_no_check(async_mode: str, origins: str) -> None:
    with hazoom(async_mode=async_mode, env={"HAZOOM_CORS_ORIGINS": origins}) as server:
        for websocket in (True, False):
            assert not accepts(server, websocket=websocket, origin="https://evil.example")
            assert not accepts(server, websocket=websocket, origin="http://localhost:3000")
            assert accepts(server, websocket=websocket, origin=f"http://127.0.0.1:{server.port}")


def test_an_allowed_page_gets_the_headers_that_its_browser_wants(async_mode: str) -> None:
    with hazoom(async_mode=async_mode) as server:
        head = ask(server, websocket=False, origin="http://localhost:5173").lower()
        assert "access-control-allow-origin: http://localhost:5173" in head
        assert "access-control-allow-origin" not in ask(server, websocket=False, origin="http://evil.example").lower()
