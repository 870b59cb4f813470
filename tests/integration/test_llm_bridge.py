"""AI answers from a real Django: under runserver (not chunked) and gunicorn (chunked), through to the official client."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from servers import Backend, Hazoom, OfficialClient, Socket, free_port, hazoom, unique, wait_until

TOKENS = ["Grüße", " aus", "  dem", " Café", ":\n", "🦆", " \t", "👩‍🚀", "日本", "語 ", "<b>fett</b>", "."]
ANSWER = "".join(TOKENS)
ADDRESS = re.compile(r"\d+\.\d+\.\d+|localhost|https?:|:\d{2,}|port|host|\d{4,}|Traceback|Error\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def server(async_mode: str, backend: Backend) -> Iterator[Hazoom]:
    with hazoom(async_mode=async_mode, llm_url=backend.url) as server:
        yield server


def ask(user: Socket, message: str, **fields: object) -> str:
    """Ask the AI and return the request's id."""
    accepted = user.emit("llm_request", {"message": message, **fields})
    assert accepted["ok"], accepted
    return accepted["request_id"]


def assert_answered(user: Socket, request_id: str) -> dict:
    complete = user.wait_for("llm_complete", lambda event: event["request_id"] == request_id)
    tokens = [event for event in user.received("llm_token") if event["request_id"] == request_id]
    assert [event["token"] for event in tokens] == TOKENS
    assert [event["index"] for event in tokens] == list(range(len(TOKENS)))
    assert complete["response"] == ANSWER
    assert (complete["message"], complete["finish_reason"]) == ("Response complete", "stop")
    assert complete["token_count"] == len(TOKENS)
    assert 0 <= complete["ttft_ms"] <= complete["duration_ms"]
    return complete


def assert_failed(user: Socket, request_id: str, code: str) -> dict:
    """Check that the request ends in one llm_error with a safe text, and that nothing of it is left."""
    error = user.wait_for("llm_error")
    assert (error["request_id"], error["code"]) == (request_id, code)
    assert not ADDRESS.search(error["message"].replace("(HTTP 500)", "").replace("(HTTP 400)", "")), error["message"]
    assert user.emit("get_stats")["llm"]["active"] == 0
    assert [user.received(event) for event in ("llm_error", "llm_complete", "llm_response")] == [[error], [], []]
    return error


# Streams


@pytest.mark.parametrize("offered", [["websocket"], ["polling"]], ids=["websocket", "polling"])
def test_each_token_arrives_before_django_writes_the_next_one(
    server: Hazoom, backend: Backend, client: OfficialClient, offered: list[str]
) -> None:
    user = client.connect(server.url, transports=offered)
    gate = unique("gate")
    request_id = ask(user, f"do:gated {gate}")
    for index, token in enumerate(TOKENS):
        backend.release(gate)
        assert user.wait_for("llm_token") == {"token": token, "request_id": request_id, "index": index}
        assert len(user.received("llm_token")) == index + 1
        assert user.received("llm_complete") == []
    assert user.emit("get_stats")["llm"]["active"] == 1
    backend.release(gate)
    assert_answered(user, request_id)
    assert user.emit("get_stats")["llm"]["active"] == 0


def test_two_answers_at_once_do_not_mix(server: Hazoom, backend: Backend, client: OfficialClient) -> None:
    user = client.connect(server.url)
    gates = [unique("gate"), unique("gate")]
    requests = [ask(user, f"do:gated {gate}", request_id=unique("mine")) for gate in gates]
    for index, token in enumerate(TOKENS):
        for gate, request_id in zip(gates, requests, strict=True):
            backend.release(gate)
            assert user.wait_for("llm_token") == {"token": token, "request_id": request_id, "index": index}
    for gate, request_id in zip(reversed(gates), reversed(requests), strict=True):
        backend.release(gate)
        assert_answered(user, request_id)


def test_an_answer_without_a_stream_comes_whole(server: Hazoom, client: OfficialClient) -> None:
    user = client.connect(server.url)
    request_id = ask(user, "plain", stream=False, intelligence_level="quantum", session_id="mine")
    expected = {"response": ANSWER, "intelligence_level": "quantum", "request_id": request_id, "session_id": "mine"}
    assert user.wait_for("llm_response") == expected
    complete = user.wait_for("llm_complete")
    assert {name: complete[name] for name in expected} == expected
    assert user.received("llm_token") == []


def test_a_token_of_a_megabyte_is_relayed(server: Hazoom, client: OfficialClient) -> None:
    user = client.connect(server.url)
    ask(user, "do:huge")
    assert len(user.wait_for("llm_token")["token"]) == 1_000_000
    assert user.wait_for("llm_complete")["token_count"] == 1


