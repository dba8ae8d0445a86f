"""`egress-gateway tunnels`: asks a running gateway through its admin port what is open, and has it close one."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.table import Table
from rich.text import Text

from gateway.cli.console import answers, say
from gateway.settings.load import load_settings
from gateway.settings.units import Endpoint

SECONDS = 30.0

Tunnel = Mapping[str, Any]


class NoAnswer(Exception):
    """The admin port could not be asked, or refused; the text says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Only tunnels that have all of these: part of the destination's name, the client's address or user, part of the
    rule's full name."""

    host: str | None = None
    client: str | None = None
    rule: str | None = None

    def holds(self, tunnel: Tunnel) -> bool:
        """Whether it is one of them."""
        return (
            (self.host is None or self.host.lower() in tunnel["host"])
            and (self.client is None or self.client in (tunnel["client"], tunnel["user"]))
            and (self.rule is None or self.rule in tunnel["rule"])
        )


def print_tunnels(config: Path | None, wanted: Wanted, as_json: bool) -> None:
    """The oldest first. Raises `ConfigErrors` or `NoAnswer`."""
    body = _AdminPort(config).ask("GET", "/tunnels")
    found = [tunnel for tunnel in body["tunnels"] if wanted.holds(tunnel)]
    if as_json:
        say(answers(), json.dumps(found, indent=2))
    else:
        answers().print(_table(found))
        say(answers(), f"{len(found)} open")


def close_one(config: Path | None, connection_id: str) -> bool:
    """False if there is no such tunnel. Raises `ConfigErrors` or `NoAnswer`."""
    body = _AdminPort(config).ask("POST", f"/tunnels/{quote(connection_id, safe='')}/close")
    return bool(body["closed"])


class _AdminPort:
    """Where `admin.bind` of the settings says, with the token of its file."""

    def __init__(self, config: Path | None) -> None:
        admin = load_settings(config, os.environ).admin
        self._bind: Endpoint = admin.bind
        self._headers: dict[str, str] = {}
        if admin.token_file is not None:
            try:
                token = admin.token_file.read_text().strip()
            except OSError as error:
                raise NoAnswer(f"{admin.token_file}: {error.strerror}") from error
            self._headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str) -> Any:
        """The answer, which is JSON whatever its status. Raises `NoAnswer`: none came, or a refusal in words."""
        host = str(self._bind.address) if self._bind.address.value else "localhost"
        connection = HTTPConnection(host, self._bind.port, timeout=SECONDS)
        try:
            connection.request(method, path, headers=self._headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"no answer from the admin port {self._bind}: {error}") from error
        finally:
            connection.close()
        try:
            return json.loads(body)
        except ValueError:
            said = body.decode(errors="replace").strip()
            raise NoAnswer(f"the admin port {self._bind} answers {answer.status}: {said}") from None


_COLUMNS: Sequence[tuple[str, Callable[[Tunnel], str]]] = (
    ("ID", lambda tunnel: tunnel["connection_id"]),
    ("CLIENT", lambda tunnel: tunnel["user"] or tunnel["client"]),
    ("DESTINATION", lambda tunnel: f"{tunnel['host']}:{tunnel['port']}"),
    ("RULE", lambda tunnel: tunnel["rule"]),
    ("GEN", lambda tunnel: str(tunnel["generation"])),
    ("AGE", lambda tunnel: _age(tunnel["age_seconds"])),
    ("UP", lambda tunnel: _size(tunnel["bytes_up"])),
    ("DOWN", lambda tunnel: _size(tunnel["bytes_down"])),
)


def _table(tunnels: Sequence[Tunnel]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, _ in _COLUMNS:
        table.add_column(title, no_wrap=True, overflow="ignore")
    for tunnel in tunnels:
        table.add_row(*(Text(show(tunnel)) for _, show in _COLUMNS))
    return table


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f}{unit}"
    return f"{seconds:.0f}s"


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count}B"
