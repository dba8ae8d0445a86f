"""The report for people."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from benchmarks import markdown, report
from benchmarks.plot import bars
from benchmarks.scenarios import SCENARIOS, Sample

ABOUT: dict[str, Any] = {
    "at": "2026-01-01T00:00:00+00:00",
    "machine": {"kernel": "6.1", "cpus": 2, "load_average": (0.1, 0.2, 0.3)},
    "python": "3.11.2",
    "peers": {"squid": "Squid Cache: Version 5.7"},
    "configurations": {"squid": "http_port 3128\n", "floor": ""},
    "failed": {"idle, nginx": "connection reset"},
}
SVG = "{http://www.w3.org/2000/svg}"


def test_the_report_names_machine_peers_configurations_and_what_was_missed(tmp_path: Path) -> None:
    scenario = next(each for each in SCENARIOS if each.key == "b")
    runs = {
        name: [Sample(cost, 1000.0, 0.2, 10, details={"extra": 7.0})]
        for name, cost in (("gateway", 300.0), ("squid", 200.0))
    }
    markdown.publish(tmp_path, [report.row(scenario, runs)], {"b": runs}, ABOUT)
    text = (tmp_path / "report.md").read_text()
    assert "| `b`: tunnel on a tcp rule | us CPU | 300 | 200 | 1.50 | <= 0.95 | **missed** |" in text
    assert "Squid Cache: Version 5.7" in text
    assert "http_port 3128" in text
    assert "### floor" not in text
    assert "| gateway | 7 |" in text
    assert "## Not measured\n\n- idle, nginx: connection reset\n" in text
    assert (tmp_path / "b.svg").exists()


def test_a_bar_is_as_long_as_its_value_says_and_the_shortest_comes_first() -> None:
    plot = ET.fromstring(bars("cost <us>", "us", {"squid": 200.0, "gateway": 100.0, "none": -3.0}, "gateway"))
    drawn = [(each.get("width"), each.get("fill")) for each in plot.iter(f"{SVG}rect")][1:]
    lengths = [float(width or 0) for width, _ in drawn]
    assert lengths[0] == 0
    assert lengths[2] == 2 * lengths[1]
    assert drawn[1][1] != drawn[2][1]
