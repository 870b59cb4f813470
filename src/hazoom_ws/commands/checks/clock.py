"""Whether this machine's clock can be right: tokens end, and messages are dated, by it."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from hazoom_ws.commands.checks import Configuration, Finding

_WRITTEN_IN_S = 1_764_000_000.0  # November 2025: no right clock is before it
_TOLERANCE_S = 3.0  # an HTTP date has whole seconds, and an answer takes its time


def check_clock(_: Configuration) -> Iterator[Finding]:
    """Look at this clock alone; `skew` compares it."""
    now_s = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now_s))
    if now_s < _WRITTEN_IN_S:
        yield Finding("clock", "problem", f"it says {shown} UTC, which is over", "set it, or have NTP set it")
    else:
        yield Finding("clock", "ok", f"it says {shown} UTC")


def skew(configuration: Configuration, whose: str, date: str | None) -> Iterator[Finding]:
    """Compare this clock with the ``Date`` of an answer that has just come; nothing is found where it has none."""
    try:
        theirs_s = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return
    behind_s = theirs_s - time.time()
    settings = configuration.settings
    tolerance_s = max(settings.jwt_leeway_s, _TOLERANCE_S) if settings.auth == "jwt" else 60.0
    if abs(behind_s) <= tolerance_s:
        return
    order = "behind" if behind_s > 0 else "ahead of"
    yield Finding(
        "clock",
        "problem" if settings.auth == "jwt" else "warning",
        f"this clock is {abs(behind_s):.0f} s {order} the one of {whose}"
        + (": tokens are refused that are good, or let in that have ended" if settings.auth == "jwt" else ""),
        "have NTP set both clocks",
    )
