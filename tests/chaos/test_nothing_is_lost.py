"""Fifty clients, delayed, stalled and cut off at random for half a minute, a server killed: nothing is lost or doubled."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import OfficialClient, Socket, free_port, hazoom, pytest_runtest_makereport, wait_until
from tcp_proxy import TcpProxy, tcp_proxy

__all__ = ["pytest_runtest_makereport"]

CLIENTS = 50
ROOMS = [f"room {number}" for number in range(5)]
ROOMS_OF_CLIENT = 2
ROUNDS = 150
KILLED_IN_ROUND = 75
DELAY_LIMIT_S = 0.03
# The client sends again by itself what was not acknowledged; ``client_id`` makes that safe.
OPTIONS = {
    "reconnectionDelay": 20,
    "reconnectionDelayMax": 200,
    "retries": 1000,
    "ackTimeout": 2000,
    "transports": ["websocket"],
}


class Person:
    """A user of the official client, who talks in some of the rooms."""

    def __init__(self, client: OfficialClient, url: str, number: int) -> None:
        self.rooms = random.sample(ROOMS, ROOMS_OF_CLIENT)
        self.socket: Socket = client.connect(url, auth={"user_name": f"user {number}"}, **OPTIONS)
        self._number = number
        self._said = 0
        for room in self.rooms:
            assert self.socket.emit("join_room", {"room": room, "history": 0})["ok"] is True

    def say(self) -> int:
        """Start to send a message and return the key of its acknowledgement."""
        self._said += 1
        text = f"{self._number}: {self._said}"
        payload = {"room": random.choice(self.rooms), "message": text, "client_id": text}
        return self.socket.start_to_emit("message", payload)

    def seen(self) -> list[dict]:
        """Return every message of the rooms, in the order in which it was shown."""
        messages = []
        for event, data in list(self.socket.history):
            if event == "new_message":
                messages.append(data)
            elif event == "room_joined":
                messages += data.get("messages", [])  # else the acknowledgement of joining has them
        return messages


@pytest.fixture
def proxy() -> Iterator[TcpProxy]:
    with tcp_proxy(free_port()) as proxy:
        proxy.delay_limit_s = DELAY_LIMIT_S
        yield proxy


@pytest.mark.parametrize("async_mode", ["eventlet", "threading"])
def test_every_acknowledged_message_reaches_every_member_once_and_in_order(
    async_mode: str, proxy: TcpProxy, tmp_path: Path
) -> None:
    env = {
        "HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3",
        "HAZOOM_DEFAULT_ROOM": "",
        "HAZOOM_RATE_LIMIT_PER_S": "0",
        "HAZOOM_PRESENCE_GRACE_S": "5",
    }
    keys: list[int] = []

    def run_rounds(rounds: range) -> None:
        for number in rounds:
            keys.extend(person.say() for person in random.sample(people, CLIENTS // 2))
            if number % 3 == 0:
                proxy.stall()
            proxy.cut(share=random.choice([0.1, 0.3, 1.0]))
            proxy.resume()
            keys.extend(person.say() for person in random.sample(people, CLIENTS // 5))
            client.wait(lambda: len(client.replies()) >= len(keys) - CLIENTS, "most of the round is acknowledged")

    with OfficialClient() as client:
        with hazoom(async_mode=async_mode, env=env, port=proxy.server_port) as server:
            people = [Person(client, proxy.url, number) for number in range(CLIENTS)]
            run_rounds(range(KILLED_IN_ROUND))
            keys.extend(person.say() for person in people)
            server.child.kill()
        with hazoom(async_mode=async_mode, env=env, port=proxy.server_port) as server:
            run_rounds(range(KILLED_IN_ROUND, ROUNDS))
            client.wait(lambda: client.replies().keys() >= set(keys), "everything is acknowledged")
            replies = client.replies()
            acknowledged = {replies[key]["id"] for key in keys}
            assert len(acknowledged) == len(keys)
            by_room = {room: [] for room in ROOMS}
            for room, ids in by_room.items():
                reader = next(person for person in people if room in person.rooms)
                after = 0
                while True:
                    page = reader.socket.emit("get_history", {"room": room, "after": after, "limit": 500})
                    ids += [entry["id"] for entry in page["messages"]]
                    if page["complete"]:
                        break
                    after = page["messages"][-1]["seq"]
            assert {one for ids in by_room.values() for one in ids} == acknowledged
            for person in people:
                expected = sum(len(by_room[room]) for room in person.rooms)
                wait_until(lambda person=person, expected=expected: len(person.seen()) >= expected, "all is shown")
                for room in person.rooms:
                    shown = [data["id"] for data in person.seen() if data["room"] == room]
                    assert shown == by_room[room]
                seqs = [data["seq"] for data in person.seen()]
                assert seqs == sorted(seqs)
                assert all(data["recovered"] for data in person.socket.received("connect")[1:])
            for room in ROOMS:
                members = sorted(f"user {person._number}" for person in people if room in person.rooms)
                reader = next(person for person in people if room in person.rooms)
                joined = reader.socket.emit("join_room", {"room": room, "history": 0})
                assert sorted(joined["users"]) == members
                assert joined["user_count"] == len(members)
