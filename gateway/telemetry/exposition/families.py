"""Metric families: name, unit and labels of every number are defined once, for Prometheus and OpenTelemetry. Families
are made when they are read; until then there are plain counts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from gateway.telemetry.series import Histogram

LabelValues = tuple[str, ...]
Value = int | float | Histogram
Point = tuple[LabelValues, Value]
Points = Iterable[Point] | Value
"""Points with their labels, or the value of the only one, which has none."""


class Kind(Enum):
    """A counter only grows, a gauge is a current value, a histogram counts durations."""

    COUNTER = auto()
    GAUGE = auto()
    HISTOGRAM = auto()


@dataclass(frozen=True, slots=True)
class Family:
    """`name` is OpenTelemetry's, `unit` is in UCUM, `text` one sentence. Each point has a value for every label, in
    order, and its number."""

    kind: Kind
    name: str
    unit: str
    text: str
    labels: LabelValues
    points: Sequence[Point]

    @property
    def prometheus_name(self) -> str:
        """Without `_total`, by OpenTelemetry's rules of compatibility with Prometheus: units that are words in braces
        are left out, others are spelled out at the end."""
        spelt = _ELSEWHERE.get(self.name, self.name).replace(".", "_")
        unit = _SPELT_OUT.get(self.unit, "")
        return spelt if not unit or spelt.endswith(unit) else f"{spelt}_{unit}"


_ELSEWHERE = {"egress.io": "egress"}
"""Prometheus names that are older than the OpenTelemetry ones."""
_SPELT_OUT = {"s": "seconds", "By": "bytes"}


def counter(name: str, unit: str, text: str, points: Points, labels: LabelValues = ()) -> Family:
    """A number since the process began."""
    return Family(Kind.COUNTER, name, unit, text, labels, _listed(points))


def gauge(name: str, unit: str, text: str, points: Points, labels: LabelValues = ()) -> Family:
    """A current value."""
    return Family(Kind.GAUGE, name, unit, text, labels, _listed(points))


def histogram(name: str, text: str, points: Points, labels: LabelValues = ()) -> Family:
    """Durations in seconds."""
    return Family(Kind.HISTOGRAM, name, "s", text, labels, _listed(points))


def by_label(counts: Mapping[str, Value]) -> Iterator[Point]:
    """Points of counts with one label, which another thread may be writing."""
    for label, count in dict(counts).items():
        yield (label,), count


def _listed(points: Points) -> Sequence[Point]:
    return [((), points)] if isinstance(points, (int, float, Histogram)) else list(points)
