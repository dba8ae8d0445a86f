"""The proxies: their configurations, how they start, and that they end."""

import http.client
import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import yaml

from benchmarks import layout
from benchmarks.isolation import Unusable
from benchmarks.measure import process_tree
from benchmarks.policy import names, write_policy

# Of the gateway: the counters of /metrics that count every connection and every request, summed over their labels.
CONNECTIONS_METRIC = "egress_connections_total"
REQUESTS_METRIC = "egress_requests_total"

_START_LIMIT = 30.0
_STOP_LIMIT = 15.0
_DESCRIPTORS = 20_000
_SAME_DESCRIPTORS = ["prlimit", f"--nofile={_DESCRIPTORS}:{_DESCRIPTORS}"]

_SQUID_CONF = """\
# One process, no cache, otherwise the defaults. The default for logs is a process of its own; stdio: costs squid less.
http_port 127.0.0.1:{port}
workers 1
cache deny all
acl clients src {networks}
acl destinations dstdomain "{names}"
acl measured_ports port {tls} {tcp}
acl http_ports port {http}
http_access allow CONNECT clients destinations measured_ports
http_access allow !CONNECT clients destinations http_ports
http_access deny all
access_log stdio:{logs}/access.log squid
cache_log {logs}/cache.log
cache_effective_user {user}
max_filedescriptors {descriptors}
pid_filename none
netdb_filename none
pinger_enable off
coredump_dir {logs}
visible_hostname benchmark.test
shutdown_lifetime 0 seconds
"""

_TINYPROXY_CONF = """\
# No filter: tinyproxy has no index of names, it would match 1,000 regular expressions one by one.
Port {port}
Listen 127.0.0.1
Allow 127.0.0.0/8
{connect_ports}
LogFile "{logs}/tinyproxy.log"
LogLevel Connect
PidFile "{logs}/tinyproxy.pid"
MaxClients {descriptors}
Timeout 3600
"""


class ProxyFailed(Exception):
    """A proxy did not start, or ended by itself."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a proxy. `log` is where it records connections; `is_gateway`: it says when it is ready, and counts
    what it has done. `beside` is a program that it needs, whose CPU is not its own; `environ` is set over ours."""

    name: str
    command: list[str]
    configuration: Path
    log: Path
    is_gateway: bool = False
    beside: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that listens."""

    launch: Launch
    pid: int


def _program(name: str, package: str) -> str:
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    if path is None:
        raise Unusable(f"{name} is missing: apt-get install --no-install-recommends {package}")
    return path


def prepare_gateway(command: list[str], configurations: Path, logs: Path, workers: int = 1) -> Launch:
    """`full.yaml` with the paths of this run, beside the generated policy. With two workers it is called a pair."""
    return _prepare("gateway" if workers == 1 else "pair", command, configurations, logs, workers)


def prepare_traced(python: str, command: list[str], configurations: Path, logs: Path) -> Launch:
    """The same gateway, which tells a collector of one connection in a hundred, and its metrics every five seconds."""
    otlp = {"endpoint": f"http://127.0.0.1:{layout.COLLECTOR_PORT}", "sample": 0.01}
    return replace(
        _prepare("traced", command, configurations, logs, otlp=otlp),
        beside=[python, "-m", "benchmarks.collector", str(layout.COLLECTOR_PORT)],
        environ={"OTEL_METRIC_EXPORT_INTERVAL": "5000"},
    )


def _prepare(
    name: str,
    command: list[str],
    configurations: Path,
    logs: Path,
    workers: int = 1,
    otlp: Mapping[str, object] | None = None,
) -> Launch:
    document = yaml.safe_load((layout.HERE / "full.yaml").read_text())
    log = logs / "access.json"
    document["telemetry"]["access_log"][0]["path"] = str(log)
    document["telemetry"]["otlp"] = otlp
    document["workers"] = workers
    path = configurations / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    write_policy(configurations / document["policy"])
    return Launch(name, [*command, "run", "-c", str(path)], path, log, is_gateway=True)


def prepare_squid(configurations: Path, logs: Path) -> Launch:
    squid = _program("squid", "squid-openssl")
    destinations = configurations / "squid-names.txt"
    destinations.write_text("".join(f"{name}\n" for name in names()))
    user = "proxy" if any(entry.pw_name == "proxy" for entry in pwd.getpwall()) else "nobody"
    shutil.chown(logs, user)
    path = configurations / "squid.conf"
    networks = " ".join(layout.group_network(group) for group in range(layout.GROUPS))
    path.write_text(
        _SQUID_CONF.format(
            port=layout.PROXY_PORT, networks=networks, names=destinations, user=user, logs=logs,
            descriptors=_DESCRIPTORS, tls="{}-{}".format(*layout.TLS_PORTS), tcp="{}-{}".format(*layout.TCP_PORTS),
            http="{}-{}".format(*layout.HTTP_PORTS),
        )
    )  # fmt: skip
    return Launch("squid", [squid, "--foreground", "-n", "benchmark", "-f", str(path)], path, logs / "access.log")


def prepare_tinyproxy(configurations: Path, logs: Path) -> Launch:
    tinyproxy = _program("tinyproxy", "tinyproxy")
    ports = [port for first, last in (layout.TLS_PORTS, layout.TCP_PORTS) for port in range(first, last + 1)]
    lines = "\n".join(f"ConnectPort {port}" for port in ports)
    path = configurations / "tinyproxy.conf"
    path.write_text(
        _TINYPROXY_CONF.format(port=layout.PROXY_PORT, connect_ports=lines, logs=logs, descriptors=_DESCRIPTORS)
    )
    return Launch("tinyproxy", [tinyproxy, "-d", "-c", str(path)], path, logs / "tinyproxy.log")


def prepare_floor(python: str, configurations: Path, logs: Path) -> Launch:
    """It has no configuration and no log."""
    path = configurations / "floor.none"
    path.touch()
    return Launch("floor", [python, "-m", "benchmarks.floor", str(layout.PROXY_PORT)], path, logs / "none")


def _listens(pid: int, port: int) -> bool:
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for process in process_tree(pid)
        for connection in process.net_connections("tcp")
    )


def _serves(launch: Launch, pid: int, output: Path) -> bool:
    """The gateway listens before its workers have started."""
    return b"ready: " in output.read_bytes() if launch.is_gateway else _listens(pid, layout.PROXY_PORT)


def _await(condition: Callable[[], bool], limit: float) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with suppress(psutil.NoSuchProcess):
            if condition():
                return True
        time.sleep(0.05)
    return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the tree: politely first, so that logs are complete."""
    tree: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        tree = process_tree(process.pid)
    process.terminate()
    _, alive = psutil.wait_procs(tree, timeout=_STOP_LIMIT)
    for survivor in alive:
        with suppress(psutil.NoSuchProcess):
            survivor.kill()
    process.wait()


