"""Chat as the official client sees it, over every choice of transports."""

from collections.abc import Iterator

import pytest

from servers import Hazoom, OfficialClient, hazoom, unique, wait_until

TRANSPORTS = {
    "websocket first": (["websocket", "polling"], "websocket"),
    "polling only": (["polling"], "polling"),
    "polling that upgrades": (["polling", "websocket"], "websocket"),
}


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    with hazoom(async_mode=async_mode, env={"HAZOOM_RATE_LIMIT_PER_S": "0"}) as server:
        yield server


@pytest.fixture(params=TRANSPORTS.values(), ids=TRANSPORTS.keys())
def transports(request: pytest.FixtureRequest) -> tuple[list[str], str]:
    """Return the client's choice and the transport that it ends up with."""
    return request.param


def test_a_client_is_greeted_over_the_transport_it_chose(
    server: Hazoom, client: OfficialClient, transports: tuple[list[str], str]
) -> None:
    offered, used = transports
    socket = client.try_to_connect(server.url, transports=offered, auth={"user_name": "Ada"})
    status = socket.wait_for("status")
    assert status == {
        "connected": True,
        "message": status["message"],
        "sid": socket.wait_for("connect")["sid"],
        "user": "Ada",
        "rooms": ["general"],
        "server": {"name": "hazoom_ws", "version": status["server"]["version"]},
        "recovered": False,
        "client": status["client"],
        "limits": status["limits"],
    }
    if offered[0] != used:
        assert socket.wait_for("upgrade") == {"transport": used}
    assert socket.transport() == used
    assert len(socket.received("status")) == 1


def test_the_client_of_record_chats_in_general_without_joining_it(
    server: Hazoom, client: OfficialClient, transports: tuple[list[str], str]
) -> None:
    sender = client.connect(server.url, transports=["websocket", "polling"])
    reader = client.connect(server.url, transports=transports[0])
    text = unique("Grüße 🦆 <b>")
    sender.send("message", {"message": text, "user_name": "Grace"})
    for socket in (reader, sender):
        message = socket.wait_for("new_message", lambda message: message["message"] == text)
        assert (message["user"], message["room"]) == ("Grace", "general")
        assert len([seen for seen in socket.received("new_message") if seen["message"] == text]) == 1


def test_acknowledgements_tell_success_and_refusal(
    server: Hazoom, client: OfficialClient, transports: tuple[list[str], str]
) -> None:
    socket = client.connect(server.url, transports=transports[0], auth={"user_name": "Ada"})
    room = unique("acks")
    joined = socket.emit("join_room", {"room": room})
    assert joined == {"ok": True, "room": room, "user_count": 1, "users": ["Ada"], "messages": [], "complete": True}
    published = socket.emit("message", {"message": "hello", "room": room, "client_id": "1"})
    assert (published["ok"], published["duplicate"]) == (True, False)
    resent = socket.emit("message", {"message": "hello", "room": room, "client_id": "1"})
    assert resent == {**published, "duplicate": True}
    assert socket.emit("typing", {"room": room}) == {"ok": True}
    refused = socket.emit("message", {"message": 5, "room": room})
    assert refused["ok"] is False
    assert {**refused["error"], "message": ""} == {"code": "bad_payload", "message": "", "event": "message", "retry": False}
    assert socket.emit("dance", {})["error"]["code"] == "unknown_event"
    assert socket.emit("connect_me")["error"]["code"] == "unknown_event"
    assert socket.received("error") == []


def test_a_refusal_that_nobody_asked_to_hear_of_comes_as_an_error_event(server: Hazoom, client: OfficialClient) -> None:
    socket = client.connect(server.url)
    socket.send("message", {"message": "psst", "room": "where I am not"})
    error = socket.wait_for("error")
    assert (error["code"], error["event"], error["retry"]) == ("not_in_room", "message", False)


def test_two_hundred_messages_arrive_in_the_order_in_which_they_were_sent(
    server: Hazoom, client: OfficialClient, transports: tuple[list[str], str]
) -> None:
    sender, reader = (client.connect(server.url, transports=transports[0]) for _ in range(2))
    room = unique("order")
    for socket in (sender, reader):
        socket.emit("join_room", {"room": room})
    texts = [f"message {number}" for number in range(200)]
    for text in texts:
        sender.send("message", {"message": text, "room": room})
    for socket in (sender, reader):
        socket.wait_for("new_message", lambda message: message["message"] == texts[-1])
        messages = socket.received("new_message")
        assert [message["message"] for message in messages if message["room"] == room] == texts
        assert [message["seq"] for message in messages] == sorted({message["seq"] for message in messages})


