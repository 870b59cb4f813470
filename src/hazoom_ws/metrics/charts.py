"""Live charts: a sample of the numbers each second, the last 15 minutes of them, and pushes for who looks.

What is promised
    A sample is taken each second as long as there are sessions, whether anybody looks or not: who comes after something
    has happened still sees it. It costs some 20 us a second, and a few hundred KB.
    Who has subscribed gets each new sample as one event, which is framed once for all of them. Where nobody looks nothing
    is sent, and no timer runs: samples are taken by the sweeps that look after the sessions anyway.
    A sample names no room and no user, so whoever is let in may have it.

`sweep` is called beside turns, everything else within one. The clocks are arguments.
"""

import secrets
from collections import Counter, deque
from collections.abc import Callable, Collection

from hazoom_ws.chat.presence import Connection
from hazoom_ws.events.stats import StatsHistory, StatsSample, StatsSeries, StatsTick
from hazoom_ws.metrics.sources import Sources
from hazoom_ws.version import __version__

INTERVAL_S = 1.0
SAMPLES_LIMIT_COUNT = 900  # a quarter of an hour
_LATE_S = 0.5  # over that the next one is due a second later, and not sooner: the process was held up
_ID_BYTES = 4


class Charts:
    """The samples of one application, and who looks at them."""

    def __init__(
        self,
        sources: Sources,
        push: Callable[[Collection[Connection], StatsTick], object],
        *,
        wake: Callable[[], None],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """``push(connections, tick)`` queues an event for many; ``wake`` is called when `run_due` has something to do.

        ``clock`` is monotonic, ``wall_clock`` counts from the epoch; both in seconds.
        """
        self.process = secrets.token_hex(_ID_BYTES)
        self._sources = sources
        self._push = push
        self._wake = wake
        self._clock = clock
        self._wall_clock = wall_clock
        self._started_s = self._taken_s = clock()
        self._due_s = self._started_s + INTERVAL_S
        self._before = _Totals(sources)
        self._samples: deque[StatsSample] = deque(maxlen=SAMPLES_LIMIT_COUNT)
        self._lookers: dict[Connection, None] = {}

    @property
    def looker_count(self) -> int:
        """Connections that have subscribed."""
        return len(self._lookers)

    def subscribe(self, connection: Connection, since: float = 0.0) -> StatsHistory:
        """Let a connection have each new sample; return those that were taken after ``since`` (seconds since the epoch)."""
        self._lookers[connection] = None
        self._wake()
        return StatsHistory(
            process=self.process,
            version=__version__,
            uptime_s=round(self._clock() - self._started_s, 3),
            samples=_series_of([sample for sample in self._samples if sample.at > since]),
        )

    def unsubscribe(self, connection: Connection) -> None:
        """Let a connection have no more; nothing happens if it has not subscribed."""
        self._lookers.pop(connection, None)

    def sweep(self, now_s: float) -> None:
        """Take a sample if it is time for one and nobody looks: else `run_due` takes it, and on time."""
        if not self._lookers:
            self._take_if_due(now_s)

    def run_due(self) -> float | None:
        """Take a sample if it is time for one and push it; return the seconds until the next, None if nobody looks."""
        for connection in [looker for looker in self._lookers if not looker.is_open]:
            del self._lookers[connection]
        if not self._lookers:
            return None
        sample = self._take_if_due(self._clock())
        if sample is not None:
            self._push(tuple(self._lookers), StatsTick(process=self.process, sample=sample))
        return max(0.0, self._due_s - self._clock())

    def _take_if_due(self, now_s: float) -> StatsSample | None:
        if now_s < self._due_s:
            return None
        # From when it was due, so that a timer which is a little late takes no sample less.
        self._due_s = (self._due_s if now_s - self._due_s < _LATE_S else now_s) + INTERVAL_S
        elapsed_s, self._taken_s = max(now_s - self._taken_s, 0.001), now_s
        before, totals = self._before, _Totals(self._sources)
        self._before = totals
        sample = self._sample(before, totals, elapsed_s)
        self._samples.append(sample)
        return sample

    def _sample(self, before: "_Totals", totals: "_Totals", elapsed_s: float) -> StatsSample:
        sources = self._sources
        p50_s, p99_s = sources.bridge.first_tokens.percentiles_s(0.50, 0.99)
        return StatsSample(
            at=round(self._wall_clock(), 3),
            connections=sources.hub.connection_count,
            users=sources.hub.user_count,
            rooms=len(sources.hub.rooms),
            messages_per_s=round((totals.messages - before.messages) / elapsed_s, 2),
            deliveries_per_s=round((totals.deliveries - before.deliveries) / elapsed_s, 2),
            relay_frames_per_s=round((totals.relay_frames - before.relay_frames) / elapsed_s, 2),
            llm_active=sources.bridge.active_count,
            llm_queued=sources.answers.waiting_count,
            tokens_per_s=round(max(0, totals.tokens - before.tokens) / elapsed_s, 2),
            ttft_ms_p50=_milliseconds(p50_s),
            ttft_ms_p99=_milliseconds(p99_s),
            loop_lag_ms=round(float(sources.engine.lag_s()) * 1000, 1),
            cpu_percent=round((totals.cpu_s - before.cpu_s) / elapsed_s * 100, 1),
            rss_mb=round(sources.process.resident_bytes() / 2**20, 1),
            refusals=dict(totals.refusals - before.refusals),
        )


class _Totals:
    """What only grows, at one moment."""

    def __init__(self, sources: Sources) -> None:
        self.messages = sources.hub.messages_total
        self.deliveries = sources.fan_out.deliveries_total
        self.relay_frames = sources.relay.frames_total
        self.tokens = sources.bridge.tokens_total
        self.cpu_s = sources.process.cpu_s()
        self.refusals = Counter(sources.refused.by_code)


def _series_of(samples: list[StatsSample]) -> StatsSeries:
    fields = StatsSample.__struct_fields__
    return StatsSeries(**{field: [getattr(sample, field) for sample in samples] for field in fields})


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
