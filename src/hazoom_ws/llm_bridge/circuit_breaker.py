"""Stops asking a backend that cannot be reached, so that nobody waits for what will not come.

Closed: every request may try. After so many failures in a row open: none may, until a pause is over. Then half-open: one
request tries, and its success closes the circuit; while nothing is heard of it, the next one may after another pause.
A backend that says itself how long it cannot answer is not asked for so long either, whatever succeeds meanwhile.
Source: M. Nygard, Release It!, "Circuit Breaker". The clock is an argument. Not thread-safe beyond single assignments.
"""

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half_open"]


class CircuitBreaker:
    """One backend. Call `admit` before each attempt, and `succeeded` or `failed` after it."""

    def __init__(self, failures_limit: int, pause_s: float, clock: Callable[[], float]) -> None:
        self._failures_limit = failures_limit
        self._pause_s = pause_s
        self._clock = clock
        self._failures = 0  # in a row
        self._opened_until_s = 0.0
        self._paused_until_s = 0.0  # as the backend has asked

    @property
    def state(self) -> State:
        """Whether the backend is asked: always, not now, or once to see."""
        if self.wait_s:
            return "open"
        return "closed" if self._failures < self._failures_limit else "half_open"

    @property
    def wait_s(self) -> float:
        """Return the seconds until an attempt may be made, 0 if one may now."""
        until_s = self._paused_until_s
        if self._failures >= self._failures_limit:
            until_s = max(until_s, self._opened_until_s)
        return max(0.0, until_s - self._clock()) if until_s else 0.0

    def admit(self) -> float:
        """Return 0 if an attempt may be made now, which the caller then makes, else the seconds to wait."""
        wait_s = self.wait_s
        if not wait_s and self._failures >= self._failures_limit:
            self._opened_until_s = self._clock() + self._pause_s
        return wait_s

    def succeeded(self) -> None:
        """Note that an attempt was answered, which closes the circuit."""
        self._failures = 0

    def failed(self) -> None:
        """Note that an attempt has failed; so many in a row open the circuit."""
        self._failures += 1
        self._opened_until_s = self._clock() + self._pause_s

    def pause(self, for_s: float) -> None:
        """Let nobody try for so long; the longest pause of those asked for counts."""
        self._paused_until_s = max(self._paused_until_s, self._clock() + for_s)
