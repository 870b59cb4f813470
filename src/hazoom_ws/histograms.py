"""Counts how often a value was how large. No clock, no I/O; safe for several threads as long as one of them writes."""

import math
from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Values by size. ``bounds`` ascend: a value counts for the first bound that is not below it."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """``bounds`` are in the unit of the values; what is above the last is counted too."""
        self._bounds = (*bounds, math.inf)
        self._counts = [0] * len(self._bounds)
        self.total = 0.0  # of all values

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[float, int]]:
        """Return each bound, infinity at the end, with how many values were not above it."""
        count, pairs = 0, []
        for bound, of_bound in zip(self._bounds, self._counts, strict=True):
            count += of_bound
            pairs.append((bound, count))
        return pairs
