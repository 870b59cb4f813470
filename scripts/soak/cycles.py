"""The mode ``--gc`` of scripts/soak.py: one action at a time on a server without a garbage collector."""

import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from hostile.packets import unfinished_string
from hostile.polling import Polling
from hostile.server import Server, ServerError, running
from hostile.wire import Closed, Line, TimeIsUp, WebSocket
from soak.backend import backend
from soak.people import POLLING, UPGRADE, WEBSOCKET, People

_COLLECTOR = Path(__file__).resolve().parent / "collector.py"
_REPORT_LIMIT_S = 60.0
_SETTLING_S = 3.0
_LEAST_S = 2.0
_ALWAYS = {"say": 1}
_WINDOWS = {"HAZOOM_RECOVERY_WINDOW_S": "1", "HAZOOM_LLM_RESUME_WINDOW_S": "1", "HAZOOM_LLM_USER_GRACE_S": "1"}
_BAD_PACKETS = {
    "NaN in an event": '42["x",NaN]',
    "a lone surrogate": '42["x","\\ud800"]',
    "nested too deeply": '42["x",' + "[" * 40 + "]" * 40 + "]",
    "NaN in CONNECT's auth": '40/rooms,{"x":NaN}',
    "an auth that is no object": "40/rooms,[1]",
    "a payload of the wrong type": '421["message",{"message":1}]',
    "an unknown event": '421["nothing",{}]',
    "binary parts": '451-["message",{"_placeholder":true,"num":0}]',
    "a room that one is not in": '421["message",{"room":"x","message":"y"}]',
    "an unknown namespace": "40/nowhere,",
    "an acknowledgement of nothing": "431[]",
    "a message of 65,537 bytes": f'421["message",{{"message":"{"x" * 65_537}"}}]',
}
_ENDING_PACKETS = {
    "a packet that is none": "x",
    "a JSON that is none": '42["message",',
    "a string that never ends": unfinished_string(50),
}


def search(python: Path, async_mode: str, seconds: float, clients: int) -> int:
    """Run each action for its share of the seconds, and print what it has left; return 1 if any left something."""
    actions = _actions(clients)
    share_s = max(_LEAST_S, seconds / len(actions))
    total = 0
    with ExitStack() as stack:
        variables = {**_WINDOWS, "HAZOOM_PRESENCE_GRACE_S": "0", "HAZOOM_LLM_URL": stack.enter_context(backend())}
        variables["HAZOOM_LLM_CIRCUIT_FAILURES_COUNT"] = "1000000"
        arguments = ["--async-mode", async_mode, "--log-level", "warning"]
        report = Path(stack.enter_context(_folder())) / "report"
        run = (str(_COLLECTOR), str(report), "hazoom_ws")
        server = stack.enter_context(running(python, arguments, variables, run=run))
        _warm_up(server)
        _first_signal(server, report)
        print(f"{'action':40} {'times':>7} {'unreachable':>12}", flush=True)
        for name, act in actions.items():
            times = act(server, time.monotonic() + share_s)
            time.sleep(_SETTLING_S)
            found = _collect(server, report)
            total += found["unreachable"]
            print(f"{name:40} {times:>7} {found['unreachable']:>12}", flush=True)
            _explain(found)
        print("in use at the end: " + ", ".join(f"{count} {name}" for name, count in found["live"].items()))
    return 1 if total else 0


def _explain(found: dict[str, Any]) -> None:
    if not found["unreachable"]:
        return
    print("    " + ", ".join(f"{count} {name}" for name, count in found["types"].items()))
    for count, cycle in found["cycles"][:6]:
        print(f"    {count} x {' -> '.join(cycle)} -> again", flush=True)


@contextmanager
def _folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="hazoom-soak-") as name:
        yield name


Act = Callable[[Server, float], int]


