"""Runs beside the loop what may block it, in threads of the operating system.

eventlet's own pool of threads (`eventlet.tpool`) registers its wake-up with the hub anew for each call, which costs several
times what the change of thread does.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from eventlet import greenthread, hubs, patcher

logger = logging.getLogger(__name__)
_threading: Any = patcher.original("threading")
_queue: Any = patcher.original("queue")
_socket: Any = patcher.original("socket")

_SWITCH_INTERVAL_S = 0.001
_THREADS = 2  # one that writes, one that waits for a disk meanwhile

Done = Callable[[Exception | None], object]


class Worker:
    """Threads that run functions, as they are free. They start with the first; call all of this from one hub's greenlets.

    What is called back runs in the loop's turns where there is a loop, else in greenlets of its own.
    """

    def __init__(self, loop: Callable[[], Any]) -> None:
        """``loop()`` returns the `Loop`, None where there is none."""
        self._loop = loop
        self._is_started = False
        self._threads: list[Any] = []
        self._listener: Any = None  # of the hub, where there is no loop
        self._watched: _Wakes | None = None  # by the loop
        self._calls = _queue.SimpleQueue()
        self._done: deque[tuple[Done, Exception | None]] = deque()
        self._wake_up, self._wakes = _socket.socketpair()
        self._wakes.setblocking(False)

    def soon(self, callback: Callable[[], object]) -> None:
        """Call back when all that has arrived by now was handled."""
        loop = self._loop()
        if loop is None:
            greenthread.spawn_n(callback)
        else:
            loop.call_soon(callback)

    def later(self, delay_s: float, callback: Callable[[], object]) -> None:
        """Call back after so many seconds, between turns."""
        hubs.get_hub().schedule_call_global(delay_s, self.soon, callback)

    def submit(self, done: Done, function: Callable[..., object], *args: Any) -> None:
        """Call ``function`` in a thread, then ``done`` with what it raised. Raises RuntimeError if there is no thread."""
        if not self._is_started:
            self._start()
        self._calls.put((done, function, args))

    def wake(self, callback: Callable[[], object]) -> None:
        """Call back, from any thread; not before something was submitted."""
        self._done.append((lambda _: callback(), None))
        self._wake_up.send(b"\0")

    def run(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function`` in a thread; only the calling greenlet waits for its end. Raises what it raises."""
        hub, caller = hubs.get_hub(), greenthread.getcurrent()
        self.submit(lambda error: hub.schedule_call_global(0, caller.switch, error), function, *args)
        error = hub.switch()
        if error is not None:
            raise error

    def _start(self) -> None:
        """Start the threads; one is enough. Raises RuntimeError if the system gives none; the next call tries again."""
        for _ in range(_THREADS):
            thread = _threading.Thread(target=self._work, name="hazoom_ws worker", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                if not self._threads:
                    raise
                logger.warning("one thread does what %d should: %s", _THREADS, error)
                break
            self._threads.append(thread)
        # By default a thread that is ready waits 5 ms for one that computes: several times in each call.
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
        loop = self._loop()
        if loop is None:
            hub = hubs.get_hub()
            self._listener = hub.add(hub.READ, self._wakes.fileno(), self._on_wake_up, hub.squelch_exception, lambda: None)
        else:
            self._watched = _Wakes(self._wakes, self._call_back)
            loop.watch(self._watched)
        self._is_started = True

    def close(self) -> None:
        """End the threads when they have done what there is to do; nothing is called back any more."""
        for _ in self._threads:
            self._calls.put(None)
        while self._threads:
            self._threads.pop().join()
        if self._listener is not None:
            hubs.get_hub().remove(self._listener)
            self._listener = None
        if self._watched is not None:
            self._loop().unwatch(self._watched)
            self._watched = None
        self._wakes.close()
        self._wake_up.close()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            done, function, args = call
            error: Exception | None = None
            try:
                function(*args)
            except Exception as raised:
                error = raised
            self._done.append((done, error))
            self._wake_up.send(b"\0")

    def _on_wake_up(self, _fileno: int) -> None:
        self._wakes.recv(4096)
        greenthread.spawn_n(self._call_back)

    def _call_back(self) -> None:
        while self._done:
            done, error = self._done.popleft()
            try:
                done(error)
            except Exception:
                logger.exception("what follows %r failed", done)


class _Wakes:
    """What the loop reads when a thread has done something."""

    def __init__(self, connection: Any, on_wake_up: Callable[[], None]) -> None:
        self.connection = connection
        self.is_ready = False
        self._on_wake_up = on_wake_up

    def on_readable(self) -> bool:
        self.connection.recv(4096)
        self._on_wake_up()
        return False

    def on_writable(self) -> None:
        """Nothing is ever sent here."""

    def forget(self) -> None:
        """It lives as long as its `Worker`."""