@contextmanager
def running(launch: Launch) -> Iterator[Running]:
    """The proxy listens while the block runs. Nothing connects to it to learn that: it would be counted."""
    launch.log.unlink(missing_ok=True)
    output = launch.configuration.with_suffix(".output")
    with ExitStack() as beside, output.open("wb") as stream:
        if launch.beside:
            beside.callback(_stop, subprocess.Popen(launch.beside, stderr=stream, start_new_session=True))
        process = subprocess.Popen(
            [*_SAME_DESCRIPTORS, *launch.command],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env={**os.environ, **launch.environ},
        )
        with _serving(launch, process, output) as running_one:
            yield running_one


@contextmanager
def _serving(launch: Launch, process: "subprocess.Popen[bytes]", output: Path) -> Iterator[Running]:
    try:
        ready = _await(lambda: process.poll() is not None or _serves(launch, process.pid, output), _START_LIMIT)
        if not ready or process.poll() is not None:
            raise ProxyFailed(f"{launch.name} did not start:\n{output.read_text(errors='replace')[-2000:]}")
        yield Running(launch, process.pid)
        if process.poll() is not None:
            raise ProxyFailed(f"{launch.name} ended by itself:\n{output.read_text(errors='replace')[-2000:]}")
    finally:
        _stop(process)


# ------------------------------------------------------------------------------ what the gateway says it has done


def counted_in(metrics: str, metric: str = CONNECTIONS_METRIC) -> int:
    """One counter in the text of /metrics, summed over its labels."""
    pattern = re.compile(rf"^{metric}(?:\{{.*\}})? (\S+)", re.MULTILINE)
    return int(sum(float(value) for value in pattern.findall(metrics)))


def counted(metric: str = CONNECTIONS_METRIC) -> int:
    """Read /metrics of the running gateway."""
    admin = http.client.HTTPConnection("127.0.0.1", layout.ADMIN_PORT, timeout=10)
    try:
        admin.request("GET", "/metrics")
        return counted_in(admin.getresponse().read().decode(), metric)
    finally:
        admin.close()


def await_counted(expected: int, limit: float = 10.0) -> int:
    """The count once it is what is expected, or what it is after `limit` seconds."""
    _await(lambda: counted() >= expected, limit)
    return counted()


def records_in(log: Path) -> tuple[int, int]:
    """Lines of an access log: of connections, of requests."""
    with log.open("rb") as lines:
        of_requests = [b'"exchange_id"' in line for line in lines]
    return of_requests.count(False), of_requests.count(True)
