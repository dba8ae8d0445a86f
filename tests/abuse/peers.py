"""What other proxies do with the suite: the table of docs/abuse.md.

    python -m tests.abuse.peers --json build/abuse                 as root; every peer that is there
    python -m tests.abuse.peers --peers squid,envoy --families inspected
    python -m tests.abuse.peers --table build/abuse                the table, from outcomes that were written before

Those that come as Python packages are where `.ci/setup bench` puts them. Each is set up as well as its own means allow:
the same names and ports, no internal addresses, time-outs of two to three seconds. They run in a network and mount
namespace of their own, in which the suite's name server is the only one.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.intercept.authority import create_authority
from tests.abuse.__main__ import as_json
from tests.abuse.bed import policy_for, settings_for
from tests.abuse.case import Case, Need, Stage
from tests.abuse.open_proxy import OpenProxy
from tests.abuse.suite import CASES as ALL
from tests.abuse.suite import run
from tests.abuse.world import World
from tests.helpers.gateway import GatewayProcess

PORT, WEB, TLS, ORDINARY, INSPECTED = 3128, 18080, 18443, 18444, 18445
CASES = [case for case in ALL if not case.is_control]
START_SECONDS = 40.0
MODULES = ("mpm_event", "authz_core", "authz_host", "proxy", "proxy_http", "proxy_connect", "reqtimeout")
PACKAGES = Path("build/bench-peers").resolve()
ENVOY = PACKAGES / "envoy/_bin/envoy"

_SQUID = """\
http_port 127.0.0.1:{port} ssl-bump tls-cert={folder}/ca.pem generate-host-certificates=on
sslcrtd_program /usr/lib/squid/security_file_certgen -s {folder}/certificates -M 4MB
tls_outgoing_options cafile={authority}
visible_hostname abuse.test
cache deny all
pid_filename none
netdb_filename none
pinger_enable off
cache_log {folder}/cache.log
access_log none
coredump_dir {folder}
max_filedescriptors 8192
request_start_timeout 2 seconds
request_timeout 2 seconds
client_idle_pconn_timeout 2 seconds
read_timeout 3 seconds
connect_timeout 2 seconds
forward_timeout 3 seconds
dns_timeout 2 seconds
positive_dns_ttl 1 second
negative_dns_ttl 1 second
dns_defnames off
host_verify_strict on
shutdown_lifetime 0 seconds
auth_param basic program /usr/lib/squid/basic_ncsa_auth {users}
acl denied dstdomain -n denied.test deny.wild.test
acl apex dstdomain -n wild.test
acl named dstdomain -n allowed.test other.test
acl wild dstdomain -n .wild.test
acl users_only dstdomain -n users.test
acl ordinary dstdomain -n ordinary.test
acl inspected dstdomain -n inspected.test
acl names dstdomain -n allowed.test other.test users.test ordinary.test inspected.test .wild.test
acl known proxy_auth REQUIRED
acl web port {web}
acl tls port {tls}
acl ordinary_port port {ordinary}
acl inspected_port port {inspected}
acl inside dst 0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.2-127.255.255.255 169.254.0.0/16 172.16.0.0/12
acl inside dst 192.0.0.0/24 192.168.0.0/16
acl inside dst 224.0.0.0/3 168.63.129.16 100.100.100.200 ::/128 ::1/128 fe80::/10 fc00::/7 64:ff9b::/96 2002::/16
http_access deny denied
http_access deny apex
http_access deny !names
http_access deny inside
http_access allow users_only known web
http_access allow named web
http_access allow named tls
http_access allow wild
http_access allow ordinary ordinary_port
http_access allow inspected inspected_port
http_access deny all
ssl_bump bump inspected
ssl_bump none all
"""

_TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Allow 127.0.0.0/8
Timeout 3
MaxClients 1000
ViaProxyName "abuse.test"
Filter "{folder}/filter"
FilterType ere
FilterDefaultDeny Yes
FilterCaseSensitive Off
ConnectPort {web}
ConnectPort {tls}
ConnectPort {ordinary}
"""
_TINYPROXY_FILTER = """\
^(allowed|other|ordinary)\\.test$
^[a-z0-9-]+\\.wild\\.test$
"""

