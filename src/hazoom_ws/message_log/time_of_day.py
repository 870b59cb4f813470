"""Whether the time of day can be believed, before something is forgotten for its age."""

from collections.abc import Callable

# A clock may be a year ahead for a while: what goes by age is gone for good, and can wait until the clock has gone on as
# time did for so long, but for what it drifts.
_TRUSTED_AFTER_S = 600.0
_DRIFT_S = 5.0


class TimeOfDay:
    """Compares the time of day with a ``clock`` that tells how much time passes, whatever time it is."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._differ_s: float | None = None  # by how much, when they were last compared
        self._agree_since_s = 0.0

    def is_trusted(self, now_s: float) -> bool:
        """Return whether the time of day, ``now_s``, has gone on as time did, for long enough."""
        clock_s = self._clock()
        differ_s = now_s - clock_s
        if self._differ_s is None or abs(differ_s - self._differ_s) > _DRIFT_S:
            self._agree_since_s = clock_s
        self._differ_s = differ_s
        return clock_s - self._agree_since_s >= _TRUSTED_AFTER_S
