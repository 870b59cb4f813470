"""The quiet client: a WebSocket that asks ``get_stats`` every 21 ms, whatever happens to others, and times the answers.

It asks on time whether answers come or not, so a stall counts for every question that it delays, up to 50 unanswered ones.
21 ms keep it under the server's 50 events a second. Beside it a thread asks ``GET /health`` on a new connection.
"""

import http.client
import re
import threading
import time
from contextlib import suppress

from hostile.wire import SERVER_ADDRESS, Closed, Line, TimeIsUp, WebSocket, frame, take_payloads

INTERVAL_S = 0.021
_UNANSWERED_LIMIT = 50
_HEALTH_INTERVAL_S = 0.25
HEALTH_LIMIT_S = 1.0
_REPLY = re.compile(rb'43(\d+)\[\{"ok":(true|false)(?:.{0,60}"code":"(\w+)")?')


class CalmClient:
    """Starts when it is made, in threads of its own; `stop` ends it. Times in seconds.

    ``waits_s``: of each answered question since `begin`. ``is_connected``: until the server closes. ``refusals``: codes of
    questions that were refused. ``late_s``: how late this process woke up at worst, which is no fault of the server.
    """

    def __init__(self, port: int, auth: str) -> None:
        self.waits_s: list[float] = []
        self.is_connected = True
        self.refusals: list[str] = []
        self.late_s = 0.0
        self.health_problems: list[str] = []
        self.health_longest_s = 0.0
        self._port = port
        self._asked_at_s: dict[int, float] = {}
        self._begun_at_s = float("inf")
        self._is_stopping = threading.Event()
        websocket = WebSocket(port, time.monotonic() + 20, source=SERVER_ADDRESS, auth=auth)
        websocket.ends_at_s += 86_400
        self._websocket: Line = websocket
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._ask, self._watch_health)]
        for thread in self._threads:
            thread.start()

    def begin(self) -> None:
        """Count from now on."""
        self._begun_at_s = time.monotonic()
        self.late_s = 0.0

    def waiting_s(self) -> float:
        """Return for how long the oldest unanswered question has waited, 0 if there is none."""
        asked_at_s = list(self._asked_at_s.values())
        return time.monotonic() - asked_at_s[0] if asked_at_s else 0.0

    def stop(self) -> None:
        self._is_stopping.set()
        for thread in self._threads:
            thread.join(HEALTH_LIMIT_S + 2)
        self._websocket.close()

    def _ask(self) -> None:
        number, next_at_s = 0, time.monotonic()
        try:
            while not self._is_stopping.is_set():
                now_s = time.monotonic()
                if now_s >= next_at_s:
                    if now_s >= self._begun_at_s:
                        self.late_s = max(self.late_s, now_s - next_at_s)
                    next_at_s = max(next_at_s + INTERVAL_S, now_s)
                    if len(self._asked_at_s) < _UNANSWERED_LIMIT:
                        number += 1
                        self._asked_at_s[number] = now_s
                        self._websocket.send(frame(f'42{number}["get_stats"]'))
                if self._websocket.read(max(0.0, next_at_s - time.monotonic())):
                    for payload in take_payloads(self._websocket.received):
                        self._take(payload)
        except (Closed, TimeIsUp, OSError):
            self.is_connected = False

    def _take(self, payload: bytes) -> None:
        if payload == b"2":
            self._websocket.send(frame("3"))
        if reply := _REPLY.match(payload):
            asked_at_s = self._asked_at_s.pop(int(reply[1]), None)
            if asked_at_s is not None and asked_at_s >= self._begun_at_s:
                self.waits_s.append(time.monotonic() - asked_at_s)
            if reply[2] == b"false":
                self.refusals.append((reply[3] or b"?").decode())

    def _watch_health(self) -> None:
        while not self._is_stopping.wait(_HEALTH_INTERVAL_S):
            started_s = time.monotonic()
            problem = _health_problem(self._port)
            if started_s >= self._begun_at_s:
                self.health_longest_s = max(self.health_longest_s, time.monotonic() - started_s)
                if problem:
                    self.health_problems.append(problem)


def _health_problem(port: int) -> str:
    """Return what is wrong with ``GET /health``, "" if it answers in time."""
    connection = http.client.HTTPConnection(SERVER_ADDRESS, port, timeout=HEALTH_LIMIT_S)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except TimeoutError:
        return "silent"
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        with suppress(OSError):
            connection.close()
    return "" if status == 200 else f"status {status}"
