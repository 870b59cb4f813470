"""The memory of the process can be told when no file can be opened."""

import os

import psutil
import pytest

from hazoom_ws.metrics.statistics import _Memory


@pytest.fixture
def memory() -> _Memory:
    return _Memory()


def test_it_is_what_the_system_says(memory):
    assert memory.resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


def test_no_file_is_opened_for_it(memory, monkeypatch):
    if memory._file is None:
        return  # only Linux tells in a file

    def refuse(*_: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    assert memory.resident_bytes() > 0


def test_what_cannot_be_read_is_what_it_was(memory, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "pread", refuse)
    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    assert memory.resident_bytes() > 0


def test_all_applications_share_one_file():
    assert _Memory()._file == _Memory()._file
