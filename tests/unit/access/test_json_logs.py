"""The log as JSON: one object a line, whatever stands in it, and no secret."""

import json
import logging
import sys
import threading
import warnings
from typing import Any

import pytest

from hazoom_ws.access.json_logs import JsonFormatter, log_crashes
from hazoom_ws.log_fields import fields


def line_of(message: str, *args: object, **options: Any) -> dict[str, Any]:
    record = logging.LogRecord("hazoom_ws.some.module", logging.WARNING, "", 0, message, args, options.get("exc_info"))
    record.created, record.process = 1795781045.1239, 4711
    vars(record).update(options.get("extra", {}))
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_says_when_who_and_what() -> None:
    assert line_of("%d answers", 3) == {
        "time": "2026-11-27T12:04:05.123Z",
        "level": "warning",
        "logger": "hazoom_ws.some.module",
        "process": 4711,
        "event": "log",
        "message": "3 answers",
    }


def test_fields_stand_beside_the_text_and_what_is_not_there_is_left_out() -> None:
    line = line_of("ended", extra=fields("connection_closed", connection="abc", count=0, user_id=None, address=""))
    assert (line["event"], line["connection"], line["count"], line["message"]) == ("connection_closed", "abc", 0, "ended")
    assert not {"user_id", "address"} & line.keys()


@pytest.mark.parametrize("text", ["two\nlines", '"quotes" \\', "ümläut 🦆", "half \ud83d", "\x00\x1b[31m"])
def test_any_text_is_one_line(text: str) -> None:
    assert line_of(text)["message"] == text


def test_what_only_str_knows_is_a_text() -> None:
    assert line_of("x", extra=fields("log", of=ValueError("odd")))["of"] == "odd"


def test_a_trace_is_one_field_and_nothing_shows_a_secret() -> None:
    try:
        raise RuntimeError("token=s3cret-1 failed")
    except RuntimeError:
        of = fields("log", request_id="api_key=s3cret-2")
        line = line_of('"token": "s3cret-3"', exc_info=sys.exc_info(), extra=of)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("token=*** failed")
    assert "s3cret" not in json.dumps(line)


def test_what_python_would_print_is_logged_too(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)  # given back after the test
    try:
        with warnings.catch_warnings(action="always"):
            log_crashes()
            crash = threading.Thread(target=lambda: 1 / 0)
            crash.start()
            crash.join()
            sys.excepthook(ValueError, ValueError("nobody handles it"), None)
            warnings.warn("this is old", DeprecationWarning, stacklevel=1)
    finally:
        logging.captureWarnings(False)
    thread, program, warning = caplog.records
    assert line_of("x", exc_info=thread.exc_info)["exception"].endswith("ZeroDivisionError: division by zero")
    assert line_of("x", exc_info=program.exc_info)["exception"] == "ValueError: nobody handles it"
    assert "this is old" in warning.getMessage()
