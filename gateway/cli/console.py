"""Output of commands: answers on standard output, errors on standard error, colour on terminals only.

rich looks at NO_COLOR and at whether it writes to a terminal; lines are never wrapped, so that they can be searched.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.telemetry.sealing import escaped

MOST_ROWS = 1_000
"""In a table: to lay out a hundred thousand would take minutes."""

DAY = 86400.0
"""Seconds."""

_WIDEST = 10_000
_PIECES = 10_000

T = TypeVar("T")


def answers() -> Console:
    """Standard output."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def complaints() -> Console:
    """Standard error."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def say(console: Console, text: str, style: str = "") -> None:
    """One line, printed literally: brackets are no markup."""
    console.print(Text(text, style=style))


def plain(text: str) -> str:
    """Foreign text on one line: control characters are escaped as in a Python literal."""
    return text if text.isprintable() else escaped(text)


def show(
    console: Console,
    titles: Sequence[str],
    rows: Sequence[T],
    cells: Callable[[T], Sequence[str]],
    total: Sequence[str] = (),
    numbers: int = 0,
) -> None:
    """Print a table, as wide as it is: lines are never cut. It holds the first `MOST_ROWS` rows, and a line says how
    many more there are; `total` is its last row. The last `numbers` columns are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for left, title in enumerate(titles, numbers - len(titles)):
        table.add_column(title, no_wrap=True, justify="right" if left >= 0 else "left")
    for row in rows[:MOST_ROWS]:
        table.add_row(*map(Text, cells(row)))
    if total:
        table.add_row(*total, style="bold")
    console.width = _WIDEST
    console.print(table, crop=False)
    if len(rows) > MOST_ROWS:
        say(console, f"... and {len(rows) - MOST_ROWS} more rows: -o json prints all")


def counted(number: int, what: str) -> str:
    """`1 rule`, `2 rules`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def show_size(count: float) -> str:
    """Bytes in the largest unit of which there is at least one."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count:.0f}B"


def last_day(expires: float) -> str:
    """The last UTC day of a rule that holds until this Unix second."""
    return time.strftime("%Y-%m-%d", time.gmtime(expires - DAY))


def show_json(data: object, indent: int | None = 2) -> None:
    """On standard output, without rich, which is slow: it looks at every character. It is written while it is made: all
    pieces of the text of a million rows take two gigabytes."""
    pieces = json.JSONEncoder(indent=indent).iterencode(data)
    while text := "".join(islice(pieces, _PIECES)):
        sys.stdout.write(text)
    print(flush=True)
