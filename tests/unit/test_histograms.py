"""Every value is counted once, for the first bound that is not below it."""

import math

from hazoom_ws.histograms import Histogram


def test_a_value_counts_for_its_bound_and_all_above() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        histogram.observe(value)
    assert histogram.cumulative() == [(1.0, 2), (2.0, 4), (math.inf, 5)]
    assert histogram.count == 5
    assert histogram.total == 8.0


def test_one_without_values_has_all_its_bounds() -> None:
    assert Histogram((0.1,)).cumulative() == [(0.1, 0), (math.inf, 0)]
