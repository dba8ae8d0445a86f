"""The authority of inspected destinations.

Its certificate and key are read with everything else at the start and at every reload, and sent as bytes with their
generation: a worker opens neither file. `cryptography` is imported only if there is an authority.
"""

import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gateway.model.errors import ConfigError
from gateway.settings.gateway import GatewaySettings
from gateway.settings.problems import BadValue, ConfigErrors
from gateway.settings.source.pem import read_key, read_pem

SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True, slots=True)
class AuthorityMaterial:
    """PEM. `certificates` are all that clients should trust; the one that belongs to `key` signs."""

    certificates: bytes
    key: bytes = field(repr=False)


def load_authority_material(settings: GatewaySettings) -> AuthorityMaterial | None:
    """It can sign, and nobody else may read its key; else raises `ConfigErrors`. None where nothing is inspected."""
    inspection = settings.inspection
    if inspection is None:
        return None
    from gateway.intercept.authority import BadAuthority, published, read_authority  # noqa: PLC0415  # see above

    certificates = _read(settings, "ca_cert", inspection.ca_cert, read_pem)
    key = _read(settings, "ca_key", inspection.ca_key, read_key)
    try:
        read_authority(certificates, key, time.time())
    except BadAuthority as refusal:
        place = settings.document.place(("inspection",))
        raise ConfigErrors([ConfigError(place, f"{inspection.ca_cert}, {inspection.ca_key}: {refusal}")]) from refusal
    return AuthorityMaterial(published(certificates), key)


def _read(settings: GatewaySettings, name: str, path: Path, read: Callable[[Path], bytes]) -> bytes:
    try:
        return read(path)
    except BadValue as refusal:
        place = settings.document.place(("inspection", name))
        raise ConfigErrors([ConfigError(place, f"{path} {refusal}")]) from refusal


def trust_bundle(certificates: bytes, places: Sequence[str] = SYSTEM_BUNDLES) -> bytes | None:
    """The machine's trust store, followed by `certificates`. None if no trust store is found."""
    named = ssl.get_default_verify_paths().cafile
    for place in (*((named,) if named else ()), *places):
        with suppress(OSError):
            return Path(place).read_bytes().rstrip(b"\n") + b"\n" + certificates
    return None
