"""Prints flows on standard output as they come."""

import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.cli.admin_port import AdminPort
from gateway.cli.observing.following import Missed, flows
from gateway.cli.observing.shapes import SHAPES, table_head


def print_flows(config: Path | None, wanted: Sequence[tuple[str, str]], follow: bool, shape: str) -> None:
    """Until there are no more, or for ever; `shape` is one of `SHAPES`. Raises `ConfigErrors` or `NoAnswer`."""
    show = SHAPES[shape]
    if shape == "table":
        print(table_head(), flush=True)
    for flow in flows(AdminPort(config), wanted, follow):
        if isinstance(flow, Missed):
            print(f"missed {flow.count} flows: they were gone before they could be read", file=sys.stderr, flush=True)
        else:
            print(show(flow), flush=True)
