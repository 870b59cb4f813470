"""What the system says of the process can be told when no file can be opened."""

import os

import psutil
import pytest

from hazoom_ws.metrics.process import Process


@pytest.fixture
def process() -> Process:
    return Process()


def test_it_is_what_the_system_says(process):
    assert process.resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


def test_no_file_is_opened_for_it(process, monkeypatch):
    if process._file is None:
        return  # only Linux tells in a file

    def refuse(*_: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    assert process.resident_bytes() > 0


def test_what_cannot_be_read_is_what_it_was(process, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "pread", refuse)
    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    assert process.resident_bytes() > 0


def test_all_applications_share_one_file():
    assert Process()._file == Process()._file
