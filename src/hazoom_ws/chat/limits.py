"""How much a client may do. The clock is an argument; nothing here waits."""


class TokenBucket:
    """Allow ``burst_count`` events at once and ``rate_per_s`` per second in the long run; a rate of 0 allows all."""

    __slots__ = ("_burst_count", "_rate_per_s", "_tokens", "_updated_s")

    def __init__(self, rate_per_s: float, burst_count: int, now_s: float) -> None:
        """Start full at ``now_s``, in seconds of a monotonic clock."""
        self._rate_per_s = rate_per_s
        self._burst_count = burst_count
        self._tokens = float(burst_count)
        self._updated_s = now_s

    def take(self, now_s: float) -> float:
        """Take one token and return 0, or take none and return the seconds until there is one."""
        if self._rate_per_s == 0:
            return 0.0
        self._tokens = min(self._burst_count, self._tokens + (now_s - self._updated_s) * self._rate_per_s)
        self._updated_s = now_s
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate_per_s
