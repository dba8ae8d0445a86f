"""The pages on operations and observability list what there is: a field, metric or attribute comes with its line."""

import re
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.model.record import ConnectionRecord, ExchangeRecord
from gateway.telemetry.counters import Counters
from gateway.telemetry.exposition.families import Kind
from gateway.telemetry.formats.json import encode
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.otlp.attributes import attributes_of_span, attributes_of_stage, name_of
from gateway.telemetry.otlp.points import attribute_of
from gateway.telemetry.sealing import seal
from tests.helpers.pages import ROOT, text_of
from tests.telemetry.drafts import tunnelled
from tests.telemetry.lines import read_line
from tests.telemetry.readings import process_families, sources

_PAGE = text_of("docs/operations.md")


def first_column(heading: str) -> list[str]:
    """The names in backquotes in the first column of the tables below a heading."""
    section = _PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\|([^|]*)\|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_field_of_a_record_is_described_once() -> None:
    assert sorted(first_column("Access log")) == sorted(
        ConnectionRecord.__annotations__ | ExchangeRecord.__annotations__
    )


def test_every_metric_is_described_once() -> None:
    families = text_string_to_metric_families(Metrics(sources(Counters())).render().decode())
    exposed = {f.name + "_total" * (f.type == "counter") for f in families}
    assert set(first_column("Metrics")) == {name for name in exposed if name.startswith("egress_")}


def test_every_number_that_a_collector_is_told_stands_beside_its_name_in_metrics() -> None:
    section = text_of("docs/observability.md").split("\n### Metrics and logs\n")[1].split("\n## ")[0]
    rows = [re.findall(r"`([^`]+)`", line) for line in section.splitlines() if line.startswith("| `")]
    told = list(process_families(Counters()))
    assert rows == [
        [
            family.name,
            *(attribute_of(label) for label in family.labels),
            family.prometheus_name + "_total" * (family.kind is Kind.COUNTER),
        ]
        for family in told
    ]
    assert {row[-1] for row in rows} <= set(first_column("Metrics"))


def test_every_attribute_of_a_span_is_described() -> None:
    spans = text_of("docs/observability.md").split("\n### Spans\n")[1].split("\n### ")[0]
    lines = [re.findall(r"`([^`]+)`", line) for line in spans.splitlines() if line.startswith("| `")]
    rows = {names[0]: names for names in lines}
    everything: Any = dict.fromkeys(ConnectionRecord.__annotations__, "1")
    stages = {name: set(attributes_of_stage(name, everything)) for name in ("policy", "dns", "dial", "tls", "relay")}
    assert {name: set(rows[name][1:]) for name in stages} == stages
    whole = attributes_of_span(everything) | {name_of(key): "" for key in ExchangeRecord.__annotations__}
    conventional = {name for name in whole if not name.startswith("egress.")} - {
        name for told in stages.values() for name in told
    }
    assert conventional <= {name for row in rows.values() for name in row}


def test_every_alert_is_described_with_its_severity() -> None:
    groups = yaml.safe_load((ROOT / "config" / "observability" / "alerts.yaml").read_text())["groups"]
    alerts = [(rule["alert"], rule["labels"]["severity"]) for group in groups for rule in group["rules"]]
    assert re.findall(r"^\| `(Egress\w+)` \| (\w+) \|", text_of("docs/observability.md"), re.MULTILINE) == alerts


def test_the_example_is_what_is_written() -> None:
    example = next(line.strip() for line in _PAGE.splitlines() if line.startswith('    {"time"'))
    written = seal(tunnelled("0f3a9c5e17b2d846"), ended_at=1001.5)
    assert read_line(example.encode()) == written
    assert encode(written).decode() == example + "\n"
