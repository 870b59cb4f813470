"""python-socketio's own clients, as their documentation shows them: handlers of one argument, nothing set."""

import asyncio
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import socketio

from servers import DEADLINE_S, Hazoom, OfficialClient, hazoom, unique, wait_until

QUICK = {"reconnection": False, "handle_sigint": False}


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    with hazoom(async_mode=async_mode) as server:
        yield server


@pytest.fixture(params=[["polling"], ["websocket"], ["polling", "websocket"]], ids="-".join)
def transports(request: pytest.FixtureRequest) -> list[str]:
    return request.param


@contextmanager
def connected(server: Hazoom, transports: list[str], **auth: Any) -> Iterator[socketio.SimpleClient]:
    """Connect a client that takes events as they come, offsets and all."""
    with socketio.SimpleClient(**QUICK) as client:
        client.connect(server.url, transports=transports, auth=auth or None)
        yield client


def received(client: socketio.SimpleClient, event: str) -> list[Any]:
    """Return the arguments of the next event of that name."""
    while (taken := client.receive(DEADLINE_S))[0] != event:
        pass
    return taken[1:]


def test_a_handler_of_one_argument_gets_one(server: Hazoom, transports: list[str]) -> None:
    """It raised TypeError in the client at the first message."""
    text, seen = unique("hello"), []
    client = socketio.Client(**QUICK)

    @client.on("new_message")
    def on_message(data: dict[str, Any]) -> None:
        seen.append(data["message"])

    client.connect(server.url, transports=transports)
    try:
        assert client.call("message", {"message": text}, timeout=DEADLINE_S)["ok"] is True
        assert wait_until(lambda: text in seen, "the handler was called")
    finally:
        client.disconnect()


def test_a_handler_of_one_argument_gets_one_with_asyncio(server: Hazoom, transports: list[str]) -> None:
    text = unique("hello")

    async def chat() -> str:
        seen: asyncio.Queue[str] = asyncio.Queue()
        client = socketio.AsyncClient(**QUICK)

        @client.on("new_message")
        async def on_message(data: dict[str, Any]) -> None:
            if data["message"] == text:
                await seen.put(data["message"])

        await client.connect(server.url, transports=transports)
        try:
            assert (await client.call("message", {"message": text}, timeout=DEADLINE_S))["ok"] is True
            return await asyncio.wait_for(seen.get(), DEADLINE_S)
        finally:
            await client.disconnect()

    assert asyncio.run(chat()) == text
    # It leaves a request open whose answer it does not read, which Python says whenever it comes upon that.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


@pytest.mark.parametrize("recover", [True, "true"])
def test_who_asks_for_it_gets_offsets(server: Hazoom, transports: list[str], recover: bool | str) -> None:
    with connected(server, transports, recover=recover) as client:
        client.call("message", {"message": "hello"}, DEADLINE_S)
        assert len(received(client, "new_message")) == 2


@pytest.mark.parametrize("auth", [{}, {"recover": False}, {"recover": "false"}, {"recover": None}, {"user_name": "Ann"}])
def test_who_does_not_ask_gets_none(server: Hazoom, transports: list[str], auth: dict[str, Any]) -> None:
    with connected(server, transports, **auth) as client:
        client.call("message", {"message": "hello"}, DEADLINE_S)
        assert len(received(client, "new_message")) == 1


def test_the_official_client_goes_on_recovering(server: Hazoom, client: OfficialClient, transports: list[str]) -> None:
    socket = client.connect(server.url, transports=transports, auth={"user_name": unique("Ann")})
    socket.emit("message", {"message": "hello"})
    socket.wait_for("new_message")
    assert set(socket.session()) == {"pid", "offset"}
