"""What gunicorn does with an application and does not tell it: how many processes serve it, and when one is to end.

A worker that is to end waits until nobody is served any more, and a WebSocket or a poll is served for as long as its client
stays: so somebody has to notice. The worker is found by its handler of SIGTERM, which is a method of it; nothing of
gunicorn's is changed, and nothing is imported that gunicorn has not imported.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from hazoom_ws.message_log.contract import UsedElsewhere
from hazoom_ws.settings import SettingsError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_INTERVAL_S = 0.1
_KILL_MARGIN_S = 1.0
_THREADED = "ThreadWorker"
_ONE_AT_A_TIME = frozenset({"SyncWorker", "TornadoWorker"})
_WHAT_TO_RUN = "--worker-class gthread --workers 1 --threads 100"


@contextmanager
def in_one_line() -> Iterator[None]:
    """Have gunicorn show a `SettingsError` that is raised meanwhile as one line: any other error has a traceback."""
    try:
        yield
    except SettingsError as error:
        if not (_is_master() or find_worker()):
            raise
        # What is shown in one line is the first of these in a worker, the second in its master.
        shown = sys.modules["gunicorn.errors"].AppImportError, RuntimeError
        raise type("SettingsError", (type(error), *shown), {})(f"hazoom_ws: {error}") from None


def find_worker() -> Any:
    """Return gunicorn's worker that this process is, None where it is none."""
    module = sys.modules.get("gunicorn.workers.base")
    if module is None:
        return None
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return worker if isinstance(worker, module.Worker) else None


def checked_worker() -> Any:
    """Return what `find_worker` does. Raises `SettingsError` where gunicorn is to do what cannot work."""
    if _is_master():
        raise SettingsError(
            "gunicorn's --preload makes the application in a process that serves nobody, and what it holds (its file, "
            "its threads) cannot be shared with the one that does; leave --preload out"
        )
    worker = find_worker()
    if worker is None:
        return None
    if worker.cfg.workers > 1:
        if worker.age % worker.cfg.workers != 1:  # one of them says it: two that fail at once end gunicorn with a traceback
            _wait_for_end(worker)
        raise SettingsError(
            f"gunicorn is to run {worker.cfg.workers} workers, and one process serves all clients: rooms and messages are "
            f"not shared between processes; run it with {_WHAT_TO_RUN} (WEB_CONCURRENCY sets the workers too)"
        )
    if _is_a(worker, _ONE_AT_A_TIME) or (_is_a(worker, {_THREADED}) and worker.cfg.threads < 2):
        raise SettingsError(
            f"gunicorn's {worker.cfg.worker_class_str} worker with {worker.cfg.threads} thread serves one request at a "
            f"time, and a client that stays is one; run it with {_WHAT_TO_RUN}"
        )
    return worker


def when_free(worker: Any, open_log: Callable[[], T]) -> T:
    """Return what ``open_log()`` does; wait while the worker before this one has the file.

    On SIGHUP gunicorn starts the next worker before it ends the last; one that failed would end gunicorn. The first of
    them, and what is no worker of gunicorn's (None), get the error.
    """
    if worker is None or worker.age == 1:
        return open_log()
    warns_at_s = time.monotonic() + worker.cfg.graceful_timeout
    while worker.alive:
        try:
            return open_log()
        except UsedElsewhere as error:
            if time.monotonic() > warns_at_s:
                logger.warning("gunicorn's worker %d waits, for one process serves all clients: %s", os.getpid(), error)
                warns_at_s = float("inf")
        _stay(worker)
    sys.exit(0)  # it is to end, and has not begun


def grace_s(worker: Any, wanted_s: float) -> float:
    """Return how long a stop may take: gunicorn kills a worker that takes longer than it is given."""
    return wanted_s if worker is None else min(wanted_s, max(0.0, worker.cfg.graceful_timeout - _KILL_MARGIN_S))


def end_watch(
    worker: Any, stop: Callable[[], object], count: Callable[[], int], warn: Callable[[str], object]
) -> Callable[[float], None]:
    """Return a function, to be called now and then, that calls ``stop()`` once when the worker is to end.

    It also calls ``warn`` while ``count()`` clients have all of the worker's threads: the next one waits for a thread.
    """
    threads_count = worker.cfg.threads if _is_a(worker, {_THREADED}) else None
    is_stopping = False

    def sweep(_now_s: float) -> None:
        nonlocal is_stopping
        if not worker.alive:
            if not is_stopping:
                is_stopping = True
                stop()
        elif threads_count is not None and count() >= threads_count:
            warn(f"each of gunicorn's {threads_count} threads has a client, and who else comes waits; raise --threads")

    return sweep


def _wait_for_end(worker: Any) -> NoReturn:
    while worker.alive:
        _stay(worker)
    sys.exit(0)


def _stay(worker: Any) -> None:
    """Wait a little; gunicorn kills a worker of which it does not hear."""
    worker.notify()
    time.sleep(_RETRY_INTERVAL_S)


def _is_master() -> bool:
    """Return whether this process is gunicorn's first, which starts the workers."""
    module = sys.modules.get("gunicorn.arbiter")
    if module is None or not os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/"):
        return False
    handler = signal.getsignal(signal.SIGTERM)
    return handler is signal.SIG_DFL or isinstance(getattr(handler, "__self__", None), module.Arbiter)


def _is_a(worker: Any, names: "frozenset[str] | set[str]") -> bool:
    return any(kind.__name__ in names for kind in type(worker).__mro__)
