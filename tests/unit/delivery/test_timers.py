"""What is due is done, whatever else fails."""

import logging
import threading

from clients import MakeApp
from hazoom_ws.delivery.timers import Timers


def test_what_fails_keeps_nothing_else_from_its_time(make_app: MakeApp, caplog) -> None:
    app = make_app()
    socketio = app.extensions["socketio"]
    start_task, sleep = socketio.start_background_task, socketio.sleep
    timers = Timers(app.extensions["hazoom_ws"].delivery, start_task=start_task, sleep=sleep)
    done, failures = threading.Event(), []

    def fail() -> float | None:
        failures.append(1)
        raise ZeroDivisionError

    def succeed() -> float | None:
        if len(failures) < 3:
            return 0.0
        done.set()
        return None

    def fail_at_first() -> float | None:
        return fail() if len(failures) < 3 else None

    with caplog.at_level(logging.ERROR):
        timers.serve(fail_at_first, succeed)
        timers.ensure_running()
        assert done.wait(20)
    assert sum("failed" in record.getMessage() for record in caplog.records) == 3
