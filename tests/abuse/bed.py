"""The gateway as the suite wants a proxy to be set up, and the world behind it."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import bcrypt

from tests.abuse.case import Case, Need, Stage
from tests.abuse.complaint import Kind
from tests.abuse.http.case import NAME
from tests.abuse.suite import CASES, Outcome, play, run
from tests.abuse.world import World
from tests.flows.interception import make_authority
from tests.helpers.gateway import GatewayProcess, Record

TIMEOUT = 2.0
PATIENCE = 10.0


@dataclass
class Bed:
    """Every case is played once, at the first question for any."""

    gateway: GatewayProcess
    world: World
    stage: Stage
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _records: defaultdict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))

    def outcome(self, case: Case) -> Outcome:
        if not self.outcomes:
            self.outcomes = {
                each.case.id: self._once_more(number, each)
                for number, each in enumerate(run(CASES, self.stage, frozenset(Need), sources=True))
            }
        return self.outcomes[case.id]

    def _once_more(self, number: int, outcome: Outcome) -> Outcome:
        """What a busy machine made late gets a second chance, from another address; what escaped gets none."""
        if outcome.worst in (None, Kind.ESCAPE):
            return outcome
        return play(outcome.case, replace(self.stage, source=f"127.4.{number // 250}.{number % 250 + 1}"))

    def reasons(self, outcome: Outcome) -> set[str]:
        """Of the connections that the case made, and their exchanges."""
        if not self._records:
            self.gateway.quiet()
            for record in self.gateway.records():
                self._records[record["client_address"]].append(record)
        return {record["reason"] for record in self._records[str(outcome.source)] if "reason" in record}


@contextmanager
def bed(folder: Path) -> Iterator[Bed]:
    with World() as world, GatewayProcess(folder, policy_for(world), settings_for(world, folder)) as gateway:
        admin = ("127.0.0.1", gateway.ports["admin"])
        yield Bed(gateway, world, Stage(("127.0.0.1", gateway.port), world, admin, PATIENCE))


def settings_for(world: World, folder: Path) -> dict[str, object]:
    """gateway.yaml; its users and its token are written into `folder`."""
    users = folder / "users.htpasswd"
    users.write_text(f"ci:{bcrypt.hashpw(b'correct-horse', bcrypt.gensalt(4)).decode()}\n")
    (folder / "origins.pem").write_bytes(world.authority.read_bytes())
    (folder / "token").write_text("correct-horse-battery\n")
    return {
        "addresses": {"allow": ["127.0.0.1/32", "127.0.0.3/32"]},
        "admin": {"bind": "127.0.0.1:0", "token_file": "token"},
        "inspection": make_authority(folder, time.time()),
        "identity": {"basic": {"htpasswd": str(users)}},
        "resolver": {"servers": [f"127.0.0.1:{world.dns.port}"], "cache": {"min_ttl": "0s"}, "timeout": "1s"},
        "telemetry": {"name": NAME, "access_log": [{"path": "records.jsonl", "format": "json"}]},
        "timeouts": {"head": f"{TIMEOUT:g}s", "client_hello": f"{TIMEOUT:g}s", "idle": f"{TIMEOUT:g}s"},
    }


def policy_for(world: World) -> dict[str, object]:
    """What docs/abuse.md asks of every proxy."""
    rules: list[dict[str, object]] = [
        {"name": "allowed-web", "hosts": ["allowed.test"], "ports": [world.web.port], "protocol": "http"},
        {"name": "allowed-tls", "hosts": ["allowed.test"], "ports": [world.tls.port], "protocol": "tls"},
        {"name": "other", "hosts": ["other.test"], "ports": [world.web.port], "protocol": "http"},
        {"name": "users", "hosts": ["users.test"], "ports": [world.web.port], "protocol": "http", "clients": ["ci"]},
        {"name": "denied", "hosts": ["denied.test"], "action": "deny"},
        {"name": "wild", "hosts": ["*.wild.test"], "ports": "any", "protocol": "tls", "sni": "rule"},
        {"name": "deny", "hosts": ["deny.wild.test"], "action": "deny"},
        {"name": "ordinary", "hosts": ["ordinary.test"], "ports": [world.plain.port], "protocol": "tcp"},
    ]
    inspect = {"upstream_ca": "origins.pem"}
    rules.append(
        {
            "name": "inspected",
            "hosts": ["inspected.test"],
            "ports": [world.inspected.port],
            "protocol": "tls",
            "inspect": inspect,
        }
    )
    return {"clients": {"ci": {"match": [{"user": "ci"}]}}, "rules": rules}