def test_the_endpoint_without_session_ids_works_too(async_mode: str, backend: Backend, client: OfficialClient) -> None:
    with hazoom(async_mode=async_mode, llm_url=backend.chat_url_without_session_ids) as server:
        user = client.connect(server.url)
        message = unique("plain")
        complete = assert_answered(user, ask(user, message))
        assert complete["session_id"] == backend.received(message)[0]["body"]["session_id"]


# What Django is told


def test_django_is_told_what_was_asked_and_by_whom(server: Hazoom, backend: Backend, client: OfficialClient) -> None:
    user = client.connect(server.url, auth={"user_name": "Ada Lovelace"})
    message = unique("Wie heißt Du? 🦆")
    assert_answered(user, ask(user, message, intelligence_level="nano", session_id="my own"))
    [request] = backend.received(message)
    assert request["body"] == {
        "message": message,
        "stream": True,
        "intelligence_level": "nano",
        "session_id": "my own",
        "user_identifier": "Ada Lovelace",
    }


def test_a_connection_keeps_its_conversation_and_shares_it_with_nobody(
    server: Hazoom, backend: Backend, client: OfficialClient
) -> None:
    conversations = []
    for _ in range(3):
        user = client.connect(server.url, auth={"user_name": "Namesake"})
        over_llm = user.open_namespace("/llm")
        sessions = set()
        for asker in (user, over_llm, user):
            message = unique("plain")
            sessions.add(assert_answered(asker, ask(asker, message))["session_id"])
            [request] = backend.received(message)
            sessions.add(request["body"]["session_id"])
            assert request["cookie"] is None, "a cookie of an earlier answer went back"
        assert len(sessions) == 1
        conversations += sessions
    assert len(set(conversations)) == 3


# Rooms


def test_an_answer_for_a_room_is_seen_by_all_and_kept_in_its_history(
    server: Hazoom, backend: Backend, client: OfficialClient
) -> None:
    room, gate = unique("team"), unique("gate")
    asker = client.connect(server.url, auth={"user_name": "Asker"})
    reader = client.connect(server.url, "/rooms")
    reader_llm = reader.open_namespace("/llm")
    outsider = client.connect(server.url)
    for member in (asker, reader):
        member.emit("join_room", {"room": room})
    question = f"do:gated {gate}"
    request_id = ask(asker, question, room=room)
    prompt = reader.wait_for("new_message")
    assert [prompt[name] for name in ("user", "message", "kind", "request_id")] == ["Asker", question, "prompt", request_id]
    for index, token in enumerate(TOKENS):
        backend.release(gate)
        for member in (asker, reader_llm):
            expected = {"token": token, "request_id": request_id, "index": index, "room": room}
            assert member.wait_for("llm_token") == expected
    backend.release(gate)
    for member in (asker, reader_llm):
        assert assert_answered(member, request_id)["room"] == room
    answer = reader.wait_for("new_message")
    assert [answer[name] for name in ("message", "kind", "request_id")] == [ANSWER, "assistant", request_id]

    latecomer = client.connect(server.url)
    messages = latecomer.emit("join_room", {"room": room})["messages"]
    assert messages == [prompt, answer]
    assert [message["seq"] for message in messages] == sorted(message["seq"] for message in messages)
    outsider.emit("get_stats")
    assert [outsider.received(event) for event in ("llm_token", "llm_complete", "new_message")] == [[], [], []]


def test_a_room_gets_its_answer_even_if_the_asker_is_gone(server: Hazoom, backend: Backend, client: OfficialClient) -> None:
    room, gate = unique("team"), unique("gate")
    asker, reader = client.connect(server.url), client.connect(server.url)
    for member in (asker, reader):
        member.emit("join_room", {"room": room})
    request_id = ask(asker, f"do:gated {gate}", room=room)
    asker.disconnect()
    reader.wait_for("user_left", lambda left: left["room"] == room)
    for _ in range(len(TOKENS) + 1):
        backend.release(gate)
    assert_answered(reader, request_id)


def test_an_answer_is_given_up_when_its_user_is_gone_for_longer_than_the_grace(
    async_mode: str, backend: Backend, client: OfficialClient
) -> None:
    with hazoom(async_mode=async_mode, llm_url=backend.url, env={"HAZOOM_LLM_USER_GRACE_S": "0.5"}) as server:
        tab = client.connect(server.url, auth={"user_name": "Ann"})
        other_tab = client.connect(server.url, auth={"user_name": "Ann"})
        message = f"do:endless {unique('stream')}"
        ask(tab, message)
        tab.wait_for("llm_token")
        tab.disconnect()
        wait_until(lambda: server.stats()["total_connections"] == 1, "the tab is closed")
        assert message in backend.open_streams()
        other_tab.disconnect()
        wait_until(lambda: server.stats()["llm"]["active"] == 0, "the server has given up")
        wait_until(lambda: message not in backend.open_streams(), "Django's stream is closed")


