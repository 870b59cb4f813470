"""What a scrape of Prometheus gets: the metrics of the table, as they are at that moment, in the format it asks for.

Of several workers of one command, which share a port, the one that is asked answers for all of them: which one is asked is
chance, and nobody can ask each by itself. Then each line has the label ``worker``, and a worker that does not answer is one
that takes no traffic. Rejected: one sum for all of them. It would fall whenever a worker is started again, which Prometheus
takes for a restart of all; and of most numbers, such as who is late, a sum says nothing.

Called in a request, beside turns. Nothing is counted here; the library writes the formats.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import msgspec
from msgspec import Struct
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from hazoom_ws.histograms import Histogram
from hazoom_ws.metrics import table
from hazoom_ws.metrics.sources import Sources


class _Counted(Struct, array_like=True, frozen=True):
    """A histogram as it was: see `Histogram.cumulative`."""

    buckets: list[tuple[float, int]]
    total: float


# A number, one for each value of the labels, or a histogram, by the name of the metric.
_Numbers = dict[str, float | dict[tuple[str, ...], float] | _Counted]
_ByLabels = Mapping[tuple[str, ...], _Numbers]
_decode = msgspec.msgpack.Decoder(_Numbers).decode
_DOES_NOT_ANSWER: _Numbers = {"hazoom_ready": 0.0}
_FAMILIES: dict[table.Kind, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Scrape(Collector):
    """The scrapes of one application."""

    def __init__(self, sources: Sources, worker: int = 0) -> None:
        """``worker``: which of several on one port this is, 0 where it is alone."""
        self._sources = sources
        self._worker = worker
        # Asks the other workers and returns by number what each has told (`tell`), None if it does not answer. Waits for
        # them. Whoever serves puts it there.
        self.ask_others: Callable[[], Mapping[int, bytes | None]] = dict

    def answer(self, accept: str) -> tuple[bytes, str]:
        """Return the body for a request with this ``Accept``, and its content type: Prometheus' text, or OpenMetrics'."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def tell(self) -> bytes:
        """Return the numbers of this process, for another worker that was asked."""
        return msgspec.msgpack.encode(self._read())

    def collect(self) -> Iterator[Metric]:
        """Yield all numbers, as the library asks for them."""
        if not self._worker:
            numbers = self._read()
            yield from [_family(metric, metric.labels, {(): numbers}) for metric in table.METRICS]
            return
        by_worker = {number: _heard(told) for number, told in self.ask_others().items()} | {self._worker: self._read()}
        of_workers: _ByLabels = {(str(number),): by_worker[number] for number in sorted(by_worker)}
        for metric in table.METRICS:
            yield _family(metric, (*metric.labels, "worker"), of_workers)
            self._sources.engine.let_others()  # all numbers of 64 workers are written in 65 ms

    def _read(self) -> _Numbers:
        sources = self._sources
        # What may wait for a disk is asked beside turns, as in a turn nothing may.
        values = {metric.name: metric.read(sources) for metric in table.METRICS if metric.is_outside_turns}
        with sources.delivery.turn():
            values |= {metric.name: metric.read(sources) for metric in table.METRICS if metric.name not in values}
            return {name: _plain(value) for name, value in values.items()}


def _plain(value: table.Value) -> float | dict[tuple[str, ...], float] | _Counted:
    if isinstance(value, Histogram):
        return _Counted(value.cumulative(), value.total)
    return dict(value) if isinstance(value, Mapping) else float(value)


def _heard(told: bytes | None) -> _Numbers:
    if told is None:
        return _DOES_NOT_ANSWER
    try:
        return _decode(told)
    except msgspec.MsgspecError:  # it has died in the middle
        return _DOES_NOT_ANSWER


def _family(metric: table.Metric, labels: tuple[str, ...], of_workers: _ByLabels) -> Metric:
    """Return a metric for the library. The keys of ``of_workers`` are the last of ``labels``, which the metric lacks."""
    family = _FAMILIES[metric.kind](metric.name, metric.help, labels=labels, unit=metric.unit)
    for worker, numbers in of_workers.items():
        value = numbers.get(metric.name, {})
        if isinstance(value, _Counted):
            buckets = [("+Inf" if math.isinf(bound) else repr(bound), count) for bound, count in value.buckets]
            family.add_metric(worker, buckets=buckets, sum_value=value.total)
        else:
            for of_labels, number in value.items() if isinstance(value, dict) else [((), value)]:
                family.add_metric((*of_labels, *worker), number)
    return cast(Metric, family)
