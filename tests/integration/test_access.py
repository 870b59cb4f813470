"""Who may come in, and what they may see, by the official client: all modes, on both transports and all namespaces."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from identity_provider import IdentityProvider, identity_provider
from minting import SECRET, key_of, token
from servers import DEADLINE_S, Hazoom, OfficialClient, Socket, clean_environment, command_of_hazoom, hazoom, wait_until
from tcp_proxy import tcp_proxy

KEYS = ("a-key-of-a-backend", "another-key-of-it")
NAMESPACES = ("/", "/rooms", "/live", "/yjs|team", "/excalidraw")
QUICKLY = {"reconnectionDelay": 20, "reconnectionDelayMax": 100}
Run = Callable[..., AbstractContextManager[Hazoom]]


@pytest.fixture(params=["websocket", "polling"])
def transport(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"transports": [request.param]}


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def jwt_server(async_mode: str) -> Iterator[Hazoom]:
    env = {"HAZOOM_AUTH": "jwt", "HAZOOM_JWT_SECRET": SECRET, "HAZOOM_RATE_LIMIT_PER_S": "0"}
    with hazoom(async_mode=async_mode, env=env, demo=True) as server:
        yield server
        for secret in (SECRET, "eyJ"):  # which every token begins with
            assert secret not in server.log


def refusal(socket: Socket) -> dict[str, Any]:
    return socket.wait_for("connect_error")["data"]


def test_nobody_comes_in_without_a_token_of_ours(
    jwt_server: Hazoom, client: OfficialClient, transport: dict[str, Any]
) -> None:
    shown = [{}, {"user_name": "Ann"}, {"token": "x"}, {"token": token(lives_s=-60)}, {"token": 7}, {"api_key": KEYS[0]}]
    for namespace in NAMESPACES:
        for auth in shown:
            socket = client.try_to_connect(jwt_server.url, namespace, auth=auth, reconnection=False, **transport)
            report = refusal(socket)
            assert report == {
                "code": "unauthorized",
                "message": "you are not let in",
                "event": "connect",
                "retry": False,
            }, (namespace, auth)
    assert jwt_server.stats()["total_connections"] == 0


def test_a_token_says_who_one_is_on_every_namespace(
    jwt_server: Hazoom, client: OfficialClient, transport: dict[str, Any]
) -> None:
    ann = client.connect(jwt_server.url, auth={"token": token(), "user_name": "Eve"}, **transport)
    assert ann.received("status")[0]["user"] == "Ann"
    ann.emit("message", {"message": "hi", "user_name": "Eve"})
    said = ann.wait_for("new_message")
    assert (said["user"], said["user_id"]) == ("Ann", "ann")
    rooms = ann.open_namespace("/rooms", auth={"token": token(name="Ann B.")})
    assert rooms.received("status")[0]["user"] == "Ann"
    for auth in ({"token": token(sub="bob")}, {}):
        assert refusal(ann.try_to_open_namespace("/llm", auth=auth))["code"] == "unauthorized"
    assert ann.emit("message", {"message": "still here"})["ok"]
    for namespace in ("/yjs|team", "/excalidraw"):
        other = client.try_to_connect(jwt_server.url, namespace, auth={"token": token()}, **transport)
        other.wait_for("connect")
        other.disconnect()
    ann.disconnect()


def test_rooms_that_one_may_not_enter_are_closed_and_do_not_show(jwt_server: Hazoom, client: OfficialClient) -> None:
    insider = client.connect(jwt_server.url, auth={"token": token(sub="in", name="In")})
    insider.emit("join_room", {"room": "secret"})
    ann = client.connect(jwt_server.url, auth={"token": token(rooms=["team-*"], llm=False)})
    assert ann.received("status")[0]["rooms"] == [], "the default room is skipped"
    assert ann.emit("join_room", {"room": "team-1"})["ok"]
    calls: list[tuple[str, dict[str, Any]]] = [
        ("join_room", {}),
        ("leave_room", {}),
        ("message", {"message": "x"}),
        ("typing", {}),
        ("get_history", {}),
        ("llm_request", {"message": "x"}),
        ("relay", {"channel": "c", "data": 1}),
        ("state_set", {"values": {"k": 1}}),
        ("state_get", {}),
    ]
    for event, payload in calls:
        errors = [ann.emit(event, {"room": room, **payload})["error"] for room in ("secret", "nobody")]
        assert {error["code"] for error in errors} == {"forbidden"}, event
        texts = {error["message"].replace("secret", "").replace("nobody", "") for error in errors}
        assert len(texts) == 1, "it says the same whether the room exists or not"
    assert ann.emit("message", {"message": "x", "room": "team-2"})["error"]["code"] == "not_in_room"
    assert ann.emit("llm_request", {"message": "private"})["error"]["code"] == "forbidden"
    assert "secret" not in ann.emit("get_stats")["rooms"]
    assert "team-1" in ann.emit("get_stats")["rooms"]
    document = client.try_to_connect(jwt_server.url, "/yjs|secret", auth={"token": token(rooms=["team-*"])})
    assert refusal(document)["code"] == "forbidden"
    question = {"message": "x", "document": "secret"}
    asker = client.connect(jwt_server.url, auth={"token": token(rooms=["team-*"])})
    assert asker.emit("llm_request", question)["error"]["code"] == "forbidden"
    for socket in (ann, insider, asker):
        socket.disconnect()


def test_another_token_of_the_same_user_changes_what_one_may(jwt_server: Hazoom, client: OfficialClient) -> None:
    ann = client.connect(jwt_server.url, auth={"token": token()})
    ann.emit("join_room", {"room": "team"})
    for shown in (token(sub="bob"), token(lives_s=-60), "x"):
        assert ann.emit("refresh_token", {"token": shown})["error"]["code"] == "unauthorized"
    assert ann.emit("message", {"message": "nothing has changed", "room": "team"})["ok"]
    ends_at = time.time() + 500
    assert ann.emit("refresh_token", {"token": token(rooms=["general"], exp=ends_at)}) == {
        "ok": True,
        "expires_at": ends_at,
    }
    assert ann.wait_for("room_left")["room"] == "team"
    assert ann.wait_for("error")["code"] == "forbidden"
    assert ann.emit("message", {"message": "x", "room": "team"})["error"]["code"] == "forbidden"
    assert ann.emit("message", {"message": "x"})["ok"]
    ann.disconnect()


def test_a_document_is_closed_for_who_may_not_see_it_any_more(jwt_server: Hazoom, client: OfficialClient) -> None:
    ann = client.connect(jwt_server.url, auth={"token": token()})
    kept = ann.try_to_open_namespace("/yjs|general", auth={"token": token()})
    lost = ann.try_to_open_namespace("/yjs|team", auth={"token": token()})
    for document in (kept, lost):
        document.wait_for("connect")
    ann.emit("refresh_token", {"token": token(rooms=["general"])})
    assert lost.wait_for("error")["code"] == "forbidden"
    assert lost.wait_for("disconnect") == {"reason": "io server disconnect"}
    assert kept.received("disconnect") == []
    ann.disconnect()


def test_who_stays_over_the_end_of_the_token_is_told_and_may_show_another_one(
    jwt_server: Hazoom, client: OfficialClient
) -> None:
    ann = client.connect(jwt_server.url, auth={"token": token(lives_s=1)})
    error = ann.wait_for("error")
    assert (error["code"], error["retry"]) == ("unauthorized", True)
    assert ann.emit("message", {"message": "still works"})["ok"]
    assert ann.emit("refresh_token", {"token": token()})["ok"]
    ann.disconnect()


def test_what_was_missed_in_a_room_that_one_may_not_see_any_more_is_not_replayed(
    jwt_server: Hazoom, client: OfficialClient
) -> None:
    writer = client.connect(jwt_server.url, auth={"token": token(sub="w", name="W")})
    writer.emit("join_room", {"room": "secret"})
    with tcp_proxy(int(jwt_server.url.rpartition(":")[2])) as proxy:
        auth = {"token": token()}
        ann = client.connect(proxy.url, auth=auth, transports=["websocket"], **QUICKLY)
        ann.emit("join_room", {"room": "secret"})
        assert ann.received("status")[0]["recovered"] is False
        client.call("set_auth", ann, auth={"token": token(rooms=["general"])})
        proxy.cut()
        writer.emit("message", {"room": "secret", "message": "not for her"})
        writer.emit("message", {"message": "for all"})
        status = ann.wait_for("status", lambda status: status["recovered"])
        assert status["rooms"] == ["general"]
        ann.wait_for("new_message", lambda said: said["message"] == "for all")
        assert "not for her" not in str(ann.history)
        ann.disconnect()
    writer.disconnect()


def test_another_user_cannot_come_back_with_a_pid(jwt_server: Hazoom, client: OfficialClient) -> None:
    ann = client.connect(jwt_server.url, auth={"token": token()})
    ann.emit("join_room", {"room": "team"})
    pid = ann.session()["pid"]
    eve = client.connect(jwt_server.url, auth={"token": token(sub="eve", name="Ann"), "pid": pid, "offset": "0"})
    assert eve.received("status")[0]["recovered"] is False
    assert eve.received("status")[0]["rooms"] == ["general"]
    assert ann.emit("message", {"message": "mine", "room": "team"})["ok"]
    for socket in (ann, eve):
        socket.disconnect()


def test_keys_of_a_url_are_fetched_and_new_ones_found(
    async_mode: str, provider: IdentityProvider, client: OfficialClient
) -> None:
    old, new = key_of("RS256", "old"), key_of("ES256", "new")
    provider.keys = [old]
    env = {"HAZOOM_AUTH": "jwt", "HAZOOM_JWT_JWKS_URL": f"{provider.url}/keys"}
    with hazoom(async_mode=async_mode, env=env) as server:
        shown = token(old, "RS256", header={"kid": "old"})
        for _ in range(5):
            client.connect(server.url, auth={"token": shown}).disconnect()
        assert provider.keys_asked_count == 1
        provider.keys = [new]
        another = token(new, "ES256", header={"kid": "new"})

        def is_let_in() -> bool:
            socket = client.try_to_connect(server.url, auth={"token": another}, reconnection=False)
            client.wait(lambda: socket.received("status") or socket.received("connect_error"), "an answer")
            socket.disconnect()
            return bool(socket.received("status"))

        wait_until(is_let_in, "the new key is known")
        assert provider.keys_asked_count <= 3
        socket = client.try_to_connect(server.url, auth={"token": shown}, reconnection=False)
        assert refusal(socket)["code"] == "unauthorized", "the old one is withdrawn"


def test_a_site_lets_in_whom_its_session_knows(
    async_mode: str, provider: IdentityProvider, client: OfficialClient, transport: dict[str, Any]
) -> None:
    def answer(question: dict[str, Any]) -> tuple[int, Any]:
        if question["cookie"] != "sessionid=anns":
            return (403, {})
        return (200, {"user_id": "7", "user_name": "Ann", "rooms": ["general"], "llm": False})

    provider.answer = answer
    env = {"HAZOOM_AUTH": "url", "HAZOOM_AUTH_URL": f"{provider.url}/who"}
    with hazoom(async_mode=async_mode, env=env) as server:
        cookie = {"extraHeaders": {"Cookie": "sessionid=anns", "Authorization": "Bearer x"}, **transport}
        ann = client.connect(server.url, auth={"own": [1]}, **cookie)
        assert ann.received("status")[0]["user"] == "Ann"
        asked = provider.asked[-1]
        assert {**asked, "auth": None} == {
            "auth": None,
            "address": "127.0.0.1",
            "cookie": "sessionid=anns",
            "authorization": "Bearer x",
        }
        assert asked["auth"]["own"] == [1]
        assert ann.emit("join_room", {"room": "team"})["error"]["code"] == "forbidden"
        for namespace in NAMESPACES:
            stranger = client.try_to_connect(server.url, namespace, reconnection=False, **transport)
            assert refusal(stranger)["retry"] is False, namespace
        ann.disconnect()
        assert "sessionid" not in server.log


def test_a_site_that_answers_nothing_useful_lets_nobody_in_for_now(
    async_mode: str, provider: IdentityProvider, client: OfficialClient
) -> None:
    good = {"user_id": "7", "user_name": "Ann"}
    answers: list[tuple[int, Any]] = [
        (500, good),
        (302, good),
        (204, b""),
        (200, b"<html>"),
        (200, []),
        (200, {"user_id": "7"}),
        (200, {**good, "user_id": 7}),
        (200, {**good, "rooms": None}),
        (200, {**good, "llm": "no"}),
        (200, {**good, "expires_at": 1}),
        (200, b" " * 300_000 + b'{"user_id": "7", "user_name": "Ann"}'),
    ]
    env = {"HAZOOM_AUTH": "url", "HAZOOM_AUTH_URL": f"{provider.url}/who"}
    with hazoom(async_mode=async_mode, env=env) as server:
        for status, answer in answers:
            provider.answer = lambda _, reply=(status, answer): reply
            socket = client.try_to_connect(server.url, reconnection=False)
            report = refusal(socket)
            assert (report["code"], report["retry"]) == ("unauthorized", True), (status, answer)
        assert len(provider.asked) == len(answers), "no redirect was followed"


def test_a_slow_site_holds_up_only_those_whom_it_is_asked_about(
    async_mode: str, provider: IdentityProvider, client: OfficialClient
) -> None:
    gate = threading.Event()

    def answer(question: dict[str, Any]) -> tuple[int, Any]:
        if question["auth"].get("slow"):
            gate.wait(DEADLINE_S)
        return (200, {"user_id": question["auth"]["id"], "user_name": "Ann"})

    provider.answer = answer
    env = {"HAZOOM_AUTH": "url", "HAZOOM_AUTH_URL": f"{provider.url}/who"}
    with hazoom(async_mode=async_mode, env=env) as server:
        slow = [
            client.try_to_connect(server.url, auth={"id": str(number), "slow": True}, reconnection=False)
            for number in range(20)
        ]
        wait_until(lambda: len(provider.asked) == 20, "all are asked about at once")
        client.connect(server.url, auth={"id": "quick"}).disconnect()
        gone = slow.pop()
        gone.disconnect()
        if async_mode == "eventlet":
            assert refusal(slow.pop())["retry"] is True, "after 5 s nobody waits any longer"
        gate.set()


def test_keys_of_the_application_let_in(async_mode: str, client: OfficialClient, transport: dict[str, Any]) -> None:
    env = {"HAZOOM_AUTH": "api_key", "HAZOOM_API_KEYS": ",".join(KEYS)}
    with hazoom(async_mode=async_mode, env=env) as server:
        for namespace in NAMESPACES:
            ways: list[dict[str, Any]] = [
                {"auth": {"api_key": KEYS[1], "user_name": "Ann"}},
                {"extraHeaders": {"X-API-Key": KEYS[0]}},
                {"query": {"api_key": KEYS[0]}},
            ]
            for way in ways:
                socket = client.try_to_connect(server.url, namespace, **way, **transport)
                socket.wait_for("connect")
                socket.disconnect()
            bad: list[dict[str, Any]] = [{}, {"auth": {"api_key": KEYS[0][:-1]}}, {"query": {"api_key": "no"}}]
            for way in bad:
                socket = client.try_to_connect(server.url, namespace, reconnection=False, **way, **transport)
                assert refusal(socket)["code"] == "unauthorized", (namespace, way)
        named = client.connect(server.url, auth={"api_key": KEYS[0], "user_name": "Ann"}, **transport)
        assert named.received("status")[0]["user"] == "Ann"
        named.disconnect()
        assert not any(key in server.log for key in KEYS)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"HAZOOM_HOST": "0.0.0.0"}, "HAZOOM_ALLOW_OPEN=true"),
        ({"HAZOOM_HOST": "::"}, "HAZOOM_ALLOW_OPEN=true"),
        ({"HAZOOM_AUTH": "jwt"}, "needs one of jwt_secret"),
        ({"HAZOOM_AUTH": "jwt", "HAZOOM_JWT_SECRET": "short"}, "needs 32 at least"),
        ({"HAZOOM_AUTH": "jwt", "HAZOOM_JWT_SECRET": SECRET, "HAZOOM_JWT_ALGORITHMS": "none"}, "HAZOOM_JWT_ALGORITHMS"),
        ({"HAZOOM_AUTH": "url"}, "needs auth_url"),
        ({"HAZOOM_AUTH": "api_key"}, "needs api_keys"),
        ({"HAZOOM_AUTH": "everybody"}, "expected one of open, api_key, jwt, url"),
    ],
)
def test_settings_that_make_no_whole_stop_the_start_in_one_line(variables: dict[str, str], says: str) -> None:
    command = [*command_of_hazoom(), "--port", "0"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_S, check=False, env=clean_environment(**variables)
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "short" not in done.stderr.replace("shorter", "")
