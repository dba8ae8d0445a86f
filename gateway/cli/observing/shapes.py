"""How a flow is printed."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from gateway.telemetry.flows.filters import verdict_in
from gateway.telemetry.formats.fields import authority_of

Flow = Mapping[str, Any]

_COLUMNS = (("TIME", 24), ("FROM", 24), ("TO", 44), ("VERDICT", 10), ("RULE", 28))


def compact(flow: Flow) -> str:
    """One line for people."""
    line = f"{flow['time']}: {_who(flow)} -> {_where(flow)} {verdict_in(flow).upper()}"
    if "method" in flow:
        line += f" {flow['method']} {flow['path']}"
    if "status" in flow:
        line += f" {flow['status']}"
    return f"{line} ({_why(flow)}; up {flow['bytes_up']}, down {flow['bytes_down']})"


def as_dict(flow: Flow) -> str:
    """A line for each key, and a separator."""
    return "\n".join(f"{key:>18}: {_plain(value)}" for key, value in flow.items()) + "\n" + "-" * 12


def as_json(flow: Flow) -> str:
    """The record, as it stands in the access log."""
    return json.dumps(flow, separators=(",", ":"))


def table_head() -> str:
    """Above `table_row`s."""
    return _row([title for title, _ in _COLUMNS] + ["WHY"])


def table_row(flow: Flow) -> str:
    """Columns of fixed widths that long values exceed: rows are printed before the next ones are known."""
    cells = [flow["time"], _who(flow), _where(flow), verdict_in(flow), flow.get("rule", ""), flow.get("reason", "")]
    return _row(cells)


SHAPES: Mapping[str, Callable[[Flow], str]] = {
    "compact": compact,
    "dict": as_dict,
    "json": as_json,
    "table": table_row,
}


def _row(cells: list[str]) -> str:
    widths = [width for _, width in _COLUMNS]
    return "  ".join([f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)] + cells[-1:]).rstrip()


def _who(flow: Flow) -> str:
    peer = authority_of(flow["client_address"], flow["client_port"])
    return f"{flow['user']}@{peer}" if "user" in flow else peer


def _where(flow: Flow) -> str:
    name = authority_of(flow["host"], flow["port"]) if "host" in flow else "-"
    return f"{name} ({flow['dialled_address']})" if "dialled_address" in flow else name


def _why(flow: Flow) -> str:
    known = [flow[key] for key in ("rule", "reason", "would_deny", "would_limit") if key in flow]
    return ", ".join(known) if known else str(flow["ended"])


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
