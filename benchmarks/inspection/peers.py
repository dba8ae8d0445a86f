"""How each proxy that inspects is started: a command whose configuration is written here."""

import shutil
import subprocess
from pathlib import Path

import yaml

from benchmarks.inspection.bed import NAME, Bed, free_port, program
from benchmarks.isolation import Unusable
from benchmarks.proxies.launch import PACKAGES

CERTGEN = Path("/usr/lib/squid/security_file_certgen")
GATEWAY, SQUID, MITMPROXY = "gateway", "squid", "mitmproxy"

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


def squid_command(bed: Bed, port: int) -> list[str]:
    """Squid's, with `ssl_bump`. Raises `Unusable`."""
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
    return [program("squid"), "--foreground", "-n", "inspecting", "-f", str(configuration)]


def mitmproxy_command(bed: Bed, port: int, python: str, mitmdump: str | None) -> list[str]:
    """The one that `.ci/setup bench` installs, or `mitmdump`. Raises `Unusable`."""
    folder = bed.folder / MITMPROXY
    folder.mkdir(exist_ok=True)
    (folder / "mitmproxy-ca.pem").write_bytes(bed.key.read_bytes() + bed.ca.read_bytes())
    said = {"confdir": folder, "ssl_verify_upstream_trusted_ca": bed.origins, "flow_detail": 0}
    settings = [part for key, value in said.items() for part in ("--set", f"{key}={value}")]
    command = [mitmdump] if mitmdump is not None else []
    if not command:
        command = ["env", f"PYTHONPATH={PACKAGES}", python, "-S", str(PACKAGES / "bin" / "mitmdump")]
        if not (PACKAGES / "bin" / "mitmdump").exists():
            raise Unusable("mitmproxy is missing: .ci/setup bench installs it")
    return [*command, "--quiet", "--listen-host", "127.0.0.1", "--listen-port", str(port), *settings]
