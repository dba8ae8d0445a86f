"""What a collector is told of families."""

from opentelemetry.sdk.resources import Resource

from gateway.telemetry.exposition.families import counter
from gateway.telemetry.otlp.points import Span, metrics_of


def test_what_has_no_value_is_no_attribute() -> None:
    """`error.type` is there where there was an error and nowhere else."""
    points = [(("p#r", "allow", ""), 3), (("", "deny", "no_rule"), 1)]
    family = counter("egress.connections", "{connection}", "Ended.", points, ("rule", "decision", "reason"))
    [of_resource] = metrics_of([family], Span(1, 2), {}, Resource({})).resource_metrics
    [metric] = of_resource.scope_metrics[0].metrics
    assert [point.attributes for point in metric.data.data_points] == [
        {"egress.rule": "p#r", "egress.decision": "allow"},
        {"egress.decision": "deny", "error.type": "no_rule"},
    ]
