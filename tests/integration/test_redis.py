"""Messages in a real Redis: what was acknowledged is there once, whatever dies, hangs or is full."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise

import pytest
import requests

from redis_server import Databases, RedisServer, databases, running_redis
from servers import (
    DEADLINE_S,
    Hazoom,
    OfficialClient,
    child_process,
    command_of_hazoom,
    free_port,
    hazoom,
    wait_until,
)

__all__ = ["databases"]

Run = Callable[..., AbstractContextManager[Hazoom]]
BURST = 500  # what is replayed of one room at most: Bob may have seen none of it
READY_WITHIN_S = 5.0
# What the loop may be late by while Redis hangs is far less; this machine may be busy.
ROUND_TRIP_S = 1.0
COMES_BACK = {"reconnectionDelay": 20, "reconnectionDelayMax": 100}


@pytest.fixture
def client() -> Iterator[OfficialClient]:
    with OfficialClient() as client:
        yield client


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """Return a Redis of the test's own, which keeps all that it has acknowledged."""
    with running_redis("--appendonly", "yes", "--appendfsync", "always", password="not to be shown") as redis:
        yield redis


def runner(async_mode: str, url: str) -> Run:
    port = free_port()
    env = {"HAZOOM_RATE_LIMIT_PER_S": "0", "HAZOOM_LOG_URL": url, "HAZOOM_LOG_REDIS_TIMEOUT_S": "1"}
    return lambda **options: hazoom(async_mode=async_mode, port=port, env=env, **options)


def everything(url: str, client: OfficialClient) -> list[dict]:
    """Return all that the default room's history holds, page by page, from the newest one back."""
    socket = client.connect(url, forceNew=True)
    messages: list[dict] = []
    while True:
        before = {"before": messages[0]["seq"]} if messages else {}
        page = socket.emit("get_history", {**before, "limit": 300})
        messages = page["messages"] + messages
        if page["complete"]:
            socket.disconnect()
            return messages


def is_ready(server: Hazoom) -> bool:
    return requests.get(f"{server.url}/ready", timeout=DEADLINE_S).ok


def reason(server: Hazoom) -> str:
    return str(requests.get(f"{server.url}/ready", timeout=DEADLINE_S).json().get("reason", ""))


def test_what_was_acknowledged_before_a_kill_is_there_once_after_it(
    async_mode: str, databases: Databases, client: OfficialClient
) -> None:
    run = runner(async_mode, databases.next_url())
    with run() as server:
        ann = client.connect(server.url, auth={"user_name": "Ann"}, **COMES_BACK)
        bob = client.connect(server.url, auth={"user_name": "Bob"}, **COMES_BACK)
        state = ann.emit("state_set", {"values": {"x": [1], "y": 2}})
        assert bob.wait_for("state")["seq"] == state["seq"]
        assert ann.emit("state_set", {"values": {"x": 2}, "if_seq": {"x": 1}})["error"]["code"] == "conflict"
        said = [{"message": str(number), "client_id": str(number)} for number in range(BURST)]
        calls = [ann.start_to_emit("message", each) for each in said]
        client.wait(lambda: len(client.replies()) > BURST / 4, "a part of the burst is acknowledged")
        server.child.kill()
        ann.wait_for("disconnect")
        acknowledged = [reply for call, reply in client.replies().items() if call in calls and reply.get("ok")]
    assert acknowledged
    with run() as server:  # at once, while the lease of the dead process goes on
        kept = everything(server.url, client)
        assert [entry["seq"] for entry in kept] == sorted({entry["seq"] for entry in kept})
        assert {reply["id"] for reply in acknowledged} <= {entry["id"] for entry in kept}
        assert len({entry["message"] for entry in kept}) == len(kept)
        wait_until(lambda: len(bob.received("connect")) == 2, "Bob is back")
        assert bob.received("connect")[1]["recovered"] is True
        seen = [entry["message"] for entry in bob.received("new_message")]
        wait_until(lambda: len(bob.received("new_message")) >= len(kept), "Bob has seen all that is kept")
        seen = [entry["message"] for entry in bob.received("new_message")]
        assert seen == [entry["message"] for entry in kept], "once, and in order"
        wait_until(lambda: len(ann.received("connect")) == 2, "Ann is back")
        again = [ann.emit("message", each) for each in said[:50]]
        by_text = {entry["message"]: entry for entry in kept}
        assert [(reply["id"], reply["duplicate"]) for reply in again] == [
            (by_text[str(number)]["id"], True) for number in range(50)
        ]
        # What is read beside turns holds up what its sender has said after it, and no other client.
        calls = [
            ann.start_to_emit("get_history", {"limit": 5, "before": kept[20]["seq"]}),
            ann.start_to_emit("message", {"message": "after the page"}),
        ]
        client.wait(lambda: client.replies().keys() >= set(calls), "all is answered")
        old, new = (client.replies()[call] for call in calls)
        newest = ann.emit("get_history", {"limit": 1})
        assert [entry["message"] for entry in old["messages"]] == [entry["message"] for entry in kept[15:20]]
        assert [entry["seq"] for entry in newest["messages"]] == [new["seq"]]
        values = bob.emit("state_get", {})
        assert (values["values"], values["seq"], values["complete"]) == ({"x": [1], "y": 2}, state["seq"], True)
        assert bob.emit("join_room", {"since": kept[-5]["seq"]})["complete"] is True


