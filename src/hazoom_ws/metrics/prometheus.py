"""What a scrape of Prometheus gets: the metrics of the table, as they are at that moment, in the format it asks for.

Called in a request, beside turns. Nothing is counted here; the library writes the formats.
"""

import math
from collections.abc import Iterable, Mapping

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from hazoom_ws.histograms import Histogram
from hazoom_ws.metrics import table
from hazoom_ws.metrics.sources import Sources


class Scrape:
    """The scrapes of one application."""

    def __init__(self, sources: Sources) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_FromTable(sources))

    def answer(self, accept: str) -> tuple[bytes, str]:
        """Return the body for a request with this ``Accept``, and its content type: Prometheus' text, or OpenMetrics'."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _FromTable(Collector):
    """Reads the table for the library."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        sources = self._sources
        # What may wait for a disk is asked beside turns, as in a turn nothing may.
        values = {metric.name: metric.read(sources) for metric in table.METRICS if metric.is_outside_turns}
        with sources.delivery.turn():
            values |= {metric.name: metric.read(sources) for metric in table.METRICS if metric.name not in values}
        return [_family(metric, values[metric.name]) for metric in table.METRICS]


def _family(metric: table.Metric, value: table.Value) -> Metric:
    name, text, labels = metric.name, metric.help, metric.labels
    if isinstance(value, Histogram):
        buckets = [("+Inf" if math.isinf(bound) else repr(bound), count) for bound, count in value.cumulative()]
        return HistogramMetricFamily(name, text, buckets=buckets, sum_value=value.total, unit=metric.unit)
    family = (CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily)(
        name, text, labels=labels, unit=metric.unit
    )
    for of_labels, number in value.items() if isinstance(value, Mapping) else [((), value)]:
        family.add_metric(of_labels, number)
    return family