def test_history_is_replayed_to_a_client_that_joins_later(server: Hazoom, client: OfficialClient) -> None:
    room = unique("history")
    early, late = client.connect(server.url), client.connect(server.url)
    early.emit("join_room", {"room": room})
    seqs = [early.emit("message", {"message": text, "room": room})["seq"] for text in ("one", "two", "three")]
    joined = late.emit("join_room", {"room": room, "since": seqs[0]})
    assert [message["message"] for message in joined["messages"]] == ["two", "three"]
    page = late.emit("get_history", {"room": room, "before": seqs[2]})
    assert [message["message"] for message in page["messages"]] == ["one", "two"]


def test_joining_twice_counts_once_and_leaving_ends_it(server: Hazoom, client: OfficialClient) -> None:
    room = unique("twice")
    resident, visitor = (client.connect(server.url, auth={"user_name": name}) for name in ("Resident", "Visitor"))
    resident.emit("join_room", {"room": room})
    assert [visitor.emit("join_room", {"room": room})["user_count"] for _ in range(2)] == [2, 2]
    assert server.stats()["rooms"][room] == 2
    assert visitor.emit("leave_room", {"room": room}) == {"ok": True, "room": room, "user_count": 1}
    assert visitor.wait_for("room_left") == {"room": room, "user_count": 1}
    assert resident.wait_for("user_left") == {"room": room, "user": "Visitor", "user_count": 1}
    joined = [event for event in resident.received("user_joined") if event["room"] == room]
    assert joined == [{"room": room, "user": "Visitor", "user_count": 2}]
    assert visitor.emit("leave_room", {"room": room})["error"]["code"] == "not_in_room"
    assert visitor.emit("message", {"room": room, "message": "x"})["error"]["code"] == "not_in_room"
    resident.emit("message", {"room": room, "message": "alone"})
    visitor.emit("get_stats")
    assert visitor.received("new_message") == []


def test_typing_is_seen_by_the_others_and_ends_with_the_message(server: Hazoom, client: OfficialClient) -> None:
    room = unique("typing")
    typist, other = (client.connect(server.url, auth={"user_name": name}) for name in ("Typist", "Other"))
    for socket in (typist, other):
        socket.emit("join_room", {"room": room})
    typist.send("typing", {"room": room, "is_typing": True})
    assert other.wait_for("user_typing") == {"user": "Typist", "is_typing": True, "room": room}
    typist.send("message", {"room": room, "message": "done"})
    other.wait_for("new_message")
    assert [name for name, _ in other.history[-3:]] == ["user_typing", "user_typing", "new_message"]
    assert other.wait_for("user_typing") == {"user": "Typist", "is_typing": False, "room": room}
    typist.wait_for("new_message")
    assert typist.received("user_typing") == []


def test_typing_ends_by_itself(async_mode: str, client: OfficialClient) -> None:
    with hazoom(async_mode=async_mode, env={"HAZOOM_TYPING_EXPIRY_S": "0.2"}) as server:
        typist, other = client.connect(server.url), client.connect(server.url)
        typist.send("typing", {"user_name": "Typist"})
        for is_typing in (True, False):
            assert other.wait_for("user_typing") == {"user": "Typist", "is_typing": is_typing, "room": "general"}


@pytest.mark.parametrize("offered", [["websocket"], ["polling"]], ids=["websocket", "polling"])
def test_a_client_that_dies_leaves_its_rooms(async_mode: str, client: OfficialClient, offered: list[str]) -> None:
    # A dead polling client is noticed when it leaves a heartbeat unanswered.
    with hazoom(async_mode=async_mode, env={"HAZOOM_PING_INTERVAL_S": "1", "HAZOOM_PING_TIMEOUT_S": "5"}) as server:
        witness = client.connect(server.url)
        with OfficialClient() as doomed:
            socket = doomed.connect(server.url, transports=offered, auth={"user_name": "Doomed"})
            assert witness.wait_for("user_joined")["user_count"] == 2
            socket.emit("typing", {})
            doomed.kill()
            assert witness.wait_for("user_typing", lambda typing: not typing["is_typing"])["user"] == "Doomed"
            assert witness.wait_for("user_left") == {"room": "general", "user": "Doomed", "user_count": 1}
            stats = witness.emit("get_stats")
            assert (stats["active_users"], stats["total_connections"], stats["rooms"]) == (1, 1, {"general": 1})


