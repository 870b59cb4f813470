"""What a line of the log says beside its text, for programs that read it: ``logger.info("...", extra=fields(event, ...))``.

Whoever logs may call it; lines for people are the same with and without. Who writes them as JSON:
`hazoom_ws.access.json_logs`.
"""

from collections.abc import Mapping
from logging import LogRecord
from typing import Any

_ATTRIBUTE = "hazoom_fields"
_NONE: Mapping[str, Any] = {"event": "log"}  # of lines that only have a text, libraries' among them


def fields(event: str, **values: object) -> dict[str, Any]:
    """Return the ``extra`` of a line about ``event``; values that are None or "" are left out.

    Ids, numbers and words of ours: never what somebody said, nor a secret.
    """
    return {_ATTRIBUTE: {"event": event, **{name: value for name, value in values.items() if value not in (None, "")}}}


def fields_of(record: LogRecord) -> Mapping[str, Any]:
    """Return what a record says beside its text: always an ``event``."""
    found: Mapping[str, Any] = getattr(record, _ATTRIBUTE, _NONE)
    return found
