"""What all connections of one user, or of one address, may do together: they share it, however many they are.

A share is there from the first connection on and is forgotten when the last one has gone and its buckets are full
again, so that who leaves and comes back has nothing new; those that wait for that are bounded in number, and the first to
have gone go first. Called by `hazoom_ws.access.accounts` and by accounts, from any greenlet or thread.

With several processes each has buckets of its own, which hold what there is for all of them together: nobody asks another
process before an event. What is spent at one is told to the others once a second (`Shares.take_spent`), and they take it
from theirs, which may owe something then. So each bucket is filled with the rate and charged with everything, and in the
long run all processes together allow the rate; at once each allows as much as one alone, until it has been told.

Of who is connected to one process only nothing is told: the others would remember a bucket that nobody uses. What is still
missing in it is told when the user comes to another process as well, or leaves.
"""

import threading
from typing import Literal, NamedTuple

from hazoom_ws.access.buckets import TokenBucket
from hazoom_ws.deadlines import Deadlines


class Spent(NamedTuple):
    """What one has spent at a process: tokens of the bucket of events, and handshakes."""

    events: float
    handshakes: float


_NOTHING = Spent(0.0, 0.0)


class _Bucket(TokenBucket):
    """One that also knows how much of what was spent here other processes have not been told."""

    __slots__ = ("untold",)

    def __init__(self, rate_per_s: float, burst: int, now_s: float) -> None:
        super().__init__(rate_per_s, burst, now_s)
        self.untold = 0.0

    def settle(self, now_s: float) -> float:
        """Leave out what has come again since it was spent; return what others have to know if they count this one too."""
        if self.untold and (missing := self.missing(now_s)) < self.untold:
            self.untold = missing
        return self.untold

    def take_untold(self) -> float:
        """Return what others have not been told, who are told now."""
        untold, self.untold = self.untold, 0.0
        return untold


class Share:
    """One of them: what there is left of its events, and of ``handshakes`` where these are counted."""

    __slots__ = ("_events", "connection_count", "handshakes", "key", "of")

    def __init__(self, of: "Shares", key: str, now_s: float) -> None:
        self.of = of
        self.key = key
        self.connection_count = 0
        self._events: _Bucket | None = None  # full, until somebody says something: most only listen
        self.handshakes = _Bucket(of.handshakes_per_s, of.handshakes_burst_count, now_s) if of.handshakes_per_s else None

    def spend(self, now_s: float, cost: float) -> float:
        """Spend of its events, see `TokenBucket.spend`."""
        if self._events is None:
            self._events = _Bucket(self.of.rate_per_s, self.of.burst_count, now_s)
        retry_after_s = self._events.spend(now_s, cost)
        if self.of.spent is not None and not retry_after_s:
            self._events.untold += cost
            self.of.spent[self] = None
        return retry_after_s

    def spend_handshake(self, now_s: float) -> None:
        """Count a handshake, if these are counted."""
        if self.handshakes is not None:
            retry_after_s = self.handshakes.spend(now_s)
            if self.of.spent is not None and not retry_after_s:
                self.handshakes.untold += 1
                self.of.spent[self] = None

    def charge(self, now_s: float, spent: Spent) -> None:
        """Take what was spent at another process."""
        if spent.events:
            if self._events is None:
                self._events = _Bucket(self.of.rate_per_s, self.of.burst_count, now_s)
            self._events.charge(now_s, spent.events)
        if self.handshakes is not None:
            self.handshakes.charge(now_s, spent.handshakes)

    def is_full(self, now_s: float) -> bool:
        """Return whether one made now would be as good."""
        return not any(bucket is not None and bucket.missing(now_s) for bucket in (self._events, self.handshakes))

    def settle(self, now_s: float) -> bool:
        """Note that nobody else counts this one; return whether something has to be told to whoever begins to."""
        events = 0.0 if self._events is None else self._events.settle(now_s)
        handshakes = 0.0 if self.handshakes is None else self.handshakes.settle(now_s)
        return events > 0 or handshakes > 0

    def take_untold(self) -> Spent:
        """Return what others have not been told, who are told now."""
        events = 0.0 if self._events is None else self._events.take_untold()
        return Spent(events, 0.0 if self.handshakes is None else self.handshakes.take_untold())

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
        # Where other processes count too: whose number of connections has changed, and who has spent what others may have
        # to know, None where there are no others or no rates; and how many connections there are elsewhere, by process.
        self.changed: dict[str, None] | None = None
        self.spent: dict[Share, None] | None = None
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
            share = self._remember(key, now_s)
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

    def begin_to_tell(self) -> None:
        """Note from now on what others have to be told."""
        self.changed = {}
        if self.rate_per_s or self.handshakes_per_s:
            self.spent = {}

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

    def take_spent(self, now_s: float) -> dict[str, Spent]:
        """Return what has been spent here that others have not been told and have to know, and take it as told.

        That is of those who have connections elsewhere too, and of those who have none here any more.
        """
        told: dict[str, Spent] = {}
        if self.spent is None:
            return told
        with self._lock:
            spenders, self.spent = self.spent, {}
            for share in list(spenders):  # another thread may still add one
                if not share.connection_count or share.key in self._elsewhere:
                    events, handshakes = share.take_untold()
                    # One that was forgotten and its successor may both have spent something.
                    before = told.get(share.key, _NOTHING)
                    told[share.key] = Spent(before.events + events, before.handshakes + handshakes)
                elif share.settle(now_s):
                    self.spent[share] = None
        return told

    def charge(self, spent: dict[str, Spent], now_s: float) -> None:
        """Take what some have spent at another process; those who are not known here are remembered like who has left."""
        with self._lock:
            for key, costs in spent.items():
                self._remember(key, now_s).charge(now_s, costs)
            self._forget(now_s)

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

    def _remember(self, key: str, now_s: float) -> Share:
        share = self._get(key, now_s)
        if not share.connection_count:
            self._idle.start(share, now_s)
        return share

    def _forget(self, now_s: float) -> None:
        for share in [share for share, _ in self._idle.pop_due(now_s)]:
            if share.is_full(now_s):
                del self._by_key[share.key]
            else:  # it owes something
                self._idle.start(share, now_s)
        while len(self._idle) > self._remembered_count:
            del self._by_key[self._idle.pop_first().key]
