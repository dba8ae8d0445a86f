"""What a record says of a certificate, also of one that only OpenSSL can read."""

from hashlib import sha256
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.intercept.authority import create_authority, read_certificates
from gateway.intercept.showing import Certificates, Shown

DER = read_certificates(create_authority("shown", 1_800_000_000.0)[0])[0].public_bytes(Encoding.DER)
VERSION = bytes.fromhex("a003020102")


class _Connection:
    def __init__(self, der: bytes) -> None:
        self._der = der

    def getpeercert(self, binary_form: bool) -> bytes:
        assert binary_form
        return self._der


@pytest.mark.parametrize(
    ("der", "name"), [(DER, "CN=shown"), (DER.replace(VERSION, VERSION[:-1] + b"\x07"), ""), (b"?", "")]
)
def test_names_are_shown_if_they_can_be_read_and_the_fingerprint_always(der: bytes, name: str) -> None:
    shown = Certificates().shown_by(cast("Any", _Connection(der)))
    assert shown == Shown(sha256(der).hexdigest(), name, name)
