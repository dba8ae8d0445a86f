"""How commands speak: answers on standard output, what is wrong on standard error, colour on terminals only.

rich looks at NO_COLOR and at whether it writes to a terminal; lines are never wrapped, so that they can be searched.
"""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDEST = 10_000


def answers() -> Console:
    """Standard output."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def complaints() -> Console:
    """Standard error."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def say(console: Console, text: str, style: str = "") -> None:
    """One line, taken as it is: what stands in brackets is no markup."""
    console.print(Text(text, style=style))


def plain(text: str) -> str:
    """Text of strangers on one line: what could steer a terminal is escaped as in a Python literal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def show(console: Console, table: Table) -> None:
    """As wide as it is: a line is cut on no terminal, and in no file."""
    console.width = _WIDEST
    console.print(table, crop=False)
