"""When certificates expire, and why one cannot be presented to destinations."""

from collections.abc import Iterator

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.intercept.authority import UNREADABLE

_FOR_CLIENTS = frozenset((ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE))


def problems_of(pem: bytes, now: float) -> Iterator[str]:
    """What is wrong with a chain in PEM, leaf first, at `now` (Unix seconds): predicates to follow the file's name."""
    try:
        chain = x509.load_pem_x509_certificates(pem)
        purposes = _purposes(chain[0])
    except UNREADABLE:
        yield "has a certificate in it that cannot be read"
        return
    for each in chain:
        if each.not_valid_after_utc.timestamp() <= now:
            yield f"expired on {each.not_valid_after_utc:%Y-%m-%d}"
        if each.not_valid_before_utc.timestamp() > now:
            yield f"is not valid before {each.not_valid_before_utc:%Y-%m-%d}"
    if purposes is not None and _FOR_CLIENTS.isdisjoint(purposes):
        yield "is not for clients: its extended key usage says so"


def expiry_of(pem: bytes) -> float | None:
    """Unix seconds at which the first certificate of a chain in PEM expires; None if one cannot be read."""
    try:
        return min(each.not_valid_after_utc.timestamp() for each in x509.load_pem_x509_certificates(pem))
    except UNREADABLE:
        return None


def _purposes(certificate: x509.Certificate) -> x509.ExtendedKeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
