"""What is ready to be imported: Prometheus takes the rules, the dashboard and our page, and all three speak of one set
of metrics."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.model.reasons import Reason
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.series import SERIES_LIMIT
from tests.helpers.requirements import require
from tests.telemetry.drafts import DENY_RULE, denied, exchanged, tunnelled
from tests.telemetry.readings import sources

FOLDER = Path(__file__).parents[2] / "config" / "observability"
ALERTS, DASHBOARD = FOLDER / "alerts.yaml", FOLDER / "dashboard.json"

_NAME = re.compile(r"\b(?:egress|process)_[a-z_]+\b")


def promtool(*arguments: object, text: str | None = None, folder: Path = FOLDER) -> str:
    """What it said; it must be content."""
    command = [require("promtool"), *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=folder, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def page() -> str:
    counters = Counters()
    counters.count(tunnelled(), 1002.0)
    counters.count(denied(rule=DENY_RULE), 1000.1)
    counters.count_exchange(exchanged(), 1001.0)
    for signal in ("traces", "metrics", "logs"):
        for outcome in ("sent", "no_room", "refused"):
            counters.deliver(signal, outcome)
    for outcome in ("sent", "no_room"):
        counters.deliver("flows", outcome)
    return Metrics(sources(counters)).render().decode()


def sample_names() -> set[str]:
    return {sample.name for family in text_string_to_metric_families(page()) for sample in family.samples}


def expressions(dashboard: Any) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_page_is_as_prometheus_wants_it() -> None:
    assert promtool("check", "metrics", text=page()) == ""


def test_the_rules_ring_when_they_should_and_not_else() -> None:
    assert "16 rules found" in promtool("check", "rules", ALERTS)
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yaml")


def test_every_rule_is_tried() -> None:
    alerts = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    tests = yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())["tests"]
    rung = {each["alertname"] for test in tests for each in test["alert_rule_test"] if "exp_alerts" in each}
    assert rung == alerts


def test_a_rule_that_rings_wrongly_is_caught(tmp_path: Path) -> None:
    """The tests of the rules test something: a planted fault is found."""
    (tmp_path / "alerts.yaml").write_text(ALERTS.read_text().replace("reload_success == 0", "reload_success == 1"))
    (tmp_path / "alerts.test.yaml").write_text((FOLDER / "alerts.test.yaml").read_text())
    with pytest.raises(AssertionError, match="EgressPolicyReloadFailed"):
        promtool("test", "rules", "alerts.test.yaml", folder=tmp_path)


def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(expressions(dashboard))
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def test_rules_and_dashboard_know_no_metric_that_is_not_there() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    text = "\n".join([*expressions(dashboard), *(rule["expr"] for rule in rules)])
    assert set(_NAME.findall(text)) <= sample_names()


def test_labels_come_from_closed_sets_and_their_number_is_bounded() -> None:
    """Whatever clients send: names, paths, users and addresses are no labels, and rules are counted up to a limit."""
    counters = Counters(series_limit=50)
    for number in range(500):
        draft = tunnelled(f"{number:016x}", rule=replace(DENY_RULE, name=f"policy.yaml#rule-{number}"))
        counters.count(draft, 1002.0)
        request = exchanged(f"/{number}")
        request.method = f"METHOD{number}"
        counters.count_exchange(request, 1001.0)
    families = list(text_string_to_metric_families(Metrics(sources(counters)).render().decode()))
    by_label: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            for label, value in sample.labels.items():
                by_label.setdefault(label, set()).add(value)
    assert len(by_label["rule"]) <= 52  # 50, the rule of all requests, and `other`
    assert by_label["decision"] <= {"allow", "deny", "none"}
    assert by_label["reason"] <= {"", *Reason}
    assert by_label["status"] <= {"", "1xx", "2xx", "3xx", "4xx", "5xx"}
    assert not set(by_label) & {"host", "path", "user", "client", "method"}
    assert SERIES_LIMIT == 10_000
