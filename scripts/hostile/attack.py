"""What an attack is, what it may use, and the two ways to go on for its seconds: again and again, and many at once."""

import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from hostile.polling import Polling
from hostile.wire import Closed, Line, TimeIsUp, WebSocket

RATE_PER_S, BURST_COUNT = 50, 100  # the server's limits of a connection's events, as they come
_TOLERANCE = 1.2
_PAUSE_S = 0.02  # after the server has closed: going on is not the same as never letting go


class Context:
    """What an attack that runs knows: where, until when, and what it has found."""

    def __init__(self, port: int, seconds: float, backend: socket.socket) -> None:
        self.port = port
        self.started_s = time.monotonic()
        self.ends_at_s = self.started_s + seconds
        self.backend = backend  # listens where the server looks for its AI backend, unless that is the demo
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []  # promises to others than the calm client
        self._is_crashed = False

    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at_s

    def pause(self, seconds: float = _PAUSE_S) -> None:
        """Wait. Raises `TimeIsUp`."""
        time.sleep(max(0.0, min(seconds, self.ends_at_s - time.monotonic())))
        if self.is_over():
            raise TimeIsUp

    def expect_at_most(self, done: int, what: str) -> None:
        """Call it a broken promise if more was done than the limits of events allow, for each new connection anew."""
        seconds = time.monotonic() - self.started_s
        if done > (BURST_COUNT * (1 + self.counts["closed"]) + RATE_PER_S * seconds) * _TOLERANCE:
            self.broken.append(f"{done} {what} in {seconds:.1f} s")

    def stay(self) -> None:
        """Wait until the attack is over. Raises `TimeIsUp`."""
        self.pause(self.ends_at_s - time.monotonic())

    def line(self, *, keeps: bool = False) -> Line:
        return Line(self.port, self.ends_at_s, keeps=keeps)

    def websocket(self, *, joins: bool = True, auth: str = "", forwarded_for: str = "") -> WebSocket:
        return WebSocket(self.port, self.ends_at_s, joins=joins, auth=auth, forwarded_for=forwarded_for)

    def polling(self, *, joins: bool = True) -> Polling:
        return Polling(self.port, self.ends_at_s, joins=joins)

    def repeat(self, act: Callable[["Context"], None], *, threads: int = 1) -> None:
        """Call ``act`` again and again, in so many threads, until the time is up; each `Closed` is counted."""

        def run() -> None:
            with suppress(TimeIsUp):
                while not self.is_over():
                    try:
                        act(self)
                        self.counts["rounds"] += 1
                    except Closed as why:
                        self.counts["closed"] += 1
                        self.counts[f"closed: {str(why)[:60]}"] += 1
                        self.pause()

        workers = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(max(0.0, self.ends_at_s - time.monotonic()) + 1)

    def flood(self, count: int, start: Callable[["Context"], Line], script: Callable[[], Iterator[bytes | float]]) -> None:
        """Drive ``count`` lines at once until the time is up; one that the server closes is replaced.

        ``start`` opens one, ``script`` yields what it sends: bytes, or seconds to wait. What comes back is read, and
        thrown away. A script that ends leaves its line open.
        """
        with selectors.DefaultSelector() as selector, suppress(TimeIsUp):
            drivers: list[_Driver] = []
            while not self.is_over():
                if len(drivers) < count:
                    try:
                        drivers.append(_Driver(start(self), script(), selector))
                    except Closed:
                        self.counts["refused"] += 1
                        self.pause()
                has_ended = False
                now_s = time.monotonic()
                for key, events in selector.select(0 if len(drivers) < count else 0.002):
                    has_ended |= not key.data.act(events)
                for driver in drivers:
                    if driver.wakes_at_s and driver.wakes_at_s <= now_s:
                        driver.wake()
                if has_ended:
                    self.counts["closed"] += sum(not driver.is_open for driver in drivers)
                    drivers = [driver for driver in drivers if driver.is_open]
                    time.sleep(0.001)


class _Driver:
    """One line of a flood."""

    def __init__(self, line: Line, script: Iterator[bytes | float], selector: selectors.BaseSelector) -> None:
        self.line = line
        self.is_open = True
        self.wakes_at_s = 0.0
        self._script = script
        self._selector = selector
        self._left = memoryview(b"")
        line.keeps = False
        line.received.clear()
        selector.register(line, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def act(self, events: int) -> bool:
        """Read and send what is possible now; return False at the line's end."""
        try:
            if events & selectors.EVENT_READ:
                self.line.take()
            if events & selectors.EVENT_WRITE:
                self._send()
        except (Closed, OSError):
            self._selector.unregister(self.line)
            self.line.close()
            self.is_open = False
        return self.is_open

    def wake(self) -> None:
        self.wakes_at_s = 0.0
        if self.is_open:
            self._selector.modify(self.line, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def _send(self) -> None:
        if not self._left:
            step = next(self._script, 3600.0)
            if isinstance(step, float):
                self.wakes_at_s = time.monotonic() + step
                self._selector.modify(self.line, selectors.EVENT_READ, self)
                return
            self._left = memoryview(step)
        with suppress(BlockingIOError):
            self._left = self._left[self.line.socket.send(self._left[: 1 << 18]) :]


class Attack(NamedTuple):
    """One attack. ``item``: its kind by number, a plus for what is akin. ``variables``: the server's environment.

    ``has_backend``: the attack plays the AI backend, else the server has the demo. ``file_limit``: the server's hard limit
    of open files, None for the system's. ``calm_auth``: what the calm client says of itself, as JSON.
    """

    name: str
    item: str
    title: str
    run: Callable[[Context], None]
    has_backend: bool = False
    file_limit: int | None = None
    variables: dict[str, str] = {}  # noqa: RUF012 - never changed
    calm_auth: str = '{"user_name":"Calm"}'


def many(packet: bytes, *, pause_s: float = 0.0) -> Callable[[], Iterator[bytes | float]]:
    """Return a script that sends the same bytes for ever, with a pause after each if ``pause_s``."""

    def script() -> Iterator[bytes | float]:
        while True:
            yield packet
            if pause_s:
                yield pause_s

    return script
