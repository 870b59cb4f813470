"""Relay between real clients over every transport: cursors, games, who comes, who drops, who is slow."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import socketio
from engineio.payload import Payload

from hazoom_ws.live.relay import SLOW_FROM_BYTES
from protocol_client import Polling
from raw_client import raw_client
from servers import Hazoom, OfficialClient, Socket, hazoom, unique, wait_until
from tcp_proxy import tcp_proxy

TRANSPORTS = pytest.mark.parametrize("transports", [["websocket"], ["polling"]], ids=["websocket", "polling"])
QUICKLY = {"reconnectionDelay": 20, "reconnectionDelayMax": 100}


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_RELAY_RATE_LIMIT_PER_S": "0"}
    with hazoom(async_mode=async_mode, env=env) as server:
        yield server


@pytest.fixture
def room() -> str:
    return unique("board")


def member(client: OfficialClient, server: Hazoom, room: str, namespace: str = "/", **options: object) -> Socket:
    socket = client.connect(server.url, namespace, auth={"user_name": unique("user")}, **QUICKLY, **options)
    if namespace == "/":
        assert socket.emit("join_room", {"room": room})["ok"] is True
    return socket


def items(socket: Socket, room: str) -> list[dict]:
    return [item for event in list(socket.received("relay")) if event["room"] == room for item in event["items"]]


def wait_for_data(socket: Socket, room: str, data: object) -> None:
    socket._client.wait(lambda: any(item["data"] == data for item in items(socket, room)), f"{data} is relayed")


@TRANSPORTS
def test_the_last_value_of_a_stream_of_positions_arrives(
    server: Hazoom, client: OfficialClient, room: str, transports: list[str]
) -> None:
    ann, bob = (member(client, server, room, transports=transports) for _ in range(2))
    for number in range(300):
        ann.send("relay", {"room": room, "channel": "cursor", "key": "me", "data": {"x": number}})
    wait_for_data(bob, room, {"x": 299})
    seen = [item["data"]["x"] for item in items(bob, room)]
    assert seen == sorted(set(seen))
    assert {item["client"] for item in items(bob, room)} == {ann.received("status")[0]["client"]}
    assert items(ann, room) == []


@TRANSPORTS
def test_what_has_no_key_arrives_whole_and_in_order(
    server: Hazoom, client: OfficialClient, room: str, transports: list[str]
) -> None:
    ann, bob = (member(client, server, room, transports=transports) for _ in range(2))
    for number in range(200):
        ann.send("relay", {"room": room, "channel": "stroke", "data": number})
    wait_for_data(bob, room, 199)
    assert [item["data"] for item in items(bob, room)] == list(range(200))
    assert all("key" not in item for item in items(bob, room))


@TRANSPORTS
def test_who_comes_back_gets_the_newest_values_and_not_what_was_between(
    server: Hazoom, client: OfficialClient, room: str, transports: list[str]
) -> None:
    ann, witness = (member(client, server, room) for _ in range(2))
    with tcp_proxy(int(server.url.rpartition(":")[2])) as proxy:
        bob = client.connect(proxy.url, auth={"user_name": unique("Bob")}, transports=transports, **QUICKLY)
        bob.emit("join_room", {"room": room})
        proxy.go_down()
        bob.wait_for("disconnect")
        for number in range(50):
            ann.emit("relay", {"room": room, "channel": "cursor", "key": "me", "data": number})
            ann.emit("relay", {"room": room, "channel": "stroke", "data": number})
        client.wait(lambda: any(item["data"] == 49 for item in items(witness, room) if "key" not in item), "all is relayed")
        proxy.come_up()
        status = bob.wait_for("status", lambda status: status["recovered"])
        assert room in status["rooms"]
        snapshot = bob.wait_for("relay", lambda event: event["room"] == room and event.get("snapshot"))
        assert [(item["channel"], item["data"]) for item in snapshot["items"]] == [("cursor", 49)]
        ann.emit("message", {"room": room, "message": "the end"})
        bob.wait_for("new_message", lambda message: message["message"] == "the end")
        assert len(items(bob, room)) == 1


@TRANSPORTS
def test_the_keys_of_who_dies_are_null_for_its_other_tab_too(
    async_mode: str, client: OfficialClient, transports: list[str]
) -> None:
    env = {"HAZOOM_PING_INTERVAL_S": "1", "HAZOOM_PING_TIMEOUT_S": "5", "HAZOOM_PRESENCE_GRACE_S": "1000"}
    with hazoom(async_mode=async_mode, env=env) as server, OfficialClient() as doomed:
        tab = client.connect(server.url, auth={"user_name": "Ann"})
        other = doomed.connect(server.url, auth={"user_name": "Ann"}, transports=transports)
        other.emit("relay", {"channel": "cursor", "key": "me", "data": 1})
        wait_for_data(tab, "general", 1)
        doomed.kill()
        wait_for_data(tab, "general", None)
        assert tab.received("user_left") == []


def test_who_joins_and_who_opens_the_namespace_gets_the_newest_values(
    server: Hazoom, client: OfficialClient, room: str
) -> None:
    ann = member(client, server, room)
    ann.emit("relay", {"room": room, "channel": "cursor", "key": "me", "data": 1})
    bob = member(client, server, room)
    assert bob.wait_for("relay")["snapshot"] is True
    names = [name for name, data in bob.history if name == "room_joined" or (name == "relay" and data["room"] == room)]
    assert names == ["room_joined", "relay"]
    live = bob.open_namespace("/live")
    assert [item["data"] for item in live.wait_for("relay", lambda event: event["room"] == room)["items"]] == [1]
    ann.emit("relay", {"room": room, "channel": "cursor", "key": "me", "data": 2})
    for socket in (bob, live):
        wait_for_data(socket, room, 2)
        assert len([item for item in items(socket, room) if item["data"] == 2]) == 1
    live.emit("relay", {"room": room, "channel": "cursor", "key": "me", "data": 3})
    wait_for_data(ann, room, 3)
    assert not any(item["data"] == 3 for socket in (bob, live) for item in items(socket, room))


def test_fifty_cursors_are_a_few_events_for_each(async_mode: str, client: OfficialClient, room: str) -> None:
    """1,000 items come; a plain broadcast would be 980 events for each."""
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_RELAY_INTERVAL_MS": "1000"}
    with hazoom(async_mode=async_mode, env=env) as server:
        sockets = [member(client, server, room, transports=["websocket"]) for _ in range(50)]
        own = {socket: socket.received("status")[0]["client"] for socket in sockets}
        started_at_s = time.monotonic()
        for number in range(20):
            for socket in sockets:
                socket.send("relay", {"room": room, "channel": "cursor", "key": "me", "data": number})
        for socket in sockets:

            def knows_all(socket: Socket = socket) -> bool:
                newest = {item["client"]: item["data"] for item in items(socket, room)}
                return {client for client, data in newest.items() if data == 19} >= set(own.values()) - {own[socket]}

            client.wait(knows_all, "the last value of each")
        ticks_count = time.monotonic() - started_at_s + 2
        for socket in sockets:
            assert len(socket.received("relay")) <= ticks_count


def test_a_reader_that_stops_is_not_closed_for_what_is_relayed_and_gets_the_newest(
    async_mode: str, client: OfficialClient, room: str
) -> None:
    env = {
        "HAZOOM_RATE_LIMIT_PER_S": "0",
        "HAZOOM_RELAY_RATE_LIMIT_PER_S": "0",
        "HAZOOM_RELAY_INTERVAL_MS": "5",
        "HAZOOM_OUTBOX_LIMIT_BYTES": "65536",
    }
    with hazoom(async_mode=async_mode, env=env) as server:
        ann, bob = (member(client, server, room) for _ in range(2))
        with raw_client(server, user_name="Snail", stalls=True) as snail:
            snail.send(f'42["join_room",{{"room":"{room}"}}]')
            snail.receive_event("room_joined")
            data = "x" * 16_000
            for number in range(1500):  # 24 MB, which is more than a kernel keeps
                ann.emit("relay", {"room": room, "channel": "cursor", "key": "me", "data": [number, data]})
            wait_for_data(bob, room, [1499, data])
            assert server.log.count("it reads too slowly") == 0
            snail.read_on()
            seen = []
            while not seen or seen[-1] != 1499:
                event = snail.receive_event("relay")
                seen += [item["data"][0] for item in event["items"]]
            assert seen == sorted(set(seen))
            assert len(seen) < 1500
        assert bob.received("disconnect") == []


def test_who_polls_seldom_gets_little_and_then_the_newest(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann, bob = (member(client, server, room) for _ in range(2))
    polling = Polling(server.url)
    polling.send("40", f'420["join_room",{{"room":"{room}"}}]')
    while "430[" not in polling.poll().body:
        pass
    data = "x" * 2000
    for number in range(300):
        ann.emit("relay", {"room": room, "channel": "cursor", "key": "me", "data": [number, data]})
    wait_for_data(bob, room, [299, data])
    first = polling.poll()
    assert len(first.body) < SLOW_FROM_BYTES + 3000
    seen: list[int] = []
    answer = first
    while 299 not in seen:
        for packet in answer.packets:
            if packet.startswith('42["relay"'):
                seen += [item["data"][0] for item in json.loads(packet[2:])[1]["items"]]
        answer = first if 299 in seen else polling.poll()
    assert seen == sorted(set(seen))
    assert len(seen) < 20


def test_what_is_relayed_is_in_no_history(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann = member(client, server, room)
    ann.emit("relay", {"room": room, "channel": "c", "data": "worth nothing"})
    assert ann.emit("get_history", {"room": room})["messages"] == []
    assert "worth nothing" not in server.log


def test_the_rate_of_items_is_their_own(async_mode: str, client: OfficialClient) -> None:
    env = {
        "HAZOOM_RATE_LIMIT_PER_S": "1",
        "HAZOOM_RATE_LIMIT_BURST_COUNT": "3",
        "HAZOOM_RELAY_RATE_LIMIT_PER_S": "0.001",
        "HAZOOM_RELAY_RATE_LIMIT_BURST_COUNT": "5",
    }
    with hazoom(async_mode=async_mode, env=env) as server:
        ann, bob = (client.connect(server.url, auth={"user_name": name}) for name in ("Ann", "Bob"))
        for number in range(5):
            assert ann.emit("relay", {"channel": "c", "data": number}) == {"ok": True}
        refused = ann.emit("relay", {"channel": "c", "data": 5})["error"]
        assert (refused["code"], refused["retry"]) == ("rate_limited", True)
        assert refused["retry_at"] > 0
        for number in range(5):
            assert ann.emit("relay", {"channel": "c", "key": "k", "data": number}) == {"ok": True}
        wait_for_data(bob, "general", 4)
        assert ann.emit("message", {"message": "events have theirs"})["ok"] is True


def test_a_python_client_relays_and_is_told(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann = member(client, server, room)
    events: list[dict] = []
    python = socketio.Client()
    python.on("relay", events.append)
    python.connect(server.url, auth={"user_name": "Py"})
    try:
        assert python.call("join_room", {"room": room})["ok"] is True
        assert python.call("relay", {"room": room, "channel": "c", "key": "k", "data": {"a": [1, "ü"]}}) == {"ok": True}
        wait_for_data(ann, room, {"a": [1, "ü"]})
        ann.emit("relay", {"room": room, "channel": "c", "data": 5})
        wait_until(lambda: events, "the python client is told")
        assert [item["data"] for item in events[-1]["items"]][-1] == 5
    finally:
        python.disconnect()


@TRANSPORTS
def test_binary_parts_arrive_as_they_are_in_order_and_at_most_ten_in_an_event(
    server: Hazoom, room: str, transports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Payload, "max_decode_packets", 1000)  # of this client, whose 16 are fewer than a tick may have
    events: list[dict] = []
    with ExitStack() as stack:
        ann, bob = socketio.Client(), socketio.Client()
        bob.on("relay", events.append)
        for python in (ann, bob):
            python.connect(server.url, auth={"user_name": unique("user")}, transports=transports)
            stack.callback(python.disconnect)
            assert python.call("join_room", {"room": room})["ok"] is True
        for number in range(25):
            ann.emit("relay", {"room": room, "channel": "c", "data": bytes([number, 255])})
            ann.emit("relay", {"room": room, "channel": "c", "data": {"n": number}})
        for number in range(11):
            assert ann.call("relay", {"room": room, "channel": "c", "key": str(number), "data": bytes([number])})["ok"]
        nested = ann.call("relay", {"room": room, "channel": "c", "data": {"x": b"nested"}})["error"]
        assert (nested["code"], "binary part" in nested["message"]) == ("bad_payload", True)
        assert ann.call("relay", {"room": room, "channel": "c", "data": "the end"}) == {"ok": True}
        wait_until(lambda: any(item["data"] == "the end" for event in events for item in event["items"]), "all arrived")
        loose = [item["data"] for event in events for item in event["items"] if "key" not in item]
        assert loose == [data for number in range(25) for data in (bytes([number, 255]), {"n": number})] + ["the end"]
        assert max(sum(type(item["data"]) is bytes for item in event["items"]) for event in events) <= 10
        events.clear()
        assert bob.call("join_room", {"room": room})["ok"] is True
        wait_until(lambda: len(events) == 2, "the snapshot is here")
        assert [(event.get("snapshot"), len(event["items"])) for event in events] == [(True, 10), (None, 1)]


def test_a_placeholder_in_json_is_refused_however_it_is_written(server: Hazoom, client: OfficialClient, room: str) -> None:
    bob = member(client, server, room)
    with raw_client(server, user_name="Mallory") as mallory:
        mallory.send(f'42["join_room",{{"room":"{room}"}}]')
        mallory.receive_event("room_joined")
        for written in ('{"_placeholder":true,"num":0}', '[[{"\\u005fplaceholder":1}]]', '{"a":{"_placeholder":null}}'):
            mallory.send(f'42["relay",{{"room":"{room}","channel":"c","data":{written}}}]')
            error = mallory.receive_event("error")
            assert (error["code"], error["event"]) == ("bad_payload", "relay")
        sent = json.dumps({"room": room, "channel": "c", "data": "_placeholder"})
        mallory.send(f'42["relay",{sent}]')
        wait_for_data(bob, room, "_placeholder")
        assert len(items(bob, room)) == 1


def buffer(data: bytes) -> dict:
    """Return what stands for bytes in the JSON to and from the Node process."""
    return {"type": "Buffer", "data": list(data)}


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_bytes_are_relayed_in_the_place_of_json(server: Hazoom, client: OfficialClient, room: str, transport: str) -> None:
    ann, bob = (member(client, server, room, transports=[transport]) for _ in range(2))
    stroke = bytes(range(256))
    assert ann.emit("relay", {"room": room, "channel": "stroke", "key": "me", "data": buffer(stroke)}) == {"ok": True}
    wait_for_data(bob, room, buffer(stroke))
    for number in range(12):
        ann.send("relay", {"room": room, "channel": "dot", "key": str(number), "data": buffer(bytes([number]))})
    ann.send("relay", {"room": room, "channel": "end", "data": {"is": "JSON"}})
    wait_for_data(bob, room, {"is": "JSON"})
    dots = [item["data"] for item in items(bob, room) if item["channel"] == "dot"]
    assert dots == [buffer(bytes([number])) for number in range(12)]
    late = member(client, server, room, transports=[transport])
    for data in [buffer(stroke), *dots]:
        wait_for_data(late, room, data)


def test_bytes_stay_in_order_while_both_sides_upgrade(server: Hazoom, client: OfficialClient, room: str) -> None:
    with ExitStack() as stack:
        sockets = []
        for _ in range(2):
            slow = stack.enter_context(tcp_proxy(server.port))
            slow.delay_limit_s = 0.02  # so that much is said before a WebSocket has taken over
            socket = client.connect(slow.url, auth={"user_name": unique("user")}, transports=["polling", "websocket"])
            assert socket.emit("join_room", {"room": room})["ok"] is True
            sockets.append(socket)
        ann, bob = sockets
        for number in range(150):
            data = buffer(bytes([number] * 50)) if number % 3 else number
            ann.send("relay", {"room": room, "channel": "stroke", "data": data})
        wait_for_data(bob, room, buffer(bytes([149] * 50)))
        expected = [buffer(bytes([number] * 50)) if number % 3 else number for number in range(150)]
        assert [item["data"] for item in items(bob, room)] == expected
        for socket in sockets:
            socket.wait_for("upgrade")
            assert socket.received("disconnect") == []


def test_bytes_have_their_place_and_their_size(server: Hazoom, client: OfficialClient, room: str) -> None:
    ann = member(client, server, room)
    largest = ann.emit("relay", {"room": room, "channel": "c", "data": buffer(b"x" * 16_384)})
    assert largest == {"ok": True}
    larger = ann.emit("relay", {"room": room, "channel": "c", "data": buffer(b"x" * 16_385)})
    assert larger["error"]["code"] == "too_large"
    assert larger["error"]["message"] == "data: 16385 bytes, the limit is 16384"
    for data in ({"within": buffer(b"x")}, [[buffer(b"x")]]):
        refused = ann.emit("relay", {"room": room, "channel": "c", "data": data})
        assert refused["error"]["code"] == "bad_payload"
        assert "a field of its own" in refused["error"]["message"]
    refused = ann.emit("message", {"room": room, "message": buffer(b"x")})
    assert (refused["error"]["code"], refused["error"]["event"]) == ("bad_payload", "message")
    assert "no binary parts" in refused["error"]["message"]
    assert ann.emit("message", {"room": room, "message": "still here"})["ok"]
