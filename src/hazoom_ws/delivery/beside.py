"""Calls what may take long beside turns, and then in a turn who wants to know what has come of it."""

from collections.abc import Callable
from typing import Any

from hazoom_ws.delivery.commit_beside_turns import Worker
from hazoom_ws.delivery.delivery import Delivery

Done = Callable[[Any, BaseException | None], None]


def run_beside(
    delivery: Delivery, worker: Worker | None, start_task: Callable[..., object]
) -> Callable[[Callable[[], Any], Done], None]:
    """Return a function that calls ``function()`` in a thread, then ``done(result, error)`` in a turn.

    ``worker``: as in `Turns`; without one a task of its own does it.
    """

    def run(function: Callable[[], Any], done: Done) -> None:
        results: list[Any] = []

        def call() -> None:
            results.append(function())

        def end(error: BaseException | None) -> None:
            with delivery.turn():
                done(results[0] if results else None, error)

        def task() -> None:
            try:
                call()
            except Exception as error:
                end(error)
            else:
                end(None)

        if worker is None:
            start_task(task)
        else:
            worker.submit(end, call)

    return run
