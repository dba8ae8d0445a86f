"""Where pip, npm and apt of this machine fetch from. They are asked themselves: no registry is named here.

A registry is more than its index: the files may be on another host, which the index names. So each tool first looks
its package up without the gateway, and the hosts that it is sent to become known.
"""

import ipaddress
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECONDS = 120.0

_EFFECTIVE_OPTIONS = """
import json
from pip._internal.commands import create_command
options, _ = create_command("download").parser.parse_args([])
print(json.dumps({"index_url": options.index_url, "cert": options.cert}))
"""


class Unavailable(Exception):
    """Why the smoke test cannot run on this machine."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a CONNECT or, for `http`, a request will go. `addresses` is what the name resolves to here."""

    host: str
    port: int
    addresses: tuple[str, ...]
    scheme: str = "https"


@dataclass(frozen=True, slots=True)
class Registry:
    """`fetch` is the command that brings the package into the current directory, `environ` what it runs with."""

    tool: str
    targets: tuple[Target, ...]
    fetch: Sequence[str]
    environ: Mapping[str, str]


def pip_registry(package: str, folder: Path) -> Registry:
    """The index that pip's configuration names, without further indexes and folders, and where it keeps its files."""
    pip = [sys.executable, "-m", "pip"]
    options = json.loads(_output([sys.executable, "-c", _EFFECTIVE_OPTIONS], os.environ, folder))
    only = ["--no-deps", "--no-cache-dir", "--retries=1", f"--index-url={options['index_url']}"]
    if options["cert"]:
        only.append(f"--cert={options['cert']}")
    environ = {**_environ("PIP_"), "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    report = _output(
        [*pip, "install", "--dry-run", "--ignore-installed", "--quiet", "--report=-", *only, package], environ, folder
    )
    urls = [item["download_info"]["url"] for item in json.loads(report)["install"]]
    return Registry("pip", targets([options["index_url"], *urls]), [*pip, "download", *only, package], environ)


def npm_registry(package: str, folder: Path) -> Registry:
    """The registry that npm's configuration names, and where it keeps its files."""
    environ = {**_environ(), "npm_config_cache": str(folder / "cache"), "npm_config_update_notifier": "false"}
    environ |= {"npm_config_fetch_retries": "1"}
    registry = _output(["npm", "config", "get", "registry"], environ, folder).strip()
    tarball = json.loads(_output(["npm", "view", "--json", package, "dist.tarball"], environ, folder))
    return Registry("npm", targets([registry, tarball]), ["npm", "pack", "--prefer-online", package], environ)


_APT_FETCH = """
set -e
apt-get "$@" -o Acquire::http::Proxy="$HTTPS_PROXY" -o Acquire::https::Proxy="$HTTPS_PROXY" update
apt-get "$@" -o Acquire::http::Proxy="$HTTPS_PROXY" -o Acquire::https::Proxy="$HTTPS_PROXY" download "$PACKAGE"
"""


def apt_registry(package: str, folder: Path) -> Registry:
    """The repositories that apt's configuration names; lists, cache and state are in `folder`, not the machine's."""
    environ = {**_environ(), "PACKAGE": package, "LC_ALL": "C"}
    state = folder / "apt-state"
    (state / "lists" / "partial").mkdir(parents=True)
    (state / "cache" / "archives" / "partial").mkdir(parents=True)
    (state / "status").touch()
    options = {
        "Dir::State": state,
        "Dir::State::Lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "APT::Sandbox::User": "",
        "APT::Update::Error-Mode": "any",
    }
    own = [argument for key, value in options.items() for argument in ("-o", f"{key}={value}")]
    lines = _output(["apt-get", *own, "--print-uris", "update"], environ, folder).splitlines()
    urls = [line.split("'")[1] for line in lines if line.startswith("'")]
    if not urls:
        raise Unavailable("apt's configuration names no repository")
    return Registry("apt", targets(urls, ("http", "https")), ["sh", "-c", _APT_FETCH, "apt", *own], environ)


def targets(urls: Sequence[str], schemes: Sequence[str] = ("https",)) -> tuple[Target, ...]:
    """The hosts and ports of `urls`, each once. The first must resolve, of the others those count that do."""
    found: dict[tuple[str, int], Target] = {}
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in schemes or parts.hostname is None:
            raise Unavailable(f"{parts.hostname or 'a registry'} is reached by {parts.scheme}, not {schemes[-1]}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = _resolve(parts.hostname)
        if addresses:
            found[parts.hostname, port] = Target(parts.hostname, port, addresses, parts.scheme)
        elif not found:
            raise Unavailable(f"{parts.hostname} does not resolve")
    return tuple(found.values())


def policy_for(registries: Sequence[Registry]) -> dict[str, Any]:
    """One rule for each host and scheme: exactly its ports, and exactly its addresses where they are special-purpose
    ones."""
    by_host: dict[tuple[str, str], list[Target]] = {}
    for registry in registries:
        for target in registry.targets:
            by_host.setdefault((target.host, target.scheme), []).append(target)
    return {"rules": [_rule(f"registry-{number}", each) for number, each in enumerate(by_host.values(), start=1)]}


def _rule(name: str, targets_of_host: Sequence[Target]) -> dict[str, Any]:
    ports = sorted({target.port for target in targets_of_host})
    addresses = sorted({address for target in targets_of_host for address in target.addresses})
    host = targets_of_host[0].host
    protocol = "tls" if targets_of_host[0].scheme == "https" else "http"
    rule: dict[str, Any] = {"name": name, "ports": ports, "protocol": protocol}
    if host in addresses:  # an address literal
        return {**rule, "cidrs": [str(ipaddress.ip_network(host))]}
    special = [str(ipaddress.ip_network(each)) for each in addresses if not ipaddress.ip_address(each).is_global]
    return {**rule, "hosts": [host], **({"private": special} if special else {})}


def _resolve(host: str) -> tuple[str, ...]:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(answer[4][0]).partition("%")[0] for answer in answers))


def _environ(*dropped: str) -> dict[str, str]:
    """Without proxies: the only one between the tool and the registry shall be the gateway."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.lower().endswith("_proxy") and not key.startswith(dropped)
    }


def _output(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> str:
    """What a command says that must succeed without the gateway. Raises `Unavailable` with what it complained about."""
    try:
        done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed; .ci/setup test installs what it may") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} got no answer from its registry in {SECONDS:g} s") from None
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        name = " ".join(Path(part).name for part in command[:3])
        raise Unavailable("\n".join([f"no registry can be reached from here: {name} said", *complaints[:3]]))
    return done.stdout
