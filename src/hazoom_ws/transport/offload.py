"""Runs beside the loop what may block it."""

from collections.abc import Callable
from typing import Any

from eventlet import tpool


def run_in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call ``function`` in a thread of the operating system; only the calling greenlet waits for it."""
    return tpool.execute(function, *args)
