"""What blocks the event loop is named in the log, once a minute, and a server that is late says so."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from servers import DEADLINE_S, Hazoom, OfficialClient, Socket, hazoom, wait_until

BLOCKS = """
import sys
import time
from hazoom_ws.features import ClientPayload, Feature, handles

try:
    from eventlet import patcher
    sleep = patcher.original("time").sleep
except ImportError:
    sleep = time.sleep

class Block(ClientPayload, frozen=True):
    event = "block"
    seconds: float

class Blocks(Feature):
    name = "blocks"

    @handles(Block)
    def block(self, sender, payload):
        a_feature_that_blocks(payload.seconds)

def a_feature_that_blocks(seconds):
    sleep(seconds)
"""


@pytest.fixture
def server(async_mode: str, tmp_path: Path) -> Iterator[Hazoom]:
    (tmp_path / "blocks.py").write_text(BLOCKS)
    env = {"PYTHONPATH": str(tmp_path), "HAZOOM_LOG_URL": f"sqlite:///{tmp_path}/messages.sqlite3"}
    with hazoom(async_mode=async_mode, env=env, args=("--feature", "blocks:Blocks")) as server:
        yield server


@pytest.fixture
def ann(server: Hazoom, client: OfficialClient) -> Socket:
    return client.connect(server.url, transports=["websocket"])


def said_count(server: Hazoom) -> int:
    return server.log.count("the event loop was blocked for")


def test_what_blocks_the_loop_is_logged_once_a_minute_and_by_its_stack(
    async_mode: str, server: Hazoom, ann: Socket
) -> None:
    assert ann.emit("block", {"seconds": 0.1}) == {"ok": True}
    for _ in range(3):
        assert ann.emit("block", {"seconds": 0.6}) == {"ok": True}
    if async_mode == "threading":
        assert said_count(server) == 0
        return
    wait_until(lambda: said_count(server), "it says so")
    said = server.log.partition("the event loop was blocked for")[2]
    assert "in a_feature_that_blocks" in said
    assert said_count(server) == 1


def test_who_is_late_by_more_than_a_second_is_not_ready_and_soon_is_again(
    async_mode: str, server: Hazoom, ann: Socket
) -> None:
    def why_not_ready() -> str:
        ann.start_to_emit("block", {"seconds": 1.3})
        return requests.get(f"{server.url}/ready", timeout=DEADLINE_S).json().get("reason", "")

    if async_mode == "threading":
        assert why_not_ready() == "", "there is no loop that could be late"
        return
    wait_until(lambda: "the event loop is late by" in why_not_ready(), "it says so")
    wait_until(server.is_ready, "it is ready again")


def test_a_process_that_was_stopped_as_a_whole_blames_nobody(async_mode: str, server: Hazoom, ann: Socket) -> None:
    """A laptop that sleeps, a debugger."""
    process = psutil.Process(server.child.process.pid)
    for _ in range(3):
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "it stands still")
        before_s = process.cpu_times().user
        with pytest.raises(requests.Timeout):
            requests.get(f"{server.url}/health", timeout=0.8)
        assert process.cpu_times().user == before_s
        os.kill(process.pid, signal.SIGCONT)
        assert ann.emit("message", {"message": "hello"})["ok"] is True
    assert said_count(server) == 0
