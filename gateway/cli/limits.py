"""`egress-gateway limits`: how full the limits of a running gateway are, asked through its admin port."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.cli.admin_port import AdminPort
from gateway.cli.console import answers, say, show, show_json, show_size

FOLLOW_SECONDS = 1.0

_TITLES = ("LIMIT", "KEY", "USED", "LEFT", "OF", "REFUSED")
_BYTES = ("bandwidth", "bytes")

Fill = Mapping[str, Any]


def print_limits(config: Path | None, name: str | None, as_json: bool, follow: bool) -> None:
    """Those that refused most first, then the fullest; `name` is a part of the limit's name. With `follow` every
    second, for ever. Raises `ConfigErrors` or `NoAnswer`."""
    while True:
        fills = AdminPort(config).ask("GET", "/limits", "limits")
        found = [fill for fill in fills if name is None or name in fill["limit"]]
        if as_json:
            show_json(found, None if follow else 2)
        else:
            show(answers(), _TITLES, found, _row)
            say(answers(), f"{len(found)} in use")
        if not follow:
            return
        time.sleep(FOLLOW_SECONDS)


def _row(fill: Fill) -> Sequence[str]:
    """`OF` is the capacity and, for a rate, how fast it refills."""
    in_bytes = fill["counts"] in _BYTES
    refused = f"{fill['refused']}{' (report)' if fill['report'] else ''}"
    return (
        fill["limit"],
        " ".join(fill["key"]),
        f"{fill['used']:.0%}",
        _amount(fill["left"], in_bytes),
        _capacity(fill, in_bytes),
        refused,
    )


def _capacity(fill: Fill, in_bytes: bool) -> str:
    if fill["counts"] in ("concurrent", "bytes"):
        return _amount(fill["rate"], in_bytes)
    return f"{_amount(fill['burst'], in_bytes)}, {_amount(fill['rate'], in_bytes)}/s"


def _amount(number: float, in_bytes: bool) -> str:
    if in_bytes:
        return show_size(number)
    return f"{number:.3g}" if number < 1000 else f"{number:.0f}"
