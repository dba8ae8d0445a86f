"""The certificate authority of inspected destinations and the leaves that it signs. Bytes in, bytes out: no file is
touched here, and time is an argument, in Unix seconds.

The authority may sign leaves only (path length 0) and, if it was made so, only for names below given domains. A leaf
speaks for exactly one name, for days, and all leaves of a process share one key that is never written anywhere.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.model.addresses import Address
from gateway.model.authority import Host

LONGEST_LEAF_SECONDS = 190 * 86400.0
"""No leaf lives longer, whatever is configured: clients refuse certificates of more than about 200 days."""
AUTHORITY_DAYS = 3650
CLOCK_SKEW_SECONDS = 3600.0
"""How far behind ours a client's clock may be."""
_LONGEST_COMMON_NAME = 64  # RFC 5280 appendix A, ub-common-name
_LEAST_RSA_BITS = 2048
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for certificates of which OpenSSL accepts some."""

# Systems trust such authorities, and destinations show such certificates: neither is the operator's to mend.
warnings.filterwarnings("ignore", r"Parsed a (negative )?serial number", UserWarning)

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class BadAuthority(ValueError):
    """The certificate and the key cannot sign. The message quotes nothing of the key."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """`chain` is the leaf, then its issuer, as PEM; `key` is the private key, as PEM, and stays in memory."""

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    not_after: float


class CertificateAuthority:
    """An authority that can sign. `published` are the certificates that clients are to trust, as PEM: its own, and
    during a rotation the one before or after it."""

    def __init__(self, certificate: x509.Certificate, key: SigningKey, published: bytes) -> None:
        self.certificate = certificate
        self.published = published
        self._key = key
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key_pem = _key_pem(self._leaf_key)
        self._issuer_pem = certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def not_after(self) -> float:
        """Unix seconds."""
        return self.certificate.not_valid_after_utc.timestamp()

    def mint(self, host: Host, now: float, validity: float) -> Leaf:
        """A certificate for exactly `host`, valid for `validity` seconds, but not beyond the authority's own end."""
        ends = min(now + min(validity, LONGEST_LEAF_SECONDS), self.not_after)
        begins = min(now - CLOCK_SKEW_SECONDS, ends)  # not after the authority's end, which clients check
        text = str(host)
        fits = len(text) <= _LONGEST_COMMON_NAME
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if fits else [])
        public = self._leaf_key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_instant(begins))
            .not_valid_after(_instant(ends))
            # Critical where the subject says nothing (RFC 5280 section 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=not fits)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        leaf = builder.sign(self._key, hashes.SHA256())
        chain = leaf.public_bytes(serialization.Encoding.PEM) + self._issuer_pem
        return Leaf(chain, self._leaf_key_pem, ends)


def create_authority(
    common_name: str, now: float, days: int = AUTHORITY_DAYS, permitted: Sequence[str] = ()
) -> tuple[bytes, bytes]:
    """A new authority: its certificate and its key, both PEM. `permitted` are domains below which it may sign, all if
    there are none."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_instant(now - CLOCK_SKEW_SECONDS))
        .not_valid_after(_instant(now) + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if permitted:
        constraints = x509.NameConstraints([x509.DNSName(domain) for domain in permitted], None)
        builder = builder.add_extension(constraints, critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key)


def read_authority(certificates: bytes, key: bytes, now: float | None) -> CertificateAuthority:
    """`certificates` are one or more, as PEM: the one that belongs to `key` signs, all are published. `now` is Unix
    time; None if the validity was checked before. Raises `BadAuthority`."""
    signing = _read_key(key)
    public = signing.public_key()
    for certificate in read_certificates(certificates):
        if certificate.public_key() == public:
            _check(certificate, now)
            return CertificateAuthority(certificate, signing, published(certificates))
    raise BadAuthority("no certificate in the file belongs to the key")


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """All certificates of a PEM file, at least one. Raises `BadAuthority`, also for one that only loads: what is in it
    is parsed when it is asked for."""
    try:
        found = x509.load_pem_x509_certificates(pem)
        for each in found:
            _parse(each)
    except UNREADABLE as error:
        raise BadAuthority("holds no readable PEM certificate") from error
    return found


def _parse(certificate: x509.Certificate) -> object:
    return certificate.subject, certificate.extensions, certificate.public_key()


def published(certificates: bytes) -> bytes:
    """The certificates alone, in their order, without anything else that stands in the file."""
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in read_certificates(certificates))


def _read_key(pem: bytes) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except TypeError as error:
        raise BadAuthority("the key is encrypted; the gateway has nobody to ask for its password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadAuthority("holds no readable PEM private key") from error
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        return key
    raise BadAuthority(f"the key must be ECDSA, or RSA of {_LEAST_RSA_BITS} bits or more")


def _check(certificate: x509.Certificate, now: float | None) -> None:
    """Raise `BadAuthority` unless it may sign certificates now (RFC 5280 sections 4.2.1.3 and 4.2.1.9)."""
    if now is not None and now >= certificate.not_valid_after_utc.timestamp():
        raise BadAuthority(f"the certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if now is not None and now < certificate.not_valid_before_utc.timestamp():
        raise BadAuthority(f"the certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}")
    try:
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority:
        raise BadAuthority("the certificate is not an authority's (basicConstraints CA is not true)")
    try:
        may_sign = certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        may_sign = True
    if not may_sign:
        raise BadAuthority("the certificate's key usage does not include signing certificates")


def _general_name(host: Host) -> x509.GeneralName:
    if isinstance(host, Address):
        return x509.IPAddress(ip_address(str(host)))
    return x509.DNSName(host)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _instant(unix_seconds: float) -> datetime:
    return datetime.fromtimestamp(int(unix_seconds), UTC)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
