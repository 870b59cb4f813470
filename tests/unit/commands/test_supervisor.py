"""When a worker is started again; that it is, and all that needs processes, is in tests/integration/test_workers.py."""

import os
import socket
from collections.abc import Iterator

import pytest

from hazoom_ws.commands import supervisor


@pytest.fixture
def worker() -> Iterator[supervisor._Process]:
    """Return a worker that has not been started."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = supervisor._Process(1, os.dup(listener.fileno()))
    yield one
    for open_one in (one.listener, one.inbox, one.outbox):
        open_one.close()


def end(worker: supervisor._Process, monkeypatch: pytest.MonkeyPatch, *, served_for_s: float | None) -> float:
    """Let it end after it has served for so long, None if it never has; return when it is started again."""
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: 1000.0)
    worker.is_ready = served_for_s is not None
    worker.ready_at_s = 1000.0 - (served_for_s or 0.0)
    worker.process = type("Ended", (), {"poll": lambda _: -9})()
    assert worker.status_at_end() == -9
    assert worker.status_at_end() is None
    return worker.start_later()


def test_who_dies_again_and_again_is_started_ever_later(
    worker: supervisor._Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays_s = [end(worker, monkeypatch, served_for_s=served_for_s) for served_for_s in (None, 0, 29.9, None, 1, None, 2)]
    assert delays_s == [1, 2, 4, 8, 16, 30, 30]
    assert worker.starts_at_s == 1030
    assert end(worker, monkeypatch, served_for_s=30) == 1
    assert end(worker, monkeypatch, served_for_s=None) == 2
