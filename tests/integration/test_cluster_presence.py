"""Several processes on one Redis: who is in a room, who types, and what is relayed are the same for all."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from redis_server import Databases, databases, running_redis
from servers import Hazoom, OfficialClient, Socket, hazoom, unique, wait_until

__all__ = ["databases"]
pytestmark = pytest.mark.redis

UNLIMITED = {"HAZOOM_RATE_LIMIT_PER_S": "0"}


@pytest.fixture(scope="module")
def pair(databases: Databases) -> Iterator[tuple[Hazoom, Hazoom]]:
    env = {"HAZOOM_LOG_URL": databases.next_url(), "HAZOOM_PRESENCE_GRACE_S": "0", "HAZOOM_DEFAULT_ROOM": "", **UNLIMITED}
    with hazoom(async_mode="eventlet", env=env) as first, hazoom(async_mode="threading", env=env) as second:
        yield first, second


@pytest.fixture
def client() -> Iterator[OfficialClient]:
    with OfficialClient() as client:
        yield client


def told(socket: Socket, room: str) -> list[tuple[str, str, int]]:
    """Return who came and went in a room as a client was told it."""
    return [
        (name, event["user"], event["user_count"])
        for name in ("user_joined", "user_left")
        for event in socket.received(name)
        if event["room"] == room
    ]


def test_a_user_of_several_processes_is_one_who_comes_once_and_leaves_once(
    pair: tuple[Hazoom, Hazoom], client: OfficialClient
) -> None:
    room = unique("room")
    ann = client.connect(pair[0].url, auth={"user_name": "Ann"})
    bob = client.connect(pair[1].url, auth={"user_name": "Bob"})
    assert ann.emit("join_room", {"room": room})["user_count"] == 1
    joined = bob.emit("join_room", {"room": room})
    assert (joined["user_count"], set(joined["users"])) == (2, {"Ann", "Bob"})
    assert ann.wait_for("user_joined") == {"room": room, "user": "Bob", "user_count": 2}
    ann_there = client.connect(pair[1].url, auth={"user_name": "Ann"})
    assert ann_there.emit("join_room", {"room": room})["user_count"] == 2
    bob_there = client.connect(pair[0].url, auth={"user_name": "Bob"})
    assert bob_there.emit("join_room", {"room": room})["user_count"] == 2
    bob.emit("leave_room", {"room": room})
    bob.emit("message", {"room": room, "message": "is no member any more"})
    ann.disconnect()
    cat = client.connect(pair[1].url, auth={"user_name": "Cat"})
    assert cat.emit("join_room", {"room": room})["user_count"] == 3
    assert bob_there.wait_for("user_joined") == {"room": room, "user": "Cat", "user_count": 3}
    ann_there.disconnect()
    assert bob_there.wait_for("user_left") == {"room": room, "user": "Ann", "user_count": 2}
    assert cat.wait_for("user_left") == {"room": room, "user": "Ann", "user_count": 2}
    bob_there.emit("leave_room", {"room": room})
    cat.wait_for("user_left", lambda event: event["user"] == "Bob")
    assert told(cat, room) == [("user_left", "Ann", 2), ("user_left", "Bob", 1)]
    assert told(bob_there, room) == [("user_joined", "Cat", 3), ("user_left", "Ann", 2)]


def test_typing_and_what_is_relayed_reach_the_clients_of_other_processes(
    pair: tuple[Hazoom, Hazoom], client: OfficialClient
) -> None:
    room = unique("room")
    ann = client.connect(pair[0].url, auth={"user_name": "Ann"})
    bob = client.connect(pair[1].url, auth={"user_name": "Bob"})
    ann_there = client.connect(pair[1].url, auth={"user_name": "Ann"})
    ann.emit("join_room", {"room": room})
    assert ann.emit("relay", {"room": room, "channel": "cursor", "key": "at", "data": {"x": 0}}) == {"ok": True}
    ann.emit("relay", {"room": room, "channel": "picture", "key": "of", "data": {"type": "Buffer", "data": [0, 1, 2]}})
    # Who comes first into a room on a process gets the newest values that there are on others.
    bob.emit("join_room", {"room": room})
    bob.wait_for("relay", lambda event: {"x": 0} in [item["data"] for item in event["items"]])
    assert values(bob, room, "picture") == [{"type": "Buffer", "data": [0, 1, 2]}]
    ann_there.emit("join_room", {"room": room})
    assert ann_there.wait_for("relay")["snapshot"] is True
    sent = [{"x": number} for number in range(1, 101)]  # within the burst that a connection has
    for data in sent:
        ann.send("relay", {"room": room, "channel": "cursor", "key": "at", "data": data})
        ann.send("relay", {"room": room, "channel": "stroke", "data": data})
    bob.wait_for("relay", lambda event: {"x": 100} in [item["data"] for item in event["items"] if item.get("key")])
    wait_until(lambda: sent[-1] in values(bob, room, "stroke"), "the last stroke is there")
    assert values(bob, room, "stroke") == sent
    cursors = [data["x"] for data in values(bob, room, "cursor")]
    assert cursors == sorted(set(cursors)), "newer ones only"
    bob.emit("relay", {"room": room, "channel": "cursor", "key": "at", "data": {"y": 1}})
    item = ann.wait_for("relay", lambda event: event["items"][0]["user"] == "Bob")["items"][0]
    assert (item["channel"], item["data"], item["client"]) == ("cursor", {"y": 1}, bob.received("status")[0]["client"])
    ann.disconnect()
    bob.wait_for("relay", lambda event: [item["data"] for item in event["items"]].count(None) == 2)

    bob.emit("typing", {"room": room})
    ann = client.connect(pair[0].url, auth={"user_name": "Ann"})
    ann.emit("join_room", {"room": room})
    bob.emit("typing", {"room": room})
    assert ann.wait_for("user_typing") == {"user": "Bob", "is_typing": True, "room": room}
    bob.emit("message", {"room": room, "message": "so much"})
    assert ann.wait_for("user_typing") == {"user": "Bob", "is_typing": False, "room": room}
    ann.wait_for("new_message")
    names = [name for name, _ in ann.history if name in ("user_typing", "new_message")]
    assert names[-2:] == ["user_typing", "new_message"]
    ann.emit("typing", {"room": room})
    assert bob.wait_for("user_typing") == {"user": "Ann", "is_typing": True, "room": room}
    ann.disconnect()
    assert bob.wait_for("user_typing") == {"user": "Ann", "is_typing": False, "room": room}
    assert {event["user"] for event in ann_there.received("user_typing")} == {"Bob"}, "nobody is told of herself"


def values(socket: Socket, room: str, channel: str) -> list:
    """Return what was relayed to a client in a channel of a room, null left out."""
    events = [event for event in socket.received("relay") if event["room"] == room]
    return [item["data"] for event in events for item in event["items"] if item["channel"] == channel and item["data"]]


def test_lists_have_the_rooms_of_all_processes_and_a_process_hears_nothing_of_rooms_that_nobody_of_its_own_is_in(
    pair: tuple[Hazoom, Hazoom], client: OfficialClient, databases: Databases
) -> None:
    room = unique("room")
    ann = client.connect(pair[0].url, auth={"user_name": "Ann"})
    bob = client.connect(pair[1].url, auth={"user_name": "Bob"})

    def listed() -> int:
        rooms = bob.emit("get_rooms", {"prefix": room})["rooms"]
        return rooms[0]["user_count"] if rooms else 0

    ann.emit("join_room", {"room": room})
    wait_until(lambda: pair[1].stats()["rooms"].get(room) == 1, "statistics have it")
    # The channels that others relay, type and speak in are heard by who has somebody there, and by nobody else.
    ann.emit("message", {"room": room, "message": "heard by one"})
    with databases.server.client() as asked:
        assert [count for _, count in asked.pubsub_numsub(*asked.pubsub_channels(f"*:room:{room}"))] == [1]
    assert listed() == 1
    ann.emit("leave_room", {"room": room})
    wait_until(lambda: room not in pair[1].stats()["rooms"], "it is gone")
    wait_until(lambda: listed() == 0, "lists have it no more")


def joined(client: OfficialClient, server: Hazoom, name: str, room: str, **options: object) -> Socket:
    """Return a client of a user who is in a room."""
    socket = client.connect(server.url, auth={"user_name": name}, **options)
    assert name in socket.emit("join_room", {"room": room})["users"]
    return socket


def test_who_comes_back_to_another_process_in_time_has_never_left_and_who_does_not_leaves_once(
    databases: Databases, client: OfficialClient
) -> None:
    env = {"HAZOOM_LOG_URL": databases.next_url(), "HAZOOM_PRESENCE_GRACE_S": "5", "HAZOOM_DEFAULT_ROOM": "", **UNLIMITED}
    with hazoom(env=env) as first, hazoom(env=env) as second:
        watcher = joined(client, second, "Watcher", "room")
        ann = joined(client, first, "Ann", "room")
        joined(client, first, "Dan", "room")
        joined(client, first, "Eve", "room")
        watcher.wait_for("user_joined", lambda event: event["user"] == "Eve")
        came = told(watcher, "room")
        ann.disconnect()
        ann = joined(client, second, "Ann", "room")
        ann.disconnect()
        joined(client, first, "Ann", "room")
        # A process that ends calmly takes its users along, unless they come back to another one.
        first.child.stop()
        joined(client, second, "Ann", "room")
        joined(client, second, "Dan", "room")
        assert watcher.wait_for("user_left") == {"room": "room", "user": "Eve", "user_count": 3}
        assert watcher.emit("join_room", {"room": "room"})["user_count"] == 3
        assert sorted(told(watcher, "room")) == sorted([*came, ("user_left", "Eve", 3)])


def test_users_of_a_process_that_dies_or_hangs_leave_once_and_those_of_one_that_goes_on_are_back(
    databases: Databases, client: OfficialClient
) -> None:
    env = {"HAZOOM_LOG_URL": databases.next_url(), "HAZOOM_PRESENCE_GRACE_S": "1", "HAZOOM_DEFAULT_ROOM": "", **UNLIMITED}
    with hazoom(env=env) as killed, hazoom(env=env) as paused, hazoom(env=env, async_mode="threading") as well:
        watcher = joined(client, well, "Watcher", "room")
        joined(client, killed, "Ann", "room", reconnection=False)
        joined(client, killed, "Bob", "room", reconnection=False)
        cat = joined(client, paused, "Cat", "room")
        bob_too = joined(client, well, "Bob", "room")
        assert bob_too.emit("relay", {"room": "room", "channel": "c", "key": "k", "data": 1}) == {"ok": True}
        cat.wait_for("relay")
        os.kill(paused.child.process.pid, signal.SIGSTOP)
        killed.child.kill()
        started_s = time.monotonic()
        for name in ("Ann", "Cat"):
            watcher.wait_for("user_left", lambda event, name=name: event["user"] == name)
        assert time.monotonic() - started_s < 20
        assert watcher.emit("join_room", {"room": "room"})["user_count"] == 2
        # The one that goes on believes nobody dead because it was held up itself, and says again who is there.
        os.kill(paused.child.process.pid, signal.SIGCONT)
        cat_is_back = ("user_joined", "Cat", 3)
        wait_until(lambda: cat_is_back in told(watcher, "room"), "Cat is back")
        wait_until(paused.is_ready, "it is well")
        bob_too.emit("relay", {"room": "room", "channel": "c", "key": "k", "data": 2})
        cat.wait_for("relay", lambda event: event["items"][0]["data"] == 2)
        joined(client, paused, "Dan", "room")
        users = ["Bob", "Cat", "Dan", "Watcher"]
        wait_until(lambda: sorted(watcher.emit("join_room", {"room": "room"})["users"]) == users, "all know")
        assert set(users) <= set(cat.emit("join_room", {"room": "room"})["users"]) <= {*users, "Ann"}
        assert {user for name, user, _ in told(cat, "room") if name == "user_left"} <= {"Ann"}, (
            "who has died, sooner or later"
        )
        assert sorted(user for name, user, _ in told(watcher, "room") if name == "user_left") == ["Ann", "Cat"]


def test_nobody_leaves_because_redis_was_away_and_all_is_exact_when_it_is_back(client: OfficialClient) -> None:
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as redis_server, ExitStack() as stack:
        env = {
            "HAZOOM_LOG_URL": redis_server.url(),
            "HAZOOM_LOG_REDIS_TIMEOUT_S": "1",
            "HAZOOM_PRESENCE_GRACE_S": "0",
            **UNLIMITED,
        }
        first, second = (stack.enter_context(hazoom(env=env, async_mode=mode)) for mode in ("eventlet", "threading"))
        ann, bob = joined(client, first, "Ann", "room"), joined(client, second, "Bob", "room")
        cat, dan = joined(client, first, "Cat", "room"), joined(client, second, "Dan", "room")
        ann.wait_for("user_joined", lambda event: event["user"] == "Dan")
        redis_server.kill()
        wait_until(lambda: not first.is_ready() and not second.is_ready(), "both have noticed")
        cat.emit("leave_room", {"room": "room"})
        dan.disconnect()
        eve = client.connect(first.url, auth={"user_name": "Eve"})  # in the default room
        redis_server.start()
        bob.wait_for("user_left", lambda event: (event["room"], event["user"]) == ("room", "Cat"))
        ann.wait_for("user_left", lambda event: (event["room"], event["user"]) == ("room", "Dan"))
        wait_until(lambda: first.is_ready() and second.is_ready(), "both are well")
        wait_until(lambda: "Eve" in bob.emit("join_room", {})["users"], "who has come meanwhile is known")
        for socket in (ann, bob):
            assert sorted(socket.emit("join_room", {"room": "room"})["users"]) == ["Ann", "Bob"]
        assert [user for name, user, _ in told(ann, "room") if name == "user_left"] == ["Cat", "Dan"]
        assert [user for name, user, _ in told(bob, "room") if name == "user_left"] == ["Dan", "Cat"]
        assert "Bob" in eve.emit("join_room", {})["users"]
