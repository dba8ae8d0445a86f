"""The report for people: Markdown with every table, and one chart per figure."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plot import bars
from benchmarks.report import GATEWAY, Row, Samples, number, target

_ABOUT_COSTS = """\
CPU is user and system time of the proxy's whole process tree. `ratio` is the gateway's to squid's, or to its own
other work where the target says so. A slow peer does a part of the work only.
"""


def publish(directory: Path, rows: Sequence[Row], samples: Mapping[str, Samples], about: Mapping[str, Any]) -> None:
    """Write report.md and KEY.svg. Figures are medians of the rounds."""
    directory.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if len(row.costs) > 1:
            text = bars(f"{row.scenario.title}, shorter is better", row.scenario.unit, row.costs, GATEWAY)
            (directory / f"{row.scenario.key}.svg").write_text(text)
    (directory / "report.md").write_text(_document(rows, samples, about))


def _document(rows: Sequence[Row], samples: Mapping[str, Samples], about: Mapping[str, Any]) -> str:
    proxies = list(dict.fromkeys(name for row in rows for name in row.costs))
    parts = [
        "# Measured beside its peers\n",
        _machine(about),
        "## Cost of a unit of work\n",
        _table(
            ["work", "unit", *proxies, "ratio", "target", ""],
            [_costs(row, proxies) for row in rows],
        ),
        _ABOUT_COSTS,
        "## Rates\n",
        _table(
            ["work", "unit", *proxies],
            [
                [row.scenario.key, row.scenario.rate_unit, *(number(row.rates.get(name)) for name in proxies)]
                for row in rows
            ],
        ),
        "The load generator, the origin and the proxy share the machine's cores: rates say less than costs do.\n",
    ]
    if about["failed"]:
        parts += ["## Not measured\n", "".join(f"- {what}: {why}\n" for what, why in about["failed"].items())]
    for row in rows:
        parts += _details(row, samples.get(row.scenario.key, {}))
    parts += [f"![{row.scenario.title}]({row.scenario.key}.svg)\n" for row in rows if len(row.costs) > 1]
    parts += ["## Configurations\n", *_configurations(about)]
    return "\n".join(parts)


def _machine(about: Mapping[str, Any]) -> str:
    machine = about["machine"]
    peers = "; ".join(f"{name}: {version}" for name, version in about["peers"].items())
    load = ", ".join(f"{value:.2f}" for value in machine["load_average"])
    return (
        f"{about['at']}, Linux {machine['kernel']}, {machine['cpus']} CPUs, load average {load} at the end, "
        f"CPython {about['python']}. {peers}.\n"
    )


def _costs(row: Row, proxies: Sequence[str]) -> list[str]:
    verdict = {True: "met", False: "**missed**", None: ""}[row.met]
    figures = [number(row.costs.get(name)) for name in proxies]
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
    return [
        f"`{row.scenario.key}`: {row.scenario.title}",
        row.scenario.unit,
        *figures,
        ratio,
        target(row.scenario),
        verdict,
    ]


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(headings)
    return "".join(f"| {' | '.join(line)} |\n" for line in [headings, rule, *lines])


def _details(row: Row, samples: Samples) -> list[str]:
    """What a scenario measures besides its cost, as medians."""
    names = list(dict.fromkeys(name for runs in samples.values() for run in runs for name in run.details))
    if not names:
        return []
    lines = [
        [proxy, *(number(statistics.median(run.details[name] for run in runs)) for name in names)]
        for proxy, runs in samples.items()
        if runs
    ]
    return [f"## {row.scenario.title} (`{row.scenario.key}`), more of it\n", _table(["proxy", *names], lines)]


def _configurations(about: Mapping[str, Any]) -> list[str]:
    """The beginning of each, because lists of names are long."""
    return [
        f"### {name}\n\n```\n{text.rstrip()}\n```\n" for name, text in about["configurations"].items() if text.strip()
    ]