def test_closing_a_client_leaves_nothing_behind(async_mode: str, client: OfficialClient) -> None:
    with hazoom(async_mode=async_mode) as server:
        for offered, _ in TRANSPORTS.values():
            socket = client.connect(server.url, transports=offered)
            socket.open_namespace("/typing")
            socket.emit("join_room", {"room": "team"})
            assert server.stats()["rooms"] == {"general": 1, "team": 1}
            with OfficialClient() as other:
                other.connect(server.url, transports=offered)
            wait_until(lambda: server.stats()["total_connections"] == 1, "the other client is gone")
            client.call("close", socket)
            wait_until(lambda: server.stats()["total_connections"] == 0, "the client is gone")
            assert (server.stats()["active_users"], server.stats()["rooms"]) == (0, {})


def test_membership_holds_across_the_namespaces_of_a_connection(server: Hazoom, client: OfficialClient) -> None:
    room = unique("team")
    rooms = client.connect(server.url, "/rooms", auth={"user_name": "Ada"})
    typing, stats = rooms.open_namespace("/typing"), rooms.open_namespace("/stats")
    other = client.connect(server.url, auth={"user_name": "Bob"})
    other.emit("join_room", {"room": room})

    assert rooms.emit("join_room", {"room": room})["users"] == ["Bob", "Ada"]
    late = rooms.open_namespace("/llm")  # also one that is opened after the join
    assert late.received("status")[0]["rooms"] == ["general", room]
    assert {socket.received("status")[0]["user"] for socket in (rooms, typing, stats, late)} == {"Ada"}
    other.send("typing", {"room": room})
    assert typing.wait_for("user_typing", lambda typing: typing["room"] == room)["user"] == "Bob"
    typing.send("typing", {"room": room})
    assert other.wait_for("user_typing", lambda typing: typing["room"] == room)["user"] == "Ada"
    other.send("message", {"room": room, "message": "to all"})
    assert rooms.wait_for("new_message", lambda message: message["room"] == room)["message"] == "to all"
    assert stats.emit("get_stats")["rooms"][room] == 2

    # Each event came once, and only where its feature is served.
    for socket in (rooms, typing, late):
        assert socket.emit("get_stats")["error"]["code"] == "unknown_event"
    assert [name for name, _ in rooms.history if name in ("user_typing", "stats")] == []
    assert [name for name, _ in typing.history if name in ("new_message", "room_joined", "stats")] == []
    assert len(rooms.received("room_joined")) == len(stats.received("stats")) == 1

    rooms.emit("leave_room", {"room": room})
    assert typing.emit("typing", {"room": room})["error"]["code"] == "not_in_room"


def test_closing_one_namespace_keeps_the_connection_and_its_rooms(server: Hazoom, client: OfficialClient) -> None:
    room = unique("one of two")
    rooms = client.connect(server.url, "/rooms")
    typing = rooms.open_namespace("/typing")
    rooms.emit("join_room", {"room": room})
    rooms.disconnect()
    assert typing.emit("typing", {"room": room}) == {"ok": True}
    assert server.stats()["rooms"][room] == 1
    typing.disconnect()
    wait_until(lambda: room not in server.stats()["rooms"], "the room is gone with its last member")


def test_a_namespace_that_does_not_exist_is_refused_with_a_reason(server: Hazoom, client: OfficialClient) -> None:
    socket = client.try_to_connect(server.url, "/admin")
    assert socket.wait_for("connect_error")["message"]


def test_bad_credentials_are_refused_with_the_code(server: Hazoom, client: OfficialClient) -> None:
    socket = client.try_to_connect(server.url, auth={"user_name": "x" * 65})
    refusal = socket.wait_for("connect_error")
    assert "64" in refusal["message"]
    assert refusal["data"]["code"] == "bad_payload"
    assert socket.received("status") == []


def test_a_client_over_its_rate_is_told_to_try_later(async_mode: str, client: OfficialClient) -> None:
    limits = {"HAZOOM_RATE_LIMIT_PER_S": "0.01", "HAZOOM_RATE_LIMIT_BURST_COUNT": "3"}
    with hazoom(async_mode=async_mode, env=limits) as server:
        socket = client.connect(server.url)
        assert [socket.emit("typing", {})["ok"] for _ in range(4)] == [True, True, True, False]
        error = socket.emit("message", {"message": "x"})["error"]
        assert (error["code"], error["retry"]) == ("rate_limited", True)
        assert client.connect(server.url).emit("message", {"message": "x"})["ok"] is True
