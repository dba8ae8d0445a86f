"""Certificates that a test needs in every state: an authority with an intermediate, leaves with any names, and CRLs."""

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
Extension = tuple[x509.ExtensionType, bool]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass(frozen=True)
class Issued:
    """A certificate with its key and the certificates between it and a root, itself first."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Certificate chain and key (mode 0600) as PEM files."""
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        cert.write_bytes(pem(*self.chain))
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)
        return cert, key

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def pem(*parts: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """One behind the other."""
    return b"".join(part.public_bytes(serialization.Encoding.PEM) for part in parts)


@dataclass
class Authority:
    """Issues certificates and lists of revoked ones. `above` is who issued its own, None for a root."""

    name: str
    above: "Authority | None" = None
    issued: Issued = field(init=False)

    def __post_init__(self) -> None:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        extensions: list[Extension] = [(x509.BasicConstraints(True, None), True), (usage, True)]
        self.issued = self._issue(self.above, _name(self.name), extensions, -DAY, 30 * DAY)

    @property
    def certificate(self) -> x509.Certificate:
        return self.issued.certificate

    def leaf(
        self,
        common_name: str | None = None,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        addresses: Sequence[str] = (),
        valid: tuple[timedelta, timedelta] = (-DAY, 10 * DAY),
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        further: Sequence[Extension] = (),
    ) -> Issued:
        """For a client, or by `purpose` for a server; `valid` is from now."""
        names: list[x509.GeneralName] = [
            *(x509.DNSName(name) for name in dns),
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        ]
        extensions: list[Extension] = [(x509.ExtendedKeyUsage([purpose]), False), *further]
        if names:
            extensions.append((x509.SubjectAlternativeName(names), common_name is None))
        subject = x509.Name([]) if common_name is None else _name(common_name)
        return self._issue(self, subject, extensions, *valid)

    def server(self, *dns: str, addresses: Sequence[str] = ()) -> Issued:
        """For a listener or an origin."""
        return self.leaf(dns=dns, addresses=addresses, purpose=ExtendedKeyUsageOID.SERVER_AUTH)

    def revocation_list(
        self, *revoked: Issued, valid: tuple[timedelta, timedelta] = (-DAY, 10 * DAY)
    ) -> x509.CertificateRevocationList:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(_now() + valid[0]).next_update(_now() + valid[1])
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(_now() - DAY).build())
        return builder.sign(self.issued.key, hashes.SHA256())

    def _issue(
        self,
        by: "Authority | None",
        subject: x509.Name,
        extensions: Sequence[Extension],
        since: timedelta,
        to: timedelta,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = subject if by is None else by.certificate.subject
        signing = key if by is None else by.issued.key
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(_now() + since).not_valid_after(_now() + to)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
        for extension, critical in [*extensions, (identifier, False), (authority, False)]:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(signing, hashes.SHA256())
        above = () if by is None or by.above is None else by.issued.chain
        return Issued(certificate, key, (certificate, *above))


def client_context(servers: Authority, who: Issued | None = None, folder: Path | None = None) -> ssl.SSLContext:
    """Trusts what `servers` issued and shows the certificate of `who`, whose files go into `folder`."""
    context = ssl.create_default_context(cadata=pem(servers.certificate).decode())
    if who is not None and folder is not None:
        context.load_cert_chain(*who.write(folder, f"client-{who.certificate.serial_number}"))
    return context