# Stopping


@pytest.mark.parametrize(
    ("message", "stream", "token_count"),
    [
        ("do:gated {name}", True, 1),
        ("do:stall next token", True, 1),
        ("do:stall first token", True, 0),
        ("do:stall headers", True, 0),
        ("do:stall headers", False, 0),
    ],
)
def test_an_answer_ends_when_its_asker_says_so_with_what_there_is_of_it(
    server: Hazoom, backend: Backend, client: OfficialClient, message: str, stream: bool, token_count: int
) -> None:
    user = client.connect(server.url)
    name = unique("gate")
    message = message.format(name=name)
    before = len(backend.received(message))
    request_id = ask(user, message, stream=stream)
    wait_until(lambda: len(backend.received(message)) > before, "Django has the question")
    if token_count:
        backend.release(name)
        user.wait_for("llm_token")
    assert user.emit("llm_cancel", {"request_id": request_id}) == {"ok": True, "request_id": request_id}
    complete = user.wait_for("llm_complete")
    assert (complete["request_id"], complete["finish_reason"]) == (request_id, "cancelled")
    assert complete["token_count"] == token_count
    assert complete["response"] == "".join(event["token"] for event in user.received("llm_token"))
    assert user.emit("get_stats")["llm"]["active"] == 0
    assert user.emit("llm_cancel", {"request_id": request_id})["error"]["code"] == "not_found"
    assert_answered_next(user)
    assert len(user.received("llm_complete")) == 2
    assert user.received("llm_error") == []


def assert_answered_next(user: Socket) -> None:
    complete_count = len(user.received("llm_complete"))
    request_id = ask(user, "plain")
    complete = user.wait_for("llm_complete", lambda event: event["request_id"] == request_id)
    assert (complete["response"], complete["finish_reason"]) == (ANSWER, "stop")
    assert len(user.received("llm_complete")) == complete_count + 1


@contextmanager
def full_backend() -> Iterator[str]:
    """Listen, with a queue of connections that is full: to connect takes until the time-out."""
    with ExitStack() as queue:
        listener = queue.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_who_stops_a_question_waits_for_no_connection_but_its_place_does(async_mode: str, client: OfficialClient) -> None:
    env = {"HAZOOM_LLM_CONNECT_TIMEOUT_S": "300", "HAZOOM_LLM_STREAMS_PER_USER_LIMIT": "1"}
    with full_backend() as url, hazoom(async_mode=async_mode, llm_url=url, env=env) as server:
        user = client.connect(server.url)
        first = ask(user, "plain")
        assert user.emit("llm_cancel", {"request_id": first})["ok"]
        complete = user.wait_for("llm_complete")
        assert (complete["request_id"], complete["finish_reason"]) == (first, "cancelled")
        second = ask(user, "plain")
        assert user.wait_for("llm_queued") == {"request_id": second, "position": 1}
        assert user.emit("get_stats")["llm"]["active"] == 1
        assert user.emit("llm_cancel", {"request_id": second})["ok"]
        assert user.wait_for("llm_complete")["request_id"] == second


def test_django_sees_the_closed_connection_of_an_answer_that_was_stopped(
    server: Hazoom, backend: Backend, client: OfficialClient
) -> None:
    user = client.connect(server.url)
    message = f"do:endless {unique('stream')}"
    request_id = ask(user, message)
    user.wait_for("llm_token")
    assert message in backend.open_streams()
    user.emit("llm_cancel", {"request_id": request_id})
    user.wait_for("llm_complete")
    wait_until(lambda: message not in backend.open_streams(), "Django's stream is closed")


def test_an_answer_is_stopped_by_its_asker_only(server: Hazoom, backend: Backend, client: OfficialClient) -> None:
    room, gate = unique("team"), unique("gate")
    asker, other = client.connect(server.url), client.connect(server.url)
    for user in (asker, other):
        user.emit("join_room", {"room": room})
    request_id = ask(asker, f"do:gated {gate}", room=room)
    backend.release(gate)
    other.wait_for("llm_token")
    assert other.emit("llm_cancel", {"request_id": request_id})["error"]["code"] == "forbidden"
    assert other.emit("llm_cancel", {"request_id": "unknown"})["error"]["code"] == "not_found"
    assert other.emit("llm_cancel", {})["error"]["code"] == "bad_payload"
    assert asker.emit("llm_cancel", {"request_id": request_id})["ok"] is True
    complete = other.wait_for("llm_complete")
    assert (complete["finish_reason"], complete["response"]) == ("cancelled", TOKENS[0])
    kept = other.emit("get_history", {"room": room})["messages"]
    assert [(entry["kind"], entry["message"]) for entry in kept][1:] == [("assistant", TOKENS[0])]


