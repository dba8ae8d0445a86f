"""pip, npm and apt each fetch one small package through the gateway; a host that no rule names gets a 403.

Exit status 0 only if all packages arrived and the gateway's own records show that they came through it.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.raw_client import RawClient, status_of
from tests.smoke.registries import (
    SECONDS,
    Registry,
    Unavailable,
    apt_registry,
    npm_registry,
    pip_registry,
    policy_for,
)

PIP_PACKAGE, NPM_PACKAGE, APT_PACKAGE = "six", "ms", "hostname"
NOT_ALLOWED = "not-allowed.invalid:443"
COLUMNS = "{:<7}{:<10}{:<24}{:<34}{:>7}{:>10}{:>12}"


def main() -> int:
    """The exit status."""
    with tempfile.TemporaryDirectory(prefix="smoke-") as name:
        folder = Path(name)
        try:
            registries = [
                pip_registry(PIP_PACKAGE, folder),
                npm_registry(NPM_PACKAGE, folder),
                apt_registry(APT_PACKAGE, folder),
            ]
        except Unavailable as reason:
            print(f"smoke: {reason}", file=sys.stderr)
            return 1
        settings: dict[str, Any] = {"addresses": {"allow": []}}  # nothing is open but what the rules name
        with GatewayProcess(folder, policy_for(registries), settings) as gateway:
            print(COLUMNS.format("tool", "decision", "rule", "destination", "status", "bytes up", "bytes down"))
            passed = [_comes_through(registry, gateway, folder / registry.tool) for registry in registries]
            passed.append(_is_refused(gateway))
    print("smoke: passed" if all(passed) else "smoke: FAILED")
    return 0 if all(passed) else 1


def _comes_through(registry: Registry, gateway: GatewayProcess, folder: Path) -> bool:
    """The package is there, and came from the registry's hosts through allowed tunnels."""
    folder.mkdir()
    seen = len(gateway.quiet())
    environ = {**registry.environ, "HTTPS_PROXY": gateway.url, "https_proxy": gateway.url}
    environ |= {
        "npm_config_https_proxy": gateway.url,
        "npm_config_noproxy": "",
        "npm_config_cache": str(folder / "new"),
    }
    done = subprocess.run(registry.fetch, env=environ, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    records = gateway.quiet()[seen:]
    _show(registry.tool, records)
    fetched = [path for path in folder.iterdir() if path.is_file()]
    if done.returncode or not fetched:
        print(f"{registry.tool} failed:\n{done.stdout}{done.stderr}")
        return False
    print(f"{'':<7}brought {fetched[0].name}, {fetched[0].stat().st_size} bytes")
    return _all_allowed(records) and _brought(records) >= fetched[0].stat().st_size


def _all_allowed(records: Sequence[Record]) -> bool:
    return bool(records) and all(record["decision"] == "allow" and record["status"] == 200 for record in records)


def _brought(records: Sequence[Record]) -> int:
    return sum(record["bytes_down"] for record in records)


def _is_refused(gateway: GatewayProcess) -> bool:
    seen = len(gateway.quiet())
    with RawClient(gateway.port) as client:
        status = status_of(client.connect(NOT_ALLOWED))
    [record] = gateway.quiet()[seen:]
    _show("-", [record])
    return (status, record["decision"], record["reason"]) == (403, "deny", "no_rule")


def _show(tool: str, records: Sequence[Record]) -> None:
    for record in records:
        rule = record.get("rule") or record["reason"]
        destination = f"{record['host']}:{record['port']}"
        sizes = record["bytes_up"], record["bytes_down"]
        print(COLUMNS.format(tool, record["decision"], rule, destination, record["status"], *sizes))


if __name__ == "__main__":
    sys.exit(main())
