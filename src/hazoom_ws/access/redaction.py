"""What no log may show: keys and tokens, wherever in a line they stand.

A client may put its key into the URL, and servers log URLs: ours in the traces of crashes, those around us (werkzeug under
Flask's own commands, gunicorn) for every request. Called by whoever sets up logging, and for each line that is logged.
"""

import logging
import re
from typing import TextIO
from urllib.parse import urlsplit

SHOWN = "***"
# As in a URL, a header, JSON, or the repr of a dict. In a URL names may be escaped.
_NAMES = r"(?:x-)?api(?:[-_]|%5f|%2d)key|guest(?:_|%5f)key|\btoken"
_QUOTED = re.compile(rf"""((?:{_NAMES})["']\s*:\s*["'])[^"']+""", re.IGNORECASE)
_PLAIN = re.compile(rf"""((?:{_NAMES})(?:=|%3d))[^\s&"'<>;]+|(x-api-key["']?\s*:\s*)[^\s"',]+""", re.IGNORECASE)
_HEADER = re.compile(r"""((?:\b|_)(?:authorization|cookie)["']?\s*[:=]\s*["']?)[^"'\r\n]+""", re.IGNORECASE)
_OF_SERVERS = ("gunicorn.access", "gunicorn.error", "werkzeug")


def redact(text: str) -> str:
    """Return ``text`` with `SHOWN` for each key, token and cookie in it."""
    if "=" not in text and ":" not in text and "%" not in text:
        return text  # each of the patterns needs one of them
    text = _QUOTED.sub(rf"\1{SHOWN}", text)
    text = _PLAIN.sub(lambda found: f"{found[1] or found[2]}{SHOWN}", text)
    return _HEADER.sub(rf"\1{SHOWN}", text)


def without_secrets(url: str) -> str:
    """Return a URL that can be read without the parts that may hold a password or a key."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


class RedactingFormatter(logging.Formatter):
    """Formats a record as the library does, traces of crashes included, and redacts all of it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class RedactedFile:
    """A file in which eventlet's server logs its requests by itself, where that is told to."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write a whole line, redacted."""
        self._file.write(redact(text))


class _RedactingFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        redacted = redact(message)
        if redacted != message:
            record.msg, record.args = redacted, ()
        return True


_FILTER = _RedactingFilter()


def redact_logs_of_servers() -> None:
    """Have the servers that may be around this application redact the lines of their requests. May be called again."""
    for name in _OF_SERVERS:
        logging.getLogger(name).addFilter(_FILTER)  # which is there once, however often it is added
