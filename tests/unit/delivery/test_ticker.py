"""What is due in milliseconds is done: by a thread where there are threads, by the hub where there is one."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from clients import MakeApp
from hazoom_ws.delivery.ticker import Ticker


class Hub:
    """A worker whose time passes when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], object]]] = []

    def later(self, delay_s: float, callback: Callable[[], object]) -> None:
        self.waiting.append((delay_s, callback))

    def pass_time(self) -> float:
        delay_s, callback = self.waiting.pop(0)
        callback()
        return delay_s


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def make_ticker(make_app: MakeApp) -> Callable[..., Ticker]:
    def make(worker: Any) -> Ticker:
        delivery = make_app().extensions["hazoom_ws"].delivery
        start_task = lambda function: threading.Thread(target=function).start()  # noqa: E731
        return Ticker(delivery, interval_s=0.02, worker=worker, start_task=start_task, sleep=time.sleep)

    return make


def test_it_is_called_after_an_interval_and_then_as_it_says_until_nothing_is_due(make_ticker, hub: Hub) -> None:
    ticker, answers = make_ticker(hub), [0.005, None, None]
    ticker.serve(lambda: answers.pop(0))
    ticker.ensure_running()
    ticker.ensure_running()
    assert [hub.pass_time(), hub.pass_time()] == [0.02, 0.005]
    assert hub.waiting == []
    ticker.ensure_running()
    assert hub.pass_time() == 0.02
    assert answers == []


def test_what_is_overdue_is_done_after_a_pause(make_ticker, hub: Hub) -> None:
    ticker, answers = make_ticker(hub), [-1.0, 0.0, None]
    ticker.serve(lambda: answers.pop(0), lambda: 5.0 if answers else None)
    ticker.ensure_running()
    assert [hub.pass_time(), hub.pass_time(), hub.pass_time()] == [0.02, 0.001, 0.001]
    assert hub.waiting == []


def test_what_fails_is_tried_again(make_ticker, hub: Hub, caplog) -> None:
    def fail() -> float | None:
        raise ZeroDivisionError

    ticker = make_ticker(hub)
    ticker.serve(fail)
    ticker.ensure_running()
    with caplog.at_level(logging.ERROR):
        hub.pass_time()
    assert hub.pass_time() == 0.02
    assert "was not done" in caplog.text
    caplog.clear()


def test_after_the_end_nothing_is_called(make_ticker, hub: Hub) -> None:
    ticker, calls = make_ticker(hub), []
    ticker.serve(lambda: calls.append(1))
    ticker.ensure_running()
    ticker.close()
    hub.pass_time()
    ticker.ensure_running()
    assert (calls, hub.waiting) == ([], [])


def test_where_there_are_threads_one_sleeps_and_ends(make_ticker) -> None:
    ticker, done, threads = make_ticker(None), threading.Event(), []

    def run_due() -> float | None:
        threads.append(threading.current_thread())
        if len(threads) < 3:
            return 0.001
        done.set()
        return None

    ticker.serve(run_due)
    ticker.ensure_running()
    assert done.wait(20)
    threads[0].join(20)
    assert len(set(threads)) == 1
    assert not threads[0].is_alive()
