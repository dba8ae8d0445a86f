"""Everything the files say, as one consistent snapshot: a start and every reload take it whole or not at all.

The child process that reads for a reload imports this module and little else.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from heapq import nsmallest
from pathlib import Path
from typing import TypeVar

from gateway.app.inspection.client_certificates import load_client_certificates, read_part
from gateway.app.inspection.inspectors_in_force import check_inspectors
from gateway.app.inspection.material import AuthorityMaterial, load_authority_material
from gateway.limits.store_url import parse_store_url
from gateway.model.client import IdentitySource
from gateway.model.errors import ConfigError
from gateway.net.tls.contexts import BadMaterial, ClientCertificate, TlsMaterial, build_server_context
from gateway.policy.rules import Policy, Rule
from gateway.settings.gateway import GatewaySettings, TlsSettings
from gateway.settings.load import (
    GATEWAY_FILE,
    LoadedPolicy,
    load_policy,
    load_resolver_authorities,
    load_settings,
    load_users,
)
from gateway.settings.problems import ConfigErrors, Problems
from gateway.settings.section import Section
from gateway.settings.sections.identity import IdentitySettings
from gateway.settings.source.files import Stamp, stamp
from gateway.telemetry.otlp.options import problems_of

S = TypeVar("S", bound=Section)
T = TypeVar("T")

_RULE_EXPIRIES = 20  # reported at most: a metric each

READINGS = 3
"""Attempts at a consistent snapshot of files that keep changing; the watcher notices a later change anyway."""

Materials = Mapping[str, TlsMaterial]
"""TLS material by listener name. It travels as bytes; each serving process makes its own contexts from them."""

# Sockets and processes are made once; everything else that gateway.yaml says holds from the next reload on.
FIXED_AT_START: tuple[tuple[str, ...], ...] = (
    ("listeners",),
    ("admin",),
    ("identity", "kubernetes"),
    ("kubernetes",),
    ("workers",),
    ("limits", "store"),
    ("http_parser",),
    ("telemetry", "otlp"),
    ("telemetry", "metrics"),
)


@dataclass(frozen=True, slots=True)
class Sources:
    """What to read: gateway.yaml (`config`, None for the usual place), and a `policy` instead of the one it names."""

    config: Path | None = None
    policy: Path | None = None


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """What is in the files that gateway.yaml names, but for the policy. `users` are bcrypt hashes by name, None where
    no password is checked; `authorities` is the text of `resolver.tls.ca`, if there is one; `materials` are by listener
    name; `inspection` is the authority that signs for inspected destinations; `client_certificates` are those that
    inspection presents to destinations."""

    users: Mapping[str, bytes] | None
    authorities: str | None
    materials: Materials
    inspection: AuthorityMaterial | None
    client_certificates: Mapping[str, ClientCertificate]

    def certificate_expiries(self) -> Iterator[tuple[str, float]]:
        """By what each certificate is for, in Unix seconds."""
        chains = {f"listener {name}": material.cert for name, material in self.materials.items()}
        chains |= {f"client certificate {name}": each.cert for name, each in self.client_certificates.items()}
        chains |= {} if self.inspection is None else {"authority": self.inspection.certificates}
        if not chains:
            return
        from gateway.app.inspection.validity import expiry_of  # noqa: PLC0415  # `cryptography` is large

        for what, pem in chains.items():
            if (expiry := expiry_of(pem)) is not None:
                yield what, expiry


@dataclass(frozen=True, slots=True)
class Head(NamedFiles):
    """Everything but the policy. `expiries` is when certificates and rules expire, in Unix seconds. `files` are all
    that were read, stamped just before; `warnings` are about the policy, `rules` is the number of its rules."""

    settings: GatewaySettings
    expiries: Mapping[str, float]
    files: Mapping[Path, Stamp]
    warnings: tuple[str, ...]
    rules: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the files say."""

    head: Head
    policy: Policy


def waiting_for_restart(read: GatewaySettings, running: GatewaySettings) -> Iterator[str]:
    """Keys of gateway.yaml that changed and that a running process cannot apply."""
    for path in FIXED_AT_START:
        if _value(read, path) != _value(running, path):
            yield ".".join(path)


def as_started(read: GatewaySettings, running: GatewaySettings) -> GatewaySettings:
    """`read`, but with the keys that are fixed at the start as they are in `running`."""
    return reduce(lambda settings, path: _with(settings, path, _value(running, path)), FIXED_AT_START, read)


