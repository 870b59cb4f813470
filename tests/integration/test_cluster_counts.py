"""How many there are, and how many there may be, on two servers with one Redis."""

from collections.abc import Iterator

import pytest
import requests

from redis_server import Databases, databases
from servers import DEADLINE_S, Hazoom, OfficialClient, Socket, hazoom, wait_until

__all__ = ["databases"]
pytestmark = pytest.mark.redis
KEY = "a-key-of-sixteen-characters"


@pytest.fixture
def client() -> Iterator[OfficialClient]:
    with OfficialClient() as client:
        yield client


def status(server: Hazoom) -> dict:
    response = requests.get(f"{server.url}/api/v1/status", timeout=DEADLINE_S)
    return response.json()


def say(socket: Socket, text: str) -> str:
    """Send a message; return why it is refused, nothing if it is not."""
    answer = socket.emit("message", {"message": text})
    return "" if answer["ok"] else answer["error"]["message"]


def test_statistics_and_limits_are_those_of_all_processes(databases: Databases, client: OfficialClient) -> None:
    env = {
        "HAZOOM_LOG_URL": databases.next_url(),
        "HAZOOM_CONNECTIONS_PER_USER_LIMIT": "3",
        "HAZOOM_TRUSTED_PROXIES": "127.0.0.0/8",
        "HAZOOM_CONNECTIONS_PER_ADDRESS_LIMIT": "4",
        "HAZOOM_USER_RATE_LIMIT_PER_S": "0.001",
        "HAZOOM_USER_RATE_LIMIT_BURST_COUNT": "6",
        "HAZOOM_SHUTDOWN_GRACE_S": "1",
    }

    def connect(server: Hazoom, name: str, address: str, number: int) -> Socket:
        """Connect from an address that a proxy tells; the room says nothing new."""
        socket = client.connect(
            server.url, auth={"user_name": name}, extraHeaders={"X-Forwarded-For": address}, transports=["websocket"]
        )
        assert not say(socket, f"{name} {number}")
        return socket

    with hazoom(env=env) as first, hazoom(env=env) as second:
        at_second, _, at_first = [connect(first if number else second, "Ann", "10.0.0.1", number) for number in range(3)]
        bob = connect(second, "Bob", "10.0.0.2", 0)
        for server, other in ((first, second), (second, first)):
            wait_until(lambda server=server: status(server)["total_connections"] == 4, "all are counted")
            told = wait_until(
                lambda server=server: (now := status(server))["messages_total"] == 4 and now, "all messages are counted"
            )
            assert told["active_users"] == 2, "Ann is one user, on both"
            own, elsewhere = told["processes"]
            assert own["connections"] + elsewhere["connections"] == 4
            assert own["name"] == status(other)["processes"][1]["name"]
            assert own["rss_mb"] > 1
        while not (refused := say(at_first, "Ann again")):
            pass
        assert "0.001 events of your user" in refused
        said = status(first)["processes"][0]["messages_total"]
        wait_until(lambda: status(second)["processes"][1]["messages_total"] == said, "the other has been told")
        assert "0.001 events of your user" in say(at_second, "Ann elsewhere")
        assert not say(bob, "Bob again")
        refused = client.try_to_connect(
            second.url,
            auth={"user_name": "Ann"},
            extraHeaders={"X-Forwarded-For": "10.0.0.9"},
            transports=["websocket"],
            reconnection=False,
        )
        assert refused.wait_for("connect_error")["data"]["code"] == "rate_limited"
        connect(first, "Eve", "10.0.0.1", 0)
        headers = {"X-Forwarded-For": "10.0.0.1"}
        polled = f"{second.url}/socket.io/?EIO=4&transport=polling"
        wait_until(
            lambda: requests.get(polled, headers=headers, timeout=DEADLINE_S).status_code == 429, "the address has its four"
        )
        assert requests.get(polled, headers={"X-Forwarded-For": "10.0.0.3"}, timeout=DEADLINE_S).ok
        assert second.child.stop() == 0
        wait_until(lambda: len(status(first)["processes"]) == 1, "the other is gone")
        polled = f"{first.url}/socket.io/?EIO=4&transport=polling"
        wait_until(lambda: requests.get(polled, headers=headers, timeout=DEADLINE_S).ok, "its places are free")


def test_who_is_logged_out_is_so_everywhere(databases: Databases, client: OfficialClient) -> None:
    env = {"HAZOOM_LOG_URL": databases.next_url(), "HAZOOM_API_KEYS": KEY}
    with hazoom(env=env) as first, hazoom(env=env, async_mode="threading") as second:
        ann = client.connect(second.url, auth={"user_name": "Ann"}, reconnection=False)
        bob = client.connect(second.url, auth={"user_name": "Bob"}, reconnection=False)
        away = client.connect(first.url, auth={"user_name": "Ann"}, reconnection=False)
        sessions = [ann.session(), away.session()]
        client.call("close", away)
        wait_until(lambda: status(first)["total_connections"] == 2, "the one that has gone is counted no more")
        response = requests.post(
            f"{first.url}/api/v1/users/Ann/disconnect", headers={"X-API-Key": KEY}, json={}, timeout=DEADLINE_S
        )
        assert response.json() == {"ok": True, "connections": 1}
        assert ann.wait_for("bye")["reason"] == "logged_out"
        assert ann.wait_for("disconnect")["reason"] == "io server disconnect"
        assert not bob.received("disconnect")
        for server, session in zip((first, second), sessions, strict=True):
            again = client.connect(server.url, auth={"user_name": "Ann", **session})
            assert again.received("status")[0]["recovered"] is False
