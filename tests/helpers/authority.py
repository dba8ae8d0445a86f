"""The tests' own certificate authority."""

import ssl
from datetime import datetime
from pathlib import Path

import trustme


class TestAuthority:
    """A CA that only the test's clients trust. `bundle` is its certificate as a PEM file under `folder`."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.bundle = folder / "test-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.bundle))

    def server_context(self, *names: str, not_after: datetime | None = None) -> ssl.SSLContext:
        """What an origin with these names presents."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*names, not_after=not_after).configure_cert(context)
        return context

    def write_server_files(self, folder: Path, *names: str) -> tuple[Path, Path]:
        """Certificate chain and key of such an origin, as PEM files."""
        certificate, key = folder / "server.pem", folder / "server.key"
        issued = self._ca.issue_cert(*names)
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    def client_context(self) -> ssl.SSLContext:
        """What a Python client of such an origin trusts."""
        return ssl.create_default_context(cafile=str(self.bundle))