_APACHE = """\
{modules}
ServerName abuse.test
ServerRoot {folder}
PidFile {folder}/pid
ErrorLog {folder}/error.log
Listen 127.0.0.1:{port}
Timeout 3
ProxyTimeout 3
RequestReadTimeout handshake=2 header=2 body=2
ProxyRequests On
ProxyVia On
AllowCONNECT {web} {tls} {ordinary}
<Proxy "*">
  Require all denied
</Proxy>
<ProxyMatch "^(http://)?(allowed|other)\\.test:({web}|{tls})(/|$)">
  Require ip 127.0.0.0/8
</ProxyMatch>
<ProxyMatch "^(http://)?(?!deny\\.)[a-z0-9.-]+\\.wild\\.test(:[0-9]+)?(/|$)">
  Require ip 127.0.0.0/8
</ProxyMatch>
<ProxyMatch "^(http://)?ordinary\\.test:{ordinary}(/|$)">
  Require ip 127.0.0.0/8
</ProxyMatch>
"""

_MITMPROXY = """\
from mitmproxy import http


def allowed(host, port):
    host = host.lower().removesuffix(".")
    if host in ("allowed.test", "other.test"):
        return port in ({web}, {tls})
    if host == "ordinary.test":
        return port == {ordinary}
    if host == "inspected.test":
        return port == {inspected}
    return host.endswith(".wild.test") and host != "deny.wild.test"


class Allow:
    def http_connect(self, flow):
        self.request(flow)

    def request(self, flow):
        inside = flow.request.host == "inspected.test" and flow.request.method != "CONNECT"
        fits = not inside or flow.request.pretty_host == "inspected.test"
        if not (fits and allowed(flow.request.host, flow.request.port)):
            flow.response = http.Response.make(403)


addons = [Allow()]
"""

_PROXY_PY = """\
from proxy.http.exception import HttpRequestRejected
from proxy.http.proxy import HttpProxyBasePlugin


class Allow(HttpProxyBasePlugin):
    def before_upstream_connection(self, request):
        host, port = (request.host or b"").decode("latin-1").lower().removesuffix("."), request.port
        named = host in ("allowed.test", "other.test") and port in ({web}, {tls})
        wild = host.endswith(".wild.test") and host != "deny.wild.test"
        if not (named or wild or (host == "ordinary.test" and port == {ordinary})):
            raise HttpRequestRejected(status_code=403, reason=b"Forbidden")
        return request
"""


@dataclass(frozen=True)
class Peer:
    """`command` writes its configuration into a folder and gives what to start; None: it is not there."""

    name: str
    version: Sequence[str]
    command: Callable[[Path, Mapping[str, object]], Sequence[str] | None]
    has: frozenset[Need] = frozenset()


def _squid(folder: Path, values: Mapping[str, object]) -> Sequence[str] | None:
    _make_authority(folder)
    helper = ["/usr/lib/squid/security_file_certgen", "-c", "-s", str(folder / "certificates"), "-M", "4MB"]
    if Path(helper[0]).exists():
        subprocess.run(helper, check=True, capture_output=True)
        subprocess.run(["chown", "-R", "proxy", str(folder / "certificates")], check=True)
    (folder / "squid.conf").write_text(_SQUID.format(**values))
    return _program("squid", "-N", "-f", str(folder / "squid.conf"))


def _tinyproxy(folder: Path, values: Mapping[str, object]) -> Sequence[str] | None:
    (folder / "tinyproxy.conf").write_text(_TINYPROXY.format(**values))
    (folder / "filter").write_text(_TINYPROXY_FILTER)
    return _program("tinyproxy", "-d", "-c", str(folder / "tinyproxy.conf"))


def _apache(folder: Path, values: Mapping[str, object]) -> Sequence[str] | None:
    modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES)
    (folder / "apache.conf").write_text(_APACHE.format(modules=modules, **values))
    return _program("apache2", "-X", "-f", str(folder / "apache.conf"))


