"""What a TLS listener shows and demands, from PEM in memory to an `SSLContext`: TLS 1.2 and later, `http/1.1` by ALPN.

Client certificates are checked by OpenSSL: chain, validity, purpose, and with `crl` every certificate of the chain
against a list that must be there and must not have expired: what cannot be checked is not accepted.
"""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

ALPN: Final = ["http/1.1"]


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """PEM. Without `client_ca` no client is asked for a certificate; `client_required` refuses those without one."""

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None = None
    crl: bytes | None = None
    client_required: bool = False


class BadMaterial(ValueError):
    """`part` is the field of `TlsMaterial` that cannot be taken; the text says why and holds nothing of it."""

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(problem)
        self.part = part


def build_server_context(material: TlsMaterial) -> ssl.SSLContext:
    """For a listener. Raises `BadMaterial`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(ALPN)
    _load_own(context, material)
    if material.client_ca is not None:
        _demand_client(context, material.client_ca, material.crl, material.client_required)
    return context


def _load_own(context: ssl.SSLContext, material: TlsMaterial) -> None:
    with _InMemory(material.cert) as cert, _InMemory(material.key) as key:
        try:
            context.load_cert_chain(cert.path, key.path, password=_no_password)
        except ssl.SSLError as error:
            raise _bad_own(error) from error


def _no_password() -> str:
    raise BadMaterial("key", "is encrypted: the gateway has nobody to ask for a password")


def _bad_own(error: ssl.SSLError) -> BadMaterial:
    """OpenSSL does not say which of the two files it was reading, but what it wanted there."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return BadMaterial("key", "does not belong to the first certificate in cert")
    if error.reason in ("KEY_TYPE_MISMATCH", "UNKNOWN_KEY_TYPE"):
        return BadMaterial("key", "is of another kind than the certificate in cert")
    return BadMaterial("cert", f"or key cannot be taken as PEM: {_words(error)}")


def _demand_client(context: ssl.SSLContext, client_ca: bytes, crl: bytes | None, required: bool) -> None:
    """No session is resumed: each connection's certificate is checked anew, and against the newest list."""
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    _load(context, "client_ca", client_ca, lambda: _count(context, "x509_ca"), "no CA certificate")
    if crl is not None:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        _load(context, "crl", crl, lambda: _count(context, "crl"), "no revocation list")


def _load(context: ssl.SSLContext, part: str, pem: bytes, count: Callable[[], int], nothing: str) -> None:
    before = count()
    with _InMemory(pem) as file:
        try:
            context.load_verify_locations(file.path)
        except ssl.SSLError as error:
            raise BadMaterial(part, f"cannot be taken as PEM: {_words(error)}") from error
    if count() == before:
        raise BadMaterial(part, f"has {nothing} in it")


def _count(context: ssl.SSLContext, kind: str) -> int:
    return context.cert_store_stats()[kind]


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "it is not PEM").lower().replace("_", " ")


class _InMemory:
    """OpenSSL's loaders take file names only: no key of ours touches a disk for that."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __enter__(self) -> "_InMemory":
        self._descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        with os.fdopen(os.dup(self._descriptor), "wb") as file:
            file.write(self._content)
        self.path = f"/proc/self/fd/{self._descriptor}"
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
