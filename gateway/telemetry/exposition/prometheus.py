"""Families in the form of Prometheus' client library."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.telemetry.exposition.families import Family, Kind
from gateway.telemetry.series import Histogram


class Families(Collector):
    """`read` is called at every scrape."""

    def __init__(self, read: Callable[[], Iterable[Family]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        return map(metric_of, self._read())


def metric_of(family: Family) -> Metric:
    """The family in the client library's form, with the number of every point."""
    name, text, labels = family.prometheus_name, family.text, family.labels
    if family.kind is Kind.HISTOGRAM:
        return _histograms(HistogramMetricFamily(name, text, labels=labels), family)
    kind = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = kind(name, text, labels=labels)
    for values, number in family.points:
        if not isinstance(number, Histogram):
            metric.add_metric(values, number)
    return metric


def _histograms(metric: HistogramMetricFamily, family: Family) -> Metric:
    for values, observed in family.points:
        if isinstance(observed, Histogram):
            bounds = [*map(floatToGoString, observed.bounds), "+Inf"]
            buckets = list(zip(bounds, observed.cumulative(), strict=True))
            metric.add_metric(values, buckets=buckets, sum_value=observed.total)
    return metric