def _envoy(folder: Path, values: Mapping[str, object]) -> Sequence[str] | None:
    (folder / "envoy.json").write_text(json.dumps(_envoy_bootstrap()))
    if ENVOY.exists():
        ENVOY.chmod(0o755)
    options = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"]
    return [str(ENVOY), "-c", str(folder / "envoy.json"), *options] if ENVOY.exists() else None


def _envoy_bootstrap() -> Mapping[str, object]:
    def typed(name: str, **fields: object) -> dict[str, object]:
        return {"@type": f"type.googleapis.com/envoy.extensions.{name}", **fields}

    cache = {"name": "cache", "dns_lookup_family": "ALL", "dns_query_timeout": "2s", "dns_refresh_rate": "1s"}
    tunnel = {"upgrade_type": "CONNECT", "connect_config": {}}
    routes = [
        {"match": {"connect_matcher": {}}, "route": {"cluster": "any", "timeout": "5s", "upgrade_configs": [tunnel]}},
        {"match": {"prefix": "/"}, "route": {"cluster": "any", "timeout": "5s"}},
    ]
    refused = [
        {"match": {"connect_matcher": {}}, "direct_response": {"status": 403}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 403}},
    ]
    allowed = [f"{name}.test:{port}" for name in ("allowed", "other") for port in (WEB, TLS)]
    hosts = [
        {
            "name": "denied",
            "domains": [f"{name}.wild.test:{port}" for name in ("deny",) for port in (WEB, TLS)],
            "routes": refused,
        },
        {
            "name": "allowed",
            "domains": [*allowed, f"*.wild.test:{TLS}", f"*.wild.test:{WEB}", f"ordinary.test:{ORDINARY}"],
            "routes": routes,
        },
        {"name": "others", "domains": ["*"], "routes": refused},
    ]
    forward = typed("filters.http.dynamic_forward_proxy.v3.FilterConfig", dns_cache_config=cache)
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="x",
        request_headers_timeout="2s",
        stream_idle_timeout="3s",
        http_protocol_options={"allow_absolute_url": True},
        upgrade_configs=[{"upgrade_type": "CONNECT"}],
        route_config={"name": "x", "virtual_hosts": hosts},
        http_filters=[
            {"name": "forward", "typed_config": forward},
            {"name": "envoy.filters.http.router", "typed_config": typed("filters.http.router.v3.Router")},
        ],
        common_http_protocol_options={"idle_timeout": "3s"},
    )
    clusters = typed("clusters.dynamic_forward_proxy.v3.ClusterConfig", dns_cache_config=cache)
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": PORT}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "any",
                    "lb_policy": "CLUSTER_PROVIDED",
                    "connect_timeout": "2s",
                    "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": clusters},
                }
            ],
        }
    }


def _make_authority(folder: Path) -> None:
    """The certificate and its key in one file, as squid has it."""
    certificate, key = create_authority("abuse", time.time())
    (folder / "ca.pem").write_bytes(key + certificate)


def _mitmproxy(folder: Path, values: Mapping[str, object]) -> Sequence[str] | None:
    (folder / "allow.py").write_text(
        _MITMPROXY.replace("{web}", str(WEB))
        .replace("{tls}", str(TLS))
        .replace("{ordinary}", str(ORDINARY))
        .replace("{inspected}", str(INSPECTED))
    )
    options = ["--allow-hosts", r"inspected\.test", "--set", f"confdir={folder}", "-q"]
    options += ["--listen-host", "127.0.0.1", "--set", f"ssl_verify_upstream_trusted_ca={values['authority']}"]
    return _packaged("mitmdump", folder, "-p", str(PORT), "-s", str(folder / "allow.py"), *options)


def _proxy_py(folder: Path, values: Mapping[str, object]) -> Sequence[str] | None:
    (folder / "allow.py").write_text(
        _PROXY_PY.replace("{web}", str(WEB)).replace("{tls}", str(TLS)).replace("{ordinary}", str(ORDINARY))
    )
    options = ["--hostname", "127.0.0.1", "--timeout", "3", "--num-workers", "1", "--log-level", "CRITICAL"]
    return _packaged("proxy", folder, "--port", str(PORT), "--plugins", "allow.Allow", *options)