def test_asking_into_a_room_one_is_not_in_is_refused(server: Hazoom, backend: Backend, client: OfficialClient) -> None:
    user = client.connect(server.url)
    message = unique("plain")
    refused = user.emit("llm_request", {"message": message, "room": "elsewhere"})
    assert refused["error"]["code"] == "not_in_room"
    assert backend.received(message) == []


# Failures


@pytest.mark.parametrize(
    ("message", "stream", "code"),
    [
        ("do:html", True, "llm_failed"),
        ("do:html", False, "llm_failed"),
        ("do:status 400", True, "llm_failed"),
        ("do:status 500", True, "llm_failed"),
        ("do:status 500", False, "llm_failed"),
        ("do:status 503", True, "llm_unavailable"),
        ("do:redirect", True, "llm_failed"),
        ("do:error event", True, "llm_failed"),
        ("do:no end", True, "llm_failed"),
        ("do:close", True, "llm_failed"),
        ("do:invalid json", True, "llm_failed"),
        ("do:not an object", True, "llm_failed"),
        ("do:not an object", False, "llm_failed"),
    ],
)
def test_what_goes_wrong_at_django_ends_in_one_safe_error_and_the_next_question_is_answered(
    server: Hazoom, client: OfficialClient, message: str, stream: bool, code: str
) -> None:
    user = client.connect(server.url)
    assert_failed(user, ask(user, message, stream=stream), code)
    assert_answered(user, ask(user, "plain"))
    assert len(user.received("llm_error")) == 1


@pytest.mark.parametrize(
    ("message", "stream", "setting", "waited_for"),
    [
        ("do:stall headers", True, "FIRST_TOKEN", "the first token"),
        ("do:stall first token", True, "FIRST_TOKEN", "the first token"),
        ("do:stall next token", True, "IDLE", "the next token"),
        ("do:endless total", True, "TOTAL", "the whole answer"),
        ("do:stall headers", False, "TOTAL", "its answer"),
    ],
)
def test_what_takes_too_long_ends_in_a_timeout_that_says_what_was_waited_for(
    async_mode: str, backend: Backend, client: OfficialClient, message: str, stream: bool, setting: str, waited_for: str
) -> None:
    with hazoom(async_mode=async_mode, llm_url=backend.url, env={f"HAZOOM_LLM_{setting}_TIMEOUT_S": "0.5"}) as server:
        user = client.connect(server.url)
        error = assert_failed(user, ask(user, message, stream=stream), "llm_timeout")
        assert error["retry"] is True
        assert waited_for in error["message"]
        wait_until(lambda: "do:endless total" not in backend.open_streams(), "Django's stream is closed")


def test_an_answer_over_its_limit_is_cut_off(async_mode: str, backend: Backend, client: OfficialClient) -> None:
    with hazoom(async_mode=async_mode, llm_url=backend.url, env={"HAZOOM_LLM_RESPONSE_LIMIT_BYTES": "2000"}) as server:
        user = client.connect(server.url)
        assert_failed(user, ask(user, "do:endless long"), "llm_failed")
        wait_until(lambda: "do:endless long" not in backend.open_streams(), "Django's stream is closed")


