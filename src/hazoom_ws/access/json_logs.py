"""The log on stderr: lines for people, or one JSON object a line for programs that collect logs; both redacted."""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import msgspec

from hazoom_ws.access.redaction import RedactingFormatter, redact
from hazoom_ws.log_fields import fields_of

logger = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object.

    It has ``time`` (RFC 3339, UTC, milliseconds), ``level``, ``logger``, ``process`` (its id), ``event`` and its fields,
    ``message``, and where something crashed ``exception``: its whole trace as one text.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
        }
        for name, value in fields_of(record).items():
            line[name] = redact(value) if isinstance(value, str) else value
        line["message"] = redact(record.getMessage())
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        try:
            return msgspec.json.encode(line).decode()
        except (TypeError, ValueError):  # half a character, or an object that only `str` knows
            return json.dumps(line, default=str)


def set_up_log(level: str, form: str) -> None:
    """Have everything from ``level`` on ("info") logged to stderr, as ``form`` says: "text" or "json"."""
    log = logging.StreamHandler()
    text = RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    log.setFormatter(JsonFormatter() if form == "json" else text)
    if form == "json":
        log_crashes()
    logging.basicConfig(level=level.upper(), handlers=[log])


def log_crashes() -> None:
    """Have the log say what Python itself would print beside it: exceptions that nobody handles, and warnings."""
    sys.excepthook = lambda kind, error, trace: logger.critical("it crashed", exc_info=(kind, error, trace))

    def of_thread(crash: threading.ExceptHookArgs) -> None:
        error = crash.exc_value or crash.exc_type()
        logger.error("a thread crashed", exc_info=(crash.exc_type, error, crash.exc_traceback))

    threading.excepthook = of_thread
    logging.captureWarnings(True)