def _program(name: str, *arguments: str) -> Sequence[str] | None:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return None if found is None else [found, *arguments]


def _packaged(name: str, folder: Path, *arguments: str) -> Sequence[str] | None:
    """A program in Python, which finds its own packages, and modules in `folder`."""
    script = PACKAGES / "bin" / name
    path = f"PYTHONPATH={PACKAGES}:{folder}"
    return ["env", path, sys.executable, "-S", str(script), *arguments] if script.exists() else None


PEERS = (
    Peer("squid", ("squid", "-v"), _squid, frozenset({Need.USERS, Need.NAME, Need.INTERCEPTS})),
    Peer("tinyproxy", ("tinyproxy", "-v"), _tinyproxy, frozenset({Need.NAME})),
    Peer("apache", ("apache2", "-v"), _apache, frozenset({Need.NAME})),
    Peer("envoy", (str(ENVOY), "--version"), _envoy),
    Peer("mitmproxy", ("mitmdump", "--version"), _mitmproxy, frozenset({Need.INTERCEPTS})),
    Peer("proxy.py", ("proxy", "--version"), _proxy_py),
)


# ------------------------------------------------------------------------------------------------------------- running


def play_all(names: Sequence[str], cases: Sequence[Case], results: Path) -> None:
    """Inside the namespaces."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    with tempfile.TemporaryDirectory(prefix="abuse-") as name:
        resolv = Path(name, "resolv.conf")
        resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        target = Path("/etc/resolv.conf").resolve()
        subprocess.run(["mount", "--bind", str(resolv), str(target)], check=True)
        for play in (_play_ours, _play_open):
            if not names or play.__name__.removeprefix("_play_") in names:
                _write(results, *play(cases))
        for peer in PEERS:
            if not names or peer.name in names:
                _play_peer(peer, cases, results)


def _play_peer(peer: Peer, cases: Sequence[Case], results: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="abuse-") as name,
        World(WEB, TLS, ORDINARY, ("127.0.0.1", 53), INSPECTED) as world,
    ):
        folder = Path(name)
        folder.chmod(0o777)
        users = folder / "users"
        users.write_text("ci:" + _hashed("correct-horse") + "\n")
        values = {"port": PORT, "web": WEB, "tls": TLS, "ordinary": ORDINARY, "folder": folder, "users": users}
        values |= {"inspected": INSPECTED, "authority": world.authority}
        command = peer.command(folder, values)
        if command is None:
            print(f"{peer.name}: not there", file=sys.stderr)
            return
        with _started(command, folder) as is_alive:
            stage = Stage(("127.0.0.1", PORT), world, patience=3.5)
            if not _is_ready(world, stage):
                log = (folder / "output").read_text(errors="replace")[-1500:]
                print(f"{peer.name}: does not serve an ordinary tunnel: {log}", file=sys.stderr)
                return
            outcomes = list(run(cases, stage, peer.has | ({Need.RESOLVER} if world.dns.queries else set())))
            print(f"{peer.name}: {'alive' if is_alive() else 'DEAD'} in the end", file=sys.stderr)
        _write(results, peer.name, _version(peer), [as_json(outcome) for outcome in outcomes])


def _hashed(password: str) -> str:
    done = subprocess.run(["openssl", "passwd", "-apr1", password], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextmanager
def _started(command: Sequence[str], folder: Path) -> Iterator[Callable[[], bool]]:
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield lambda: process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_ready(world: World, stage: Stage) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while world.ordinary(stage.proxy, 3.0):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def _version(peer: Peer) -> str:
    name, *arguments = peer.version
    program = _packaged(name, Path(), *arguments) or _program(name, *arguments) or peer.version
    done = subprocess.run(program, capture_output=True, text=True)
    return next(
        (line.strip() for line in (done.stdout + done.stderr).splitlines() if any(c.isdigit() for c in line)), "?"
    )


def _play_ours(cases: Sequence[Case]) -> tuple[str, str, list[dict[str, object]]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="abuse-")))
        world = stack.enter_context(World(WEB, TLS, ORDINARY, ("127.0.0.1", 53), INSPECTED))
        gateway = stack.enter_context(GatewayProcess(folder, policy_for(world), settings_for(world, folder)))
        stage = Stage(("127.0.0.1", gateway.port), world, ("127.0.0.1", gateway.ports["admin"]), 8.0)
        return "gateway", "this tree", [as_json(each) for each in run(cases, stage, frozenset(Need))]


def _play_open(cases: Sequence[Case]) -> tuple[str, str, list[dict[str, object]]]:
    with World(WEB, TLS, ORDINARY, ("127.0.0.1", 53), INSPECTED) as world, OpenProxy(("127.0.0.1", 53)) as proxy:
        stage = Stage(("127.0.0.1", proxy.port), world, ("127.0.0.1", proxy.admin_port), 2.0)
        return "open proxy", "this tree", [as_json(each) for each in run(cases, stage, frozenset(Need))]


def _write(results: Path, name: str, version: str, outcomes: list[dict[str, object]]) -> None:
    """A file for each run: `table` puts those of one proxy together."""
    results.mkdir(parents=True, exist_ok=True)
    families = dict.fromkeys(str(each["id"]).partition("/")[0] for each in outcomes)
    part = "" if len(outcomes) == len(CASES) else f"-{'-'.join(families)}"
    (results / f"{name}{part}.json").write_text(
        json.dumps({"name": name, "version": version, "outcomes": outcomes}, indent=1)
    )
    print(
        name,
        dict(Counter(str((each["skipped"] and "skipped") or each["outcome"]) for each in outcomes)),
        file=sys.stderr,
    )


# --------------------------------------------------------------------------------------------------------------- table


def table(results: Path) -> str:
    """A row a family, a column a proxy: cases kept of those that ran, and in how many something escaped."""
    runs: dict[str, dict[str, Any]] = {}
    for path in results.glob("*.json"):
        read = json.loads(path.read_text())
        runs.setdefault(read["name"], {**read, "outcomes": []})["outcomes"] += read["outcomes"]
    found = list(runs.values())
    order = ["gateway", *(peer.name for peer in PEERS), "open proxy"]
    found.sort(key=lambda each: order.index(each["name"]))
    families = dict.fromkeys(case.family for case in CASES)
    lines = [f"| family | {' | '.join(each['name'] for each in found)} |", "|---" * (len(found) + 1) + "|"]
    for family in [*families, ""]:
        cells = [
            _cell([o for o in each["outcomes"] if str(o["id"]).startswith(f"{family}/" if family else "")])
            for each in found
        ]
        lines.append(f"| {family or '**all**'} | {' | '.join(cells)} |")
    versions = [f"- {each['name']}: {each['version']}" for each in found]
    return "\n".join([*lines, "", *versions])


def _cell(outcomes: Sequence[Mapping[str, object]]) -> str:
    ran = [outcome for outcome in outcomes if not outcome["skipped"]]
    kinds = Counter(outcome["outcome"] for outcome in ran)
    escaped = f", {kinds['escape']} escaped" if kinds["escape"] else ""
    return f"{kinds['ok']} of {len(ran)}{escaped}" if ran else "-"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.abuse.peers")
    parser.add_argument("--peers", default="", help=f"some of ours, open, {', '.join(peer.name for peer in PEERS)}")
    parser.add_argument("--families", default="", help="some of them")
    parser.add_argument("--json", type=Path, default=Path("build/abuse"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.table:
        print(table(asked.table))
    elif asked.inside:
        families = asked.families.split(",")
        cases = [case for case in CASES if not asked.families or case.family in families]
        play_all([name for name in asked.peers.split(",") if name], cases, asked.json)
    else:
        command = ["unshare", "--net", "--mount", sys.executable, "-m", "tests.abuse.peers", "--inside", *arguments]
        os.execvp("unshare", command)


if __name__ == "__main__":
    main(sys.argv[1:])