def test_questions_over_the_limit_wait_in_a_queue_that_has_an_end(
    async_mode: str, backend: Backend, client: OfficialClient
) -> None:
    env = {"HAZOOM_LLM_STREAMS_PER_USER_LIMIT": "1", "HAZOOM_LLM_QUEUE_PER_USER_LIMIT": "2"}
    with hazoom(async_mode=async_mode, llm_url=backend.url, env=env) as server:
        user, other = client.connect(server.url), client.connect(server.url)
        gates = [unique("gate") for _ in range(3)]
        requests = [ask(user, f"do:gated {gate}") for gate in gates]
        for request_id, position in zip(requests[1:], (1, 2), strict=True):
            assert user.wait_for("llm_queued") == {"request_id": request_id, "position": position}
        error = user.emit("llm_request", {"message": "plain"})["error"]
        assert (error["code"], error["retry"]) == ("too_many_streams", True)
        assert "1 AI answers running and 2 waiting" in error["message"]
        assert (server.stats()["llm"]["active"], server.stats()["llm"]["queued"]) == (1, 2)
        assert_answered(other, ask(other, "plain"))
        for _ in range(len(TOKENS) + 1):
            backend.release(gates[0])
        assert_answered(user, requests[0])
        assert user.wait_for("llm_queued") == {"request_id": requests[2], "position": 1}
        assert user.emit("llm_cancel", {"request_id": requests[2]})["ok"]
        complete = user.wait_for("llm_complete", lambda event: event["request_id"] == requests[2])
        assert (complete["finish_reason"], complete["response"], complete["token_count"]) == ("cancelled", "", 0)
        assert backend.received(f"do:gated {gates[2]}") == []
        for _ in range(len(TOKENS) + 1):
            backend.release(gates[1])
        complete = assert_answered(user, requests[1])
        assert complete["ttft_ms"] > 0
        assert (server.stats()["llm"]["active"], server.stats()["llm"]["queued"]) == (0, 0)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "no stream"])
def test_a_backend_that_is_down_is_unavailable(async_mode: str, client: OfficialClient, stream: bool) -> None:
    with hazoom(async_mode=async_mode, llm_url=f"http://127.0.0.1:{free_port()}") as server:
        user = client.connect(server.url)
        error = assert_failed(user, ask(user, "plain", stream=stream), "llm_unavailable")
        assert error["retry"] is True


def test_a_backend_that_does_not_accept_connections_is_unavailable(async_mode: str, client: OfficialClient) -> None:
    timeouts = {"HAZOOM_LLM_CONNECT_TIMEOUT_S": "0.5"}
    with deaf_listener() as port, hazoom(async_mode=async_mode, llm_url=f"http://127.0.0.1:{port}", env=timeouts) as server:
        user = client.connect(server.url)
        assert_failed(user, ask(user, "plain"), "llm_unavailable")


@contextmanager
def deaf_listener() -> Iterator[int]:
    """Occupy a port whose queue of connections is full, so that one more is left without an answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting: list[socket.socket] = []
        try:
            while len(waiting) < 2:  # Linux queues one more than the backlog
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for connection in waiting:
                connection.close()


def test_the_demo_answers_and_says_that_it_is_the_demo(async_mode: str, client: OfficialClient) -> None:
    with hazoom(async_mode=async_mode, demo=True) as server:
        user = client.connect(server.url)
        request_id = ask(user, "Are you real?")
        complete = user.wait_for("llm_complete")
        tokens = [event["token"] for event in user.received("llm_token")]
        assert complete["request_id"] == request_id
        assert len(tokens) == complete["token_count"] > 10
        assert "".join(tokens) == complete["response"]
        assert "demo" in complete["response"]
        ask(user, "And whole?", stream=False)
        assert "demo" in user.wait_for("llm_response")["response"]
        assert user.wait_for("llm_complete")["token_count"] == 0


# Traces

TRACE, OTHER_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize("offered", [["websocket"], ["polling"]], ids=["websocket", "polling"])
def test_django_is_told_the_trace_of_the_question_or_of_the_handshake(
    server: Hazoom, backend: Backend, client: OfficialClient, offered: list[str]
) -> None:
    def headers_of(user: Socket, **fields: object) -> dict[str, str]:
        message = unique("Why?")
        ask(user, message, **fields)
        user.wait_for("llm_complete")
        [received] = backend.received(message)
        return received["trace"]

    page = client.connect(server.url, transports=offered)
    assert headers_of(page) == {}
    assert headers_of(page, traceparent="nonsense", tracestate="foo=1") == {}
    named = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1, other=2"}
    first, second = headers_of(page, **named), headers_of(page, **named, stream=False)
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", first["traceparent"])
    assert len({SPAN, first["traceparent"].split("-")[2], second["traceparent"].split("-")[2]}) == 3
    assert first["tracestate"] == "vendor=1,other=2"
    assert headers_of(page) == {}  # it was of one question only

    proxied = {"traceparent": f"00-{OTHER_TRACE}-{SPAN}-00", "tracestate": "proxy=1"}
    behind = client.connect(server.url, transports=offered, extraHeaders=proxied)
    of_handshake = headers_of(behind)
    assert re.fullmatch(rf"00-{OTHER_TRACE}-[0-9a-f]{{16}}-00", of_handshake["traceparent"])
    assert of_handshake["tracestate"] == "proxy=1"
    assert headers_of(behind, traceparent=f"00-{TRACE}-{SPAN}-01")["traceparent"].startswith(f"00-{TRACE}-")
