"""The two walks of the architecture guide are walked: a server is watched while a message and an answer go through it."""

import re
import select
import sys
import uuid
from pathlib import Path

import pytest

from servers import ROOT, OfficialClient, flask_tool, free_port

TOUR = ROOT / "src" / "hazoom_ws" / "web" / "guides" / "architecture.md"
# Writes down which of ``names`` are called, in whichever greenlet.
WATCHED = """
import sys
import greenlet

names, told = {names!r}, open({told!r}, "a", buffering=1)


def note(frame, kind, _):
    if kind == "call":
        name = frame.f_globals.get("__name__", "").removeprefix("hazoom_ws.") + ":" + frame.f_code.co_qualname
        if name in names:
            told.write(name + "\\n")


def watch(*_):
    sys.setprofile(note)


watch()
greenlet.settrace(watch)
sys.argv[1:] = ["--port", "{port}", "--demo"]
from hazoom_ws.__main__ import main

main()
"""
# What the walks name beside the way: what happens to who is slow, to what is unusual, or elsewhere.
BESIDE = {
    "transport.serving.loop_websocket:LoopWebSocket.hold",
    "transport.bounds.outbox:Outbox.add",
    "transport.serving.offload:Worker.submit",
    "transport.serving.blocking:BlockingWebSocket.serve",
    "transport.serving.http_requests:handle_request",
    "delivery.delivery:Delivery.keeps_up",
    "llm_bridge.http_chunks:ChunkDecoder.feed",  # the demo sends no chunks
    "message_log.contract:MessageLog.find_resent",  # protocols: the log that is used has them
    "message_log.contract:MessageLog.next_offset",
}


def steps(heading: str) -> list[list[str]]:
    """Return the functions that each numbered step of a walk names."""
    text = TOUR.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = []
    for step in re.split(r"^\d+\. ", text, flags=re.MULTILINE)[1:]:
        step_itself = step.partition("\n\n")[0]
        names = re.findall(r"`([\w.]+:[\w.]+)`", step_itself)
        functions = [name for name in names if not name.rpartition(".")[2].rpartition(":")[2][0].isupper()]
        found.append([name for name in functions if name not in BESIDE])
    return found


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="the walks go by the loop, which is on epoll")
@pytest.mark.parametrize("walk", ["The walk of a message", "The walk of a token"])
def test_every_hop_of_a_walk_is_called_in_its_order(tmp_path: Path, client: OfficialClient, walk: str) -> None:
    expected = steps(walk)
    told, port, script = tmp_path / "told", free_port(), tmp_path / "watched.py"
    names = {name for step in expected for name in step}
    script.write_text(WATCHED.format(names=names, told=str(told), port=port), encoding="utf-8")
    with flask_tool([sys.executable, str(script)], port, HAZOOM_LOG_URL=f"sqlite:///{tmp_path}/messages.sqlite3") as server:
        ann = client.connect(server.url, auth={"user_name": "Ann"}, transports=["websocket"])
        before = len(told.read_text(encoding="utf-8").splitlines())
        if walk == "The walk of a message":
            # The first one may find a commit under way, that of her coming, and goes on when that has ended.
            for text in ("hello", "again"):
                assert ann.emit("message", {"message": text, "client_id": uuid.uuid4().hex})["ok"]
                ann.wait_for("new_message", lambda message, text=text: message["message"] == text)
        else:
            assert ann.emit("llm_request", {"message": "hello", "room": "general"})["ok"]
            ann.wait_for("llm_complete")
        called = told.read_text(encoding="utf-8").splitlines()[before:]
    at = 0
    for number, step in enumerate(expected, 1):
        for name in step:
            assert name in called, f"step {number} names {name}, which was not called"
        if step:
            assert step[0] in called[at:], f"step {number}: {step[0]} was not called after what is named before it"
            at += called[at:].index(step[0])
