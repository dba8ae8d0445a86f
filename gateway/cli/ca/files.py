"""Reads the authority's two files, as strictly as all certificates and keys are read."""

from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from gateway.intercept.authority import BadAuthority, CertificateAuthority, read_authority, read_certificates
from gateway.model.errors import ConfigError
from gateway.settings.problems import BadValue
from gateway.settings.source.pem import read_key, read_pem


def load_authority(certificate: Path, key: Path, now: float) -> CertificateAuthority:
    """The authority in two PEM files. Raises `ConfigError` that names the file, also for a key that others may read."""
    text, secret = load_pem(certificate), load_key(key)
    try:
        return read_authority(text, secret, now)
    except BadAuthority as refusal:
        raise ConfigError(f"{certificate}, {key}", str(refusal)) from refusal


def load_certificates(path: Path) -> list[x509.Certificate]:
    """At least one, in PEM. Raises `ConfigError` that names the file."""
    try:
        return read_certificates(load_pem(path))
    except BadAuthority as refusal:
        raise ConfigError(str(path), str(refusal)) from refusal


def load_pem(path: Path) -> bytes:
    """Raises `ConfigError` that names the file."""
    return _read(path, read_pem)


def load_key(path: Path) -> bytes:
    """Raises `ConfigError` that names the file, also for one that others may read."""
    return _read(path, read_key)


def _read(path: Path, read: Callable[[Path], bytes]) -> bytes:
    try:
        return read(path)
    except BadValue as refusal:
        raise ConfigError(str(path), str(refusal)) from refusal
