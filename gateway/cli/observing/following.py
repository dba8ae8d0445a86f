"""Flows from the admin port, printed as they come: Server-Sent Events, over one connection after the other."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from gateway.cli.admin_port import AdminPort, NoAnswer
from gateway.cli.observing.shapes import SHAPES, table_head

RETRY_SECONDS = 0.1
RETRIES = 50  # in a row: a gateway that restarts is away for a moment

Flow = dict[str, Any]
Ask = Callable[[str, Mapping[str, str]], Iterator[bytes]]
"""See `AdminPort.lines`."""


@dataclass(frozen=True, slots=True)
class Missed:
    """So many flows had left the gateway's memory before they could be read."""

    count: int


@dataclass(slots=True)
class _Event:
    kind: str = "message"
    data: str = ""


def print_flows(config: Path | None, wanted: Sequence[tuple[str, str]], follow: bool, shape: str) -> None:
    """Until there are no more, or for ever; `shape` is one of `SHAPES`. Raises `ConfigErrors` or `NoAnswer`."""
    show = SHAPES[shape]
    if shape == "table":
        print(table_head(), flush=True)
    for flow in flows(AdminPort(config).lines, wanted, follow):
        if isinstance(flow, Missed):
            print(f"missed {flow.count} flows: they were gone before they could be read", file=sys.stderr, flush=True)
        else:
            print(show(flow), flush=True)


def flows(ask: Ask, wanted: Sequence[tuple[str, str]], follow: bool) -> Iterator[Flow | Missed]:
    """Those that have ended already and, with `follow`, those that end from then on. Raises `NoAnswer`."""
    path = "/flows?" + urlencode([*wanted, ("follow", "true")] if follow else wanted, errors="surrogateescape")
    headers: dict[str, str] = {}
    failures = 0
    while True:
        try:
            for event in _events(ask(path, headers), headers):
                failures = 0
                yield Missed(json.loads(event.data)["missed"]) if event.kind == "missed" else json.loads(event.data)
        except NoAnswer:
            failures += 1
            # Not following, it never answered, or it does not come back.
            if not follow or "Last-Event-ID" not in headers or failures > RETRIES:
                raise
        if not follow:
            return
        time.sleep(RETRY_SECONDS)


def _events(lines: Iterable[bytes], headers: dict[str, str]) -> Iterator[_Event]:
    """Also puts the id of the last event into `headers`, for the next request."""
    event = _Event()
    for line in lines:
        key, _, value = line.decode().rstrip("\n").partition(": ")
        match key:
            case "id":
                headers["Last-Event-ID"] = value
            case "event":
                event.kind = value
            case "data":
                event.data += value
            case "":
                if event.data:
                    yield event
                event = _Event()
