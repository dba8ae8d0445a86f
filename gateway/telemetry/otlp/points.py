"""Families as metrics of OTLP: sums and histograms since the process began, named as in docs/observability.md."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

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

from gateway.telemetry.exposition.families import Family, Kind
from gateway.telemetry.otlp.attributes import Attributes
from gateway.telemetry.otlp.spans import SCOPE
from gateway.telemetry.series import Histogram

_ATTRIBUTES = {"reason": "error.type", "status": "egress.status_class"}

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_NOT_KNOWN = cast("float", None)  # both are optional in OTLP, though not in the exporter's types


class Span(NamedTuple):
    """From `started` until `now`, nanoseconds of Unix time."""

    started: int
    now: int


def metrics_of(
    families: Iterable[Family], span: Span, exemplars: Mapping[str, Exemplar], resource: Resource
) -> MetricsData:
    """`exemplars` by the family's name."""
    metrics = [_metric(family, span, exemplars.get(family.name)) for family in families]
    scope = ScopeMetrics(SCOPE, metrics, schema_url="")
    return MetricsData([ResourceMetrics(resource, [scope], schema_url=resource.schema_url)])


def attribute_of(label: str) -> str:
    """The name of a family's label in OTLP."""
    return _ATTRIBUTES.get(label, f"egress.{label}")


def _metric(family: Family, span: Span, exemplar: Exemplar | None) -> Metric:
    names = [attribute_of(label) for label in family.labels]
    durations: list[HistogramDataPoint] = []
    numbers: list[NumberDataPoint] = []
    for values, value in family.points:
        # An empty label is an absent one, as in Prometheus; `error.type` in particular is there only after an error.
        attributes: Attributes = {name: text for name, text in zip(names, values, strict=True) if text}
        if isinstance(value, Histogram):
            durations.append(_durations(value, attributes, span, exemplar))
        else:
            numbers.append(NumberDataPoint(attributes, span.started, span.now, value))
    return Metric(family.name, family.text, family.unit, _data(family.kind, numbers, durations))


def _data(
    kind: Kind, numbers: Sequence[NumberDataPoint], durations: Sequence[HistogramDataPoint]
) -> Sum | Gauge | HistogramData:
    if kind is Kind.HISTOGRAM:
        return HistogramData(durations, _CUMULATIVE)
    return Gauge(numbers) if kind is Kind.GAUGE else Sum(numbers, _CUMULATIVE, is_monotonic=True)


def _durations(
    histogram: Histogram, attributes: Attributes, span: Span, exemplar: Exemplar | None
) -> HistogramDataPoint:
    counts, total = histogram.state()
    return HistogramDataPoint(
        attributes=attributes,
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
