"""Answers of the AI on several processes that are one by Redis: whichever runs it, all see it, once and in order."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
import redis

from gated_answers import ANSWER, TOKENS, Gated
from redis_server import Databases, databases, running_redis
from servers import Backend, Hazoom, OfficialClient, Socket, hazoom, unique, wait_until

__all__ = ["databases"]

pytestmark = pytest.mark.redis

STREAMS_PER_USER = 2
LEASE_S = 15  # after which a process that says nothing is dead


@pytest.fixture(scope="module")
def backend(_runserver: Backend) -> Backend:
    return _runserver


@pytest.fixture(scope="module")
def environment(databases: Databases, backend: Backend) -> dict[str, str]:
    return {
        "HAZOOM_LOG_URL": databases.next_url(),
        "HAZOOM_LLM_URL": backend.url,
        "HAZOOM_LLM_STREAMS_PER_USER_LIMIT": str(STREAMS_PER_USER),
    }


@pytest.fixture(scope="module")
def two(environment: dict[str, str]) -> Iterator[tuple[Hazoom, Hazoom]]:
    """Return two servers that are one."""
    with hazoom(async_mode="eventlet", env=environment) as one, hazoom(async_mode="threading", env=environment) as other:
        yield one, other


@pytest.fixture
def client() -> Iterator[OfficialClient]:
    with OfficialClient() as client:
        yield client


def in_room(client: OfficialClient, server: Hazoom, room: str, **auth: str) -> Socket:
    socket = client.connect(server.url, auth={"user_name": unique("user"), **auth})
    assert socket.emit("join_room", {"room": room})["ok"]
    return socket


def of(answer: Gated, socket: Socket, event: str) -> list[dict]:
    return [data for data in socket.received(event) if data["request_id"] == answer.id]


def is_record(answer: Gated, entry: dict) -> bool:
    """Return whether a message is what a room keeps of an answer."""
    return (entry.get("kind"), entry.get("request_id")) == ("assistant", answer.id)


def name_of(server: Hazoom) -> str:
    name: str = server.stats()["processes"][0]["name"]
    return name


def end_lease(environment: dict[str, str], process: str) -> None:
    """Let the others find what they find when nothing was heard of a process for `LEASE_S`."""
    with redis.Redis.from_url(environment["HAZOOM_LOG_URL"]) as told:
        told.delete(f"{{hazoom}}:process:{process}")


@pytest.mark.parametrize("asked", [0, 1])
def test_all_in_a_room_see_an_answer_whichever_process_runs_it(
    two: tuple[Hazoom, Hazoom], backend: Backend, client: OfficialClient, asked: int
) -> None:
    here, there = two[asked], two[1 - asked]
    room = unique("team")
    ann, bob = in_room(client, here, room), in_room(client, there, room)
    answer = Gated(backend, ann, room=room)
    answer.release(4)
    answer.wait_for_tokens(bob, 4)
    late = in_room(client, there, room)
    answer.wait_for_tokens(late, 4)
    assert of(answer, late, "llm_token") == [
        {"token": "".join(TOKENS[:4]), "request_id": answer.id, "index": 0, "room": room, "snapshot": True}
    ]
    assert bob.emit("llm_resume", {"request_id": answer.id, "index": 2})["ok"]
    answer.release_all()
    ends = [socket.wait_for("llm_complete") for socket in (ann, bob, late)]
    assert ends[0]["response"] == ANSWER
    assert ends == [ends[0]] * 3
    assert len(of(answer, bob, "llm_started")) == 1
    # One by one, but for what Bob has asked for again.
    told = [(event["index"], event["token"]) for event in of(answer, bob, "llm_token")]
    assert told == [*enumerate(TOKENS[:4]), (2, "".join(TOKENS[2:4])), *list(enumerate(TOKENS))[4:]]
    assert [event["index"] for event in of(answer, late, "llm_token")] == [0, *range(4, len(TOKENS))]
    assert answer.text(late) == answer.text(ann) == ANSWER
    [kept] = [entry for entry in bob.received("new_message") if entry.get("kind") == "assistant"]
    assert (kept["message"], kept["finish_reason"]) == (ANSWER, "stop")


def test_who_is_the_first_of_a_process_in_a_room_gets_what_runs_there_and_whoever_asked_can_stop_it(
    two: tuple[Hazoom, Hazoom], backend: Backend, client: OfficialClient
) -> None:
    room, name = unique("team"), unique("Ann")
    ann = in_room(client, two[0], room, user_name=name)
    answer = Gated(backend, ann, room=room)
    answer.release(3)
    answer.wait_for_tokens(ann, 3)
    first, tab = in_room(client, two[1], room), client.connect(two[1].url, auth={"user_name": name})
    answer.wait_for_tokens(first, 3)
    answer.release(2)
    answer.wait_for_tokens(first, 5)
    assert first.emit("llm_cancel", {"request_id": answer.id})["error"]["code"] == "forbidden"
    assert tab.emit("llm_cancel", {"request_id": answer.id})["ok"]
    for socket in (ann, first):
        assert socket.wait_for("llm_complete")["finish_reason"] == "cancelled"
    assert tab.emit("llm_cancel", {"request_id": answer.id})["error"]["code"] == "not_found"
    answer.release_all()


def test_a_private_answer_is_resumed_stopped_and_asked_again_on_another_process(
    two: tuple[Hazoom, Hazoom], backend: Backend, client: OfficialClient
) -> None:
    name, request_id = unique("Ann"), unique("request")
    ann = client.connect(two[0].url, auth={"user_name": name})
    tab, stranger = client.connect(two[1].url, auth={"user_name": name}), client.connect(two[1].url)
    answer = Gated(backend, ann, request_id=request_id)
    answer.release(4)
    answer.wait_for_tokens(ann, 4)
    resume = {"request_id": request_id, "index": 2}
    assert stranger.emit("llm_resume", resume)["error"]["code"] == "forbidden"
    assert stranger.emit("llm_cancel", {"request_id": request_id})["error"]["code"] == "forbidden"
    assert stranger.emit("llm_resume", {"request_id": "unknown", "index": 0})["error"]["code"] == "not_found"
    assert stranger.emit("llm_request", {"message": "?", "request_id": request_id})["error"]["code"] == "bad_payload"
    assert tab.emit("llm_resume", resume)["ok"]
    tab.wait_for("llm_token", lambda event: event == {"token": "".join(TOKENS[2:4]), **resume})
    answer.release(2)
    wait_until(lambda: answer.text(tab) == "".join(TOKENS[2:6]), "the rest")
    # A client that has not heard that it was accepted sends it again.
    again = client.connect(two[1].url, auth={"user_name": name})
    assert again.emit("llm_request", {"message": answer.message, "request_id": request_id})["ok"]
    answer.wait_for_tokens(again, 6)
    assert len(backend.received(answer.message)) == 1
    assert tab.emit("llm_cancel", {"request_id": request_id})["ok"]
    ends = [socket.wait_for("llm_complete") for socket in (ann, tab, again)]
    assert ends == [ends[0]] * 3
    assert (ends[0]["finish_reason"], ends[0]["response"]) == ("cancelled", "".join(TOKENS[:6]))
    answer.release_all()
    # One that has ended can be resumed as well, on a process that has never had it too.
    done = Gated(backend, ann, request_id=unique("request"))
    done.release_all()
    complete = ann.wait_for("llm_complete", lambda event: event["request_id"] == done.id)
    assert tab.emit("llm_resume", {"request_id": done.id, "index": 10})["ok"]
    assert tab.wait_for("llm_complete", lambda event: event["request_id"] == done.id) == complete
    assert done.text(tab) == "".join(TOKENS[10:])
    assert stranger.received("llm_token") == []


def test_who_comes_back_to_another_process_gets_of_each_answer_what_it_missed(
    two: tuple[Hazoom, Hazoom], backend: Backend, client: OfficialClient
) -> None:
    room, name = unique("team"), unique("Ann")
    bob, ann = in_room(client, two[0], room), in_room(client, two[0], room, user_name=name)
    before = Gated(backend, bob, room=room)
    before.release_all()
    ann.wait_for("llm_complete")
    shared, private, missed = (
        Gated(backend, bob, room=room),
        Gated(backend, ann, request_id=unique("request")),
        Gated(backend, bob, room=room),
    )
    for answer in (shared, private, missed):
        answer.release(2)
        answer.wait_for_tokens(ann, 2)
    session = ann.session()
    number, process = session["offset"].split(".")
    assert number.isdecimal()
    assert process
    back = client.connect(two[1].url, auth={"user_name": name, **session})
    assert back.received("status")[0]["recovered"]
    for answer in (shared, private, missed):
        answer.wait_for_tokens(back, 2)
        assert all(event["snapshot"] for event in answer.tokens(back))
        answer.release(2)
        answer.wait_for_tokens(back, 4)
    # Once more, and meanwhile one of them ends.
    session = back.session()
    missed.release_all()
    bob.wait_for("llm_complete", lambda event: event["request_id"] == missed.id)
    again = client.connect(two[0].url, auth={"user_name": name, **session})
    again.wait_for("new_message", lambda message: message.get("request_id") == missed.id and message["kind"] == "assistant")
    assert again.wait_for("llm_complete")["request_id"] == missed.id
    for answer in (shared, private):
        answer.wait_for_tokens(again, 4)
        answer.release_all()
        end = again.wait_for("llm_complete", lambda event, answer=answer: event["request_id"] == answer.id)
        assert end["response"] == answer.text(again) == ANSWER
    assert len(again.received("llm_complete")) == 3
    # Where it is said of them that they have ended, they are not waited for any more.
    session = again.session()
    last = client.connect(two[1].url, auth={"user_name": name, **session})
    last.emit("get_stats")
    assert last.received("llm_error") == []
    # Of a private one it may be said twice: that it has ended is kept of the session a moment later than it is told.
    told = [*last.received("llm_token"), *last.received("llm_complete")]
    assert [event for event in told if event["request_id"] != private.id] == []


def test_an_answer_goes_on_while_its_user_watches_it_on_another_process(
    environment: dict[str, str], two: tuple[Hazoom, Hazoom], backend: Backend, client: OfficialClient
) -> None:
    name = unique("Ann")
    with hazoom(env=environment | {"HAZOOM_LLM_USER_GRACE_S": "0", "HAZOOM_RECOVERY_WINDOW_S": "0"}) as third:
        ann, tab = (client.connect(server.url, auth={"user_name": name}) for server in (third, two[1]))
        answer = Gated(backend, ann, request_id=unique("request"))
        answer.release(1)
        answer.wait_for_tokens(ann, 1)
        assert tab.emit("llm_resume", {"request_id": answer.id, "index": 0})["ok"]
        answer.wait_for_tokens(tab, 1)
        ann.disconnect()
        wait_until(lambda: third.stats()["processes"][0]["connections"] == 0, "she has left")
        answer.release_all()
        assert tab.wait_for("llm_complete")["response"] == ANSWER


def test_when_a_process_is_stopped_who_gets_its_answers_is_told_at_once(
    environment: dict[str, str], two: tuple[Hazoom, Hazoom], backend: Backend, client: OfficialClient
) -> None:
    room, name = unique("team"), unique("Ann")
    bob, tab = in_room(client, two[0], room), client.connect(two[1].url, auth={"user_name": name})
    with hazoom(env=environment | {"HAZOOM_SHUTDOWN_GRACE_S": "2"}) as third:
        ann = in_room(client, third, room, user_name=name)
        shared, private = Gated(backend, ann, room=room), Gated(backend, ann, request_id=unique("request"))
        assert tab.emit("llm_resume", {"request_id": private.id, "index": 0})["ok"]
        for answer, socket in ((shared, bob), (private, tab)):
            answer.release(2)
            answer.wait_for_tokens(socket, 2)
        stopped_s = time.monotonic()
        assert third.child.stop() == 0
    for answer, socket in ((shared, bob), (private, tab)):
        error = socket.wait_for("llm_error")
        assert (error["request_id"], error["retry"]) == (answer.id, True)
    assert time.monotonic() - stopped_s < LEASE_S, "its lease had to end for that"


def test_a_user_has_so_many_slots_on_all_processes(
    two: tuple[Hazoom, Hazoom], backend: Backend, client: OfficialClient
) -> None:
    room, name = unique("team"), unique("Ann")
    ann, bob = in_room(client, two[0], room, user_name=name), in_room(client, two[1], room)
    running = [Gated(backend, ann, room=room) for _ in range(STREAMS_PER_USER)]
    for answer in running:
        answer.release(1)
        # What is told of an answer comes after what is told of its slot.
        answer.wait_for_tokens(bob, 1)
    tab = client.connect(two[1].url, auth={"user_name": name})
    waiting = Gated(backend, tab)
    assert tab.wait_for("llm_queued")["position"] == 1
    assert tab.received("llm_started") == []
    running[0].release_all()
    assert tab.wait_for("llm_started")["request_id"] == waiting.id
    for answer in (running[1], waiting):
        answer.release_all()
    assert tab.wait_for("llm_complete")["response"] == ANSWER


def test_what_is_not_told_while_redis_hangs_is_told_afterwards(backend: Backend, client: OfficialClient) -> None:
    with running_redis() as redis:
        env = {"HAZOOM_LOG_URL": redis.url(), "HAZOOM_LLM_URL": backend.url, "HAZOOM_LOG_REDIS_TIMEOUT_S": "1"}
        with hazoom(async_mode="threading", env=env) as one, hazoom(async_mode="eventlet", env=env) as other:
            room = unique("team")
            ann, bob = in_room(client, one, room), in_room(client, other, room)
            answer = Gated(backend, ann, room=room)
            answer.release(2)
            for socket in (ann, bob):
                answer.wait_for_tokens(socket, 2)
            redis.stop()
            answer.release(3)
            answer.wait_for_tokens(ann, 5)
            wait_until(lambda: not one.is_ready() and not other.is_ready(), "both miss Redis")
            redis.go_on()
            answer.wait_for_tokens(bob, 5)
            wait_until(lambda: one.is_ready() and other.is_ready(), "both have Redis")
            answer.release_all()
            assert bob.wait_for("llm_complete")["response"] == answer.text(bob) == ANSWER
            assert [event["index"] for event in answer.tokens(bob)] == list(range(len(TOKENS)))


def test_what_failed_while_its_process_was_paused_stays_so_and_its_clients_are_its_own_again(
    environment: dict[str, str], two: tuple[Hazoom, Hazoom], backend: Backend, client: OfficialClient
) -> None:
    room, name = unique("team"), unique("Ann")
    paused, other = two
    ann, cid = in_room(client, paused, room, user_name=name), in_room(client, paused, room)
    bob, tab = in_room(client, other, room), client.connect(other.url, auth={"user_name": name})
    shared, private = Gated(backend, ann, room=room), Gated(backend, ann, request_id=unique("request"))
    waiting, hasty = Gated(backend, ann, room=room), Gated(backend, cid, room=room)
    assert tab.emit("llm_resume", {"request_id": private.id, "index": 0})["ok"]
    for answer, socket in ((shared, bob), (hasty, bob), (private, tab)):
        answer.release(2)
        answer.wait_for_tokens(socket, 2)
    process = name_of(paused)
    os.kill(paused.child.process.pid, signal.SIGSTOP)
    try:
        end_lease(environment, process)
        for answer in (shared, hasty):
            bob.wait_for("new_message", partial(is_record, answer))
        hasty.release_all()  # its end waits for who goes on, before that knows anything
    finally:
        os.kill(paused.child.process.pid, signal.SIGCONT)
    everybody = (ann, cid, bob)
    readers = {shared: everybody, waiting: everybody, hasty: everybody, private: (ann, tab)}
    errors = []
    for answer, sockets in readers.items():
        for socket in sockets:
            socket.wait_for("llm_error", lambda event, answer=answer: event["request_id"] == answer.id)
            errors += of(answer, socket, "llm_error")
    assert {(error["code"], error["message"], error["retry"]) for error in errors} == {
        ("llm_failed", errors[0]["message"], True)
    }
    assert len(errors) == 11, "each has told it once"
    for answer in (shared, private):
        answer.release_all()
    last = [Gated(backend, ann, room=room) for _ in range(STREAMS_PER_USER)]  # the slots are free
    for answer in last:
        answer.release_all()
        for socket in (ann, bob):
            socket.wait_for("llm_complete", lambda event, answer=answer: event["request_id"] == answer.id)
    for socket in (ann, cid, bob, tab):
        assert {event["request_id"] for event in socket.received("llm_complete")} <= {answer.id for answer in last}
    bob.wait_for("new_message", partial(is_record, waiting))  # which nobody else has known
    kept = [entry for entry in bob.emit("get_history", {"room": room})["messages"] if entry.get("kind") == "assistant"]
    assert sorted((entry["request_id"], entry["finish_reason"]) for entry in kept) == sorted(
        [(answer.id, "failed") for answer in (shared, waiting, hasty)] + [(answer.id, "stop") for answer in last]
    )
    # Others had taken over the sessions of its clients too. Where these are since, is kept again.
    assert ann.emit("join_room", {"room": unique("later")})["ok"]
    back = client.connect(other.url, auth={"user_name": name, **ann.session()})
    [status] = back.received("status")
    assert status["recovered"]
    assert len(status["rooms"]) == 3


def test_when_a_process_dies_who_gets_its_answers_is_told_that_they_failed_and_the_room_keeps_it_once(
    environment: dict[str, str], two: tuple[Hazoom, Hazoom], backend: Backend, client: OfficialClient
) -> None:
    room, name = unique("team"), unique("Ann")
    bob = in_room(client, two[0], room)
    tab, other = client.connect(two[1].url, auth={"user_name": name}), client.connect(two[1].url, auth={"user_name": name})
    with ExitStack() as stack, hazoom(env=environment) as third:
        ann = in_room(client, third, room, user_name=name)
        shared, private = Gated(backend, ann, room=room), Gated(backend, ann, request_id=unique("request"))
        living = Gated(backend, bob, room=room)
        for answer, socket in ((shared, bob), (private, ann), (living, bob)):
            answer.release(2)
            answer.wait_for_tokens(socket, 2)
        assert tab.emit("llm_resume", {"request_id": private.id, "index": 0})["ok"]
        private.wait_for_tokens(tab, 2)
        session, process = ann.session(), name_of(third)
        third.child.kill()
        back = client.connect(two[0].url, auth={"user_name": name, **session})
        assert back.received("status")[0]["recovered"]
        # It may have heard of this one, and is not judged yet.
        assert other.emit("llm_resume", {"request_id": private.id, "index": 0})["ok"]
        # One that comes now is no reason to think that those which run have ended.
        fourth = stack.enter_context(hazoom(env=environment))
        late = in_room(client, fourth, room)
        end_lease(environment, process)
        told = [(bob, shared), (late, shared), (tab, private), (other, private), (back, shared), (back, private)]
        for socket, answer in told:
            error = socket.wait_for("llm_error", lambda event, answer=answer: event["request_id"] == answer.id)
            assert (error["code"], error["retry"]) == ("llm_failed", True)
        for socket in (bob, late):
            socket.wait_for("new_message", lambda entry: entry.get("finish_reason") == "failed")
        living.release_all()
        for socket in (bob, late):
            assert socket.wait_for("llm_complete")["request_id"] == living.id
        kept = [entry for entry in late.emit("get_history", {"room": room})["messages"] if entry.get("kind") == "assistant"]
        assert [(entry["request_id"], entry["finish_reason"], entry["message"]) for entry in kept] == [
            (shared.id, "failed", "".join(TOKENS[:2])),
            (living.id, "stop", ANSWER),
        ]
        # Who has not heard of it may ask it again, under the same id.
        new = client.connect(fourth.url, auth={"user_name": name})
        again = Gated(backend, new, request_id=private.id)
        again.release_all()
        assert new.wait_for("llm_complete")["response"] == ANSWER
        assert [len(socket.received("llm_error")) for socket in (bob, late, tab, other, back)] == [1, 1, 1, 1, 2]
