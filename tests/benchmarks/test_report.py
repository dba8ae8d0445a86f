"""Medians, ratios and verdicts."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.report import Samples
from benchmarks.scenarios import SCENARIOS, SOAK, Sample, Scenario, Unreconciled, reconcile

TARGETS = {
    "a": 1.15,
    "b": 0.95,
    "deny": 0.5,
    "rt": 1.0,
    "rt16": None,
    "bulk": 0.34,
    "http": 0.6,
    "body": None,
    "idle": 0.37,
    "latency": None,
    "start": None,
}


def _scenario(key: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.key == key)


def _samples(**costs: list[float]) -> Samples:
    return {proxy: [Sample(cost, 1000.0, 0.2, 10) for cost in values] for proxy, values in costs.items()}


def test_each_scenario_has_its_target() -> None:
    assert {scenario.key: scenario.ratio for scenario in SCENARIOS} == TARGETS


def test_the_ratio_is_that_of_the_medians() -> None:
    row = report.row(_scenario("b"), _samples(gateway=[150, 900, 140], squid=[160, 10, 170]))
    assert row.costs == {"gateway": 150, "squid": 160}
    assert row.ratio == pytest.approx(150 / 160)
    assert row.met is True


def test_a_ratio_over_the_target_is_missed() -> None:
    assert report.row(_scenario("b"), _samples(gateway=[153], squid=[160])).met is False


def test_a_refusal_is_compared_with_the_gateway_s_own_tunnel() -> None:
    allowed = _samples(gateway=[300], squid=[100])
    row = report.row(_scenario("deny"), _samples(gateway=[140], squid=[100]), {"a": allowed})
    assert row.ratio == pytest.approx(140 / 300)
    assert row.met is True
    assert report.row(_scenario("deny"), _samples(gateway=[160]), {"a": allowed}).met is False
    assert report.row(_scenario("deny"), _samples(gateway=[140]), {}).ratio is None


def test_without_the_reference_there_is_no_verdict() -> None:
    row = report.row(_scenario("b"), _samples(gateway=[150], tinyproxy=[160]))
    assert (row.ratio, row.met) == (None, None)


@pytest.mark.parametrize(("growth", "met"), [(4.9, True), (5.1, False)])
def test_the_soak_has_a_limit_of_its_own(growth: float, met: bool) -> None:
    assert report.row(SOAK, _samples(gateway=[growth])).met is met


def test_what_is_no_terminal_gets_plain_lines() -> None:
    row = report.row(_scenario("bulk"), _samples(gateway=[0.16], squid=[0.32]))
    stream = io.StringIO()
    report.print_table([row], ["gateway", "squid"], stream)
    heading, line = stream.getvalue().splitlines()
    assert heading.split()[:4] == ["work", "unit", "gateway", "squid"]
    assert "0.50" in line
    assert "<= 0.34" in line
    assert "MISSED" in line


def test_a_generator_without_time_left_is_told() -> None:
    samples = _samples(gateway=[1.0])
    busy = {"gateway": [replace(samples["gateway"][0], generator=0.99)]}
    assert report.busy_generators([report.row(_scenario("a"), samples)]) == []
    assert len(report.busy_generators([report.row(_scenario("a"), busy)])) == 1


def test_the_json_holds_every_round(tmp_path: Path) -> None:
    samples = _samples(gateway=[150, 151], squid=[160, 161])
    path = tmp_path / "report.json"
    report.write_json(path, [report.row(_scenario("b"), samples)], {"b": samples}, {"at": "now"})
    result = json.loads(path.read_text())["results"]["b"]
    assert [sample["cost"] for sample in result["rounds"]["gateway"]] == [150, 151]
    assert result["met"] is True


@pytest.mark.parametrize("numbers", [(10, 10, 9), (10, 9, 10), (10, 11, 11)])
def test_what_was_made_counts_and_records_must_be_one_number(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(Unreconciled, match="requests made 10"):
        reconcile("requests", *numbers)


def test_one_number_reconciles() -> None:
    reconcile("connections", 10, 10, 10)
