"""All that files say, read at one go: what a start and every reload take, whole or not at all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from gateway.app.entrances import load_materials
from gateway.app.resolving import ResolverPlan
from gateway.model.client import IdentitySource
from gateway.net.tls.contexts import TlsMaterial
from gateway.serve.identify import CertificateNames, Challenge, CredentialSource, Identifier, PasswordFile
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import (
    GATEWAY_FILE,
    LoadedPolicy,
    load_policy,
    load_resolver_authorities,
    load_settings,
    load_users,
)
from gateway.settings.source.files import Stamp, stamp

# Sockets and sinks are made once; everything else that gateway.yaml says holds from the next reload on.
FIXED_AT_START = ("listeners", "admin", "workers", "limits", "http_parser", "telemetry", "bounds")


@dataclass(frozen=True, slots=True)
class Configuration:
    """`files` are all that it was read from, as they were just before; `materials` stand by the listener's name."""

    settings: GatewaySettings
    policy: LoadedPolicy
    identifier: Identifier
    resolver: ResolverPlan
    materials: Mapping[str, TlsMaterial]
    files: Mapping[Path, Stamp]

    def waiting_for_restart(self, running: GatewaySettings) -> Iterator[str]:
        """Keys of gateway.yaml that changed and that a running process cannot take."""
        for key in FIXED_AT_START:
            if getattr(self.settings, key) != getattr(running, key):
                yield key


def load_configuration(config: Path | None, environ: Mapping[str, str], policy: Path | None) -> Configuration:
    """gateway.yaml (`config`, None for the usual place) with the policy and the users that it names. `policy` comes
    before what it says. Raises `ConfigErrors`."""
    before = {path: stamp(path) for path in (config or GATEWAY_FILE,)}
    settings = load_settings(config, environ, policy)
    files = {path: before.get(path, stamp(path)) for path in settings.files}
    identifier = build_identifier(settings)
    resolver = ResolverPlan(settings.resolver, load_resolver_authorities(settings))
    materials = load_materials(settings)
    loaded = load_policy(settings)
    return Configuration(settings, loaded, identifier, resolver, materials, {**files, **loaded.files})


def build_identifier(settings: GatewaySettings) -> Identifier:
    """The configured sources that come before the address. Raises `ConfigErrors` naming lines of the password file."""
    sources: list[CredentialSource] = []
    for kind in takewhile(lambda source: source is not IdentitySource.ADDRESS, settings.identity.sources):
        if kind is IdentitySource.MTLS and any(listener.asks_for_certificates for listener in settings.listeners):
            sources.append(CertificateNames())
        elif kind is IdentitySource.BASIC and settings.identity.basic is not None:
            sources.append(PasswordFile(load_users(settings)))
    return Identifier(sources, Challenge(settings.identity.challenge))
