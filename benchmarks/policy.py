"""Writes the benchmark's policy: by default 1,000 rules for 10 groups, of which three let through what is measured.

The others are like those of a large installation: mostly exact names and suffixes, each allowed for one group or for
all, some denied names, some networks with databases, some denied networks that every resolved address is screened by.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks import layout

_DENIED_NAMES = 60
_DATABASES = 20
_DENIED_NETWORKS = 10

Rule = dict[str, Any]


def _group(number: int) -> str:
    return f"group-{number % layout.GROUPS}"


def _ports(ports: tuple[int, int]) -> str:
    return f"{ports[0]}-{ports[1]}"


def _measured() -> Iterator[Rule]:
    for protocol, ports in (("tls", layout.TLS_PORTS), ("tcp", layout.TCP_PORTS), ("http", layout.HTTP_PORTS)):
        yield {
            "name": f"measured-{protocol}",
            "clients": [_group(number) for number in range(layout.GROUPS)],
            "hosts": [layout.TARGET],
            "ports": [_ports(ports)],
            "protocol": protocol,
        }


def _allowed_names(count: int) -> Iterator[Rule]:
    for number in range(count):
        suffix = "*." if number % 3 == 0 else ""
        rule: Rule = {"name": f"api-{number}", "hosts": [f"{suffix}api-{number}.service-{number % 50}.example"]}
        if number % 4:
            rule["clients"] = [_group(number)]
        yield rule


def _others() -> Iterator[Rule]:
    for number in range(_DENIED_NAMES):
        yield {"name": f"no-{number}", "hosts": [f".unwanted-{number}.example"], "action": "deny"}
    for number in range(_DATABASES):
        network = f"10.{number}.0.0/16"
        yield {
            "name": f"db-{number}",
            "clients": [_group(number)],
            "cidrs": [network],
            "ports": [5432],
            "protocol": "tcp",
        }
    for number in range(_DENIED_NETWORKS):
        yield {"name": f"no-range-{number}", "cidrs": [f"198.51.100.{number * 16}/28"], "action": "deny"}


def rules(count: int = layout.RULES) -> list[Rule]:
    """`count` rules: always those for what is measured, then a cross-section of the others."""
    fixed = [*_measured(), *_others()][: max(3, count // 2)]
    return [*fixed, *_allowed_names(count - len(fixed))]


def names() -> list[str]:
    """As many names as rules, the target among them, for a peer that has lists of names (`.x` is x and all below)."""
    return [layout.TARGET, *(f".api-{number}.service-{number % 50}.example" for number in range(layout.RULES - 1))]


def write_policy(path: Path, count: int = layout.RULES) -> None:
    groups = {_group(number): {"match": [{"cidr": layout.group_network(number)}]} for number in range(layout.GROUPS)}
    document = {"version": 1, "clients": groups, "rules": rules(count)}
    path.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, width=200))
