"""All that files say, read at one go: what a start and every reload take, whole or not at all.

The child process that reads for a reload imports this module and little else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from gateway.model.client import IdentitySource
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import (
    GATEWAY_FILE,
    LoadedPolicy,
    load_policy,
    load_resolver_authorities,
    load_settings,
    load_users,
)
from gateway.settings.section import Section
from gateway.settings.source.files import Stamp, stamp

S = TypeVar("S", bound=Section)

# Sockets and processes are made once; everything else that gateway.yaml says holds from the next reload on.
FIXED_AT_START: tuple[tuple[str, ...], ...] = (
    ("listeners",),
    ("admin",),
    ("workers",),
    ("limits", "store"),
    ("http_parser",),
    ("telemetry", "otlp"),
    ("telemetry", "metrics"),
)


@dataclass(frozen=True, slots=True)
class Sources:
    """What to read: gateway.yaml (`config`, None for the usual place), and a policy that comes before what it says."""

    config: Path | None = None
    policy: Path | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """`users` are bcrypt hashes by name, None where no password is looked at; `authorities` is the text of
    `resolver.tls.ca`, if there is one. `files` are all that it was read from, as they were just before."""

    settings: GatewaySettings
    policy: LoadedPolicy
    users: Mapping[str, bytes] | None
    authorities: str | None
    files: Mapping[Path, Stamp]


def waiting_for_restart(read: GatewaySettings, running: GatewaySettings) -> Iterator[str]:
    """Keys of gateway.yaml that changed and that a running process cannot take."""
    for path in FIXED_AT_START:
        if _value(read, path) != _value(running, path):
            yield ".".join(path)


def as_started(read: GatewaySettings, running: GatewaySettings) -> GatewaySettings:
    """`read` as a process can take it that began with `running`."""
    return reduce(lambda settings, path: _with(settings, path, _value(running, path)), FIXED_AT_START, read)


def load_configuration(sources: Sources, environ: Mapping[str, str]) -> Configuration:
    """gateway.yaml with the policy and the users that it names. Raises `ConfigErrors`."""
    before = {path: stamp(path) for path in (sources.config or GATEWAY_FILE,)}
    settings = load_settings(sources.config, environ, sources.policy)
    files = {path: before.get(path, stamp(path)) for path in settings.files}
    users = load_users(settings) if _looks_at_passwords(settings) else None
    authorities = load_resolver_authorities(settings)
    loaded = load_policy(settings)
    return Configuration(settings, loaded, users, authorities, {**files, **loaded.files})


def _looks_at_passwords(settings: GatewaySettings) -> bool:
    """A source after the address would never be asked."""
    before_the_address = takewhile(lambda source: source is not IdentitySource.ADDRESS, settings.identity.sources)
    return IdentitySource.BASIC in before_the_address and settings.identity.basic is not None


def _with(section: S, path: tuple[str, ...], value: object) -> S:
    key, *deeper = path
    inner = _with(getattr(section, key), tuple(deeper), value) if deeper else value
    return section.model_copy(update={key: inner})


def _value(settings: GatewaySettings, path: tuple[str, ...]) -> object:
    return reduce(getattr, path, settings)
