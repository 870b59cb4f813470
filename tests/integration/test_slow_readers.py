"""Who reads too slowly loses first what may be lost, then the connection; nobody else waits for him."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import requests
from websockets.frames import Opcode

from raw_client import RawClient, frame, raw_client
from servers import DEADLINE_S, Hazoom, OfficialClient, Socket, hazoom, unique, wait_until
from tcp_proxy import tcp_proxy

LIMIT_BYTES = 65_536
# More than a kernel keeps for a connection whose other end reads nothing, which is a few megabytes.
MORE_THAN_A_KERNEL_KEEPS_BYTES = 24_000_000
MESSAGES_AT_MOST = 20_000


@pytest.fixture(scope="module")
def server(async_mode: str) -> Iterator[Hazoom]:
    """A server that keeps little for a slow reader."""
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_OUTBOX_LIMIT_BYTES": str(LIMIT_BYTES)}
    with hazoom(async_mode=async_mode, env=env) as server:
        yield server


@pytest.fixture
def ann(server: Hazoom, client: OfficialClient) -> Socket:
    return client.connect(server.url, auth={"user_name": "Ann"})


@pytest.fixture
def bob(server: Hazoom, client: OfficialClient) -> Socket:
    return client.connect(server.url, auth={"user_name": "Bob"})


def closed_count(server: Hazoom) -> int:
    """Return how many connections were closed for reading too slowly."""
    return server.log.count("it reads too slowly")


def chat_until_closed(sender: Socket, server: Hazoom, room: str, *, closed: int = 1, size_bytes: int = 60_000) -> list[str]:
    """Send messages until so many slow readers more are closed; return what was sent."""
    already, sent = closed_count(server), []
    while closed_count(server) < already + closed:
        assert len(sent) < MESSAGES_AT_MOST, "the slow reader is not closed"
        sent.append(f"{len(sent)} {'x' * size_bytes}")
        assert sender.emit("message", {"message": sent[-1], "room": room})["ok"] is True
    return sent


def texts(messages: list) -> list[str]:
    return [message["message"] for message in messages]


def test_who_stops_reading_is_closed_and_the_others_get_everything_in_order(
    server: Hazoom, ann: Socket, bob: Socket
) -> None:
    room = unique("room")
    for user in (ann, bob):
        user.emit("join_room", {"room": room})
    before, connections = closed_count(server), server.stats()["total_connections"]
    with raw_client(server, user_name="Snail", stalls=True) as snail:
        snail.send(f'42["join_room",{{"room":"{room}"}}]')
        snail.receive_event("room_joined")
        sent = chat_until_closed(ann, server, room)
        for user in (ann, bob):
            left = user.wait_for("user_left", lambda left: left["room"] == room)
            assert (left["user"], left["user_count"]) == ("Snail", 2)
        snail.read_on()
        received = [payload["message"] for name, payload, *_ in snail.receive_rest() if name == "new_message"]
        assert received == sent[: len(received)]
        assert len(received) < len(sent)
    assert ann.emit("message", {"message": "the end", "room": room})["ok"] is True
    for user in (ann, bob):
        user.wait_for("new_message", lambda message: message["message"] == "the end")
        assert texts(user.received("new_message")) == [*sent, "the end"]
        assert user.received("disconnect") == []
    assert closed_count(server) == before + 1
    stats = server.stats()
    assert (stats["total_connections"], stats["rooms"][room]) == (connections, 2)


def test_a_client_that_comes_back_after_it_was_too_slow_does_so_by_itself_and_can_catch_up(
    server: Hazoom, client: OfficialClient, ann: Socket
) -> None:
    room = unique("room")
    with tcp_proxy(server.port) as proxy:
        bob = client.connect(
            proxy.url, auth={"user_name": "Bob"}, transports=["websocket"], reconnectionDelay=10, reconnectionDelayMax=50
        )
        for user in (ann, bob):
            user.emit("join_room", {"room": room})
        seq = ann.emit("message", {"message": "first", "room": room})["seq"]
        bob.wait_for("new_message")
        proxy.stall()
        sent = chat_until_closed(ann, server, room)
        assert ann.wait_for("user_left", lambda left: left["room"] == room)["user"] == "Bob"
        proxy.resume()
        assert bob.wait_for("disconnect")["reason"] in ("transport close", "transport error")
        bob.wait_for("status")
        bob.emit("join_room", {"room": room, "history": 0})
        missed, is_complete = [], False
        while not is_complete:  # one at a time: two would be more than this server keeps for anybody
            page = bob.emit("get_history", {"room": room, "after": seq, "limit": 1})
            missed += texts(page["messages"])
            seq, is_complete = page["messages"][-1]["seq"], page["complete"]
        assert missed == sent
        assert ann.emit("message", {"message": "welcome back", "room": room})["ok"] is True
        bob.wait_for("new_message", lambda message: message["message"] == "welcome back")
        bob.disconnect()


def flood_with_typing(raw: RawClient, room: str) -> int:
    """Start and stop typing until no kernel can hold all of it; return how many events went out."""
    event_bytes = len(json.dumps({"room": room}, ensure_ascii=False).encode())
    pair = b"".join(
        frame(Opcode.TEXT, f'42["typing",{{"room":"{room}","is_typing":{state}}}]'.encode()) for state in ("true", "false")
    )
    pairs = MORE_THAN_A_KERNEL_KEEPS_BYTES // event_bytes // 2
    for _ in range(0, pairs, 100):
        raw.send_bytes(pair * 100)
    raw.send('427["get_stats"]')
    while not raw.receive().startswith("437["):
        pass
    return pairs * 2


def test_typing_is_lost_first_and_a_reader_that_reads_on_gets_every_message(server: Hazoom, ann: Socket) -> None:
    room = unique("room").ljust(128, "😀")
    before = closed_count(server)
    ann.emit("join_room", {"room": room})
    with (
        raw_client(server, user_name="Snail", stalls=True) as snail,
        raw_client(server, user_name="Typist") as typist,
    ):
        for raw in (snail, typist):
            raw.send(f'42["join_room",{{"room":"{room}"}}]')
            raw.receive_event("room_joined")
        typing_count = flood_with_typing(typist, room)
        sent = [f"{number} {'x' * 5000}" for number in range(10)]
        for text in sent:
            assert ann.emit("message", {"message": text, "room": room})["ok"] is True
        snail.read_on()
        received, typing = [], 0
        while len(received) < len(sent):
            text = snail.receive()
            typing += text.startswith('42["user_typing"')
            if text.startswith('42["new_message"'):
                received.append(json.loads(text[2:])[1]["message"])
        assert received == sent
        assert 0 < typing < typing_count
        snail.send(f'42["message",{{"message":"here I am","room":"{room}"}}]')
        assert snail.receive_event("new_message")["message"] == "here I am"
    assert closed_count(server) == before


def test_who_asks_without_end_and_reads_no_answer_is_closed(server: Hazoom, ann: Socket) -> None:
    before, connections = closed_count(server), server.stats()["total_connections"]
    with raw_client(server, stalls=True) as raw:
        question = frame(Opcode.TEXT, b'421["get_history",{"limit":0}]') + frame(Opcode.PING, b"x" * 125)
        with suppress(ConnectionError):
            for _ in range(MESSAGES_AT_MOST):
                raw.send_bytes(question * 200)
                if closed_count(server) > before:
                    break
        wait_until(lambda: closed_count(server) == before + 1, "it is closed")
    wait_until(lambda: server.stats()["total_connections"] == connections, "it is gone")
    assert ann.emit("message", {"message": "still here"})["ok"] is True


def test_who_polls_no_more_is_closed_too(server: Hazoom, ann: Socket) -> None:
    room = unique("room")
    url, parameters = f"{server.url}/socket.io/", {"EIO": "4", "transport": "polling"}
    with requests.Session() as http:
        opened = http.get(url, params=parameters, timeout=DEADLINE_S).text
        parameters["sid"] = json.loads(opened[1:])["sid"]
        packets = ['40{"user_name":"Snail"}', f'42["join_room",{{"room":"{room}"}}]']
        http.post(url, params=parameters, data="\x1e".join(packets).encode(), timeout=DEADLINE_S).raise_for_status()
        assert ann.emit("join_room", {"room": room})["user_count"] == 2
        before = closed_count(server)
        sent = chat_until_closed(ann, server, room)
        assert len(sent) <= 5  # the second is too much, and the log is read beside that
        assert ann.wait_for("user_left", lambda left: left["room"] == room)["user"] == "Snail"
        answer = http.get(url, params=parameters, timeout=DEADLINE_S)
        assert json.loads(answer.text.removeprefix("42")) == [
            "bye",
            {"reason": "slow_reader", "reconnect": True, "retry_after_ms": 0},
        ]
        assert http.get(url, params=parameters, timeout=DEADLINE_S).text == "1"
        answer = http.get(url, params=parameters, timeout=DEADLINE_S)
        assert (answer.status_code, answer.json()["message"]) == (400, "Session ID unknown")
    assert closed_count(server) == before + 1


def test_the_bound_of_all_outboxes_together_holds_too(async_mode: str, client: OfficialClient) -> None:
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_OUTBOX_TOTAL_LIMIT_BYTES": "200000"}
    with hazoom(async_mode=async_mode, env=env) as server, ExitStack() as stack:
        ann, bob = (client.connect(server.url, auth={"user_name": name}) for name in ("Ann", "Bob"))
        snails = [stack.enter_context(raw_client(server, stalls=True)) for _ in range(3)]
        # Small ones, so that those who keep up stay below what each may hold in any case.
        sent = chat_until_closed(ann, server, "general", closed=len(snails), size_bytes=2000)
        wait_until(lambda: server.stats()["total_connections"] == 2, "the slow readers are gone")
        bob.wait_for("new_message", lambda message: message["message"] == sent[-1])
        assert texts(bob.received("new_message")) == sent
        assert closed_count(server) == len(snails)
