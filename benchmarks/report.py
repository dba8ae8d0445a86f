"""Medians, ratios and verdicts, as a table for people and as JSON for machines."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table

from benchmarks.scenarios import Sample, Scenario

GATEWAY, REFERENCE = "gateway", "squid"
# With a generator busier than this `rate` may be the generator's, and means nothing; the cost still does.
BUSY = 0.95

Samples = Mapping[str, Sequence[Sample]]  # by proxy, one a round


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario: the median of the rounds for each proxy, and how the gateway stands."""

    scenario: Scenario
    costs: dict[str, float]
    rates: dict[str, float]
    generator: dict[str, float]
    ratio: float | None
    met: bool | None


def _medians(samples: Samples, name: str) -> dict[str, float]:
    return {
        proxy: statistics.median(getattr(sample, name) for sample in runs) for proxy, runs in samples.items() if runs
    }


def row(scenario: Scenario, samples: Samples, others: Mapping[str, Samples] | None = None) -> Row:
    """`met` is None when there is no target or nothing to compare with; `others` are the samples of all scenarios."""
    costs = _medians(samples, "cost")
    base = costs.get(REFERENCE)
    if scenario.of is not None:
        base = _medians((others or {}).get(scenario.of, {}), "cost").get(GATEWAY)
    ratio = costs[GATEWAY] / base if base and GATEWAY in costs else None
    met = None
    if scenario.ratio is not None and ratio is not None:
        met = ratio <= scenario.ratio
    elif scenario.limit is not None and GATEWAY in costs:
        met = costs[GATEWAY] <= scenario.limit
    return Row(scenario, costs, _medians(samples, "rate"), _medians(samples, "generator"), ratio, met)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def target(scenario: Scenario) -> str:
    if scenario.ratio is not None:
        return f"<= {scenario.ratio:g}" + (f" of {scenario.of}" if scenario.of else "")
    return "-" if scenario.limit is None else f"<= {scenario.limit:g} {scenario.unit}"


def _cells(row: Row, proxies: Sequence[str]) -> list[str]:
    scenario = row.scenario
    figures = [number(row.costs.get(proxy)) for proxy in proxies]
    verdict = {True: "met", False: "MISSED", None: "-"}[row.met]
    rates = " / ".join(number(row.rates.get(proxy)) for proxy in proxies)
    busy = " / ".join(f"{row.generator.get(proxy, 0):.0%}" for proxy in proxies)
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
    return [f"{scenario.key}: {scenario.title}", scenario.unit, *figures, ratio, target(scenario), verdict,
            f"{rates} {scenario.rate_unit}", busy]  # fmt: skip


def _headings(proxies: Sequence[str]) -> list[str]:
    return ["work", "unit", *proxies, f"/{REFERENCE}", "target", "", f"rate ({' / '.join(proxies)})", "generator busy"]


def _print_plain(headings: Sequence[str], lines: Sequence[Sequence[str]], stream: TextIO) -> None:
    widths = [max(len(line[column]) for line in [headings, *lines]) for column in range(len(headings))]
    for line in [headings, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), file=stream)


def print_table(rows: Sequence[Row], proxies: Sequence[str], stream: TextIO) -> None:
    """Figures are medians; a terminal gets a drawn table, anything else plain columns."""
    headings, lines = _headings(proxies), [_cells(row, proxies) for row in rows]
    if not stream.isatty():
        _print_plain(headings, lines, stream)
        return
    table = Table(title="CPU of the proxy's processes per unit of work, memory per idle tunnel")
    for heading in headings:
        table.add_column(heading)
    for line, row in zip(lines, rows, strict=True):
        table.add_row(*line, style="red" if row.met is False else None)
    Console(file=stream).print(table)


def busy_generators(rows: Sequence[Row]) -> list[str]:
    """Warnings about runs in which the load generator had no time to spare."""
    return [
        f"{row.scenario.key} on {proxy}: the load generator was busy {share:.0%} of the time: its rate, not the proxy's"
        for row in rows
        for proxy, share in row.generator.items()
        if share > BUSY
    ]


def write_json(path: Path, rows: Sequence[Row], samples: Mapping[str, Samples], about: Mapping[str, object]) -> None:
    """Everything: what ran where, the figures of every round, medians and verdicts."""
    document = {
        "about": about,
        "results": {
            row.scenario.key: {
                "title": row.scenario.title,
                "unit": row.scenario.unit,
                "rate_unit": row.scenario.rate_unit,
                "median_cost": row.costs,
                "median_rate": row.rates,
                "ratio": row.ratio,
                "target_ratio": row.scenario.ratio,
                "limit": row.scenario.limit,
                "met": row.met,
                "rounds": {
                    proxy: [asdict(sample) for sample in runs] for proxy, runs in samples[row.scenario.key].items()
                },
            }
            for row in rows
        },
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
