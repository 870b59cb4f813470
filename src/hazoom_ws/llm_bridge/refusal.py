"""What the AI backend says when it does not answer: why, which is for our log only, and when it may be asked again. No I/O.

Source of Retry-After: RFC 9110, section 10.2.3.
"""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from msgspec import Struct

from hazoom_ws.errors import LlmFailed, LlmUnavailable, UpstreamFault

UNAVAILABLE_STATUSES = frozenset({502, 503, 504})
BUSY_STATUSES = UNAVAILABLE_STATUSES | {429}  # those with which it may say when to come back

_REASON_LIMIT_CHARS = 500
_CLEANED_LIMIT_CHARS = 4 * _REASON_LIMIT_CHARS  # blanks in it are joined after that
_RETRY_LIMIT_S = 3600.0  # a backend that says a year is mistaken, or is not to be trusted with it
_FIRST_OF_THEIRS = 500
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


class _Said(Struct, frozen=True):
    error: Any = None


def error_in(content: str | bytes) -> str:
    """Return what a piece of JSON has as its ``error``, as one line for a log, "" if it has none.

    So nothing of an answer, in whatever form it comes, gets into the log.
    """
    try:
        error = msgspec.json.decode(content, type=_Said).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    if isinstance(error, dict):
        error = error.get("message")
    return _one_line(error) if isinstance(error, str) else ""


def reason_in(content: str | bytes) -> str:
    """Return why a request was refused, as one line for a log: the ``error`` of its JSON, else how its text begins."""
    return error_in(content) or _one_line(content if isinstance(content, str) else content.decode("utf-8", "replace"))


def _one_line(text: str) -> str:
    """Return up to 500 characters, without any that control a terminal or the direction of writing."""
    cleaned = "".join(char if char.isprintable() else " " for char in text[:_CLEANED_LIMIT_CHARS])
    return " ".join(cleaned.split())[:_REASON_LIMIT_CHARS]


def retry_after_s(value: str | None, wall_now_s: float) -> float | None:
    """Return for how many seconds a ``Retry-After`` asks, an hour at most; None if it does not say."""
    value = "" if value is None else value.strip()
    if _SECONDS.fullmatch(value):
        seconds = float(value)
    else:
        try:
            moment = parsedate_to_datetime(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - wall_now_s
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return min(max(0.0, seconds), _RETRY_LIMIT_S)


def refusal(status: int, content: bytes, next_try_in_s: float | None) -> UpstreamFault:
    """Return what a status other than 200 means for who asked; its cause, which is for the log, says why."""
    reason = reason_in(content)
    if status in BUSY_STATUSES:
        fault: UpstreamFault = LlmUnavailable(next_try_in_s)
    else:
        is_theirs = status >= _FIRST_OF_THEIRS
        problem = "the AI service failed" if is_theirs else "the AI service refused the request"
        fault = LlmFailed(f"{problem} (HTTP {status})", retry=is_theirs)
    fault.__cause__ = RuntimeError(f"HTTP {status}: {reason}" if reason else f"HTTP {status}")
    return fault


def is_event_stream(content_type: str) -> bool:
    """Return whether a body is a stream of events."""
    return content_type.partition(";")[0].strip().lower() == "text/event-stream"


def no_stream(content_type: str, content: bytes) -> LlmFailed:
    """Return what it means that a body is no stream of events."""
    fault = LlmFailed("the AI service did not answer with a stream", retry=False)
    fault.__cause__ = ValueError(": ".join(filter(None, [_one_line(content_type[:200]), error_in(content)])))
    return fault
