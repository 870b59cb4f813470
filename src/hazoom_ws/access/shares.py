"""What all connections of one user, or of one address, may do together: they share it, however many they are.

A share is there from the first connection on and is forgotten when the last one has gone and its buckets must be full
again, so that who leaves and comes back has nothing new; those that wait for that are bounded in number, and the first to
have gone go first. Called by `hazoom_ws.access.accounts` and by accounts, from any greenlet or thread.
"""

import threading
from typing import Literal

from hazoom_ws.access.buckets import TokenBucket
from hazoom_ws.deadlines import Deadlines


class Share:
    """One of them: what there is left of its events, and of ``handshakes`` where these are counted."""

    __slots__ = ("_events", "connection_count", "handshakes", "key", "of")

    def __init__(self, of: "Shares", key: str, now_s: float) -> None:
        self.of = of
        self.key = key
        self.connection_count = 0
        self._events: TokenBucket | None = None  # full, until somebody says something: most only listen
        self.handshakes = (
            TokenBucket(of.handshakes_per_s, of.handshakes_burst_count, now_s) if of.handshakes_per_s else None
        )

    def spend(self, now_s: float, cost: float) -> float:
        """Spend of its events, see `TokenBucket.spend`."""
        if self._events is None:
            self._events = TokenBucket(self.of.rate_per_s, self.of.burst_count, now_s)
        return self._events.spend(now_s, cost)

    def close(self, now_s: float) -> None:
        """Count a connection less."""
        self.of.close(self, now_s)


class Shares:
    """The shares of users, or of addresses, by what they go by."""

    def __init__(
        self,
        whose: Literal["user", "address"],
        rate_per_s: float,
        burst_count: int,
        *,
        handshakes_per_s: float = 0.0,
        handshakes_burst_count: int = 1,
        remembered_count: int,
    ) -> None:
        """A rate of 0 allows all. ``remembered_count`` bounds those without a connection, which may not be full again."""
        self.whose = whose
        self.rate_per_s = rate_per_s
        self.burst_count = burst_count
        self.handshakes_per_s = handshakes_per_s
        self.handshakes_burst_count = handshakes_burst_count
        rates = ((burst_count, rate_per_s), (handshakes_burst_count, handshakes_per_s))
        full_after_s = max([0.0, *(burst / rate for burst, rate in rates if rate)])
        self._remembered_count = remembered_count
        # Where other processes count too: whose number of connections has changed, None where nobody asks; and how many
        # there are elsewhere, by process.
        self.changed: dict[str, None] | None = None
        self._elsewhere: dict[str, dict[str, int]] = {}
        self._by_key: dict[str, Share] = {}
        self._idle: Deadlines[Share] = Deadlines(full_after_s)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, key: str) -> Share | None:
        """Return a share that is remembered, None if one made now would be as good."""
        return self._by_key.get(key)

    def remember(self, key: str, now_s: float) -> Share:
        """Return the share of one who may have no connection yet, and remember it for a while."""
        with self._lock:
            share = self._get(key, now_s)
            if not share.connection_count:
                self._idle.start(share, now_s)
            self._forget(now_s)
        return share

    def open(self, key: str, now_s: float) -> Share:
        """Count a connection more, and return its share."""
        with self._lock:
            share = self._get(key, now_s)
            share.connection_count += 1
            self._idle.stop(share)
            if self.changed is not None:
                self.changed[key] = None
        return share

    def close(self, share: Share, now_s: float) -> None:
        """Count a connection less."""
        with self._lock:
            share.connection_count -= 1
            if self.changed is not None:
                self.changed[share.key] = None
            if not share.connection_count:
                self._idle.start(share, now_s)
            self._forget(now_s)

    # With other processes

    def connection_count(self, key: str) -> int:
        """Return how many connections there are, here and on other processes as far as they have told."""
        share = self._by_key.get(key)
        return (0 if share is None else share.connection_count) + self.elsewhere_count(key)

    def elsewhere_count(self, key: str) -> int:
        """Return how many there are on other processes, as far as they have told."""
        return sum(self._elsewhere[key].values()) if key in self._elsewhere else 0

    def counts(self) -> dict[str, int]:
        """Return how many connections each has here."""
        with self._lock:
            return {key: share.connection_count for key, share in self._by_key.items() if share.connection_count}

    def take_changed(self) -> dict[str, int]:
        """Return the same for those of whom it has changed since this was last called."""
        with self._lock:
            changed, self.changed = self.changed or {}, {}
            shares = ((key, self._by_key.get(key)) for key in changed)
            return {key: 0 if share is None else share.connection_count for key, share in shares}

    def set_elsewhere(self, process: str, counts: dict[str, int]) -> None:
        """Note how many connections some have on another process."""
        with self._lock:
            for key, count in counts.items():
                by_process = self._elsewhere.setdefault(key, {})
                if count > 0:
                    by_process[process] = count
                else:
                    by_process.pop(process, None)
                if not by_process:
                    del self._elsewhere[key]

    def forget_elsewhere(self, process: str) -> None:
        """Note that a process has none any more."""
        with self._lock:
            keys = [key for key, by_process in self._elsewhere.items() if process in by_process]
        self.set_elsewhere(process, dict.fromkeys(keys, 0))

    def shared_count(self) -> int:
        """Return how often one has connections on another process too, beyond the first process each."""
        with self._lock:
            here = self._by_key
            return sum(
                len(by_process) - (0 if key in here and here[key].connection_count else 1)
                for key, by_process in self._elsewhere.items()
            )

    def sweep(self, now_s: float) -> None:
        """Forget those that are full again."""
        with self._lock:
            self._forget(now_s)

    def _get(self, key: str, now_s: float) -> Share:
        share = self._by_key.get(key)
        if share is None:
            share = self._by_key[key] = Share(self, key, now_s)
        return share

    def _forget(self, now_s: float) -> None:
        for share, _ in self._idle.pop_due(now_s):
            del self._by_key[share.key]
        while len(self._idle) > self._remembered_count:
            del self._by_key[self._idle.pop_first().key]
