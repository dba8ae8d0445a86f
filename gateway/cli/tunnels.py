"""`egress-gateway tunnels`: lists open tunnels of a running gateway through its admin port, or closes one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.cli.admin_port import AdminPort
from gateway.cli.console import answers, say, show, show_json, show_size
from gateway.telemetry.formats.fields import authority_of

Tunnel = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Selects tunnels by all of these: a part of the destination's name, the client's address or user, a part of the
    rule's full name."""

    host: str | None = None
    client: str | None = None
    rule: str | None = None

    def holds(self, tunnel: Tunnel) -> bool:
        """Whether the tunnel matches."""
        return (
            (self.host is None or self.host.lower() in tunnel["host"])
            and (self.client is None or self.client in (tunnel["client"], tunnel["user"]))
            and (self.rule is None or self.rule in tunnel["rule"])
        )


def print_tunnels(config: Path | None, wanted: Wanted, as_json: bool) -> None:
    """The oldest first. Raises `ConfigErrors` or `NoAnswer`."""
    tunnels = AdminPort(config).ask("GET", "/tunnels", "tunnels")
    found = [tunnel for tunnel in tunnels if wanted.holds(tunnel)]
    if as_json:
        show_json(found)
    else:
        show(answers(), list(_COLUMNS), found, lambda tunnel: [cell(tunnel) for cell in _COLUMNS.values()])
        say(answers(), f"{len(found)} open")


def close_one(config: Path | None, connection_id: str) -> bool:
    """False if there is no such tunnel. Raises `ConfigErrors` or `NoAnswer`."""
    place = quote(connection_id, safe="", errors="surrogateescape")
    return bool(AdminPort(config).ask("POST", f"/tunnels/{place}/close", "closed"))


_COLUMNS: Mapping[str, Callable[[Tunnel], str]] = {
    "ID": lambda tunnel: tunnel["connection_id"],
    "CLIENT": lambda tunnel: tunnel["user"] or tunnel["client"],
    "DESTINATION": lambda tunnel: authority_of(tunnel["host"], tunnel["port"]),
    "RULE": lambda tunnel: tunnel["rule"],
    "GEN": lambda tunnel: str(tunnel["generation"]),
    "AGE": lambda tunnel: _age(tunnel["age_seconds"]),
    "UP": lambda tunnel: show_size(tunnel["bytes_up"]),
    "DOWN": lambda tunnel: show_size(tunnel["bytes_down"]),
}


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f}{unit}"
    return f"{seconds:.0f}s"
