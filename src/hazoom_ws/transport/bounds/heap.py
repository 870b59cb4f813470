"""Gives freed memory back to the system, where the C library keeps it.

glibc returns only what is free at the end of its heap: after a burst of connections, or of an attack, a few small things
that were made last keep all the rest.

Source: malloc_trim(3).
"""

import ctypes
import math
import time
from collections.abc import Callable
from contextlib import suppress

_INTERVAL_S = 2.0
_SHARE = 200  # of the time in which it does nothing, to that which it takes: mostly some tenths of a millisecond


class Heap:
    """A sweep of the engine."""

    def __init__(self) -> None:
        self._due_at_s = -math.inf
        self._trim: Callable[[int], int] | None = None
        with suppress(OSError, AttributeError, TypeError):  # another C library, or Windows
            self._trim = ctypes.CDLL(None).malloc_trim

    def sweep(self, now_s: float) -> None:
        """Give memory back, if it is time for that."""
        if self._trim is None or now_s < self._due_at_s:
            return
        started_s = time.monotonic()
        self._trim(0)
        taken_s = time.monotonic() - started_s
        self._due_at_s = now_s + max(_INTERVAL_S, _SHARE * taken_s)
