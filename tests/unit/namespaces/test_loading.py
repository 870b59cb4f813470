"""An event that needs what is not in memory waits for that, and later ones of its connection behind it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from clients import Client, Connect, MakeApp
from hazoom_ws.errors import LogUnavailable
from hazoom_ws.message_log.contract import MessageLog, NotLoaded
from hazoom_ws.namespaces.loading import LIMIT_COUNT, TRIES_COUNT


class Elsewhere:
    """Makes an application's log one whose pages are not in memory, until ``release`` is called."""

    def __init__(self, client: Client, *, times: int = 1, error: Exception | None = None) -> None:
        self.log: MessageLog = client.app.extensions["hazoom_ws"].log
        self.loads_count = 0
        self._may_go_on = threading.Event()
        self._left = times
        self._error = error
        self._read = self.log.read
        self.log.read = self._read_later  # type: ignore[method-assign]

    def _read_later(self, *arguments: Any, **options: Any) -> Any:
        if self._left:
            raise NotLoaded(self._load)
        return self._read(*arguments, **options)

    def _load(self) -> Callable[[], None]:
        self.loads_count += 1
        assert self._may_go_on.wait(20)
        if self._error is not None:
            raise self._error

        def take() -> None:
            self._left -= 1

        return take

    def release(self) -> None:
        self._may_go_on.set()

    def texts(self) -> list[str]:
        return [entry.message for entry in self._read("general", limit=500, newest=True).messages]


@pytest.fixture
def ann(connect: Connect) -> Client:
    return connect(user_name="Ann")


def said(client: Client, count: int) -> list[str]:
    """Return the texts of the next so many messages that a client is shown."""
    return [client.wait_for("new_message")["message"] for _ in range(count)]


def test_later_events_wait_behind_it_and_those_of_others_do_not(ann: Client, connect: Connect) -> None:
    bob = connect(user_name="Bob")
    elsewhere = Elsewhere(ann)
    ann.emit("get_history", {})
    for number in range(5):
        ann.emit("message", {"message": str(number)})
    assert bob.call("message", {"message": "of Bob"})["ok"] is True
    assert elsewhere.texts() == ["of Bob"]
    elsewhere.release()
    assert said(bob, 6) == ["of Bob", *map(str, range(5))]
    assert ann.call("message", {"message": "at once"})["ok"] is True
    assert elsewhere.loads_count == 1


def test_what_waits_is_bounded(ann: Client) -> None:
    elsewhere = Elsewhere(ann)
    ann.emit("get_history", {})
    for number in range(LIMIT_COUNT - 1):
        ann.emit("message", {"message": str(number)})
    assert ann.received("error") == []
    refused = ann.call("message", {"message": "one more"})["error"]
    assert (refused["code"], refused["retry"]) == ("internal", True)
    elsewhere.release()
    assert said(ann, LIMIT_COUNT - 1) == elsewhere.texts() == list(map(str, range(LIMIT_COUNT - 1)))


@pytest.mark.parametrize("error", [LogUnavailable("it is away"), RuntimeError("a defect")])
def test_what_cannot_be_loaded_is_refused_and_the_rest_goes_on(
    ann: Client, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = Elsewhere(ann, error=error)
    ann.emit("get_history", {})
    ann.emit("message", {"message": "behind"})
    elsewhere.release()
    refused = ann.wait_for("error")
    assert (refused["code"], refused["event"]) == ("internal", "get_history")
    assert said(ann, 1) == ["behind"]
    assert bool(caplog.records) is isinstance(error, RuntimeError), "a defect is logged"


def test_what_has_left_memory_again_each_time_is_given_up(ann: Client) -> None:
    elsewhere = Elsewhere(ann, times=10**6)
    elsewhere.release()
    ann.emit("get_history", {})
    assert ann.wait_for("error")["retry"] is True
    assert elsewhere.loads_count == TRIES_COUNT


def test_who_disconnects_takes_what_waits_along(make_app: MakeApp, connect: Connect) -> None:
    ann = connect(user_name="Ann")
    elsewhere = Elsewhere(ann)
    ann.emit("get_history", {})
    ann.emit("message", {"message": "of somebody who has gone"})
    ann.socket.disconnect()
    elsewhere.release()
    bob = connect(user_name="Bob")
    assert bob.call("message", {"message": "of Bob"})["ok"] is True
    assert elsewhere.texts() == ["of Bob"]
