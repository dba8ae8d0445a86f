"""Names of Istio and Hubble for the counts that are ours."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.model.reasons import Reason
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import Metrics
from tests.telemetry.drafts import denied, exchanged, tunnelled
from tests.telemetry.readings import sources

RULE = "policy.yaml#stripe"


@pytest.fixture
def counters() -> Counters:
    made = Counters()
    reset = tunnelled()
    reset.transfer.reason = Reason.UPSTREAM_RESET
    for draft in (tunnelled(), reset, denied(), denied()):
        made.count(draft, 1002.0)
    made.count_exchange(exchanged(), 1002.0)
    return made


def read(counters: Counters, *also: str) -> dict[tuple[str, ...], float]:
    """Of the names of others: value by name and values of labels, sorted."""
    text = Metrics(sources(counters), also).render().decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(("istio_", "hubble_")) and not sample.name.endswith("_created")
    }


def test_nobody_gets_them_unasked(counters: Counters) -> None:
    assert read(counters) == {}


def test_istios_count_by_rule_what_passed(counters: Counters) -> None:
    assert read(counters, "istio") == {
        ("istio_tcp_connections_closed_total", "egress-gateway", RULE, "source"): 2,
        ("istio_requests_total", "2xx", "egress-gateway", RULE, "source"): 1,
        ("istio_tcp_sent_bytes_total", "egress-gateway", "source"): 2 * 517,
        ("istio_tcp_received_bytes_total", "egress-gateway", "source"): 2 * 4096,
    }


def test_hubbles_tells_verdicts_and_why_of_what_was_dropped(counters: Counters) -> None:
    assert read(counters, "hubble") == {
        ("hubble_flows_to_world_total", "", "FORWARDED", "TCP"): 2,
        ("hubble_flows_to_world_total", "DROPPED", "TCP", "no_rule"): 2,
    }
