"""The state that a room shares, with the official client: over every transport, recovered, compared, kept."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.frames import Opcode

from raw_client import frame, raw_client
from servers import Hazoom, OfficialClient, Socket, free_port, hazoom, unique, wait_until
from tcp_proxy import TcpProxy, tcp_proxy

QUICKLY = {"reconnectionDelay": 20, "reconnectionDelayMax": 100}
TRANSPORTS = pytest.mark.parametrize("transports", [["websocket"], ["polling"]], ids=["websocket", "polling"])


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    with hazoom(async_mode=async_mode, env={"HAZOOM_RATE_LIMIT_PER_S": "0"}) as server:
        yield server


@pytest.fixture
def proxy(server: Hazoom) -> Iterator[TcpProxy]:
    with tcp_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def room() -> str:
    return unique("board")


def member(client: OfficialClient, url: str, room: str, **options: object) -> Socket:
    socket = client.connect(url, auth={"user_name": unique("user")}, **QUICKLY, **options)
    assert socket.emit("join_room", {"room": room})["ok"] is True
    return socket


def states(socket: Socket, room: str) -> list[dict]:
    return [event for event in socket.received("state") if event["room"] == room]


@TRANSPORTS
def test_members_see_what_is_set_in_one_order_and_read_it(
    server: Hazoom, client: OfficialClient, room: str, transports: list[str]
) -> None:
    ann, bob = (member(client, server.url, room, transports=transports) for _ in range(2))
    for number in range(20):
        for socket in (ann, bob):
            socket.send("state_set", {"room": room, "values": {"score": number, f"shape {number}": [number]}})
    bob.emit("state_get", {"room": room})  # all that he sent before that is done
    last = ann.emit("state_set", {"room": room, "values": {"shape 0": None, "end": True}})
    for socket in (ann, bob):
        socket.wait_for("state", lambda event: event["seq"] == last["seq"])
    assert states(ann, room) == states(bob, room)
    seqs = [event["seq"] for event in states(ann, room)]
    assert seqs == sorted(set(seqs))
    page = bob.emit("state_get", {"room": room})
    assert page["values"] == {"score": 19, "end": True} | {f"shape {number}": [number] for number in range(1, 20)}
    assert page["seq"] == last["seq"]
    assert bob.emit("state_get", {"room": room, "since": last["seq"]})["values"] == {}


@TRANSPORTS
def test_who_comes_back_gets_the_newest_value_of_each_key_once_among_the_messages(
    server: Hazoom, proxy: TcpProxy, client: OfficialClient, room: str, transports: list[str]
) -> None:
    ann = member(client, server.url, room)
    bob = member(client, proxy.url, room, transports=transports)
    ann.emit("state_set", {"room": room, "values": {"a": 0, "b": 0, "untouched": 0}})
    bob.wait_for("state")
    proxy.go_down()
    bob.wait_for("disconnect")
    for number in range(1, 4):
        ann.emit("state_set", {"room": room, "values": {"a": number}})
    first = ann.emit("message", {"room": room, "message": "first"})["seq"]
    both = ann.emit("state_set", {"room": room, "values": {"b": None, "c": 1}})["seq"]
    second = ann.emit("message", {"room": room, "message": "second"})["seq"]
    last = ann.emit("state_set", {"room": room, "values": {"a": 4}})["seq"]
    seen_count = len(bob.history)
    proxy.come_up()
    bob.wait_for("status", lambda status: status["recovered"])
    bob.wait_for("room_joined", lambda joined: joined["room"] == room and joined["complete"])
    client.wait(lambda: states(bob, room)[-1]["seq"] == last, "what was missed")
    replayed = [
        (name, data["seq"], data.get("values"))
        for name, data in bob.history[seen_count:]
        if name in ("state", "new_message") and data["room"] == room
    ]
    assert replayed == [
        ("new_message", first, None),
        ("state", both, {"b": None, "c": 1}),
        ("new_message", second, None),
        ("state", last, {"a": 4}),
    ]


def test_a_state_is_an_offset_so_that_the_next_recovery_goes_on_after_it(
    server: Hazoom, proxy: TcpProxy, client: OfficialClient, room: str
) -> None:
    ann, bob = member(client, server.url, room), member(client, proxy.url, room)
    for number in range(3):
        proxy.go_down()
        bob.wait_for("disconnect")
        seq = ann.emit("state_set", {"room": room, "values": {"k": number}})["seq"]
        proxy.come_up()
        bob.wait_for("state", lambda event, seq=seq: event["seq"] == seq)
        bob.wait_for("room_joined", lambda joined: joined["room"] == room)
    assert [event["values"]["k"] for event in states(bob, room)] == [0, 1, 2]


def test_each_namespace_that_serves_it_gets_what_it_missed_once(
    server: Hazoom, proxy: TcpProxy, client: OfficialClient, room: str
) -> None:
    ann, bob = member(client, server.url, room), member(client, proxy.url, room)
    live, rooms = bob.open_namespace("/live"), bob.open_namespace("/rooms")
    ann.emit("state_set", {"room": room, "values": {"k": 0}})
    for socket in (bob, live):
        assert socket.wait_for("state")["values"] == {"k": 0}
    proxy.go_down()
    bob.wait_for("disconnect")
    ann.emit("state_set", {"room": room, "values": {"k": 1}})
    ann.emit("relay", {"room": room, "channel": "c", "key": "k", "data": "here"})
    proxy.come_up()
    for socket in (bob, live):
        assert socket.wait_for("state", lambda event: event["values"] == {"k": 1})["room"] == room
        assert socket.wait_for("relay", lambda event: event["room"] == room)["snapshot"] is True
        assert len(states(socket, room)) == 2
    rooms.wait_for("status", lambda status: status["recovered"])
    assert not {"state", "relay"} & {name for name, _ in rooms.history}


def test_more_than_an_outbox_takes_is_left_to_state_get(async_mode: str, client: OfficialClient, room: str) -> None:
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_OUTBOX_LIMIT_BYTES": "100000"}
    with hazoom(async_mode=async_mode, env=env) as server, tcp_proxy(server.port) as proxy:
        ann, bob = member(client, server.url, room), member(client, proxy.url, room)
        proxy.go_down()
        bob.wait_for("disconnect")
        for number in range(10):
            ann.emit("state_set", {"room": room, "values": {str(number): "x" * 10_000}})
        joined_count = len(bob.received("room_joined"))
        proxy.come_up()
        client.wait(lambda: len(bob.received("room_joined")) > joined_count + 1, "both rooms are told")
        complete = {event["room"]: event["complete"] for event in bob.received("room_joined")[joined_count:]}
        assert complete == {"general": True, room: False}
        assert states(bob, room) == []
        page = bob.emit("state_get", {"room": room})
        assert len(page["values"]) == 10
        assert len(bob.received("disconnect")) == 1


def test_of_two_that_change_a_key_at_once_one_is_told(server: Hazoom, client: OfficialClient, room: str) -> None:
    sockets = [member(client, server.url, room) for _ in range(4)]
    for socket in sockets:
        socket.send("state_set", {"room": room, "values": {"turn": socket.number}, "if_seq": {"turn": 0}})
    losers = [socket.wait_for("error") for socket in sockets if not _has_won(client, socket, room)]
    assert len(losers) == 3
    (event,) = states(sockets[0], room)
    for error in losers:
        assert (error["code"], error["key"]) == ("conflict", "turn")
        assert (error["seq"], error["value"]) == (event["seq"], event["values"]["turn"])


def _has_won(client: OfficialClient, socket: Socket, room: str) -> bool:
    client.wait(lambda: states(socket, room), "somebody has won")
    return states(socket, room)[0]["values"]["turn"] == socket.number


def test_who_wants_no_offsets_gets_the_state_without_one(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann = member(client, server.url, room)
    plain = client.connect(server.url, auth={"user_name": "Plain", "recover": False})
    plain.emit("join_room", {"room": room})
    ann.emit("state_set", {"room": room, "values": {"k": 1}})
    assert plain.wait_for("state")["values"] == {"k": 1}
    assert "offset" not in client.call("session", plain)
    assert "offset" in client.call("session", ann)


def test_acknowledged_state_is_there_after_kill_9(
    async_mode: str, client: OfficialClient, room: str, tmp_path: Path
) -> None:
    port = free_port()
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3"}
    told: dict[str, int] = {}
    for life in range(3):
        with hazoom(async_mode=async_mode, port=port, env=env) as server:
            ann = member(client, server.url, room, reconnection=False)
            page = ann.emit("state_get", {"room": room})
            assert page["values"] == told
            for number in range(30):
                values = {f"k{number % 7}": life * 100 + number, f"only {life}": number}
                seq = ann.emit("state_set", {"room": room, "values": values})["seq"]
                assert seq > page["seq"]
                told |= values
            seq = ann.emit("state_set", {"room": room, "values": {"k0": None}, "client_id": f"{life}"})["seq"]
            told.pop("k0")
            again = ann.emit("state_set", {"room": room, "values": {"k0": None}, "client_id": f"{life}"})
            assert (again["seq"], again["duplicate"]) == (seq, True)
            server.child.kill()
            ann.wait_for("disconnect")


def test_who_comes_back_to_another_process_gets_what_was_set_before_it_died(
    async_mode: str, client: OfficialClient, room: str, tmp_path: Path
) -> None:
    port = free_port()
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3"}
    with hazoom(async_mode=async_mode, port=port, env=env) as server, tcp_proxy(port) as proxy:
        ann, bob = member(client, server.url, room), member(client, proxy.url, room)
        ann.emit("message", {"room": room, "message": "both know this"})
        bob.wait_for("new_message")
        proxy.go_down()
        bob.wait_for("disconnect")
        seq = ann.emit("state_set", {"room": room, "values": {"k": "kept"}})["seq"]
        server.child.kill()
        with hazoom(async_mode=async_mode, port=port, env=env):
            proxy.come_up()
            event = bob.wait_for("state")
            assert (event["seq"], event["values"]) == (seq, {"k": "kept"})
            assert bob.received("status")[-1]["recovered"] is True


def test_what_cannot_be_kept_is_shown_to_nobody_and_told_by_no_conflict(
    async_mode: str, client: OfficialClient, room: str, tmp_path: Path
) -> None:
    file = tmp_path / "messages.sqlite3"
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_LOG_URL": f"sqlite:///{file}"}
    with hazoom(async_mode=async_mode, env=env) as server, raw_client(server, user_name="Ann") as ann:
        bob = member(client, server.url, room)
        before = bob.emit("state_set", {"room": room, "values": {"k": "before"}})["seq"]
        ann.send(f'421["join_room",{{"room":"{room}"}}]')
        while not ann.receive().startswith("431["):
            pass
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        asked = {
            2: ("state_set", {"room": room, "values": {"k": "meanwhile"}}),
            3: ("state_set", {"room": room, "values": {"k": "again"}, "if_seq": {"k": before}}),
            4: ("state_get", {"room": room}),
        }
        texts = [f"42{number}{json.dumps(event)}" for number, event in asked.items()]
        ann.send_bytes(b"".join(frame(Opcode.TEXT, text.encode()) for text in texts))
        for number, (event, _) in asked.items():
            while not (text := ann.receive()).startswith(f"43{number}["):
                assert not text.startswith('42["state"')
            (reply,) = json.loads(text[3:])
            if event == "state_get" and reply["ok"]:  # where the others were refused before it came
                assert reply["values"] == {"k": "before"}
                continue
            assert reply == {"ok": False, "error": reply["error"]}
            assert (reply["error"]["code"], reply["error"]["event"], reply["error"]["retry"]) == ("internal", event, True)
        holder.execute("ROLLBACK")
        holder.close()
        wait_until(server.is_ready, "the log is well again")
        after = bob.emit("state_set", {"room": room, "values": {"k": "after"}, "if_seq": {"k": before}})
        assert after["ok"] is True
        assert [event["values"] for event in states(bob, room)] == [{"k": "before"}, {"k": "after"}]
