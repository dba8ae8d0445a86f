"""`egress-gateway report`: who reached what, as a table, CSV, Markdown or JSON."""

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, fields

from gateway.cli.console import MOST_ROWS, answers, plain, show, show_json
from gateway.cli.insight.source import Source
from gateway.insight.report import Sums, add_up

_SUMS = tuple(each.name for each in fields(Sums))
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

Rows = Mapping[tuple[str, ...], Sums]


def report_records(source: Source, columns: Sequence[str], output: str) -> None:
    """Print it. Raises `Unreadable` or `TooMuch`."""
    with source.records() as records:
        rows = add_up(records, columns)
    source.tell()
    PRINTERS[output](columns, _shown(rows))
    sys.stdout.flush()  # here, where a closed pipe ends the command quietly


def _shown(rows: Rows) -> Rows:
    """Keys as printable text; those that look alike then become one row, so that nothing is lost from the sum."""
    shown: dict[tuple[str, ...], Sums] = {}
    for key, sums in rows.items():
        shown.setdefault(tuple(map(plain, key)), Sums()).add(sums)
    return shown


def _total(rows: Rows) -> Sums:
    total = Sums()
    for sums in rows.values():
        total.add(sums)
    return total


def _cells(sums: Sums) -> list[str]:
    return [str(value) for value in astuple(sums)]


def _print_table(columns: Sequence[str], rows: Rows) -> None:
    """In the order of the columns or, if there are too many rows, the busiest first."""
    listed = list(rows.items())
    if len(listed) > MOST_ROWS:
        listed.sort(key=lambda row: -row[1].attempts)
    titles = [title.upper() for title in (*columns, *_SUMS)]
    total = ["total", *[""] * (len(columns) - 1), *_cells(_total(rows))]
    show(answers(), titles, listed, lambda row: [*row[0], *_cells(row[1])], total, len(_SUMS))


def _print_csv(columns: Sequence[str], rows: Rows) -> None:
    """Without a row of totals, which programs would add up. What a spreadsheet would take for a formula is escaped."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*columns, *_SUMS])
    for key, sums in rows.items():
        shown = [f"'{cell}" if cell.startswith(_FORMULA_STARTS) and cell != "-" else cell for cell in key]
        writer.writerow([*shown, *_cells(sums)])


def _print_markdown(columns: Sequence[str], rows: Rows) -> None:
    print(_markdown_row([*columns, *_SUMS]))
    print(_markdown_row(["---"] * len(columns) + ["---:"] * len(_SUMS)))
    for key, sums in rows.items():
        print(_markdown_row([*(cell.translate(_MARKUP) for cell in key), *_cells(sums)]))
    print(_markdown_row(["**total**", *[""] * (len(columns) - 1), *_cells(_total(rows))]))


_MARKUP = str.maketrans({character: f"&#{ord(character)};" for character in "&<>(`|*~"})
"""Characters that mean something in Markdown or HTML: a client may call itself anything."""


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _print_json(columns: Sequence[str], rows: Rows) -> None:
    listed = [dict(zip(columns, key, strict=True)) | asdict(sums) for key, sums in rows.items()]
    show_json({"rows": listed, "total": asdict(_total(rows))})


PRINTERS: dict[str, Callable[[Sequence[str], Rows], None]] = {
    "table": _print_table,
    "csv": _print_csv,
    "markdown": _print_markdown,
    "json": _print_json,
}
"""By what `-o` says."""
