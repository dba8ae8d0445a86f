"""What HTTP/2 requests cost inside inspected TLS, compared with mitmproxy: `python -m benchmarks.http2`.

Twenty fixed connections with five streams at a time on each repeat the same small GET, like a client that polls or
calls one method. The origin is nginx over HTTP/2, so both sides of the proxy speak it. The result is the CPU of the
proxy's process per request. One process each; proxies take turns; the median counts.

mitmproxy is the one that `.ci/setup bench` installs outside of our environment, or `--mitmproxy PATH`.
"""

import argparse
import ssl
import statistics
import struct
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import hpack

from benchmarks.inspection.bed import Bed, free_port, make_bed, nginx_command, running
from benchmarks.inspection.peers import GATEWAY, MITMPROXY, gateway_command, mitmproxy_command
from benchmarks.inspection.tunnel import open_tunnel
from benchmarks.isolation import Unusable
from benchmarks.measure import settled_cpu_seconds

TARGET = 5.0
"""mitmproxy should take at least so many times the gateway's CPU."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _DATA, _RST, _SETTINGS, _GOAWAY = 1, 0, 3, 4, 7
_END_HEADERS_AND_STREAM = 5


class Cost(NamedTuple):
    """CPU in seconds per request, and requests per second."""

    cpu: float
    rate: float


class Client:
    """One connection through the proxy, with HTTP/2 in TLS. From the second on its heads use HPACK's dynamic table."""

    def __init__(self, proxy: int, authority: str, context: ssl.SSLContext) -> None:
        self.tls = open_tunnel(proxy, authority, context)
        if self.tls.selected_alpn_protocol() != "h2":
            raise Unusable("the proxy does not speak HTTP/2")
        encoder = hpack.Encoder()
        fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", authority),
            (":path", "/"),
            ("user-agent", "benchmark"),
            ("accept", "*/*"),
        ]
        self._blocks = [encoder.encode(fields), encoder.encode(fields)]
        self._next = 1
        self._held = b""
        self._settled = False
        self.tls.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b""))

    def ask(self, count: int) -> None:
        """Send `count` requests at once."""
        frames = []
        for _ in range(count):
            block = self._blocks[0 if self._next == 1 else 1]
            frames.append(_frame(_HEADERS, _END_HEADERS_AND_STREAM, self._next, block))
            self._next += 2
        self.tls.sendall(b"".join(frames))

    def read(self, count: int) -> None:
        """Read their answers. Raises `Unusable` if one is not the origin's."""
        while count:
            while len(self._held) < 9 or len(self._held) < 9 + int.from_bytes(self._held[:3], "big"):
                more = self.tls.recv(65536)
                if not more:
                    raise Unusable("the proxy ended a connection")
                self._held += more
            size, kind, flags = int.from_bytes(self._held[:3], "big"), self._held[3], self._held[4]
            payload, self._held = self._held[9 : 9 + size], self._held[9 + size :]
            if kind in (_RST, _GOAWAY):
                raise Unusable(f"the proxy ended a stream: {payload!r}")
            if kind == _SETTINGS and not flags & 1:
                self.tls.sendall(_frame(_SETTINGS, 1, 0, b""))
            if kind == _DATA and payload not in (b"hello\n", b""):
                raise Unusable(f"not the origin's answer: {payload!r}")
            count -= kind in (_DATA, _HEADERS) and bool(flags & 1)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBL", kind, flags, stream) + payload


def measure(pid: int, proxy: int, authority: str, bed: Bed, options: argparse.Namespace) -> Cost:
    """Of a running proxy."""
    context = ssl.create_default_context(cafile=str(bed.ca))
    context.set_alpn_protocols(["h2"])
    clients = [Client(proxy, authority, context) for _ in range(options.connections)]
    _exchange(clients, 4, options.streams)
    rounds = options.requests // (options.connections * options.streams)
    before, began = settled_cpu_seconds(pid), time.monotonic()
    _exchange(clients, rounds, options.streams)
    took, count = time.monotonic() - began, rounds * options.connections * options.streams
    cpu = (settled_cpu_seconds(pid) - before) / count
    for client in clients:
        client.tls.close()
    return Cost(cpu, count / took)


def _exchange(clients: list[Client], rounds: int, streams: int) -> None:
    for _ in range(rounds):
        for client in clients:
            client.ask(streams)
        for client in clients:
            client.read(streams)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.http2", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="proxies take turns in each (%(default)s)")
    add("--requests", type=int, default=5000, help="in a round (%(default)s)")
    add("--connections", type=int, default=20, help="(%(default)s)")
    add("--streams", type=int, default=5, help="at a time on each connection (%(default)s)")
    add("--mitmproxy", metavar="PATH", help="another `mitmdump`")
    add("--python", default=sys.executable, help="the interpreter that runs `-m gateway` (this one)")
    add("--report-only", action="store_true", help="a missed target is not a failure")
    return parser


def run(options: argparse.Namespace) -> dict[str, list[Cost]]:
    """The costs of both, round by round."""
    costs: dict[str, list[Cost]] = {GATEWAY: [], MITMPROXY: []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="http2-")))
        bed = make_bed(folder)
        stack.enter_context(running(nginx_command(bed, http2=True), bed.origin))
        for number in range(1, options.rounds + 1):
            for name, results in costs.items():
                port = free_port()
                if name == GATEWAY:
                    command = gateway_command(bed, port, options.python)
                else:
                    command = mitmproxy_command(bed, port, options.python, options.mitmproxy)
                with running(command, port) as pid:
                    result = measure(pid, port, f"127.0.0.1:{bed.origin}", bed, options)
                results.append(result)
                cost = f"{result.cpu * 1e6:8.1f} us CPU a request ({result.rate:,.0f}/s)"
                print(f"{number}/{options.rounds} {name:10} {cost}", flush=True)
    return costs


def main() -> int:
    """0: the target is met; 2: cannot run here; 3: it was missed."""
    options = _parser().parse_args()
    try:
        costs = run(options)
    except Unusable as refusal:
        print(refusal, file=sys.stderr)
        return 2
    ours, theirs = (statistics.median(each.cpu for each in costs[name]) for name in (GATEWAY, MITMPROXY))
    missed = theirs < TARGET * ours
    print(f"mitmproxy takes {theirs / ours:.1f} times the CPU, target {TARGET:g}: {'MISSED' if missed else 'met'}")
    return 3 if missed and not options.report_only else 0


if __name__ == "__main__":
    sys.exit(main())
