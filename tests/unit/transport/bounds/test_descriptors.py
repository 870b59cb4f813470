"""The last descriptors are for those who are in."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hazoom_ws.transport.bounds import descriptors as descriptors_module
from hazoom_ws.transport.bounds.descriptors import Descriptors
from hazoom_ws.transport.engineio.engine import NO_NAMESPACE, Engine

resource = pytest.importorskip("resource")


class Connection:
    def __init__(self) -> None:
        self.is_open = True

    def cut_off(self, _why: str) -> None:
        self.is_open = False


@contextmanager
def soft_limit(files: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def ends() -> list[str]:
    """Return the reasons for which sessions have ended."""
    return []


@pytest.fixture
def engine(ends: list[str]) -> Engine:
    engine = Engine(async_mode="threading", clock=lambda: 1000.0)
    engine.on("connect", lambda *_: None)
    engine.on("disconnect", lambda _, reason: ends.append(reason))
    return engine


@pytest.fixture
def connections() -> list[Connection]:
    return [Connection() for _ in range(100)]


@pytest.fixture
def descriptors(engine: Engine, connections: list[Connection]) -> Iterator[Descriptors]:
    """Of a process that may open 400 files and has 100 connections: for the whole test, as a sweep may look again."""
    engine.descriptors.counts.append(lambda: sum(connection.is_open for connection in connections))
    with soft_limit(400):
        engine.descriptors.sweep()
        yield engine.descriptors


def test_below_the_reserve_everybody_may_stay(descriptors):
    assert descriptors.admit(400 - 25 - 1)
    assert not descriptors.are_short


def test_in_the_reserve_the_oldest_who_has_not_finished_a_request_goes(descriptors, engine, connections):
    for connection in connections[:2]:
        engine.unfinished.hold(connection, 0, 1000.0)
    assert descriptors.admit(400 - 25)
    assert [connection.is_open for connection in connections[:3]] == [False, True, True]
    assert descriptors.are_short


def test_then_goes_the_session_that_has_joined_nothing_and_then_nobody(descriptors, engine, ends):
    sessions = [engine.open() for _ in range(2)]
    for session in sessions:
        session.start_polling()
    engine.joined(sessions[1].id)
    assert descriptors.admit(399)
    assert not descriptors.admit(399)
    assert [session.is_open for session in sessions] == [False, True]
    assert ends == [NO_NAMESPACE]


def test_a_low_number_is_no_room_if_there_are_too_many_connections(descriptors, connections):
    connections += [Connection() for _ in range(400)]
    assert not descriptors.admit(3)


def test_when_there_is_less_room_than_connections_the_oldest_go_at_once(descriptors, engine, connections):
    for connection in connections:
        engine.unfinished.hold(connection, 0, 1000.0)
    others = descriptors._others_count
    with soft_limit(116 + others - 10):
        descriptors.sweep()
        assert 1 <= sum(not connection.is_open for connection in connections) <= 30
        assert connections[-1].is_open


def test_without_a_limit_there_is_no_reserve(engine, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    engine.descriptors.sweep()
    assert engine.descriptors._room_count == math.inf
    assert engine.descriptors.admit(1_000_000)


def test_what_select_can_watch_is_a_limit_too(descriptors):
    with soft_limit(4096):
        descriptors.watched_by_select()
        descriptors.sweep()
        assert descriptors.admit(1024 - 64 - 1)
        assert not descriptors.admit(1024 - 64)


def test_on_windows_it_is_their_count_and_not_their_numbers(descriptors, connections, monkeypatch):
    monkeypatch.setattr(descriptors_module, "_IS_POSIX", False)
    monkeypatch.setattr(descriptors_module, "_SELECT_LIMIT_COUNT", 256)
    descriptors.watched_by_select()
    descriptors.sweep()
    assert descriptors.admit(70_000)
    connections += [Connection() for _ in range(256)]
    assert not descriptors.admit(4)