def _actions(clients: int) -> dict[str, Act]:
    """Return the actions by name; each runs until a moment of the monotonic clock and returns how often it was done."""
    quick = (20.0, 80.0)
    actions: dict[str, Act] = {
        "nothing": lambda _, ends_at_s: _sleep_until(ends_at_s),
        "WebSocket: connect and leave": _repeat(lambda port, ends_at_s: _leave(WebSocket(port, ends_at_s))),
        "WebSocket: connect and close": _repeat(lambda port, ends_at_s: WebSocket(port, ends_at_s).close()),
        "WebSocket: connect and reset": _repeat(lambda port, ends_at_s: WebSocket(port, ends_at_s).reset()),
        "WebSocket: no CONNECT": _repeat(lambda port, ends_at_s: WebSocket(port, ends_at_s, joins=False).close()),
        "polling: connect and leave": _repeat(_poll_and_leave),
        "HTTP: health": _repeat(lambda port, ends_at_s: _request(port, ends_at_s, b"GET /health")),
        "HTTP: a page that is not there": _repeat(lambda port, ends_at_s: _request(port, ends_at_s, b"GET /nothing")),
        "HTTP: a wrong handshake": _repeat(lambda port, ends_at_s: _request(port, ends_at_s, b"GET /socket.io/?EIO=3")),
        "HTTP: a request line that is none": _repeat(lambda port, ends_at_s: _request(port, ends_at_s, b"\xff")),
        "HTTP: the end in the middle of a head": _repeat(_half_request),
    }
    for name, packet in _BAD_PACKETS.items():
        actions[f"refused: {name}"] = _repeat(lambda port, ends_at_s, packet=packet: _say(port, ends_at_s, packet))
    actions["refused: over the rate"] = _repeat(lambda port, ends_at_s: _say(port, ends_at_s, '42["x",{}]', times=300))
    for name, packet in _ENDING_PACKETS.items():
        actions[f"ended: {name}"] = _repeat(lambda port, ends_at_s, packet=packet: _say(port, ends_at_s, packet))
    actions["refused, by polling: NaN"] = _repeat(lambda port, ends_at_s: _poll_and_leave(port, ends_at_s, '42["x",NaN]'))
    actions["ended, by polling: a packet that is none"] = _repeat(
        lambda port, ends_at_s: _poll_and_leave(port, ends_at_s, "x")
    )
    for action in ("say", "type", "history", "rejoin", "stats", "leave", "vanish", "drop"):
        actions[f"official: {action}"] = _official({**_ALWAYS, action: 3}, clients, quick)
    actions["official, changing over: leave"] = _official({**_ALWAYS, "leave": 3}, clients, quick, UPGRADE)
    actions["official, by polling: drop"] = _official({**_ALWAYS, "drop": 3}, clients, quick, POLLING)
    for action in ("ask", "ask_room", "ask_whole", "ask_fail", "ask_cut", "cancel", "ask_and_drop"):
        actions[f"AI: {action}"] = _official({action: 1}, clients, (100.0, 400.0))
    return actions


def _official(
    weights: dict[str, int], clients: int, pause_ms: tuple[float, float], transport: tuple[str, ...] = WEBSOCKET
) -> Act:
    def act(server: Server, ends_at_s: float) -> int:
        seconds = max(1.0, ends_at_s - time.monotonic())
        with People(server.port, clients, seconds, weights, pause_ms, transports=[transport]) as people:
            counts = people.counts()
        return sum(count for name, count in counts.items() if not name.startswith("received"))

    return act


def _repeat(do: Callable[[int, float], None]) -> Act:
    def act(server: Server, ends_at_s: float) -> int:
        times = 0
        while time.monotonic() < ends_at_s and times < 200:
            with suppress(Closed, TimeIsUp):
                do(server.port, time.monotonic() + 5)
            times += 1
        return times

    return act


def _sleep_until(ends_at_s: float) -> int:
    time.sleep(max(0.0, ends_at_s - time.monotonic()))
    return 1


def _say(port: int, ends_at_s: float, packet: str, *, times: int = 1) -> None:
    websocket = WebSocket(port, ends_at_s)
    try:
        for _ in range(times):
            websocket.say(packet)
        websocket.read(0.1)
        _leave(websocket)
    finally:
        websocket.close()


def _leave(websocket: WebSocket) -> None:
    websocket.say("41")
    websocket.read(0.05)
    websocket.close()


def _poll_and_leave(port: int, ends_at_s: float, packet: str = "41") -> None:
    polling = Polling(port, ends_at_s)
    try:
        polling.post(packet)
        polling.post("1")
    finally:
        polling.close()


def _request(port: int, ends_at_s: float, begins: bytes) -> None:
    line = Line(port, ends_at_s)
    try:
        line.send(begins + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        line.stay(ends_at_s)
    finally:
        line.close()


def _half_request(port: int, ends_at_s: float) -> None:
    line = Line(port, ends_at_s)
    line.send(b"GET / HTTP/1.1\r\nHost: ")
    line.socket.shutdown(socket.SHUT_WR)
    line.read(0.05)
    line.close()


def _warm_up(server: Server) -> None:
    """Have done once what is done for the first time only."""
    with suppress(Closed, TimeIsUp):
        _say(server.port, time.monotonic() + 5, '42["message",{"message":"hello"}]')
        _poll_and_leave(server.port, time.monotonic() + 5)
    requests.get(f"http://127.0.0.1:{server.port}/", timeout=10)
    time.sleep(_SETTLING_S)


def _first_signal(server: Server, report: Path) -> None:
    os.kill(server.process.pid, signal.SIGUSR1)
    _wait_for(report.exists, server)


def _collect(server: Server, report: Path) -> dict[str, Any]:
    size = report.stat().st_size
    os.kill(server.process.pid, signal.SIGUSR1)
    _wait_for(lambda: report.stat().st_size > size and report.read_bytes().endswith(b"\n"), server)
    return json.loads(report.read_text(encoding="utf-8").splitlines()[-1])


def _wait_for(condition: Callable[[], bool], server: Server) -> None:
    ends_at_s = time.monotonic() + _REPORT_LIMIT_S
    while not condition():
        if time.monotonic() > ends_at_s or not server.is_running():
            raise ServerError("the server did not tell what it would collect")
        time.sleep(0.02)
