"""Counts as metrics of OTLP: sums and histograms since the process began, by the names of docs/observability.md."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource

from gateway.telemetry.counters import Counters
from gateway.telemetry.counting import Histogram
from gateway.telemetry.otlp.spans import SCOPE

Point = tuple[dict[str, Any], int | float]

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_NOT_KNOWN = cast("float", None)  # both are optional in OTLP, though not in the exporter's types


class Readings(NamedTuple):
    """Of this process, now."""

    counters: Counters
    tunnels_open: int


class Span(NamedTuple):
    """From `started` until `now`, nanoseconds of Unix time."""

    started: int
    now: int


def metrics_of(readings: Readings, span: Span, exemplars: Mapping[str, Exemplar], resource: Resource) -> MetricsData:
    """`exemplars` by the metric's name."""
    metrics = list(_metrics(readings, span, exemplars))
    scope = ScopeMetrics(SCOPE, metrics, schema_url="")
    return MetricsData([ResourceMetrics(resource, [scope], schema_url=resource.schema_url)])


def _metrics(readings: Readings, span: Span, exemplars: Mapping[str, Exemplar]) -> Iterator[Metric]:
    counters = readings.counters
    yield _sum("egress.connections", "{connection}", _connections(counters), span)
    yield _sum("egress.requests", "{request}", _requests(counters), span)
    sizes = [("up", counters.bytes_up), ("down", counters.bytes_down)]
    yield _sum("egress.io", "By", [({"egress.direction": name}, size) for name, size in sizes], span)
    failed = [({"egress.inspector": name}, count) for name, count in counters.inspectors_failed.copy().items()]
    yield _sum("egress.inspector.failures", "{request}", failed, span)
    open_now = NumberDataPoint({}, span.started, span.now, readings.tunnels_open)
    yield Metric("egress.tunnels.open", "Tunnels being relayed.", "{tunnel}", Gauge([open_now]))
    histograms = {
        "egress.connection.duration": counters.lifetime,
        "egress.request.duration": counters.request_duration,
        "egress.dns.duration": counters.dns,
        "egress.dial.duration": counters.dial,
    }
    for name, histogram in histograms.items():
        yield _histogram(name, histogram, span, exemplars.get(name))


def _connections(counters: Counters) -> Iterator[Point]:
    for (rule, decision, reason), count in counters.connections.copy().items():
        yield {"egress.rule": rule, "egress.decision": decision, "error.type": reason or ""}, count


def _requests(counters: Counters) -> Iterator[Point]:
    for (rule, decision, reason, status), count in counters.requests.copy().items():
        labels = {"egress.rule": rule, "egress.decision": decision, "error.type": reason or ""}
        yield {**labels, "egress.status_class": status}, count


def _sum(name: str, unit: str, points: Iterable[Point], span: Span) -> Metric:
    data = [NumberDataPoint(labels, span.started, span.now, value) for labels, value in points]
    return Metric(name, "", unit, Sum(data, _CUMULATIVE, is_monotonic=True))


def _histogram(name: str, histogram: Histogram, span: Span, exemplar: Exemplar | None) -> Metric:
    counts, total = histogram.state()
    point = HistogramDataPoint(
        attributes={},
        start_time_unix_nano=span.started,
        time_unix_nano=span.now,
        count=sum(counts),
        sum=total,
        bucket_counts=counts,
        explicit_bounds=histogram.bounds,
        min=_NOT_KNOWN,
        max=_NOT_KNOWN,
        exemplars=[] if exemplar is None else [exemplar],
    )
    return Metric(name, "", "s", HistogramData([point], _CUMULATIVE))
