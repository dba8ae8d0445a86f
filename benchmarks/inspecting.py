"""What TLS inspection costs beside squid's ssl_bump: `python -m benchmarks.inspecting`.

Twenty fixed connections exchange small requests through CONNECT and interception, again and again: no load generator
that dials when the machine is full. Then connections are made one after the other, each with both handshakes and one
exchange. What is told is CPU of the proxy's processes, for an exchange and for a connection; rates stand beside, and
say as much about the client, which is one Python process. The origin is nginx. One worker each; proxies take turns.

Client and proxies verify certificates; the client resumes no session.
"""

import argparse
import contextlib
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.isolation import Unusable
from benchmarks.measure import settled_cpu_seconds
from gateway.intercept.authority import create_authority, read_authority
from gateway.model.names import HostName

NAME = "origin.test"
START_SECONDS = 20.0
CERTGEN = Path("/usr/lib/squid/security_file_certgen")
GATEWAY, SQUID = "gateway", "squid"
ENOUGH = {"exchange": 0.8, "connection": 0.75}
"""Of squid's CPU."""

_NGINX = """\
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.errors; worker_processes 1; {user}
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 10000000; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
    fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{
        listen 127.0.0.1:{port} ssl {http2}; ssl_certificate {certificate}; ssl_certificate_key {key};
        location / {{ default_type text/plain; return 200 "hello\\n"; }}
    }}
}}
"""
_SQUID = """\
http_port 127.0.0.1:{port} ssl-bump tls-cert={ca} tls-key={key} generate-host-certificates=on
sslcrtd_program {certgen} -s {folder}/certificates -M 4MB
sslcrtd_children 1 startup=1
tls_outgoing_options cafile={origins}
hosts_file {folder}/hosts
acl step1 at_step SslBump1
ssl_bump peek step1
ssl_bump bump all
workers 1
cache deny all
acl ports port {origin}
http_access allow ports
http_access deny all
access_log stdio:{folder}/access.log squid
cache_log {folder}/cache.log
pid_filename none
netdb_filename none
pinger_enable off
coredump_dir {folder}
visible_hostname benchmark.test
shutdown_lifetime 0 seconds
"""


@dataclass(frozen=True, slots=True)
class Bed:
    """Files and ports of one run."""

    folder: Path
    origin: int
    ca: Path
    key: Path
    origins: Path


@dataclass(frozen=True, slots=True)
class Seen:
    """CPU in seconds of the proxy, and how many of each in a second."""

    exchange: float
    exchanges: float
    connection: float
    connections: float


class Client:
    """One connection through the proxy, with TLS inside."""

    def __init__(self, proxy: int, authority: str, context: ssl.SSLContext) -> None:
        raw = socket.create_connection(("127.0.0.1", proxy), 20)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = raw.recv(1)
            if not byte:
                raise Unusable("the proxy ended a CONNECT")
            head += byte
        self.tls = context.wrap_socket(raw, server_hostname=NAME)
        self._request = f"GET / HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: benchmark\r\n\r\n".encode()

    def ask(self) -> None:
        """One request."""
        self.tls.sendall(self._request)

    def hear(self) -> None:
        """Its answer. Raises `Unusable` for another one than the origin's."""
        got = b""
        while not got.endswith(b"hello\n"):
            more = self.tls.recv(16384)
            if not more:
                raise Unusable(f"not the origin's answer: {got[:4000]!r}")
            got += more
        if not got.startswith(b"HTTP/1.1 200"):
            raise Unusable(f"not the origin's answer: {got[:4000]!r}")


def measure(pid: int, proxy: int, authority: str, bed: Bed, options: argparse.Namespace) -> Seen:
    """Both figures of a proxy that runs."""
    context = ssl.create_default_context(cafile=str(bed.ca))
    clients = [Client(proxy, authority, context) for _ in range(options.concurrency)]
    _exchange(clients, 10)
    rounds = options.exchanges // options.concurrency
    before, began = settled_cpu_seconds(pid), time.monotonic()
    _exchange(clients, rounds)
    took = time.monotonic() - began
    exchange = (settled_cpu_seconds(pid) - before) / (rounds * options.concurrency)
    for client in clients:
        client.tls.close()
    before, began = settled_cpu_seconds(pid), time.monotonic()
    for _ in range(options.connections):
        client = Client(proxy, authority, context)
        _exchange([client], 1)
        client.tls.close()
    took_connections = time.monotonic() - began
    connection = (settled_cpu_seconds(pid) - before) / options.connections
    rate = rounds * options.concurrency / took
    return Seen(exchange, rate, connection, options.connections / took_connections)


def _exchange(clients: list[Client], rounds: int) -> None:
    for _ in range(rounds):
        for client in clients:
            client.ask()
        for client in clients:
            client.hear()


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """A program that listens on `port` when it is ready; its process id."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise Unusable(f"{command[0]} did not start: {process.communicate()[1].decode()[-2000:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.communicate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _program(name: str) -> str:
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise Unusable(f"{name} is missing")
    return path


def make_bed(folder: Path) -> Bed:
    """Both authorities, and the origin's certificate."""
    now, bed = time.time(), Bed(folder, free_port(), folder / "ca.crt", folder / "ca.key", folder / "origins.crt")
    for certificate, key, name in ((bed.ca, bed.key, "proxies"), (bed.origins, folder / "origins.key", "origins")):
        made, secret = create_authority(name, now)
        certificate.write_bytes(made)
        key.write_bytes(secret)
        key.chmod(0o600)
    leaf = read_authority(bed.origins.read_bytes(), (folder / "origins.key").read_bytes(), now).mint(
        HostName(NAME), now, 86400
    )
    (folder / "origin.crt").write_bytes(leaf.chain)
    (folder / "origin.key").write_bytes(leaf.key)
    return bed


