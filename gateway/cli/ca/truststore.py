"""Authorities as PKCS #12, marked as trusted for Java, which reads no PEM."""

from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore

from gateway.cli.ca.files import load_certificates
from gateway.model.errors import ConfigError


def write_truststore(bundle: Path, out: Path, password: str) -> int:
    """Write all certificates of a PEM bundle; returns their number. Raises `ConfigError`, also if `out` exists."""
    certificates = load_certificates(bundle)
    named = [PKCS12Certificate(each, f"authority-{n}".encode()) for n, each in enumerate(certificates, 1)]
    try:
        with out.open("xb") as file:
            file.write(serialize_java_truststore(named, BestAvailableEncryption(password.encode())))
    except OSError as refusal:
        raise ConfigError(str(out), f"cannot be written: {refusal.strerror}") from refusal
    return len(certificates)
