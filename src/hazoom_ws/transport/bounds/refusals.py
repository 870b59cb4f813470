"""What strangers are refused, in the log: one line at once for each reason, then one a minute that counts the rest.

Whoever reaches the port can be refused as often as he likes, and must not fill the log with it. Knows no sockets; may be
called from any thread or greenlet, also within a turn of the loop.
"""

import logging
import threading
import time
from collections.abc import Callable

from hazoom_ws.deadlines import Deadlines
from hazoom_ws.log_fields import fields

_logger = logging.getLogger(__name__)

# Reasons of more than one module.
REFUSED_REQUEST = "an HTTP request is refused"

_PERIOD_S = 60.0
# Reasons are texts of ours, so there are a few dozen: more are a mistake, and share one line.
_REASONS_LIMIT_COUNT = 100
_MORE_REASONS = "something else was refused"
_DETAIL_LIMIT_CHARS = 200


class Refusals:
    """Counts what is refused, by reason. `sweep` has to be called now and then."""

    def __init__(self, logger: logging.Logger = _logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: dict[str, list[int]] = {}  # by reason: how often since its last line, and the highest level
        self._lines: Deadlines[str] = Deadlines(_PERIOD_S)  # when a reason may have its next line

    def note(self, reason: str, detail: str = "", level: int = logging.INFO) -> None:
        """Log the first of a ``reason`` in one line at once, and count those that follow within a minute.

        ``reason`` is a constant text of ours, which begins a line; ``detail`` says more of this one and may come from the
        client: it is cut and escaped.
        """
        with self._lock:
            if reason not in self._counted and len(self._counted) >= _REASONS_LIMIT_COUNT:
                reason, detail = _MORE_REASONS, ""
            counted = self._counted.get(reason)
            if counted is not None:
                counted[0] += 1
                counted[1] = max(counted[1], level)
                return
            self._counted[reason] = [0, level]
            self._lines.start(reason, self._clock())
        self._logger.log(
            level,
            "%s%s",
            reason,
            f": {_one_line(detail)}" if detail else "",
            extra=fields("refused", reason=reason, count=1),
        )

    def sweep(self, now_s: float) -> None:
        """Log how often each reason came since its last line, where that is a minute ago; one that ceased starts anew."""
        summed_up = []
        with self._lock:
            for reason, _ in list(self._lines.pop_due(now_s)):
                count, level = self._counted.pop(reason)
                if count:
                    summed_up.append((reason, count, level))
                    self._counted[reason] = [0, logging.DEBUG]
                    self._lines.start(reason, now_s)
        for reason, count, level in summed_up:
            self._logger.log(
                level, "%s: %d more in the last minute", reason, count, extra=fields("refused", reason=reason, count=count)
            )


def _one_line(detail: str) -> str:
    if len(detail) > _DETAIL_LIMIT_CHARS:
        detail = f"{detail[:_DETAIL_LIMIT_CHARS]}..."
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in detail)
