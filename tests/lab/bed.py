"""What the stories of the lab share: a gateway with one transparent listener, servers in the world, real clients."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli.main import app
from tests.flows.interception import make_authority
from tests.helpers.authority import TestAuthority
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.origins import Origin, greeting, http, https
from tests.helpers.raw_client import RawClient
from tests.helpers.requirements import require
from tests.lab.network import ELSEWHERE, HOME, NAME_SERVER, POD1, POD2, SOURCES, Namespace, Network, network

PORT = 15001
GREETING = b"220 ready\r\n"
GREETING_PORT = 2525
POOL_PORT = 9443
ORIGINS = "origins.pem"
ALLOW = ["10.77.0.0/16", "203.0.113.0/24", "2001:db8::/32"]

NAMES = ("allowed.test", "denied.test", "match.test", "one.test", "client.test", "pool.test", "inspected.test")

POLICY = {
    "clients": {
        "pod1": {"match": [{"cidr": POD1[0]}, {"cidr": POD1[1]}]},
        "pod2": {"match": [{"cidr": POD2[0]}, {"cidr": POD2[1]}]},
    },
    "rules": [
        {"name": "allowed", "hosts": ["allowed.test"]},
        {"name": "no", "hosts": ["denied.test"], "action": "deny"},
        {"name": "match", "hosts": ["match.test"], "resolve": "match"},
        {"name": "one", "clients": ["pod1"], "hosts": ["one.test"], "source": SOURCES[0]},
        {"name": "two", "clients": ["pod2"], "hosts": ["one.test"], "source": SOURCES[1]},
        {"name": "client", "hosts": ["client.test"], "source": "client"},
        {"name": "pool", "hosts": ["pool.test"], "ports": [POOL_PORT], "protocol": "tls", "source": list(SOURCES)},
        {"name": "mail", "cidrs": [HOME[0], HOME[1]], "ports": [GREETING_PORT], "protocol": "tcp"},
        {
            "name": "inspected",
            "hosts": ["inspected.test"],
            "inspect": {"upstream_ca": ORIGINS, "requests": [{"methods": ["GET"], "paths": ["/"]}]},
        },
        {"name": "web", "hosts": ["allowed.test", "other.test"], "ports": [80]},
        {"name": "loop", "cidrs": ["10.77.0.0/16"], "ports": "any", "protocol": "tcp"},
    ],
}


@dataclass
class Bed:
    """`homes` are the servers that the names lead to, `elsewhere` those on somebody else's addresses; `ours` is the
    authority that signs for what is inspected."""

    network: Network
    gateway: GatewayProcess
    dns: DnsServer
    authority: TestAuthority
    homes: Sequence[Origin]
    elsewhere: Sequence[Origin]
    mail: Origin
    pool: Origin
    web: Origin
    ours: Path
    place: str = ""

    def apply(self, place: str) -> None:
        """Lead both pods' traffic to the gateway, unless it is led so already."""
        if place == self.place:
            return
        self.place = place
        apply_routes(self.network.gateway, place, PORT)

    def curl(
        self, pod: Namespace, host: str, address: str, *options: str, trusts: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """`https://host/` from a pod that believes `address` to be the host's, without a proxy. It trusts the origins'
        authority, unless another."""
        pinned = f"{host}:443:{f'[{address}]' if ':' in address else address}"
        return self.run_curl(
            pod, "--cacert", str(trusts or self.authority.bundle), "--resolve", pinned, *options, f"https://{host}/"
        )

    def run_curl(self, pod: Namespace, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """curl as it is, no setting and no variable of a proxy."""
        curl = [require("curl"), "-q", "--silent", "--show-error", "--max-time", "10", *arguments]
        return subprocess.run([*pod.prefix, *curl], capture_output=True, text=True, timeout=60, env={})

    def client(self, pod: Namespace, address: str, port: int = 443) -> RawClient:
        """A connection from a pod to that address."""
        with pod.entered():
            return RawClient(port, address)

    @contextmanager
    def one_record(self) -> Iterator[Record]:
        """The record of the one connection that the block makes, filled in when the block ends."""
        seen = len(self._connections())
        record: Record = {}
        yield record
        deadline = time.monotonic() + 60
        while len(connections := self._connections()) == seen and time.monotonic() < deadline:
            time.sleep(0.02)
        [found] = connections[seen:]
        record.update(found)

    def _connections(self) -> list[Record]:
        return [record for record in self.gateway.records() if "exchange_id" not in record]

    def left(self) -> list[int]:
        """What of the gateway's has reached the world so far: SYNs, DNS queries, anything else."""
        return self.network.world.counters("syn", "dns", "other")


def routes(machine: Namespace, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`egress-gateway routes` on that machine; this process is the command, the programs that it starts are not."""
    with machine.entered():
        done = CliRunner().invoke(app, ["routes", *arguments])
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


def apply_routes(gateway: Namespace, place: str, port: int) -> None:
    """Lead both pods' traffic to the listener."""
    done = routes(gateway, "apply", place, "-i", "in1", "-i", "in2", "--port", str(port))
    assert done.returncode == 0, done.stderr


@contextmanager
def bed(folder: Path) -> Iterator[Bed]:
    """Everything up, no routes applied yet."""
    authority = TestAuthority(folder)
    context = authority.server_context(*NAMES)
    with ExitStack() as stack:
        lab = stack.enter_context(network())
        with lab.world.entered():
            dns = stack.enter_context(DnsServer(NAME_SERVER, 53))
            homes = [stack.enter_context(Origin(https(context, b"home\n"), address, 443)) for address in HOME]
            elsewhere = [stack.enter_context(Origin(https(context, b"elsewhere\n"), a, 443)) for a in ELSEWHERE]
            mail = stack.enter_context(Origin(greeting(GREETING), HOME[0], GREETING_PORT))
            web = stack.enter_context(Origin(http(b"clear\n"), HOME[0], 80))
            pool = stack.enter_context(Origin(_tell, HOME[0], POOL_PORT))
        for name in NAMES:
            dns.answer(name, *HOME)
        for name in ("pool.test", "other.test"):
            dns.answer(name, HOME[0])
        dns.answer("client.test", *HOME)
        settings: dict[str, object] = {
            "listeners": [{"name": "proxy", "bind": f"[::]:{PORT}", "mode": "transparent"}],
            "resolver": {"servers": [f"{NAME_SERVER}:53"], "timeout": "1s"},
            "timeouts": {"client_hello": "1s", "connect": "2s"},
            "addresses": {"allow": ALLOW},
        }
        settings["inspection"] = make_authority(folder, time.time())
        (folder / ORIGINS).write_bytes(authority.bundle.read_bytes())
        gateway = stack.enter_context(GatewayProcess(folder, POLICY, settings, prefix=lab.gateway.prefix))
        yield Bed(lab, gateway, dns, authority, homes, elsewhere, mail, pool, web, folder / "ca.crt")


def _tell(connection: socket.socket, visit: object) -> None:
    """One byte for the first bytes, then wait for the end."""
    if connection.recv(65536):
        connection.sendall(b"!")
    while connection.recv(65536):
        pass
