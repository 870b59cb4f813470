"""How much one may who comes from one address, or by one name: as the official client, and a plain one, are told it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from protocol_client import POLLING, REPEATED_HEADERS, WEBSOCKET, Polling, refusal
from servers import DEADLINE_S, Hazoom, OfficialClient, hazoom, wait_until

ANN, BOB = "198.51.100.1", "198.51.100.2"
QUICKLY = {"reconnectionDelay": 50, "reconnectionDelayMax": 200}
TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "both": ["polling", "websocket"]}
TOO_MANY = '{"code":3,"message":"Too many connections"}'


@contextmanager
def limited(async_mode: str, **settings: object) -> Iterator[Hazoom]:
    """Run a server that believes who says for whom it asks, with settings of the environment."""
    variables = {"TRUSTED_PROXIES": "127.0.0.0/8"} | settings
    env = {f"HAZOOM_{name}": str(value) for name, value in variables.items()}
    with hazoom(async_mode=async_mode, env=env) as server:
        yield server


def from_address(address: str, **options: Any) -> dict[str, Any]:
    """Return the options of the official client behind a proxy that says where it is."""
    return {"extraHeaders": {"X-Forwarded-For": address}, **options}


def handshake(server: Hazoom, address: str | None = None) -> requests.Response:
    headers = {} if address is None else {"X-Forwarded-For": address}
    return requests.get(f"{server.url}/socket.io/?{POLLING}", headers=headers, timeout=DEADLINE_S)


def websocket_status(server: Hazoom, address: str, *, by_wsgi: bool = False) -> int:
    """Return how the handshake of a WebSocket is refused."""
    headers = [("X-Forwarded-For", address), *(REPEATED_HEADERS if by_wsgi else [])]
    return refusal(server.url, WEBSOCKET, headers).status


def test_handshakes_over_the_rate_of_an_address_are_answered_with_429(async_mode: str) -> None:
    with limited(async_mode, CONNECT_RATE_LIMIT_PER_S=0.001, CONNECT_RATE_LIMIT_BURST_COUNT=2) as server:
        assert [handshake(server, ANN).status_code for _ in range(2)] == [200, 200]
        refused = handshake(server, ANN)
        assert (refused.status_code, refused.text) == (429, TOO_MANY)
        assert 0 < int(refused.headers["Retry-After"]) <= 1000
        assert websocket_status(server, ANN) == websocket_status(server, ANN, by_wsgi=True) == 429
        assert handshake(server, f"{ANN}, 127.0.0.1").status_code == 429, "what our own proxy adds is not the client's"
        assert handshake(server, f"{BOB}, {ANN}").status_code == 429, "nor is what the client says itself"
        assert handshake(server, BOB).status_code == 200
        assert {handshake(server).status_code for _ in range(5)} == {200}, "this machine is not limited"
        wait_until(lambda: "too many connections" in server.log, "a line in the log")
        assert server.log.count("too many connections") == 1


def test_what_is_told_over_a_plain_websocket_says_when_to_come_again(async_mode: str) -> None:
    with limited(async_mode, CONNECT_RATE_LIMIT_PER_S=0.001, CONNECT_RATE_LIMIT_BURST_COUNT=1) as server:
        assert handshake(server, ANN).status_code == 200
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "X-Forwarded-For": ANN}
        key = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        answer = requests.get(f"{server.url}/socket.io/?{WEBSOCKET}", headers=upgrade | key, timeout=DEADLINE_S)
        assert (answer.status_code, answer.text) == (429, TOO_MANY)
        assert int(answer.headers["Retry-After"]) > 0


def test_handshakes_of_all_addresses_together_have_a_rate_too(async_mode: str) -> None:
    limits = {"CONNECT_TOTAL_RATE_LIMIT_PER_S": 0.001, "CONNECT_TOTAL_RATE_LIMIT_BURST_COUNT": 3}
    with limited(async_mode, **limits) as server:
        statuses = [handshake(server, f"198.51.100.{number}").status_code for number in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert handshake(server).status_code == 429, "this machine as well"
        assert requests.get(f"{server.url}/health", timeout=DEADLINE_S).status_code == 200


def test_polls_and_an_upgrade_of_a_session_that_is_there_are_no_handshakes(async_mode: str) -> None:
    limits = {"CONNECT_TOTAL_RATE_LIMIT_PER_S": 0.001, "CONNECT_TOTAL_RATE_LIMIT_BURST_COUNT": 1}
    with limited(async_mode, **limits) as server:
        session = Polling(server.url)
        session.send("40")
        assert session.receive(2)[0].startswith("40{")
        with session.upgraded() as socket:
            socket.send('421["typing",{}]')
            assert str(socket.receive()).startswith("431[")
        assert handshake(server).status_code == 429


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS.keys())
def test_who_is_refused_for_the_rate_comes_back_by_itself(
    async_mode: str, client: OfficialClient, transports: list[str]
) -> None:
    """By the rate alone: nobody leaves meanwhile."""
    with limited(async_mode, CONNECT_RATE_LIMIT_PER_S=1, CONNECT_RATE_LIMIT_BURST_COUNT=1) as server:
        options = from_address(ANN, transports=transports, **QUICKLY)
        first, second = (client.try_to_connect(server.url, **options) for _ in range(2))
        for socket in (first, second):
            socket.wait_for("status")
            assert socket.emit("message", {"message": "hi"})["ok"] is True
        assert first.received("connect_error") or second.received("connect_error")


@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS.keys())
def test_one_connection_more_than_an_address_may_have_comes_when_one_has_gone(
    async_mode: str, client: OfficialClient, transports: list[str]
) -> None:
    with limited(async_mode, CONNECTIONS_PER_ADDRESS_LIMIT=2) as server:
        options = from_address(ANN, transports=transports, **QUICKLY)
        first, _second = (client.connect(server.url, **options) for _ in range(2))
        late = client.try_to_connect(server.url, **options)
        late.wait_for("connect_error")
        assert client.connect(server.url, **from_address(BOB, transports=transports)).emit("get_stats")["ok"] is True
        assert late.received("status") == []
        first.disconnect()
        late.wait_for("status")
        assert late.emit("message", {"message": "hi"})["ok"] is True


def test_one_connection_more_than_a_user_may_have_is_refused_by_name(async_mode: str, client: OfficialClient) -> None:
    with limited(async_mode, CONNECTIONS_PER_USER_LIMIT=2) as server:
        ann = {"auth": {"user_name": "Ann"}}
        first, second = (client.connect(server.url, **ann) for _ in range(2))
        refused = client.try_to_connect(server.url, **ann).wait_for("connect_error")
        assert (refused["data"]["code"], refused["data"]["retry"]) == ("rate_limited", True)
        assert second.emit("get_stats")["ok"] is True
        client.connect(server.url)
        client.connect(server.url, auth={"user_name": "Bob"})
        first.disconnect()
        wait_until(lambda: server.stats()["total_connections"] == 3, "the first one is gone")
        assert client.connect(server.url, **ann).emit("get_stats")["ok"] is True


def test_a_user_and_an_address_share_what_they_may_over_all_connections(async_mode: str, client: OfficialClient) -> None:
    limits = {"USER_RATE_LIMIT_PER_S": 0.01, "USER_RATE_LIMIT_BURST_COUNT": 4}
    limits |= {"ADDRESS_RATE_LIMIT_PER_S": 0.01, "ADDRESS_RATE_LIMIT_BURST_COUNT": 7}
    with limited(async_mode, **limits) as server:
        tabs = [client.connect(server.url, **from_address(ANN, auth={"user_name": "Ann"})) for _ in range(2)]
        assert [tabs[number % 2].emit("typing", {})["ok"] for number in range(6)] == [True] * 4 + [False] * 2
        error = tabs[0].emit("message", {"message": "hi"})["error"]
        assert (error["code"], error["retry"]) == ("rate_limited", True)
        assert "of your user" in error["message"]
        assert error["retry_at"] > 0
        guests = [client.connect(server.url, **from_address(ANN)) for _ in range(2)]
        assert [guests[number % 2].emit("typing", {})["ok"] for number in range(5)] == [True] * 3 + [False] * 2
        assert "of your address" in guests[0].emit("join_room", {"room": "x"})["error"]["message"]
        bob = client.connect(server.url, **from_address(BOB, auth={"user_name": "Bob"}))
        assert bob.emit("message", {"message": "hi"})["ok"] is True


def test_a_session_that_is_refused_again_and_again_ends_in_time(async_mode: str) -> None:
    """Each refusal gave it its whole time anew."""
    with limited(async_mode, CONNECT_TIMEOUT_S=0.5, RATE_LIMIT_PER_S=0) as server:
        session = Polling(server.url)

        def is_over() -> bool:
            return session.post("40/nowhere,").status == 400

        wait_until(is_over, "the session has ended")
        assert json.loads(session.poll().body)["code"] == 1