def test_a_redis_that_hangs_is_full_or_dies_refuses_messages_and_loses_none(  # noqa: PLR0915 - one server for all
    async_mode: str, redis: RedisServer, client: OfficialClient
) -> None:
    run = runner(async_mode, redis.url(3))
    with run() as server:
        ann = client.connect(server.url, auth={"user_name": "Ann"})
        bob = client.connect(server.url, auth={"user_name": "Bob"})
        texts: list[str] = []

        def say(text: str) -> dict:
            texts.append(text)
            return ann.emit("message", {"message": text, "client_id": text})

        def say_again() -> None:
            wait_until(lambda: is_ready(server), "the log is well again")
            for text in texts:
                assert ann.emit("message", {"message": text, "client_id": text})["ok"], text

        assert say("before")["ok"]

        # It hangs.
        redis.stop()
        stopped_s = time.monotonic()
        hanging = [ann.start_to_emit("message", {"message": text, "client_id": text}) for text in ("a", "b")]
        texts += ["a", "b"]
        longest_s = 0.0
        while is_ready(server):
            before_s = time.monotonic()
            assert requests.get(f"{server.url}/health", timeout=DEADLINE_S).ok
            longest_s = max(longest_s, time.monotonic() - before_s)
        assert time.monotonic() - stopped_s < READY_WITHIN_S
        assert reason(server) == "message log: Redis does not answer"
        if async_mode == "eventlet":
            assert longest_s < ROUND_TRIP_S, "nothing in a turn waits for Redis"
            assert bob.emit("typing", {}) == {"ok": True}
        client.wait(lambda: client.replies().keys() >= set(hanging), "who was in the middle is told")
        refusals = [client.replies()[call] for call in hanging] + [say("meanwhile")]
        assert [refused["error"]["retry"] for refused in refusals] == [True] * 3
        redis.go_on()
        say_again()

        # Its scripts are gone.
        redis.ask("SCRIPT", "FLUSH")
        assert say("without scripts")["ok"]

        # It is full.
        redis.ask("CONFIG", "SET", "maxmemory", "1")
        wait_until(lambda: not is_ready(server), "it is noticed")
        assert reason(server) == "message log: Redis is full"
        assert say("too much")["error"]["retry"] is True
        redis.ask("CONFIG", "SET", "maxmemory", "0")
        say_again()

        # It dies, and comes back.
        redis.kill()
        assert say("without Redis")["error"]["retry"] is True
        assert not is_ready(server)
        redis.start()
        say_again()

        kept = [entry["message"] for entry in everything(server.url, client)]
        assert sorted(kept) == sorted(texts)
        client.wait(lambda: len(bob.received("new_message")) == len(kept), "Bob has seen each")
        assert [entry["message"] for entry in bob.received("new_message")] == kept
        assert all(one < other for one, other in pairwise(entry["seq"] for entry in bob.received("new_message")))

        # It has lost all that it had: what memory has is in it again.
        redis.ask("FLUSHALL")
        server.child.wait_for_output("that memory has are in Redis again")
        wait_until(lambda: is_ready(server), "the log is well again")
        assert "not to be shown" not in server.log
        server.child.kill()
    with run() as server:
        assert [entry["message"] for entry in everything(server.url, client)] == kept


def test_a_redis_is_checked_without_its_password_being_shown(redis: RedisServer, databases: Databases) -> None:
    for url, replicas_count, expected in [
        (redis.url(), 0, r"messages are kept in Redis at 127.0.0.1:\d+ \(Redis \S+, appendonly yes, appendfsync always\)"),
        (redis.url(), 2, "has 0 replicas of the 2 that log_redis_wait_replicas waits for"),
        (databases.next_url(), 0, "it writes nothing to its disk"),
        (f"redis://:secret@127.0.0.1:{redis.port}/0", 0, "Redis wants a password, or another one"),
    ]:
        variables = {"HAZOOM_LOG_URL": url, "HAZOOM_LOG_REDIS_WAIT_REPLICAS": str(replicas_count)}
        with child_process("hazoom_ws check", command_of_hazoom("check"), **variables) as child:
            child.wait()
            assert re.search(expected, child.output)
            assert "secret" not in child.output
