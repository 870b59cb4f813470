"""Applications and test clients; after each test nothing of them may be left."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from clients import Client, Connect, MakeApp
from hazoom_ws import create_app
from hazoom_ws.settings import Settings
from servers import wait_until


@pytest.fixture
def make_app() -> Iterator[MakeApp]:
    """Return a function from settings to an application; check at the end that it holds nobody."""
    apps: list[Flask] = []

    def make(**settings: Any) -> Flask:
        app = create_app(Settings(**{"log_url": "memory://", "presence_grace_s": 0, "recovery_window_s": 0} | settings))
        apps.append(app)
        return app

    yield make
    for app in apps:
        socketio = app.extensions["socketio"]
        for eio_sid in list(socketio.server.environ):
            socketio.server._handle_eio_disconnect(eio_sid, "test is over")
        hub = app.extensions["hazoom_ws"].hub
        assert (hub.connection_count, hub.user_count, len(hub.rooms)) == (0, 0, 0)
        assert hub.is_empty
        assert app.extensions["hazoom_ws"].delivery.is_empty
        assert not socketio.server.manager.rooms
        relay = app.extensions["hazoom_ws"].relay
        wait_until(lambda: relay.is_empty, "nothing is held of what was relayed")  # noqa: B023
        app.extensions["hazoom_ws"].close()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """An application with the defaults and without a rate limit."""
    return make_app(rate_limit_per_s=0)


@pytest.fixture
def connect(app: Flask) -> Connect:
    """Return a function that connects a client to ``app`` and forgets what it received by that."""

    def make(namespace: str = "/", **auth: Any) -> Client:
        client = Client(app, namespace, **auth)
        client.received(namespace=namespace)
        return client

    return make


@pytest.fixture
def ann(connect: Connect) -> Client:
    return connect(user_name="Ann")


@pytest.fixture
def bob(connect: Connect, ann: Client) -> Client:
    bob = connect(user_name="Bob")
    ann.received()
    return bob
