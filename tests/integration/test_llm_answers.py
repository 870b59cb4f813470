"""An AI answer outlives the connections that watch it: shared with latecomers, resumed, slowed down, and ended in time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from gated_answers import ANSWER, TOKENS, Gated
from servers import Backend, Hazoom, OfficialClient, django_runserver, free_port, hazoom, unique, wait_until
from tcp_proxy import TcpProxy, tcp_proxy

# No upgrade: cut off in the middle of one, the official client notices by the heartbeat only.
QUICKLY = {"reconnectionDelay": 20, "reconnectionDelayMax": 100, "transports": ["websocket"]}


@pytest.fixture(scope="module")
def server(async_mode: str, backend: Backend) -> Iterator[Hazoom]:
    with hazoom(async_mode=async_mode, llm_url=backend.url, env={"HAZOOM_LLM_RESUME_LIMIT_BYTES": "100000"}) as server:
        yield server


@pytest.fixture
def proxy(server: Hazoom) -> Iterator[TcpProxy]:
    with tcp_proxy(server.port) as proxy:
        yield proxy


# Shared


@pytest.mark.parametrize("namespaces", [("/", "/"), ("/rooms", "/llm")])
def test_who_joins_in_the_middle_gets_the_text_so_far_and_then_the_rest(
    server: Hazoom, backend: Backend, client: OfficialClient, namespaces: tuple[str, str]
) -> None:
    room = unique("team")
    asker = client.connect(server.url)
    asker.emit("join_room", {"room": room})
    answer = Gated(backend, asker, room=room)
    answer.release(5)
    answer.wait_for_tokens(asker, 5)
    joiner = watcher = client.connect(server.url, namespaces[0])
    if namespaces[1] != namespaces[0]:
        watcher = joiner.open_namespace(namespaces[1])
    joiner.emit("join_room", {"room": room})
    snapshot = {"token": "".join(TOKENS[:5]), "request_id": answer.id, "index": 0, "room": room, "snapshot": True}
    assert watcher.wait_for("llm_token") == snapshot
    joiner.emit("join_room", {"room": room})
    answer.release_all()
    for user in (watcher, asker):
        user.wait_for("llm_complete")
    assert [event["index"] for event in answer.tokens(watcher)] == [0, 0, *range(5, len(TOKENS))]
    assert answer.text(watcher) == answer.text(asker) == ANSWER
    assert all("snapshot" not in event for event in answer.tokens(asker))
    late = client.connect(server.url)
    assert late.emit("join_room", {"room": room})["messages"][-1]["message"] == ANSWER
    late.emit("get_stats")
    assert late.received("llm_token") == []


def test_an_answer_in_the_default_room_is_shown_to_who_connects(
    server: Hazoom, backend: Backend, client: OfficialClient
) -> None:
    asker = client.connect(server.url)
    answer = Gated(backend, asker, room="general")
    answer.release(2)
    answer.wait_for_tokens(asker, 2)
    late = client.connect(server.url)
    answer.wait_for_tokens(late, 2)
    answer.release_all()
    for user in (asker, late):
        user.wait_for("llm_complete")
        assert answer.text(user) == ANSWER


# Resumed


def test_a_reloaded_page_of_the_same_user_resumes_an_answer_where_it_wants(
    server: Hazoom, backend: Backend, client: OfficialClient
) -> None:
    name = unique("Ann")
    tab = client.connect(server.url, auth={"user_name": name})
    stranger = client.connect(server.url)
    answer = Gated(backend, tab)
    answer.release(4)
    answer.wait_for_tokens(tab, 4)
    tab.disconnect()
    answer.release(3)
    reloaded = client.connect(server.url, auth={"user_name": name})
    resume = {"request_id": answer.id, "index": 2}
    assert stranger.emit("llm_resume", resume)["error"]["code"] == "forbidden"
    assert stranger.emit("llm_resume", {"request_id": "unknown", "index": 0})["error"]["code"] == "not_found"
    error = reloaded.emit("llm_resume", {"request_id": answer.id, "index": 99})["error"]
    assert (error["code"], error["message"][:6]) == ("bad_payload", "index:")
    assert reloaded.emit("llm_resume", resume) == {"ok": True, "request_id": answer.id}
    wait_until(lambda: "".join(event["token"] for event in answer.tokens(reloaded)) == "".join(TOKENS[2:7]), "the rest")
    assert answer.tokens(reloaded)[0]["index"] == 2
    answer.release_all()
    assert reloaded.wait_for("llm_complete")["response"] == ANSWER
    assert "".join(event["token"] for event in answer.tokens(reloaded)) == "".join(TOKENS[2:])
    assert stranger.received("llm_token") == []


def test_an_answer_that_has_ended_can_still_be_resumed(server: Hazoom, backend: Backend, client: OfficialClient) -> None:
    user = client.connect(server.url)
    request_id = user.emit("llm_request", {"message": "plain"})["request_id"]
    complete = user.wait_for("llm_complete")
    before = len(user.received("llm_token"))
    assert user.emit("llm_resume", {"request_id": request_id, "index": 10})["ok"]
    client.wait(lambda: len(user.received("llm_complete")) == 2, "it is told again")
    assert user.received("llm_complete") == [complete, complete]
    assert [event["token"] for event in user.received("llm_token")[before:]] == ["".join(TOKENS[10:])]


def test_the_oldest_answers_go_when_all_that_have_ended_take_too_much(
    server: Hazoom, backend: Backend, client: OfficialClient
) -> None:
    user = client.connect(server.url)
    first = user.emit("llm_request", {"message": "plain"})["request_id"]
    user.wait_for("llm_complete")
    huge = user.emit("llm_request", {"message": "do:huge"})["request_id"]
    user.wait_for("llm_complete", lambda event: event["request_id"] == huge)
    assert user.emit("llm_resume", {"request_id": first, "index": 0})["error"]["code"] == "not_found"


def test_a_client_that_drops_gets_what_it_missed_of_its_answer_with_no_code_of_its_own(
    server: Hazoom, backend: Backend, client: OfficialClient, proxy: TcpProxy
) -> None:
    user = client.connect(proxy.url, **QUICKLY)
    answer = Gated(backend, user)
    answer.release(2)
    answer.wait_for_tokens(user, 2)
    for number in (2, 5, 8):
        proxy.go_down()
        user.wait_for("disconnect")
        answer.release(3)
        proxy.come_up()
        answer.wait_for_tokens(user, number + 3)
    proxy.go_down()
    user.wait_for("disconnect")
    answer.release_all()
    wait_until(lambda: server.stats()["llm"]["active"] == 0, "the answer has ended")
    proxy.come_up()
    complete = user.wait_for("llm_complete")
    assert complete["response"] == ANSWER
    events = answer.tokens(user)
    assert "".join(event["token"] for event in events) == ANSWER
    assert [event["index"] for event in events] == sorted({event["index"] for event in events})
    assert len(user.received("llm_complete")) == 1
    assert all(event["recovered"] for event in user.received("connect")[1:])


def test_a_member_of_a_room_that_drops_gets_what_it_missed_of_a_shared_answer(
    server: Hazoom, backend: Backend, client: OfficialClient, proxy: TcpProxy
) -> None:
    room = unique("team")
    asker, user = client.connect(server.url), client.connect(proxy.url, **QUICKLY)
    for member in (asker, user):
        member.emit("join_room", {"room": room})
    answer = Gated(backend, asker, room=room)
    answer.release(3)
    answer.wait_for_tokens(user, 3)
    proxy.go_down()
    user.wait_for("disconnect")
    answer.release(3)
    answer.wait_for_tokens(asker, 6)
    asker.emit("message", {"room": room, "message": "in between"})
    answer.release(2)
    answer.wait_for_tokens(asker, 8)
    proxy.come_up()
    answer.wait_for_tokens(user, 8)
    answer.release_all()
    assert user.wait_for("llm_complete")["response"] == ANSWER
    assert "".join(event["token"] for event in answer.tokens(user)) == ANSWER
    assert [event["index"] for event in answer.tokens(user)][3:5] == [3, 6]
    messages = [event["message"] for event in user.received("new_message")]
    assert messages == [answer.message, "in between", ANSWER]


def test_an_answer_that_ended_with_the_server_is_said_to_have_failed_and_one_that_ended_before_is_not(
    async_mode: str, backend: Backend, client: OfficialClient, tmp_path: Path
) -> None:
    env = {"HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3"}
    port = free_port()
    with hazoom(async_mode=async_mode, llm_url=backend.url, env=env, port=port) as server:
        user = client.connect(server.url, **QUICKLY)
        member = client.connect(server.url, **QUICKLY)
        over_llm = user.open_namespace("/llm")
        user.emit("llm_request", {"message": "plain"})
        user.wait_for("llm_complete")
        private, shared = Gated(backend, user), Gated(backend, user, room="general")
        for answer in (private, shared):
            answer.release(2)
            answer.wait_for_tokens(user, 2)
        shared.wait_for_tokens(member, 2)
        assert user.emit("message", {"message": "kept"})["ok"]
        server.child.kill()
    with hazoom(async_mode=async_mode, llm_url=backend.url, env=env, port=port):
        errors = [user.wait_for("llm_error") for _ in range(2)]
        assert [over_llm.wait_for("llm_error") for _ in range(2)] == errors
        assert {error["request_id"] for error in errors} == {private.id, shared.id}
        assert {(error["code"], error["retry"]) for error in errors} == {("llm_failed", True)}
        assert {error["request_id"]: error.get("room") for error in errors} == {private.id: None, shared.id: "general"}
        assert "restarted" in errors[0]["message"]
        error = member.wait_for("llm_error")
        assert (error["request_id"], error["code"], error["room"]) == (shared.id, "llm_failed", "general")
        assert user.emit("llm_resume", {"request_id": private.id, "index": 2})["error"]["code"] == "not_found"
        assert user.emit("llm_request", {"message": "plain"})["ok"]
        user.wait_for("llm_complete")
        assert [len(socket.received("llm_error")) for socket in (user, member)] == [2, 1]
    for answer in (private, shared):
        answer.release_all()


def ends(messages: list[dict]) -> dict[str, tuple]:
    """Return what a page says of the ends of answers, by request."""
    return {
        entry["request_id"]: (entry["message"], entry.get("finish_reason"), entry.get("code"))
        for entry in messages
        if entry.get("kind") == "assistant"
    }


def test_history_tells_answers_that_died_with_the_server_from_those_that_were_whole_or_stopped(
    async_mode: str, backend: Backend, client: OfficialClient, tmp_path: Path
) -> None:
    env = {"HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3"}
    port = free_port()
    with hazoom(async_mode=async_mode, llm_url=backend.url, env=env, port=port) as server:
        asker, member = client.connect(server.url), client.connect(server.url, **QUICKLY)
        unrecoverable = client.connect(server.url, auth={"recover": False})
        whole = asker.emit("llm_request", {"message": "plain", "room": "general"})["request_id"]
        asker.wait_for("llm_complete")
        stopped = Gated(backend, asker, room="general")
        stopped.release(1)
        stopped.wait_for_tokens(asker, 1)
        asker.emit("llm_cancel", {"request_id": stopped.id})
        asker.wait_for("llm_complete")
        running, pending = Gated(backend, asker, room="general"), Gated(backend, unrecoverable, room="general")
        running.release(2)
        running.wait_for_tokens(member, 2)
        asker.disconnect()  # nobody's session knows of its answer any more
        assert member.emit("message", {"message": "kept"})["ok"]
        messages = member.emit("get_history", {})["messages"]
        assert ends(messages) == {whole: (ANSWER, "stop", None), stopped.id: (TOKENS[0], "cancelled", None)}
        server.child.kill()
    lost = ("", "failed", "llm_failed")
    expected = {whole: (ANSWER, "stop", None), stopped.id: (TOKENS[0], "cancelled", None)}
    expected |= {running.id: lost, pending.id: lost}
    for _ in range(2):
        with hazoom(async_mode=async_mode, llm_url=backend.url, env=env, port=port) as server:
            late = client.connect(server.url)
            messages = late.emit("get_history", {"limit": 500})["messages"]
            assert ends(messages) == expected
            assert [entry["user"] for entry in messages if entry.get("code")] == ["Assistant"] * 2
            errors = [member.wait_for("llm_error") for _ in range(2)] if not member.received("llm_error") else []
            assert {error["request_id"] for error in errors} in ({running.id, pending.id}, set())
            member.wait_for("status")
            late.disconnect()
            server.child.kill()
    told = ends([event for event in member.received("new_message") if event.get("code")])
    assert told == {running.id: lost, pending.id: lost}
    assert len(member.received("llm_error")) == 2
    for answer in (running, pending):
        answer.release_all()


# Slow readers


def test_nobody_who_can_take_more_pauses_reading_and_nothing_is_lost_or_piles_up(
    async_mode: str, backend: Backend, client: OfficialClient
) -> None:
    env = {"HAZOOM_OUTBOX_LIMIT_BYTES": "300000", "HAZOOM_LLM_RESPONSE_LIMIT_BYTES": "1000000000"}
    with hazoom(async_mode=async_mode, llm_url=backend.url, env=env) as server, tcp_proxy(server.port) as proxy:
        user = client.connect(proxy.url, **QUICKLY)
        flood = unique("flood")
        proxy.stall()
        user.send("llm_request", {"message": f"do:flood {flood}", "request_id": flood})
        counts = [0]

        def is_paused() -> bool:
            counts.append(server.stats()["llm"]["tokens_total"])
            return len(set(counts[-50:])) == 1 and backend.sent(flood) > counts[-1] > 0

        wait_until(is_paused, "what Django has sent is not read")
        neighbour = client.connect(server.url)
        assert neighbour.emit("message", {"message": "hi"})["ok"]
        stopped_at = backend.sent(flood)
        proxy.resume()
        wait_until(lambda: backend.sent(flood) > stopped_at + 1000, "reading goes on")
        user.emit("llm_cancel", {"request_id": flood})
        complete = user.wait_for("llm_complete")
        events = user.received("llm_token")
        assert "".join(event["token"] for event in events) == complete["response"]
        numbers = [int(text) for text in complete["response"].replace(".", " ").split()]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) == complete["token_count"]
        assert all(event["token"].startswith(f"{event['index']}.") for event in events)
        assert len(events) < len(numbers), "tokens that waited were joined"
        assert user.received("disconnect") == []


# Django


def test_django_killed_amid_tokens_ends_the_answer_and_closes_the_circuit_until_it_is_back(
    async_mode: str, client: OfficialClient
) -> None:
    port = free_port()
    env = {"HAZOOM_LLM_CIRCUIT_FAILURES_COUNT": "2", "HAZOOM_LLM_CIRCUIT_PAUSE_S": "1.5"}
    url = f"http://127.0.0.1:{port}"
    with hazoom(async_mode=async_mode, llm_url=url, env=env) as server:
        user = client.connect(server.url, auth={"user_name": "Ann"})
        with django_runserver(port) as backend:
            answer = Gated(backend, user)
            answer.release(3)
            answer.wait_for_tokens(user, 3)
        error = user.wait_for("llm_error")
        assert (error["request_id"], error["code"], error["retry"]) == (answer.id, "llm_failed", True)
        for _ in range(2):
            assert user.emit("llm_request", {"message": "plain"})["ok"]
            assert user.wait_for("llm_error")["code"] == "llm_unavailable"
        refused = user.emit("llm_request", {"message": "plain", "room": "general"})["error"]
        assert (refused["code"], refused["retry"]) == ("llm_unavailable", True)
        llm = server.stats()["llm"]
        assert (llm["circuit"], llm["active"]) == ("open", 0)
        assert llm["failures_total"] == {"llm_failed": 1, "llm_unavailable": 2}
        assert abs(llm["retry_at"] - refused["retry_at"]) < 1
        assert requests.get(f"{server.url}/ready", timeout=20).status_code == requests.codes.ok
        assert user.emit("message", {"message": "chat works"})["ok"]
        assert user.received("new_message")[-1]["message"] == "chat works"
        with django_runserver(port):

            def is_answered() -> bool:
                if not user.emit("llm_request", {"message": "plain"})["ok"]:
                    return False
                return user.wait_for("llm_complete")["response"] == ANSWER

            wait_until(is_answered, "the circuit is closed again")
            assert server.stats()["llm"]["circuit"] == "closed"
            assert "retry_at" not in server.stats()["llm"]
