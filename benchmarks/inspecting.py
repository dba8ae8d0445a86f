"""What TLS inspection costs, compared with squid's ssl_bump and mitmproxy: `python -m benchmarks.inspecting`.

Twenty fixed connections repeat small exchanges through CONNECT and interception: no load generator that dials when the
machine is full. Then connections are made one after the other, each with both handshakes and one exchange. The results
are CPU of the proxy's processes, per exchange and per connection; rates are shown too, but say as much about the
client, which is one Python process. The origin is nginx. One worker each; proxies take turns.

Client and proxies verify certificates; the client resumes no session. mitmproxy is the one that `.ci/setup bench`
installs outside of our environment, or `--mitmproxy PATH`.
"""

import argparse
import ssl
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inspection.bed import NAME, Bed, free_port, make_bed, nginx_command, running
from benchmarks.inspection.peers import (
    GATEWAY,
    MITMPROXY,
    SQUID,
    gateway_command,
    mitmproxy_command,
    squid_command,
)
from benchmarks.inspection.tunnel import open_tunnel
from benchmarks.isolation import Unusable
from benchmarks.measure import settled_cpu_seconds

TARGETS = {SQUID: {"exchange": 0.8, "connection": 0.75}, MITMPROXY: {"exchange": 1 / 24, "connection": 1 / 4}}
"""The share of each one's CPU that the gateway may take."""
SHARES = {MITMPROXY: 0.2}
"""The share of the work that a slow proxy does."""


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU of the proxy in seconds per exchange and connection, and how many of each per second."""

    exchange: float
    exchanges: float
    connection: float
    connections: float


class Client:
    """One connection through the proxy, with TLS inside."""

    def __init__(self, proxy: int, authority: str, context: ssl.SSLContext) -> None:
        self.tls = open_tunnel(proxy, authority, context)
        self._request = f"GET / HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: benchmark\r\n\r\n".encode()

    def ask(self) -> None:
        """Send one request."""
        self.tls.sendall(self._request)

    def read(self) -> None:
        """Read its answer. Raises `Unusable` if it is not the origin's."""
        got = b""
        while not got.endswith(b"hello\n"):
            more = self.tls.recv(16384)
            if not more:
                raise Unusable(f"not the origin's answer: {got[:4000]!r}")
            got += more
        if not got.startswith(b"HTTP/1.1 200"):
            raise Unusable(f"not the origin's answer: {got[:4000]!r}")


def measure(pid: int, proxy: int, authority: str, bed: Bed, options: argparse.Namespace, share: float) -> Costs:
    """Of a running proxy, by a `share` of the work."""
    context = ssl.create_default_context(cafile=str(bed.ca))
    clients = [Client(proxy, authority, context) for _ in range(options.concurrency)]
    _exchange(clients, 10)
    rounds, connections = int(options.exchanges * share) // options.concurrency, int(options.connections * share)
    before, began = settled_cpu_seconds(pid), time.monotonic()
    _exchange(clients, rounds)
    took = time.monotonic() - began
    exchange = (settled_cpu_seconds(pid) - before) / (rounds * options.concurrency)
    for client in clients:
        client.tls.close()
    before, began = settled_cpu_seconds(pid), time.monotonic()
    for _ in range(connections):
        client = Client(proxy, authority, context)
        _exchange([client], 1)
        client.tls.close()
    took_connections = time.monotonic() - began
    connection = (settled_cpu_seconds(pid) - before) / connections
    rate = rounds * options.concurrency / took
    return Costs(exchange, rate, connection, connections / took_connections)


def _exchange(clients: list[Client], rounds: int) -> None:
    for _ in range(rounds):
        for client in clients:
            client.ask()
        for client in clients:
            client.read()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.inspecting", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="proxies take turns in each; the median counts (%(default)s)")
    add("--exchanges", type=int, default=10_000, help="in a round (%(default)s)")
    add("--connections", type=int, default=300, help="in a round (%(default)s)")
    add("--concurrency", type=int, default=20, help="connections that exchange (%(default)s)")
    add("--proxies", default=f"{GATEWAY},{SQUID},{MITMPROXY}", help="which (%(default)s)")
    add("--mitmproxy", metavar="PATH", help="another `mitmdump`")
    add("--python", default=sys.executable, help="the interpreter that runs `-m gateway` (this one)")
    add("--report-only", action="store_true", help="a missed target is not a failure")
    return parser


def _command(name: str, bed: Bed, port: int, options: argparse.Namespace) -> list[str]:
    match name:
        case "gateway":
            return gateway_command(bed, port, options.python)
        case "squid":
            return squid_command(bed, port)
        case "mitmproxy":
            return mitmproxy_command(bed, port, options.python, options.mitmproxy)
    raise Unusable(f"{name} is none of {GATEWAY}, {SQUID}, {MITMPROXY}")


def run(options: argparse.Namespace) -> dict[str, list[Costs]]:
    """The costs of every proxy, round by round."""
    costs: dict[str, list[Costs]] = {name: [] for name in options.proxies.split(",")}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="inspecting-")))
        bed = make_bed(folder)
        stack.enter_context(running(nginx_command(bed), bed.origin))
        for number in range(1, options.rounds + 1):
            for name, results in costs.items():
                port = free_port()
                with running(_command(name, bed, port, options), port) as pid:
                    host = NAME if name == SQUID else "127.0.0.1"
                    result = measure(pid, port, f"{host}:{bed.origin}", bed, options, SHARES.get(name, 1.0))
                results.append(result)
                print(
                    f"{number}/{options.rounds} {name:9} {result.exchange * 1e6:7.1f} us CPU an exchange "
                    f"({result.exchanges:,.0f}/s), {result.connection * 1e3:6.2f} ms a connection "
                    f"({result.connections:,.0f}/s)",
                    flush=True,
                )
    return costs


def main() -> int:
    """0: all targets met, or nothing to compare with; 2: cannot run here; 3: a target was missed."""
    options = _parser().parse_args()
    try:
        costs = run(options)
    except Unusable as refusal:
        print(refusal, file=sys.stderr)
        return 2
    missed = [_misses(costs, name, most) for name, most in TARGETS.items() if {GATEWAY, name} <= costs.keys()]
    return 3 if any(missed) and not options.report_only else 0


def _misses(costs: dict[str, list[Costs]], name: str, targets: dict[str, float]) -> bool:
    """Print how the gateway compares with this proxy; True if a target was missed."""
    missed = False
    for figure, bound in targets.items():
        ours, theirs = (statistics.median(getattr(each, figure) for each in costs[of]) for of in (GATEWAY, name))
        ratio = ours / theirs
        missed |= ratio > bound
        verdict = "met" if ratio <= bound else "MISSED"
        print(f"{figure}: {ratio:.3f} of {name}'s, at most {bound:.3f}: {verdict}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
