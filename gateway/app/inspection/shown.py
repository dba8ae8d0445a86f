"""The certificates that are shown to destinations: read and checked with everything else, at the start and at every
reload, and travelling as bytes with their generation.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.net.tls.contexts import BadMaterial, ClientCertificate, check_client_certificate
from gateway.settings.gateway import ClientCertificateSettings, GatewaySettings
from gateway.settings.problems import BadValue, Problems
from gateway.settings.source.pem import read_key, read_pem

_FOR_CLIENTS = frozenset((ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE))


def load_client_certificates(settings: GatewaySettings) -> Mapping[str, ClientCertificate]:
    """By the name of each. One that has expired, has another's key or is for servers is a mistake of whoever put it
    there, and found here. Raises `ConfigErrors`."""
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
    cert = _read("cert", declared.cert, read_pem)
    certificate = ClientCertificate(cert, _read("key", declared.private_key, read_key))
    check_client_certificate(certificate)
    for problem in _problems(cert, now):
        raise BadMaterial("cert", problem)
    return certificate


def _read(part: str, file: Path, read: Callable[[Path], bytes]) -> bytes:
    try:
        return read(file)
    except BadValue as refusal:
        raise BadMaterial(part, str(refusal)) from refusal


def _problems(pem: bytes, now: float) -> Iterator[str]:
    try:
        chain = x509.load_pem_x509_certificates(pem)
        purposes = _purposes(chain[0])
    except ValueError:
        yield "has a certificate in it that cannot be read"
        return
    for each in chain:
        if each.not_valid_after_utc.timestamp() <= now:
            yield f"has expired, on {each.not_valid_after_utc:%Y-%m-%d}"
        if each.not_valid_before_utc.timestamp() > now:
            yield f"is not valid before {each.not_valid_before_utc:%Y-%m-%d}"
    if purposes is not None and _FOR_CLIENTS.isdisjoint(purposes):
        yield "is not for clients: its extended key usage says so"


def _purposes(certificate: x509.Certificate) -> x509.ExtendedKeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
