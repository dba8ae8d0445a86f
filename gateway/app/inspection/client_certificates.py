"""The client certificates that are presented to destinations: read and checked with everything else at the start and
at every reload, and sent as bytes with their generation."""

import time
from collections.abc import Mapping
from pathlib import Path

from gateway.net.tls.contexts import BadMaterial, ClientCertificate, check_client_certificate
from gateway.settings.gateway import ClientCertificateSettings, GatewaySettings
from gateway.settings.problems import BadValue, Problems
from gateway.settings.source.pem import read_key, read_pem


def load_client_certificates(settings: GatewaySettings) -> Mapping[str, ClientCertificate]:
    """By name. Raises `ConfigErrors`, also for one that has expired, does not match its key or is for servers only."""
    problems = Problems()
    loaded = {}
    for name, declared in settings.client_certificates.items():
        try:
            loaded[name] = _load(declared, time.time())
        except BadMaterial as bad:
            file = declared.private_key if bad.part == "key" else declared.cert
            problems.add(settings.document.place(("client_certificates", name, bad.part)), f"{file} {bad}")
    problems.raise_if_any()
    return loaded


def _load(declared: ClientCertificateSettings, now: float) -> ClientCertificate:
    from gateway.app.inspection.validity import problems_of  # noqa: PLC0415  # `cryptography` is large

    cert = read_part("cert", declared.cert)
    certificate = ClientCertificate(cert, read_part("key", declared.private_key))
    check_client_certificate(certificate)
    for problem in problems_of(cert, now):
        raise BadMaterial("cert", problem)
    return certificate


def read_part(part: str, file: Path) -> bytes:
    """The PEM in a file; `key` is a private key, which others must not be able to read. Raises `BadMaterial`."""
    try:
        return read_key(file) if part == "key" else read_pem(file)
    except BadValue as refusal:
        raise BadMaterial(part, str(refusal)) from refusal