def load_configuration(sources: Sources, environ: Mapping[str, str]) -> Configuration:
    """Read gateway.yaml with the policy and the users that it names, as one snapshot: when a file changes while others
    are read, all are read again, because a mixture of old and new may allow what neither does. Raises `ConfigErrors`.
    """
    for _ in range(READINGS - 1):
        read = _read(sources, environ)
        if all(path.is_fifo() or stamp(path) == before for path, before in read.head.files.items()):
            return read
    return _read(sources, environ)


def _read(sources: Sources, environ: Mapping[str, str]) -> Configuration:
    config = sources.config or GATEWAY_FILE
    config_stamp = stamp(config)
    settings = load_settings(sources.config, environ, sources.policy)
    files = {path: config_stamp if path == config else stamp(path) for path in settings.files}
    named, loaded = load_files(settings)
    policy = loaded.policy
    head = Head(
        named.users,
        named.authorities,
        named.materials,
        named.inspection,
        named.client_certificates,
        settings=settings,
        expiries={**dict(named.certificate_expiries()), **dict(_rule_expiries(policy.rules))},
        files={**files, **loaded.files},
        warnings=loaded.warnings,
        rules=len(policy.rules),
    )
    return Configuration(head, policy)


def load_files(settings: GatewaySettings) -> tuple[NamedFiles, LoadedPolicy]:
    """All that gateway.yaml names. Raises `ConfigErrors` with what is wrong in any of them, and with inspectors and a
    store of limits that cannot be made."""
    problems: list[ConfigError] = []

    def load(read: Callable[[GatewaySettings], T]) -> T | None:
        try:
            return read(settings)
        except ConfigErrors as refusal:
            problems.extend(refusal.problems)
            return None

    named = NamedFiles(
        users=load(load_users) if _checks_passwords(settings.identity) else None,
        authorities=load(load_resolver_authorities),
        materials=load(load_materials) or {},
        inspection=load(load_authority_material),
        client_certificates=load(load_client_certificates) or {},
    )
    load(check_inspectors)
    load(check_store)
    policy = load(load_policy)
    if policy is None or problems:
        raise ConfigErrors(problems)
    return named, policy


def check_store(settings: GatewaySettings) -> None:
    """Raises `ConfigErrors` for a URL of no store, without quoting it: it may hold a password."""
    if settings.limits.store == "memory":
        return
    try:
        parse_store_url(settings.limits.store)
    except ValueError as refusal:
        raise ConfigErrors([ConfigError(settings.document.place(("limits", "store")), str(refusal))]) from None


def check_export(settings: GatewaySettings, environ: Mapping[str, str]) -> None:
    """Raises `ConfigErrors` for what the environment says of the OTLP export and no process could start with."""
    otlp = settings.telemetry.otlp
    problems = [] if otlp is None else list(problems_of(otlp.signals, otlp.protocol, environ))
    if problems:
        raise ConfigErrors(problems)


def load_materials(settings: GatewaySettings) -> Materials:
    """The TLS material of every listener that has any; a context can be made of each. Raises `ConfigErrors`."""
    problems = Problems()
    materials = {}
    for index, listener in enumerate(settings.listeners):
        if listener.tls is not None:
            try:
                materials[listener.name] = _load_material(listener.tls)
            except BadMaterial as bad:
                place = settings.document.place(("listeners", index, "tls", bad.part))
                problems.add(place, f"{listener.tls.files[bad.part]} {bad}")
    problems.raise_if_any()
    return materials


def _load_material(tls: TlsSettings) -> TlsMaterial:
    read = {part: read_part(part, file) for part, file in tls.files.items()}
    required = tls.client_cert == "required"
    material = TlsMaterial(read["cert"], read["key"], read.get("client_ca"), read.get("crl"), required)
    build_server_context(material)
    return material


def _rule_expiries(rules: Sequence[Rule]) -> Iterator[tuple[str, float]]:
    """The next ones."""
    now = time.time()
    ahead = ((rule.expires, rule.ref.name) for rule in rules if rule.expires is not None and rule.expires > now)
    for expiry, name in nsmallest(_RULE_EXPIRIES, ahead):
        yield f"rule {name}", expiry


def _checks_passwords(identity: IdentitySettings) -> bool:
    return IdentitySource.BASIC in identity.used_sources and identity.basic is not None


def _with(section: S, path: tuple[str, ...], value: object) -> S:
    key, *deeper = path
    inner = _with(getattr(section, key), tuple(deeper), value) if deeper else value
    return section.model_copy(update={key: inner})


def _value(settings: GatewaySettings, path: tuple[str, ...]) -> object:
    return reduce(getattr, path, settings)
