"""Token buckets: how a rate is counted. The clock is an argument; nothing here waits."""


class TokenBucket:
    """Allow ``burst`` tokens at once and ``rate_per_s`` per second in the long run; a rate of 0 allows all."""

    __slots__ = ("_burst", "_rate_per_s", "_tokens", "_updated_s")

    def __init__(self, rate_per_s: float, burst: int, now_s: float) -> None:
        """Start full at ``now_s``, in seconds of a monotonic clock."""
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = float(burst)
        self._updated_s = now_s

    def spend(self, now_s: float, cost: float = 1) -> float:
        """Spend ``cost`` tokens and return 0, or none and return the seconds until there are so many.

        What costs more than the bucket holds is allowed when it is full, and owes the rest.
        """
        if self._rate_per_s == 0:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now_s - self._updated_s) * self._rate_per_s)
        self._updated_s = now_s
        needed = min(cost, self._burst)
        if self._tokens >= needed:
            self._tokens -= cost
            return 0.0
        return (needed - self._tokens) / self._rate_per_s

    def charge(self, now_s: float, cost: float) -> None:
        """Spend ``cost`` tokens that were spent already, somewhere else: what is not there is owed."""
        self._tokens = self._burst - self.missing(now_s) - cost

    def missing(self, now_s: float) -> float:
        """Return how many tokens less there are than the bucket holds, more than that where some are owed."""
        if self._rate_per_s == 0:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now_s - self._updated_s) * self._rate_per_s)
        self._updated_s = now_s
        return self._burst - self._tokens

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until there is a token, 0 if there is one, and spend nothing."""
        if self._rate_per_s == 0:
            return 0.0
        missing = 1 - self._tokens - (now_s - self._updated_s) * self._rate_per_s
        return max(0.0, missing / self._rate_per_s)
