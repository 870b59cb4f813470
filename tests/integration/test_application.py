"""What an application says to the clients from outside: Flask-SocketIO's ``emit`` and ``send``, and messages for a room."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from servers import DEADLINE_S, OfficialClient, Socket, protocol_server, unique
from tcp_proxy import tcp_proxy

TRANSPORTS = (["websocket"], ["polling"])
MINE = {"query": {"token": "t"}, "extraHeaders": {"X-Token": "t"}}


@pytest.fixture(scope="module")
def url(async_mode: str) -> Iterator[str]:
    with protocol_server(async_mode, "application") as url:
        yield url


@pytest.fixture
def room() -> str:
    return unique("r\u00e9sum\u00e9 ")


def say(url: str, what: str, *arguments: Any, where: str = "route", **options: Any) -> dict[str, Any]:
    """Let the application call something; return its result or its error."""
    said = {"what": what, "arguments": arguments, "options": options, "where": where}
    response = requests.post(f"{url}/say", json=said, timeout=DEADLINE_S)
    response.raise_for_status()
    return response.json()


def visitors(client: OfficialClient, url: str, **options: Any) -> list[Socket]:
    """Return users by both transports, with recovery and without."""
    return [
        client.connect(url, transports=transports, auth={"user_name": unique("Ann"), "recover": recover}, **options)
        for transports in TRANSPORTS
        for recover in (True, False)
    ]


def members(client: OfficialClient, url: str, room: str) -> list[Socket]:
    sockets = visitors(client, url)
    assert all(socket.emit("join_room", {"room": room})["ok"] for socket in sockets)
    return sockets


def noted(sockets: list[Socket], room: str, url: str) -> list[list[Any]]:
    """Return the notes that each has got, when all that was sent to the room before has come."""
    end = unique("end")
    assert say(url, "emit", end, {}, to=room) == {"result": None}
    for socket in sockets:
        socket.wait_for(end)
    return [socket.received("note") for socket in sockets]


@pytest.mark.parametrize("where", ["route", "background"])
@pytest.mark.parametrize("name", ["to", "room"])
def test_an_event_reaches_who_is_in_the_room_and_nobody_else(
    url: str, client: OfficialClient, room: str, name: str, where: str
) -> None:
    """It reached nobody, without a word."""
    sockets, other = members(client, url, room), client.connect(url)
    for to in (room, [room], [room, "no room"], room.replace("\u00e9", "e\u0301")):
        assert say(url, "emit", "note", {"open": 3}, where=where, **{name: to}) == {"result": None}
    assert noted(sockets, room, url) == [[{"open": 3}] * 4] * 4
    assert say(url, "emit", "end", {}, to=other.received("connect")[0]["sid"]) == {"result": None}
    other.wait_for("end")
    assert other.received("note") == []


def test_without_a_room_everybody_gets_it(url: str, client: OfficialClient, room: str) -> None:
    sockets = [*visitors(client, url), client.connect(url, "/rooms")]
    assert say(url, "emit", "note", [1]) == say(url, "emit", "note", [1], namespace="/rooms") == {"result": None}
    for socket in sockets:
        assert socket.wait_for("note") == [1]


def test_a_client_can_be_left_out(url: str, client: OfficialClient, room: str) -> None:
    sockets = members(client, url, room)
    sids = [socket.received("connect")[0]["sid"] for socket in sockets]
    assert say(url, "emit", "note", {"number": 1}, to=room, skip_sid=sids[0]) == {"result": None}
    assert say(url, "emit", "note", "2", to=room, skip_sid=sids[:2]) == {"result": None}
    assert noted(sockets, room, url) == [[], [{"number": 1}], [{"number": 1}, "2"], [{"number": 1}, "2"]]
    assert "sid" in say(url, "emit", "note", {}, to=room, include_self=False)["error"]  # a route has no client


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_send_and_strings_do_not_disturb_recovery(
    url: str, client: OfficialClient, room: str, transports: list[str]
) -> None:
    """The official client takes a string at the end of an event for its place in the order of messages."""
    with tcp_proxy(int(url.rpartition(":")[2])) as proxy:
        ann, plain = (
            client.connect(proxy.url, auth={"recover": recover}, transports=transports, reconnectionDelayMax=100)
            for recover in (True, False)
        )
        for socket in (ann, plain):
            assert socket.emit("join_room", {"room": room})["ok"]
        say(url, "publish", room, "before", user_name="Shop")
        assert say(url, "send", "hello", to=room) == say(url, "emit", "note", to=room) == {"result": None}
        for socket in (ann, plain):
            assert (socket.wait_for("message"), socket.received("new_message")[0]["message"]) == ("hello", "before")
        assert ann.wait_for("note").isdecimal()
        assert plain.wait_for("note") is None
        proxy.go_down()
        ann.wait_for("disconnect")
        say(url, "publish", room, "missed", user_name="Shop")
        proxy.come_up()
        ann.wait_for("new_message", lambda data: data["message"] == "missed")
        assert [data["message"] for data in ann.received("new_message")] == ["before", "missed"]


def test_what_cannot_be_sent_is_told(url: str, async_mode: str, client: OfficialClient, room: str) -> None:
    assert "call()" in say(url, "call", "note", {}, to=room)["error"]
    if async_mode != "threading":
        for what, options in (("emit", {"to": room}), ("publish", {"user_name": "Shop"})):
            error = say(url, what, *(("note", {}) if what == "emit" else (room, "hi")), where="thread", **options)["error"]
            assert "start_background_task" in error


@pytest.mark.parametrize("where", ["route", "background"])
def test_a_message_of_the_application_is_kept_and_shown(url: str, client: OfficialClient, room: str, where: str) -> None:
    sockets = members(client, url, room)
    published = say(url, "publish", room, "an order", user_name="Shop", client_id="1", where=where)["result"]
    for socket in sockets:
        shown = socket.wait_for("new_message")
        assert (shown["user"], shown["message"], shown["id"]) == ("Shop", "an order", published["id"])
    page = sockets[0].emit("get_history", {"room": room})["messages"]
    assert [(entry["id"], entry["client_id"]) for entry in page] == [(published["id"], "1")]
    again = say(url, "publish", room, "an order", user_name="Shop", client_id="1")["result"]
    assert again == {**published, "duplicate": True}
    shop = client.connect(url, auth={"user_name": "Shop"})
    assert shop.emit("join_room", {"room": room})["ok"]
    assert shop.emit("message", {"room": room, "message": "I am not the shop", "client_id": "1"})["duplicate"] is False


@pytest.mark.parametrize(
    ("arguments", "options", "field"),
    [
        ((" ", "hi"), {"user_name": "Shop"}, "room"),
        (("a", " "), {"user_name": "Shop"}, "message"),
        (("a", "hi"), {"user_name": " "}, "user_name"),
        (("a", "hi"), {"user_name": "Shop", "client_id": "x" * 129}, "client_id"),
    ],
)
def test_a_message_that_may_not_be_is_refused(url: str, arguments: Any, options: Any, field: str) -> None:
    error = say(url, "publish", *arguments, **options)["error"]
    assert error.startswith("BadPayload")
    assert field in error


def test_a_handler_emits_and_does_not_wait(url: str, async_mode: str, client: OfficialClient, room: str) -> None:
    sockets = members(client, url, room)
    mine = client.try_to_connect(url, "/mine", transports=["websocket"], **MINE)
    mine.wait_for("connect")
    assert mine.emit("say", {"what": "emit", "arguments": ["note", {}], "options": {"to": room}}) == {"result": None}
    assert noted(sockets, room, url) == [[{}]] * 4
    published = mine.emit("say", {"what": "publish", "arguments": [room, "hi"], "options": {"user_name": "Shop"}})
    if async_mode == "eventlet":
        assert "start_background_task" in published["error"]
    else:
        assert published["result"]["duplicate"] is False
