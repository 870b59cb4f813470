"""How long the AI takes to begin its answers: all that there were by size, and percentiles of the last minute."""

from collections import deque
from collections.abc import Callable

from hazoom_ws.histograms import Histogram

WINDOW_S = 60.0  # of percentiles: longer than an answer usually takes, short enough to follow what happens now
_SAMPLES_LIMIT_COUNT = 1000
# From a cache's answer to the usual time-out for a first token.
_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0)


class FirstTokens:
    """The times to the first token of one application's answers, from the question on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self.histogram = Histogram(_BOUNDS_S)
        self._clock = clock
        self._recent: deque[tuple[float, float]] = deque(maxlen=_SAMPLES_LIMIT_COUNT)  # when it came, and after how long

    def note(self, after_s: float) -> None:
        """Count an answer whose first token has come now, ``after_s`` seconds after it was asked for."""
        self.histogram.observe(after_s)
        self._recent.append((self._clock(), after_s))

    def percentiles_s(self, *fractions: float) -> list[float | None]:
        """Return nearest-rank percentiles of the last minute in seconds, None for each if no answer has begun since."""
        begun_at_s = self._clock() - WINDOW_S
        ordered = sorted(after_s for at_s, after_s in list(self._recent) if at_s > begun_at_s)
        if not ordered:
            return [None for _ in fractions]
        return [ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] for fraction in fractions]
