"""An application that adds namespaces of its own: over each way to serve, its handlers find the client's request."""

import json
from collections.abc import Iterator

import pytest

from protocol_client import POLLING, WEBSOCKET, Request, websocket
from servers import protocol_server


@pytest.fixture(scope="module")
def url(async_mode: str) -> Iterator[str]:
    with protocol_server(async_mode, "application") as url:
        yield url


def over_websocket(url: str, token: str, *sent: str) -> list[str]:
    """Return what is answered to each packet."""
    with websocket(url, f"{WEBSOCKET}&token={token}", [("X-Token", "right")]) as socket:
        socket.receive()
        answers = []
        for packet in sent:
            socket.send(packet)
            answers.append(str(socket.receive()))
        return answers


def over_polling(url: str, token: str, *sent: str) -> list[str]:
    """Return what is answered to each packet."""
    query = f"{POLLING}&token={token}"
    opened = Request(url, query, **{"X-Token": "right"}).answer()
    query = f"{query}&sid={json.loads(opened.body[1:])['sid']}"
    answers = []
    for packet in sent:
        Request(url, query, "POST", packet).answer()
        answers.append(Request(url, query).answer().body)
    return answers


@pytest.mark.parametrize("ask", [over_websocket, over_polling])
def test_their_handlers_find_the_request_of_a_client(url, ask):
    let_in, who = ask(url, "right", "40/mine,", '42/mine,1["who"]')
    assert let_in.startswith('40/mine,{"sid":')
    transport = "websocket" if ask is over_websocket else "polling"
    address = url.removeprefix("http://")
    host, _, port = address.partition(":")
    assert json.loads(who.removeprefix("43/mine,1")) == [["/socket.io/", transport, address, [host, int(port)], host]]


@pytest.mark.parametrize("ask", [over_websocket, over_polling])
def test_their_handlers_refuse_a_client(url, ask):
    refused, ours = ask(url, "wrong", "40/mine,", "40")
    assert refused.startswith("44/mine,{")
    assert ours.startswith("40{")
