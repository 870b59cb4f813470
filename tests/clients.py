"""Flask-SocketIO's test client as the unit tests use it."""

import time
from collections.abc import Callable
from typing import Any

from flask import Flask

PATIENCE_S = 20.0


class Client:
    """Flask-SocketIO's test client, with the events as tests want to see them."""

    def __init__(self, app: Flask, namespace: str = "/", **auth: Any) -> None:
        self.app = app
        self.socket = app.extensions["socketio"].test_client(app, namespace=namespace, auth=auth or None)
        self._seen: list[dict[str, Any]] = []

    def call(self, event: str, *payload: Any, namespace: str = "/") -> dict[str, Any]:
        """Emit and return the acknowledgement."""
        return self.socket.emit(event, *payload, callback=True, namespace=namespace)

    def emit(self, event: str, *payload: Any, namespace: str = "/") -> None:
        self.socket.emit(event, *payload, namespace=namespace)

    def received(self, event: str | None = None, *, namespace: str = "/") -> list[Any]:
        """Return the payloads of one event since the last call, or (name, payload) of all."""
        taken = self.socket.get_received(namespace)
        if event is None:
            return [(item["name"], item["args"][0]) for item in taken]
        return [item["args"][0] for item in taken if item["name"] == event]

    def wait_for(self, event: str, *, namespace: str = "/") -> Any:
        """Return the payload of the next such event that a background task sends."""
        return self.wait_for_any(event, namespace=namespace)[-1][1]

    def wait_for_any(self, *events: str, namespace: str = "/") -> list[tuple[str, Any]]:
        """Return what was received up to the next of these events, which is the last in the list."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self._seen += self.received(namespace=namespace)
            for position, (name, _) in enumerate(self._seen):
                if name in events:
                    taken, self._seen = self._seen[: position + 1], self._seen[position + 1 :]
                    return taken
            time.sleep(0.005)
        raise AssertionError(f"none of {events} within {PATIENCE_S} s, but {self._seen}")


MakeApp = Callable[..., Flask]
Connect = Callable[..., Client]
