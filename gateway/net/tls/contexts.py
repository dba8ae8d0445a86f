"""`SSLContext` for both sides of TLS, from PEM in memory.

Client certificates are checked by OpenSSL: chain, validity and purpose. With `crl` every certificate of the chain is
checked against a list, which must be there and must not have expired: what cannot be checked is not accepted.
"""

import contextlib
import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

HTTP_1_1: Final = "http/1.1"
HTTP_2: Final = "h2"
"""As ALPN names them (RFC 7301 section 6, RFC 9113 section 3.2)."""

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: forward secrecy and AEAD only; those of 1.3 all are


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """PEM. Without `client_ca` no client is asked for a certificate; `client_required` refuses those without one."""

    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None = None
    crl: bytes | None = None
    client_required: bool = False


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """PEM: what the gateway presents to a destination that asks for a certificate; `cert` with the intermediates."""

    cert: bytes
    key: bytes = field(repr=False)


class BadMaterial(ValueError):
    """`part` is the field of `TlsMaterial` or `ClientCertificate` that cannot be used; the text says why and quotes
    nothing of it."""

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(problem)
        self.part = part


def build_server_context(material: TlsMaterial) -> ssl.SSLContext:
    """The context of a listener. Raises `BadMaterial`."""
    context = server_context([HTTP_1_1])
    _load_own(context, material.cert, material.key)
    if material.client_ca is not None:
        _demand_client(context, material.client_ca, material.crl, material.client_required)
    return context


class ListenerTls:
    """Gives the context for a listener's next connection. One that asks for certificates is replaced as soon as it
    remembers a session: see `remembered_by`. Raises `BadMaterial`."""

    def __init__(self, material: TlsMaterial) -> None:
        self._material = material
        self._context = build_server_context(material)

    def context(self) -> ssl.SSLContext:
        """The context for the next connection, to be used at once."""
        if self._material.client_ca is not None and remembered_by(self._context):
            self._context = build_server_context(self._material)
        return self._context


def remembered_by(context: ssl.SSLContext) -> int:
    """How many sessions of TLS 1.2 this context remembers by session ID: those of clients that know no tickets or get
    none. Each takes 1 kB, or 5 kB with a client's certificate, which is not checked again when the session is resumed.
    They stay for two hours, and Python cannot switch that off."""
    return context.session_stats()["number"]


def server_context(alpn: Sequence[str]) -> ssl.SSLContext:
    """TLS 1.2 and 1.3, without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def client_context(
    certificates: str | None, alpn: Sequence[str], shown: ClientCertificate | None = None
) -> ssl.SSLContext:
    """Towards a destination: TLS 1.2 and 1.3. Its certificate must have its name in the SubjectAltName and lead to one
    of `certificates` (PEM; None for the system's). Keys and signatures of less than 112 bits are refused. `shown` is
    presented if it is asked for. Raises `ssl.SSLError` or ValueError if `certificates` holds none, `BadMaterial` if
    `shown` cannot be presented. Takes tens of milliseconds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(f"{_CIPHERS}:@SECLEVEL=2")
    if certificates is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=certificates)
    if shown is not None:
        _load_own(context, shown.cert, shown.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def check_client_certificate(shown: ClientCertificate) -> None:
    """Raise `BadMaterial` if it cannot be presented."""
    _load_own(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), shown.cert, shown.key)


def _load_own(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    """Raises `BadMaterial`."""
    try:
        load_chain(context, cert, key)
    except ssl.SSLError as error:
        raise _bad_own(error) from error


def load_chain(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Load the certificate to present, as PEM. Raises `ssl.SSLError`, or `BadMaterial` for a key with a password."""
    with _in_memory(chain) as chain_file, _in_memory(key) as key_file:
        context.load_cert_chain(chain_file, key_file, password=_no_password)


def _no_password() -> str:
    raise BadMaterial("key", "is encrypted: the gateway has nobody to ask for a password")


def _bad_own(error: ssl.SSLError) -> BadMaterial:
    """OpenSSL does not say which of the two files it was reading, only what it expected."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return BadMaterial("key", "does not belong to the first certificate in cert")
    if error.reason in ("KEY_TYPE_MISMATCH", "UNKNOWN_KEY_TYPE"):
        return BadMaterial("key", "is of another kind than the certificate in cert")
    return BadMaterial("cert", f"or key cannot be taken as PEM: {_words(error)}")


def _demand_client(context: ssl.SSLContext, client_ca: bytes, crl: bytes | None, required: bool) -> None:
    """No session is resumed, so that each connection's certificate is checked anew and against the newest list. The
    sessions that TLS 1.2 has without tickets are left to `ListenerTls`."""
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    _load(context, "client_ca", client_ca, lambda: _count(context, "x509_ca"), "no CA certificate")
    if crl is not None:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        _load(context, "crl", crl, lambda: _count(context, "crl"), "no revocation list")


def _load(context: ssl.SSLContext, part: str, pem: bytes, count: Callable[[], int], nothing: str) -> None:
    before = count()
    with _in_memory(pem) as file:
        try:
            context.load_verify_locations(file)
        except ssl.SSLError as error:
            raise BadMaterial(part, f"cannot be taken as PEM: {_words(error)}") from error
    if count() == before:
        raise BadMaterial(part, f"has {nothing} in it")


def _count(context: ssl.SSLContext, kind: str) -> int:
    return context.cert_store_stats()[kind]


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "it is not PEM").lower().replace("_", " ")


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A path: OpenSSL's loaders take file names only, and no key of ours touches a disk for that."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
