"""A Django site beside hazoom_ws, by its real runserver: what the guide django.md shows, in each of its ways."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
import pytest
import requests

from servers import DEADLINE_S, Hazoom, OfficialClient, Shop, Socket, django_shop, free_port, hazoom, unique, wait_until

KEY = "key-of-the-shop-of-the-tests-0123"
SECRET = "secret-of-the-shop-of-the-tests-01234567"


@contextmanager
def site(auth: str, async_mode: str) -> Iterator[tuple[Hazoom, Shop]]:
    """Run both, who know each other."""
    port = free_port()
    env = {
        "HAZOOM_AUTH": auth,
        "HAZOOM_API_KEYS": KEY,
        "HAZOOM_JWT_SECRET": SECRET if auth == "jwt" else "",
        "HAZOOM_AUTH_URL": f"http://127.0.0.1:{port}/shop/whoami/" if auth == "url" else "",
    }
    with (
        hazoom(async_mode=async_mode, llm_url=f"http://127.0.0.1:{port}", env=env) as server,
        django_shop(port, CHAT_URL=server.url, CHAT_API_KEY=KEY, CHAT_JWT_SECRET=SECRET) as shop,
    ):
        yield server, shop


@pytest.fixture(scope="module", params=["jwt", "url"])
def known_by(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def both(known_by: str, async_mode: str) -> Iterator[tuple[Hazoom, Shop]]:
    with site(known_by, async_mode) as both:
        yield both


def options_of(known_by: str, shop: Shop, session: requests.Session, transport: str) -> dict[str, Any]:
    """Return how a page of a user connects."""
    if known_by == "jwt":
        return {"transports": [transport], "auth": {"token": shop.token(session)}}
    cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in session.cookies.items())}
    return {"transports": [transport], "extraHeaders": cookies}


@pytest.fixture(params=["websocket", "polling"])
def transport(request: pytest.FixtureRequest) -> str:
    return request.param


def test_who_has_logged_in_comes_in_under_that_name_with_those_rights(
    both: tuple[Hazoom, Shop], known_by: str, transport: str, client: OfficialClient
) -> None:
    server, shop = both
    name = unique("Ann")
    session = shop.session(name)
    ann = client.connect(server.url, **options_of(known_by, shop, session, transport))
    assert ann.received("status")[0]["user"] == name
    assert ann.emit("join_room", {"room": "orders"})["ok"]
    assert ann.emit("join_room", {"room": "staff"})["error"]["code"] == "forbidden"
    assert ann.emit("llm_request", {"message": "hello"})["error"]["code"] == "forbidden"
    assert ann.emit("message", {"message": "hello", "user_name": "Boss"})["ok"]
    assert ann.wait_for("new_message")["user"] == name
    boss = client.connect(server.url, **options_of(known_by, shop, shop.session(unique("Boss"), is_staff=True), transport))
    assert boss.emit("join_room", {"room": "staff"})["ok"]
    assert boss.emit("llm_request", {"message": "hello"})["ok"]
    boss.wait_for("llm_complete")


def test_who_has_not_does_not(both: tuple[Hazoom, Shop], transport: str, client: OfficialClient) -> None:
    server, shop = both
    for options in (
        {},
        {"auth": {"user_name": "Ann"}},
        {"auth": {"token": jwt.encode({"sub": "1", "exp": 9e9}, "x" * 40)}},
        {"extraHeaders": {"Cookie": "sessionid=forged:1:2"}},
    ):
        refused = client.try_to_connect(server.url, transports=[transport], reconnection=False, **options)
        assert refused.wait_for("connect_error")["data"]["code"] == "unauthorized"
    assert requests.get(f"{shop.url}/shop/token/", timeout=DEADLINE_S, allow_redirects=False).status_code == 302
    assert requests.post(shop.whoami_url, timeout=DEADLINE_S).status_code == 401


def test_what_is_saved_in_django_is_said_in_the_room(
    both: tuple[Hazoom, Shop], known_by: str, transport: str, client: OfficialClient
) -> None:
    server, shop = both
    session = shop.session(unique("Ann"))
    ann = client.connect(server.url, **options_of(known_by, shop, session, transport))
    assert ann.emit("join_room", {"room": "orders"})["ok"]
    item = unique("Caf\u00e9 \U0001f986")
    number = shop.post(session, "order", item=item)["order"]
    shown = ann.wait_for("new_message", lambda data: item in data["message"])
    assert (shown["user"], shown["message"], shown["room"]) == ("Shop", f"New order: {item}", "orders")
    assert shown["client_id"] == f"order {number}"
    page = ann.emit("get_history", {"room": "orders"})["messages"]
    assert [entry["message"] for entry in page].count(f"New order: {item}") == 1


def test_who_logs_out_of_django_is_logged_out(
    both: tuple[Hazoom, Shop], known_by: str, transport: str, client: OfficialClient
) -> None:
    server, shop = both
    session = shop.session(unique("Ann"))
    options = options_of(known_by, shop, session, transport)
    tabs: list[Socket] = [client.connect(server.url, **options) for _ in range(2)]
    bob = client.connect(server.url, **options_of(known_by, shop, shop.session(unique("Bob")), transport))
    shop.post(session, "log-out")
    for tab in tabs:
        assert tab.wait_for("disconnect")["reason"] == "io server disconnect"
    assert bob.emit("message", {"message": "still here"})["ok"]


def test_an_order_is_an_order_where_the_room_cannot_be_told(async_mode: str) -> None:
    with site("open", async_mode) as (server, shop):
        session = shop.session(unique("Ann"))
        assert server.child.stop() == 0
        assert shop.post(session, "order", item="tea")["order"] == 1
        wait_until(lambda: not server.is_ready(), "it has ended")
