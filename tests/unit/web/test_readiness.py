"""Whether an application takes traffic, and why not."""

import errno
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from clients import Client, MakeApp
from hazoom_ws.settings import Settings


def ready(app: Any) -> tuple[int, dict[str, str]]:
    reply = app.test_client().get("/ready")
    return reply.status_code, reply.json


def disk_of(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> list[Path]:
    """Let all disks have so many bytes free; return of which paths it is asked."""
    asked: list[Path] = []

    def usage(path: Path) -> Any:
        asked.append(path)
        return shutil._ntuple_diskusage(2**40, 2**40 - free_bytes, free_bytes)  # type: ignore[attr-defined]

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return asked


def test_it_is_not_ready_from_the_moment_on_in_which_it_is_to_stop(make_app: MakeApp):
    app = make_app()
    assert ready(app) == (200, {"status": "ready"})
    app.extensions["hazoom_ws"].stop()
    assert ready(app) == (503, {"status": "unavailable", "reason": "shutting down"})
    assert app.test_client().get("/health").status_code == 200


def test_who_connects_and_who_asks_is_refused_then(make_app: MakeApp):
    app = make_app()
    ann = Client(app, user_name="Ann")
    app.extensions["hazoom_ws"].stop()
    reply = app.test_client().get("/socket.io/?EIO=4&transport=polling")
    assert (reply.status_code, reply.json["message"]) == (503, "The server is stopping")
    error = ann.call("llm_request", {"message": "hello"})["error"]
    assert (error["code"], error["retry"]) == ("shutting_down", True)
    assert ann.call("message", {"message": "goodbye"})["ok"] is True


def test_a_disk_that_is_nearly_full_is_told_with_its_numbers_and_no_path(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    app = make_app(log_url=f"sqlite:///{tmp_path}/messages.sqlite3", disk_free_limit_bytes=1000)
    asked = disk_of(monkeypatch, 1000)
    assert ready(app)[0] == 200
    assert asked == [tmp_path]
    disk_of(monkeypatch, 999)
    reason = "disk: 999 bytes are free, of 1000 that are to be"
    assert ready(app) == (503, {"status": "unavailable", "reason": reason})


@pytest.mark.parametrize("settings", [{"log_url": "memory://"}, {"disk_free_limit_bytes": 0}])
def test_a_disk_on_which_nothing_is_to_be_kept_is_not_asked(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
):
    app = make_app(**{"log_url": f"sqlite:///{tmp_path}/messages.sqlite3"} | settings)
    asked = disk_of(monkeypatch, 0)
    assert ready(app)[0] == 200
    assert asked == []


def test_a_disk_that_cannot_be_asked_is_none_to_keep_anything_on(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    app = make_app(log_url=f"sqlite:///{tmp_path}/messages.sqlite3")

    def usage(path: Path) -> Any:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert ready(app) == (503, {"status": "unavailable", "reason": "disk: Input/output error"})


@pytest.mark.parametrize(("lag_s", "status"), [(1.0, 200), (1.01, 503)])
def test_a_loop_that_is_late_by_more_than_a_second_is_told(make_app: MakeApp, lag_s: float, status: int):
    app = make_app()
    app.extensions["socketio"].server.eio.lag_s = lambda: lag_s
    assert ready(app)[0] == status
    if status == 503:
        assert ready(app)[1]["reason"] == "the event loop is late by 1.0 s"


def test_a_log_that_is_unwell_is_told(make_app: MakeApp):
    app = make_app()
    app.extensions["hazoom_ws"].log.problem = "disk full"
    assert ready(app) == (503, {"status": "unavailable", "reason": "message log: disk full"})


def test_the_backend_of_the_ai_is_no_part_of_it(make_app: MakeApp, caplog: pytest.LogCaptureFixture):
    app = make_app(llm_url="http://127.0.0.1:9", llm_circuit_failures_count=1)
    ann = Client(app, user_name="Ann")
    with caplog.at_level(logging.ERROR):
        ann.emit("llm_request", {"message": "hello"})
        assert ann.wait_for("llm_error")["code"] == "llm_unavailable"
    assert ready(app)[0] == 200


def test_by_default_there_is_a_limit_for_the_disk():
    assert Settings().disk_free_limit_bytes > 0
