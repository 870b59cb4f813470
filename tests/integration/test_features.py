"""Features that an application adds, over the official client: two that know only the public door, and one with defects."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from servers import DEADLINE_S, Hazoom, OfficialClient, Socket, feature_server, unique, wait_until
from tcp_proxy import tcp_proxy


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    with feature_server(async_mode) as server:
        yield server
        assert server.child.process.poll() is None


@pytest.fixture
def room() -> str:
    return unique("room")


def member(client: OfficialClient, url: str, name: str, room: str, namespace: str = "/", **options: Any) -> Socket:
    """Return a client that is in a room."""
    socket = client.connect(url, namespace, auth={"user_name": unique(name), **options.pop("auth", {})}, **options)
    over = socket if namespace == "/" else socket.open_namespace("/rooms")
    assert over.emit("join_room", {"room": room})["ok"]
    return socket


def open_poll(socket: Socket, room: str, poll: str = "lunch") -> dict[str, Any]:
    return socket.emit("open_poll", {"poll": poll, "question": "Where?", "options": ["in", "out"], "room": room})


def votes(socket: Socket, event: str = "poll_state") -> list[dict[str, int]]:
    return [state["votes"] for state in socket.received(event)]


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]])
def test_the_room_sees_each_vote_and_nobody_votes_twice(
    server: Hazoom, client: OfficialClient, room: str, transports: list[str]
) -> None:
    ann, bob = (member(client, server.url, name, room, transports=transports) for name in ("Ann", "Bob"))
    other = client.connect(server.url)
    opened = open_poll(ann, room)
    assert (opened["ok"], type(opened["seq"])) == (True, int)
    assert ann.emit("vote", {"poll": "lunch", "option": "out", "room": room})["ok"]
    again = ann.emit("vote", {"poll": "lunch", "option": "in", "room": room})
    assert (again["ok"], again["error"]["code"], again["error"]["event"]) == (False, "already_voted", "vote")
    assert bob.emit("vote", {"poll": "lunch", "option": "out", "room": room})["seq"] > opened["seq"]
    for socket in (ann, bob):
        socket.wait_for("poll_state", lambda state: state["votes"] == {"in": 0, "out": 2})
        assert votes(socket) == [{"in": 0, "out": 0}, {"in": 0, "out": 1}, {"in": 0, "out": 2}]
    assert other.emit("vote", {"poll": "lunch", "option": "in", "room": room})["error"]["code"] == "not_in_room"
    assert other.received("poll_state") == []


def test_what_a_feature_says_is_validated_like_all(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann = member(client, server.url, "Ann", room)
    for payload, problem in (
        ({"poll": "lunch"}, "option: is required"),
        ({"poll": 7, "option": "in"}, "poll: expected str, got int"),
        ({"poll": "x" * 129, "option": "in"}, "poll: expected str of length <= 128"),
        ({"poll": "x", "option": "in", "room": " "}, "room: must not be empty or blank"),
    ):
        error = ann.emit("vote", payload)["error"]
        assert (error["code"], error["message"]) == ("bad_payload", problem)
    assert ann.emit("vote")["error"]["code"] == "bad_payload"
    ann.send("vote", {"poll": "no such poll", "option": "in", "room": room})
    error = ann.wait_for("error")
    assert (error["code"], error["event"], error["retry"]) == ("not_found", "vote", False)


def test_a_feature_has_a_namespace_of_its_own(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann = member(client, server.url, "Ann", room, "/polls")
    bob = member(client, server.url, "Bob", room)
    assert open_poll(ann, room)["ok"]
    assert bob.wait_for("poll_state") == ann.wait_for("poll_state")
    assert ann.emit("play", {"room": room})["error"]["code"] == "unknown_event"
    assert ann.emit("message", {"room": room, "message": "hi"})["error"]["code"] == "unknown_event"


def test_a_poll_opened_again_is_the_same_poll(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann, bob = (member(client, server.url, name, room) for name in ("Ann", "Bob"))
    assert open_poll(ann, room)["ok"]
    assert ann.emit("vote", {"poll": "lunch", "option": "out", "room": room})["ok"]
    assert open_poll(ann, room) == {"ok": True}
    assert open_poll(bob, room)["error"]["code"] == "poll_exists"
    assert bob.emit("vote", {"poll": "lunch", "option": "out", "room": room})["ok"]
    bob.wait_for("poll_state", lambda state: state["votes"] == {"in": 0, "out": 2})


def test_polls_are_no_messages(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann = member(client, server.url, "Ann", room)
    before = server.stats()["messages_total"]
    assert open_poll(ann, room)["ok"]
    assert ann.emit("message", {"room": room, "message": "hi"})["ok"]
    page = ann.emit("get_history", {"room": room})
    assert ([entry["message"] for entry in page["messages"]], page["complete"]) == (["hi"], True)
    joined = client.connect(server.url).emit("join_room", {"room": room, "since": 0})
    assert [entry["message"] for entry in joined["messages"]] == ["hi"]
    assert server.stats()["messages_total"] == before + 1


@pytest.mark.parametrize("namespace", ["/", "/polls"])
def test_who_comes_back_gets_the_votes_between_the_messages(
    server: Hazoom, client: OfficialClient, room: str, namespace: str
) -> None:
    bob = member(client, server.url, "Bob", room)
    with tcp_proxy(server.port) as proxy:
        ann = member(client, proxy.url, "Ann", room, namespace, auth={"recover": True}, reconnectionDelayMax=100)
        assert open_poll(bob, room)["ok"]
        ann.wait_for("poll_state")
        proxy.go_down()
        ann.wait_for("disconnect")
        for number, option in enumerate(("in", "out")):
            voter = member(client, server.url, "Cid", room)
            assert bob.emit("message", {"room": room, "message": str(number)})["ok"]
            assert voter.emit("vote", {"poll": "lunch", "option": option, "room": room})["ok"]
        proxy.come_up()
        ann.wait_for("poll_state", lambda state: state["votes"] == {"in": 1, "out": 1})
        missed = [{"in": 0, "out": 0}, {"in": 1, "out": 0}, {"in": 1, "out": 1}]
        assert votes(ann) == missed
        names = [name for name, _ in ann.history if name in ("poll_state", "new_message")]
        messages = ["new_message"] if namespace == "/" else []
        assert names == ["poll_state", *messages, "poll_state", *messages, "poll_state"]
        assert bob.emit("vote", {"poll": "lunch", "option": "in", "room": room})["ok"]
        ann.wait_for("poll_state", lambda state: state["votes"] == {"in": 2, "out": 1})
        assert len(votes(ann)) == 4


def test_a_poll_outlives_the_process(async_mode: str, client: OfficialClient, tmp_path: Path) -> None:
    log_url = f"sqlite:///{tmp_path}/messages.sqlite3"
    with feature_server(async_mode, LOG_URL=log_url) as server:
        ann = member(client, server.url, "Ann", "a")
        name = ann.received("status")[0]["user"]
        assert open_poll(ann, "a")["ok"]
        assert ann.emit("vote", {"poll": "lunch", "option": "out", "room": "a"})["ok"]
        server.child.kill()
    with feature_server(async_mode, LOG_URL=log_url) as server:
        ann, bob = client.connect(server.url, auth={"user_name": name}), member(client, server.url, "Bob", "a")
        assert ann.emit("join_room", {"room": "a"})["messages"] == []
        refused = ann.emit("vote", {"poll": "lunch", "option": "in", "room": "a"})
        assert refused["error"]["code"] == "already_voted"
        assert bob.emit("vote", {"poll": "lunch", "option": "in", "room": "a"})["ok"]
        assert ann.wait_for("poll_state")["votes"] == {"in": 1, "out": 1}


# A game of turns


def players(client: OfficialClient, url: str, room: str) -> tuple[Socket, Socket]:
    """Return two who play, the first to move before the second."""
    ann, bob = (member(client, url, name, room) for name in ("Ann", "Bob"))
    waiting = ann.start_to_emit("play", {"room": room})
    ann.wait_for("waiting", lambda event: event == {"room": room})
    # What its sender says meanwhile is handled: the task holds nobody.
    assert ann.emit("message", {"room": room, "message": "anybody?"})["ok"]
    assert waiting not in client.replies()
    assert bob.emit("play", {"room": room}) == {"ok": True, "against": ann.received("status")[0]["user"]}
    client.wait(lambda: waiting in client.replies(), "the game begins")
    assert client.replies()[waiting] == {"ok": True, "against": bob.received("status")[0]["user"]}
    return ann, bob


def test_a_game_of_turns(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann, bob = players(client, server.url, room)
    for number in range(3):
        for socket, points in ((ann, 10), (bob, 10 + number)):
            assert socket.wait_for("your_turn") == {"room": room, "round": number}
            assert socket.emit("move", {"room": room, "number": points}) == {"ok": True}
    for socket in (ann, bob):
        over = socket.wait_for("game_over")
        assert over == {"room": room, "winner": bob.received("status")[0]["user"], "reason": "played"}
    assert len(ann.received("your_turn")) == 3
    assert ann.emit("move", {"room": room, "number": 1})["error"]["code"] == "not_found"


@pytest.mark.parametrize("leave", ["room", "connection"])
def test_a_game_is_over_when_somebody_leaves(server: Hazoom, client: OfficialClient, room: str, leave: str) -> None:
    ann, bob = players(client, server.url, room)
    ann.wait_for("your_turn")
    if leave == "room":
        assert bob.emit("leave_room", {"room": room})["ok"]
    else:
        bob.disconnect()
    assert ann.wait_for("game_over") == {"room": room, "winner": "", "reason": "left"}
    players(client, server.url, room)


def test_who_waits_for_a_game_and_leaves_hears_that_nobody_came(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann = member(client, server.url, "Ann", room)
    waiting = ann.start_to_emit("play", {"room": room})
    ann.wait_for("waiting")
    assert ann.emit("leave_room", {"room": room})["ok"]
    client.wait(lambda: waiting in client.replies(), "the reply")
    assert client.replies()[waiting]["error"]["code"] == "nobody_there"


# Defects


def test_a_defect_is_logged_and_answered_and_harms_nobody(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann = member(client, server.url, "Ann", room)
    for event, payload in (("fail", None), ("fail_later", {})):
        error = ann.emit(event, payload)["error"]
        assert (error["code"], error["event"]) == ("internal", event)
        reference = error["message"].rpartition(" ")[2]
        wait_until(lambda reference=reference: f"reference {reference}" in server.log, "the reference is in the log")
    assert "Undeclared is in the events of no feature" in server.log
    assert "RuntimeError: a defect of a feature" in server.log
    refused = ann.emit("fail_later", {"refuses": True})["error"]
    assert (refused["code"], refused["message"], refused["retry"]) == ("not_today", "not today", True)
    ann.send("fail_later", {"refuses": True})
    assert ann.wait_for("error")["code"] == "not_today"
    assert ann.emit("leave_room", {"room": room})["ok"]
    wait_until(lambda: "a defect when somebody leaves" in server.log, "it is in the log")
    assert ann.emit("message", {"message": "still here"})["ok"]


def test_a_task_keeps_what_it_says(server: Hazoom, client: OfficialClient) -> None:
    ann = client.connect(server.url)
    text = unique("note")
    reply = ann.emit("keep", {"text": text})
    assert reply["first"] < reply["second"]
    names = [
        (name, data.get("text", data.get("message"))) for name, data in ann.history if name in ("noted", "new_message")
    ]
    assert names[-2:] == [("noted", text), ("new_message", text)]


def test_what_waits_is_bounded(server: Hazoom, client: OfficialClient) -> None:
    ann, bob = client.connect(server.url), client.connect(server.url)
    waiting = [ann.start_to_emit("wait", {}) for _ in range(16)]
    refused = ann.emit("wait", {})["error"]
    assert (refused["code"], refused["retry"]) == ("rate_limited", True)
    assert "16" in refused["message"]
    other = bob.start_to_emit("wait", {})
    assert bob.emit("release")["ok"]
    client.wait(lambda: {*waiting, other} <= client.replies().keys(), "the replies")
    assert all(client.replies()[number] == {"ok": True} for number in (*waiting, other))
    assert ann.emit("wait", {}) == {"ok": True}  # there were more releases than that


def test_features_are_closed_with_the_application(async_mode: str, client: OfficialClient) -> None:
    with feature_server(async_mode) as server:
        ann = member(client, server.url, "Ann", "a", reconnection=False)
        ann.start_to_emit("play", {"room": "a"})
        ann.wait_for("waiting")
        assert requests.post(f"{server.url}/close", timeout=DEADLINE_S).ok
        ann.wait_for("disconnect")
        wait_until(lambda: "feature broken was not closed" in server.log, "it is in the log")
        assert "game was not closed" not in server.log
