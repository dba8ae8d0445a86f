"""An origin inside TLS, with whatever certificate a test makes for it."""

import contextlib
import socket
import ssl
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.helpers.http_origin import HttpOrigin
from tests.helpers.origins import Visit

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass
class TlsOrigin(HttpOrigin):
    """Each connection's handshake first; `versions` and `resumed` tell of those that came to an end, in their order."""

    context: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    versions: list[str | None] = field(default_factory=list)
    resumed: list[bool] = field(default_factory=list)
    alpn: list[str | None] = field(default_factory=list)

    def __enter__(self) -> "TlsOrigin":
        super().__enter__()
        return self

    def _serve(self, connection: socket.socket, visit: Visit) -> None:
        with contextlib.suppress(ssl.SSLError), self.context.wrap_socket(connection, server_side=True) as secure:
            self.versions.append(secure.version())
            self.resumed.append(bool(secure.session_reused))
            self.alpn.append(secure.selected_alpn_protocol())
            super()._serve(secure, visit)


class Issuer:
    """An authority of the tests that also signs what no authority should."""

    def __init__(self, folder: Path, name: str = "tests") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1000))
            .not_valid_after(now + timedelta(days=1000))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.bundle = folder / f"{name}.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(
        self,
        *names: str,
        days: tuple[float, float] = (-1, 30),
        key: SigningKey | None = None,
        self_signed: bool = False,
        common_name: str = "origin",
        purpose: x509.ObjectIdentifier | None = None,
    ) -> ssl.SSLContext:
        """What an origin shows: a certificate for `names`, valid from and until so many days from now."""
        return _server_context(self._issue(names, days, key, self_signed, common_name, purpose))

    def files(self, *names: str) -> tuple[Path, Path]:
        """Certificate and key of a server with these names, each in a file that nobody else may read."""
        both = self._issue(names)
        both.chmod(0o600)
        return both, both

    def _issue(
        self,
        names: tuple[str, ...],
        days: tuple[float, float] = (-1, 30),
        key: SigningKey | None = None,
        self_signed: bool = False,
        common_name: str = "origin",
        purpose: x509.ObjectIdentifier | None = None,
    ) -> Path:
        own = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else self._name)
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if names:
            sans = [x509.DNSName(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        signing = own if self_signed else self._key
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
        builder = builder.add_extension(issuer, critical=False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        certificate = builder.sign(signing, hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM) + _key_pem(own)
        file = self._folder / f"{certificate.serial_number:x}.pem"
        file.write_bytes(pem)
        return file

    def sha1_context(self, name: str) -> ssl.SSLContext:
        """The same with a signature that only the openssl program still makes."""
        key, made, config = self._folder / "issuer.key", self._folder / "sha1.pem", self._folder / "sha1.cnf"
        key.write_bytes(_key_pem(self._key))
        config.write_text(
            f"[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\nsubjectAltName=DNS:{name}\n"
            "basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        new = f"openssl req -x509 -nodes -newkey rsa:2048 -sha1 -days 30 -subj /CN=origin -config {config}"
        files = f"-CA {self.bundle} -CAkey {key} -keyout {made}.key -out {made}"
        subprocess.run([*new.split(), *files.split()], check=True, capture_output=True)
        made.write_bytes(made.read_bytes() + Path(f"{made}.key").read_bytes())
        return _server_context(made)


def _key_pem(key: SigningKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _server_context(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")  # the origin shows anything: it is the gateway that is to refuse
    context.load_cert_chain(file)
    return context


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
