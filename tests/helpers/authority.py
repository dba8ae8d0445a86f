"""The tests' own certificate authority."""

import ssl
from pathlib import Path

import trustme


class TestAuthority:
    """A CA that only the test's clients trust. `bundle` is its certificate as a PEM file under `folder`."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.bundle = folder / "test-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.bundle))

    def server_context(self, *names: str) -> ssl.SSLContext:
        """What an origin with these names presents."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """What a Python client of such an origin trusts."""
        return ssl.create_default_context(cafile=str(self.bundle))
