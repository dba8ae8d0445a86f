"""What a record says about a destination's certificate."""

from collections import OrderedDict
from hashlib import sha256
from ssl import SSLObject
from typing import NamedTuple

from cryptography import x509

from gateway.intercept.authority import UNREADABLE

KEPT = 1024
_LONGEST_NAME = 512


class Shown(NamedTuple):
    """`fingerprint` is SHA-256 in hexadecimal digits; the names as in RFC 4514, cut."""

    fingerprint: str
    subject: str
    issuer: str


class Certificates:
    """To parse one costs more than a whole exchange: results are remembered by fingerprint, within bounds."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Shown] = OrderedDict()

    def shown_by(self, connection: SSLObject) -> Shown | None:
        """The peer's, which OpenSSL has verified."""
        der = connection.getpeercert(binary_form=True)
        if der is None:
            return None
        fingerprint = sha256(der).hexdigest()
        shown = self._known.get(fingerprint)
        if shown is None:
            shown = self._known[fingerprint] = _read(der, fingerprint)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return shown


def _read(der: bytes, fingerprint: str) -> Shown:
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    except UNREADABLE:
        return Shown(fingerprint, "", "")
    return Shown(fingerprint, subject[:_LONGEST_NAME], issuer[:_LONGEST_NAME])
