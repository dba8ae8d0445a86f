"""A real Envoy as a client of ours: it takes TCP connections and tunnels each of them through a CONNECT."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.helpers.requirements import unavailable

PROGRAM = Path(__file__).parents[2] / "build" / "peers" / "envoy" / "_bin" / "envoy"
START_SECONDS = 60.0
_TYPES = "type.googleapis.com/envoy."


def require_envoy() -> Path:
    """The program; without it the test fails or is skipped as with any other."""
    if not PROGRAM.exists():
        unavailable("Envoy is not installed under build/peers; .ci/setup test does it")
    PROGRAM.chmod(0o755)
    return PROGRAM


@dataclass(frozen=True)
class Way:
    """A listening port of Envoy's: what comes in there is tunnelled to `authority` through the gateway at `port`.

    `socket` is the transport socket towards the gateway, plain TCP unless given; `source` the address it dials from.
    """

    name: str
    authority: str
    port: int
    socket: Mapping[str, Any] | None = None
    source: str | None = None


def mutual_tls(cert: Path, key: Path, ca: Path) -> dict[str, Any]:
    """A transport socket that shows a certificate of its own."""
    common = {
        "tls_certificates": [{"certificate_chain": {"filename": str(cert)}, "private_key": {"filename": str(key)}}],
        "validation_context": {"trusted_ca": {"filename": str(ca)}},
        "alpn_protocols": ["http/1.1"],
    }
    context = _typed("extensions.transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=common)
    return {"name": "tls", "typed_config": {**context, "sni": "localhost"}}


def with_proxy_header(inner: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A transport socket that sends a PROXY header of version 2 first."""
    raw = {"name": "raw", "typed_config": _typed("extensions.transport_sockets.raw_buffer.v3.RawBuffer")}
    outer = _typed(
        "extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        config={"version": "V2"},
        transport_socket=dict(inner or raw),
    )
    return {"name": "proxy_protocol", "typed_config": outer}


class Envoy:
    """The process, as a context manager. `ports` are by the name of the way."""

    def __init__(self, folder: Path, ways: Sequence[Way]) -> None:
        self._folder = folder
        self._config = folder / "envoy.yaml"
        self._config.write_text(yaml.safe_dump(_bootstrap(ways)))
        self._log = folder / "envoy.log"
        self._admin = folder / "envoy.admin"
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        command = [
            require_envoy(), "-c", self._config, "--admin-address-path", self._admin, "--use-dynamic-base-id",
            "--concurrency", "1", "--log-level", "warning",
        ]  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._find_ports():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise AssertionError("Envoy did not start:\n" + self._log.read_text())
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _find_ports(self) -> bool:
        if not self._admin.exists() or ":" not in (address := self._admin.read_text()):
            return False
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{address}/listeners?format=json", timeout=5) as answer:
                listeners = json.load(answer).get("listener_statuses", [])
        except OSError:
            return False
        found = {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in listeners}
        self.ports = found
        return bool(found)


def _typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"{_TYPES}{kind}", **fields}


def _address(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _bootstrap(ways: Sequence[Way]) -> dict[str, Any]:
    resources = {"listeners": [_listener(way) for way in ways], "clusters": [_cluster(way) for way in ways]}
    return json.loads(json.dumps({"admin": {"address": _address(0)}, "static_resources": resources}))  # type: ignore[no-any-return]  # a copy in which nothing is shared


def _listener(way: Way) -> dict[str, Any]:
    proxy = _typed(
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=way.name,
        cluster=way.name,
        tunneling_config={"hostname": way.authority},
    )
    filters = [{"name": "tcp", "typed_config": proxy}]
    return {"name": way.name, "address": _address(0), "filter_chains": [{"filters": filters}]}


def _cluster(way: Way) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(way.port)}}
    http1 = _typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http_protocol_options": {}}
    )
    cluster: dict[str, Any] = {
        "name": way.name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": way.name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http1},
    }
    if way.socket is not None:
        cluster["transport_socket"] = dict(way.socket)
    if way.source is not None:
        cluster["upstream_bind_config"] = {"source_address": _address(0, way.source)["socket_address"]}
    return cluster
