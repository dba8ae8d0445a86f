"""After a reload every object holds what it would hold if the gateway had been started with the new gateway.yaml."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from gateway.app.configuration import FIXED_AT_START, Configuration, Sources, load_configuration
from gateway.app.generation.entrances import Entrances
from gateway.app.generation.frames import Frame, contents_of, dump
from gateway.app.generation.in_force import InForce
from gateway.app.identity.cluster import Cluster, build_directory
from gateway.app.inspection import inspectors
from gateway.app.serving import Serving
from gateway.intercept.authority import create_authority
from gateway.intercept.hosted.hosting import HostedKind
from gateway.settings.gateway import GatewaySettings
from gateway.settings.problems import ConfigErrors
from gateway.settings.section import Section, field_type, inner_type, is_section, keys_of
from gateway.telemetry.ledger import Ledger
from tests.helpers.certificates import Authority
from tests.helpers.portrait import portrait

Data = dict[str, Any]

BEFORE: Data = yaml.safe_load("""
policy: one.yaml
identity:
  sources: [mtls, token, basic, kubernetes, address]
  challenge: auto
  required: false
  basic: {htpasswd: one.users}
  token: {issuer: one, audience: one, jwks: "https://127.0.0.1:1/", ca: one.crt}
  kubernetes: true
