"""Runs beside the loop what may block it, in one thread of the operating system.

eventlet's own pool of threads (`eventlet.tpool`) registers its wake-up with the hub anew for each call, which costs several
times what the change of thread does.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from eventlet import greenthread, hubs, patcher

_threading: Any = patcher.original("threading")
_queue: Any = patcher.original("queue")
_socket: Any = patcher.original("socket")


class Worker:
    """A thread that runs one function after the other. It starts with the first; call `run` from greenlets of one hub."""

    def __init__(self) -> None:
        self._is_started = False
        self._calls = _queue.SimpleQueue()
        self._done: deque[tuple[Any, bool, Any]] = deque()
        self._wake_hub, self._wakes = _socket.socketpair()
        self._wakes.setblocking(False)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call ``function`` in the thread; only the calling greenlet waits for what it returns or raises."""
        hub = hubs.get_hub()
        if not self._is_started:
            self._is_started = True
            hub.add(hub.READ, self._wakes.fileno(), self._on_done, hub.squelch_exception, lambda: None)
            _threading.Thread(target=self._work, name="hazoom_ws worker", daemon=True).start()
        self._calls.put((greenthread.getcurrent(), function, args))
        succeeded, result = hub.switch()
        if succeeded:
            return result
        raise result

    def _work(self) -> None:
        while True:
            caller, function, args = self._calls.get()
            try:
                done = (caller, True, function(*args))
            except BaseException as error:
                done = (caller, False, error)
            self._done.append(done)
            self._wake_hub.send(b"\0")

    def _on_done(self, _fileno: int) -> None:
        self._wakes.recv(4096)
        while self._done:
            caller, succeeded, result = self._done.popleft()
            caller.switch((succeeded, result))