def nginx_command(bed: Bed, http2: bool = False) -> list[str]:
    """The origin's, whose configuration is written here."""
    configuration, folder = bed.folder / "nginx.conf", bed.folder
    files = {"certificate": folder / "origin.crt", "key": folder / "origin.key"}
    configuration.write_text(
        _NGINX.format(folder=folder, port=bed.origin, user="user root;", http2="http2" if http2 else "", **files)
    )
    return [_program("nginx"), "-c", str(configuration), "-e", str(folder / "nginx.errors")]


def gateway_command(bed: Bed, port: int, python: str) -> list[str]:
    """The gateway's, whose files are written here."""
    folder = bed.folder / GATEWAY
    folder.mkdir(exist_ok=True)
    shutil.copy(bed.origins, folder / "origins.crt")
    inspect = {"upstream_ca": "origins.crt"}
    rule = {"name": "origin", "cidrs": ["127.0.0.1/32"], "ports": [bed.origin], "protocol": "tls", "inspect": inspect}
    (folder / "policy.yaml").write_text(yaml.safe_dump({"version": 1, "rules": [rule]}))
    settings = {
        "version": 1,
        "listeners": [{"name": "proxy", "bind": f"127.0.0.1:{port}"}],
        "admin": {"bind": f"127.0.0.1:{free_port()}"},
        "policy": "policy.yaml",
        "inspection": {"ca_cert": str(bed.ca), "ca_key": str(bed.key)},
        "telemetry": {"access_log": [{"path": "records.jsonl"}]},
    }
    (folder / "gateway.yaml").write_text(yaml.safe_dump(settings))
    return [python, "-m", "gateway", "run", "-c", str(folder / "gateway.yaml")]


def _squid(bed: Bed, port: int) -> list[str]:
    if not CERTGEN.exists():
        raise Unusable("squid with TLS is missing: apt-get install --no-install-recommends squid-openssl")
    folder = bed.folder / SQUID
    if not folder.exists():
        folder.mkdir()
        subprocess.run([CERTGEN, "-c", "-s", folder / "certificates", "-M", "4MB"], check=True, capture_output=True)
        for path in (bed.folder, folder, *folder.rglob("*"), bed.ca, bed.key, bed.origins):
            shutil.chown(path, "proxy")
    (folder / "hosts").write_text(f"127.0.0.1 {NAME}\n")  # the gateway gets the address: it knows no other hosts file
    configuration = folder / "squid.conf"
    files = {"ca": bed.ca, "key": bed.key, "origins": bed.origins, "certgen": CERTGEN}
    configuration.write_text(_SQUID.format(port=port, origin=bed.origin, folder=folder, **files))
    return [_program("squid"), "--foreground", "-n", "inspecting", "-f", str(configuration)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.inspecting", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="proxies take turns in each; the median counts (%(default)s)")
    add("--exchanges", type=int, default=10_000, help="in a round (%(default)s)")
    add("--connections", type=int, default=300, help="in a round (%(default)s)")
    add("--concurrency", type=int, default=20, help="connections that exchange (%(default)s)")
    add("--proxies", default=f"{GATEWAY},{SQUID}", help="which (%(default)s)")
    add("--python", default=sys.executable, help="the interpreter that runs `-m gateway` (this one)")
    add("--report-only", action="store_true", help="a missed target is not a failure")
    return parser


def run(options: argparse.Namespace) -> dict[str, list[Seen]]:
    """Every proxy in every round."""
    seen: dict[str, list[Seen]] = {name: [] for name in options.proxies.split(",")}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="inspecting-")))
        bed = make_bed(folder)
        stack.enter_context(running(nginx_command(bed), bed.origin))
        for number in range(1, options.rounds + 1):
            for name, results in seen.items():
                port = free_port()
                command = gateway_command(bed, port, options.python) if name == GATEWAY else _squid(bed, port)
                with running(command, port) as pid:
                    host = "127.0.0.1" if name == GATEWAY else NAME
                    result = measure(pid, port, f"{host}:{bed.origin}", bed, options)
                results.append(result)
                print(
                    f"{number}/{options.rounds} {name:8} {result.exchange * 1e6:7.1f} us CPU an exchange "
                    f"({result.exchanges:,.0f}/s), {result.connection * 1e3:6.2f} ms a connection "
                    f"({result.connections:,.0f}/s)",
                    flush=True,
                )
    return seen


def main() -> int:
    """0: all targets met, or nothing to compare with; 2: cannot run here; 3: a target was missed."""
    options = _parser().parse_args()
    try:
        seen = run(options)
    except Unusable as refusal:
        print(refusal, file=sys.stderr)
        return 2
    missed = False
    for figure, most in ENOUGH.items():
        medians = {name: statistics.median(getattr(each, figure) for each in of) for name, of in seen.items()}
        if {GATEWAY, SQUID} <= medians.keys():
            ratio = medians[GATEWAY] / medians[SQUID]
            missed |= ratio > most
            print(f"{figure}: {ratio:.2f} of squid's, at most {most}: {'met' if ratio <= most else 'MISSED'}")
    return 3 if missed and not options.report_only else 0


if __name__ == "__main__":
    sys.exit(main())