kubernetes: {server: "https://127.0.0.1:1", ca: one.crt, token_file: secret}
addresses: {allow: [127.0.0.0/8], deny: [192.0.2.1/32]}
cluster: {domains: [cluster.local], cidrs: [10.0.0.0/8]}
secrets: {key: {file: one.secret, hosts: [one.test], clients: [one], scrub: false}}
client_certificates: {key: {cert: one.crt, key: one.key, hosts: [one.test], clients: [one]}}
resolver: {servers: [127.0.0.1:53], timeout: 1s, family: any}
inspection: {ca_cert: one.ca.crt, ca_key: one.ca.key, leaf_validity: 1d, cache: 1}
inspectors:
  a:
    secrets: {action: block, patterns: [aws-access-key], own: {a: {pattern: a1, starts: [a], longest: 10B}}}
    on_error: deny
    unknown_coding: deny
    max_decoded: 1MiB
    max_ratio: 10
  b:
    media:
      request: {types: [text/*], deny_types: [text/html], max_size: 1MiB}
      response: {types: [text/*], deny_types: [text/html], max_size: 1MiB}
  c: {kind: one, options: {x: 1}, timeout: 1s}
limits: {store: "redis://127.0.0.1:1/0", on_store_failure: local, replicas: 1}
timeouts: {head: 1s, dns: 1s, connect: 1s, client_hello: 1s, tls_handshake: 1s, idle: 1m, lifetime: 1h}
bounds: {head: 1KiB, client_hello: 1KiB, tunnels: 10, tunnels_per_client: 10, memory: 1GiB}
telemetry:
  name: one
  access_log:
  - {path: one.log, format: json, rotate: {size: 1MiB, every: hour, keep: 1, gzip: true}}
  - {path: one.envoy, format: envoy, layout: istio}
  - {path: one.vpc, format: vpc, fields: [bytes], window: 1m}
drain: {timeout: 1s}
on_reload: drain
""")
AFTER: Data = yaml.safe_load("""
policy: two.yaml
identity:
  sources: [token, basic, kubernetes, address]
  challenge: always
  required: true
  basic: {htpasswd: two.users}
  token: {audience: two, review: true}
  kubernetes: true
kubernetes: {server: "https://127.0.0.1:1", ca: one.crt, token_file: secret}
addresses: {allow: [127.0.0.1/32], deny: [192.0.2.2/32]}
cluster: {domains: [two.local], cidrs: [10.2.0.0/16]}
secrets: {key: {file: two.secret, hosts: [two.test], clients: [two], scrub: true}}
client_certificates: {key: {cert: two.crt, key: two.key, hosts: [two.test], clients: [two]}}
resolver:
  servers: [127.0.0.2]
  transport: doh
  tls: {server_name: two.test, ca: two.crt}
  path: /two
  timeout: 2s
  cache: {size: 2, min_ttl: 2s, max_ttl: 2m, serve_stale: 2s}
  family: ipv4
inspection: {ca_cert: two.ca.crt, ca_key: two.ca.key, leaf_validity: 2d, cache: 2}
inspectors:
  a:
    secrets: {action: report, own: {a: {pattern: b2, starts: [b], longest: 20B}}}
    on_error: allow
    unknown_coding: allow
    max_decoded: 2MiB
    max_ratio: 20
  b:
    media:
      request: {types: [image/*], deny_types: [image/png], max_size: 2MiB}
      response: {types: [image/*], deny_types: [image/png], max_size: 2MiB}
  c: {kind: two, options: {x: 2}, timeout: 2s}
limits: {store: "redis://127.0.0.1:1/0", on_store_failure: deny, replicas: 2}
timeouts: {head: 2s, dns: 2s, connect: 2s, client_hello: 2s, tls_handshake: 2s, idle: 2m, lifetime: 2h}
bounds: {head: 2KiB, client_hello: 2KiB, tunnels: 20, tunnels_per_client: 20, memory: 2GiB}
telemetry:
  name: two
  access_log:
  - {path: two.log, format: text, rotate: {size: 2MiB, every: day, keep: 2, gzip: false}}
  - {path: two.envoy, format: envoy, layout: json}
  - {path: two.vpc, format: vpc, fields: [packets], window: 10m}
drain: {timeout: 2s}
on_reload: close
""")
ONE_VALUE = {"version", "compat"}
"""Keys that have a single value yet."""

LOOKED_UP = {("drain", "timeout"), ("on_reload",)}
"""Keys that are read where the generation in force has them, whenever they are needed."""

FIXED: Data = yaml.safe_load("""
listeners: [{name: other, bind: "127.0.0.1:1", proxy_protocol: {trusted: [127.0.0.1/32]}}]
identity: {kubernetes: false}
kubernetes: {server: "https://127.0.0.1:2", first_list: 2s, stale_after: 2s}
limits: {store: memory}
http_parser: h11
telemetry: {metrics: {also: [istio]}, otlp: {endpoint: "http://127.0.0.1:1"}}
admin: {bind: "127.0.0.1:3", health: "127.0.0.1:2"}
workers: 2
""")
"""What a running process cannot apply, for a gateway.yaml that says otherwise."""

POLICY = """
clients: {one: {match: [{cidr: 10.1.0.0/16}]}, two: {match: [{cidr: 10.2.0.0/16}]}}
rules: [{name: NAME, hosts: [a.test], protocol: tls, inspect: {inspectors: [a]}}]
"""

UNLIKE = frozenset(
    {
        # settings as they were at the start
        "_running",
        "before_the_first",
        # what a reload replaced
        "_retired",
        "_closing",
        # random numbers, times, and what depends on what else is open
        "_key",
        "_nobody",
        "_leaf_key_pem",
        "member",
        "_start",
        "_opened",
        "_descriptor",
    }
)
"""Attributes in which two processes may differ."""


def leaves(section: type[Section], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that has a value of its own; `*` stands for the items of a list, and for names."""
    for name in keys_of(section):
        kind, here = field_type(section, name), (*path, name)
        inner = inner_type(kind)
        if is_section(kind):
            yield from leaves(kind, here)
        elif is_section(inner):
            yield from leaves(inner, (*here, "*"))
        else:
            yield here


def said(data: Any, path: Sequence[str]) -> list[object]:
    """What a file says at a path."""
    if not path or data is None:
        return [] if data is None else [data]
    step, *rest = path
    if step != "*":
        return said(data.get(step), rest)
    inner = data.values() if isinstance(data, dict) else data
    return [value for each in inner for value in said(each, rest)]


def test_every_key_either_changes_in_what_follows_or_is_named_as_fixed_at_the_start() -> None:
    same = {path for path in leaves(GatewaySettings) if said(BEFORE, path) == said(AFTER, path)}
    fixed = {path for path in leaves(GatewaySettings) if any(path[: len(each)] == each for each in FIXED_AT_START)}
    assert {".".join(path) for path in same - fixed} == ONE_VALUE
    assert not fixed - same


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With every file that is named. The inspector's process is not started."""
    monkeypatch.setattr(inspectors, "installed_kinds", lambda: ["one", "two"])
    monkeypatch.setattr(inspectors, "probe", lambda declared: None)
    monkeypatch.setattr(HostedKind, "start", lambda kind: None)
    for name in ("one", "two"):
        Authority(name).leaf(name).write(tmp_path, name)
        certificate, key = create_authority(name, time.time())
        (tmp_path / f"{name}.ca.crt").write_bytes(certificate)
        (tmp_path / f"{name}.ca.key").write_bytes(key)
        (tmp_path / f"{name}.ca.key").chmod(0o600)
        (tmp_path / f"{name}.users").write_text(f"{name}:{bcrypt.hashpw(b'x', bcrypt.gensalt(4)).decode()}\n")
        (tmp_path / f"{name}.secret").write_text(f"{name}-secret")
        (tmp_path / f"{name}.secret").chmod(0o600)
        (tmp_path / f"{name}.yaml").write_text(POLICY.replace("NAME", name))
    (tmp_path / "secret").write_text("token")
    return tmp_path


def read(folder: Path, data: Data) -> Configuration:
    (folder / "gateway.yaml").write_text(yaml.safe_dump(data))
    return load_configuration(Sources(folder / "gateway.yaml"), {})


async def _frames(read: Configuration) -> AsyncIterator[Frame]:
    for content in contents_of(read):
        yield dump(content)


@asynccontextmanager
async def serving(first: Configuration, second: Configuration) -> AsyncIterator[Mapping[str, object]]:
    """The portrait of a process that began with one and took the other over, and that a connection has used."""
    settings = first.head.settings
    cluster = Cluster(settings.kubernetes, build_directory(settings.kubernetes))
    in_force = InForce(frozenset(), Entrances(settings, first.head.materials), cluster)
    serving = Serving(asyncio.get_running_loop(), settings, [], in_force, Ledger.alone(), lambda *_: True)
    for number, each in enumerate((first, second), 1):
        await in_force.take(number, _frames(each))
        services = serving.connections._services
        services.interception()
        serving._resolver.current()
    try:
        yield portrait((serving, in_force), UNLIKE)
    finally:
        await serving.end(0.0)


def merged(one: Data, other: Data) -> Data:
    """`other` has precedence."""
    both = [key for key in other if isinstance(one.get(key), dict)]
    return {**one, **other, **{key: merged(one[key], other[key]) for key in both}}


def with_key(one: Any, other: Any, path: Sequence[str]) -> Any:
    """`one`, but with what `other` says at a path."""
    if not path or not one or not other:
        return other if not path else one or other
    step, *rest = path
    if step != "*":
        return one if step not in {**one, **other} else {**one, step: with_key(one.get(step), other.get(step), rest)}
    if isinstance(one, dict):
        return {name: with_key(one[name], other[name], rest) for name in one}
    return [with_key(*both, rest) for both in zip(one, other, strict=True)]


async def test_every_key_that_changes_alone_follows_a_reload(folder: Path) -> None:
    """And somebody besides the head of the generation is given its value, or looks it up there."""
    before = read(folder, BEFORE)
    async with serving(before, before) as unchanged:
        pass
    for path in leaves(GatewaySettings):
        if said(BEFORE, path) == said(AFTER, path):
            continue
        try:
            after = read(folder, with_key(BEFORE, AFTER, path))
        except ConfigErrors:  # it depends on others of its section
            after = read(folder, {**BEFORE, path[0]: AFTER[path[0]]})
        async with serving(before, after) as reloaded, serving(after, after) as started:
            assert reloaded == started, path
        new = [place for place in reloaded if reloaded[place] != unchanged.get(place)]
        assert path in LOOKED_UP or [place for place in new if "._generation.head." not in place], path


async def test_of_a_change_of_every_key_all_is_followed_but_what_is_fixed_at_the_start(folder: Path) -> None:
    """The other process began with the new values, but for what is fixed."""
    assert [path for path in FIXED_AT_START if said(FIXED, path) in ([], said(BEFORE, path))] == []
    before, after, changed = read(folder, BEFORE), read(folder, AFTER), read(folder, merged(AFTER, FIXED))
    async with serving(before, changed) as reloaded, serving(after, changed) as started:
        assert reloaded == started
