"""Where threads take turns: a thread that takes one whenever something was heard from other processes."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Listener:
    """Calls ``hear()`` after `wake`, in a thread of its own that starts with the first."""

    def __init__(self, hear: Callable[[], object]) -> None:
        self._hear = hear
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def wake(self) -> None:
        """Have it called soon. From any thread."""
        with self._lock:
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="hazoom_ws listener", daemon=True)
                self._thread.start()
        self._event.set()

    def close(self) -> None:
        """Call it no more."""
        self._is_closed = True
        self._event.set()

    def _run(self) -> None:
        while self._event.wait() and not self._is_closed:
            self._event.clear()
            try:
                self._hear()
            except Exception:
                logger.exception("what other processes have said was not told")
