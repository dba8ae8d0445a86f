"""`egress-gateway ca`: make the authority of inspected destinations, show it, replace it without an outage.

Replacing takes three steps, because clients must trust the new certificate before it signs, and the old one as long as
anything signed by it is valid: publish the next one beside the one in use, switch, withdraw the old one.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from gateway.cli.ca.files import load_authority, load_certificates, load_key, load_pem
from gateway.cli.console import answers, plain, say
from gateway.cli.writing import write_whole
from gateway.intercept.authority import create_authority, published, read_certificates
from gateway.model.errors import ConfigError
from gateway.model.names import parse_host_name

LONGEST_COMMON_NAME = 64
"""In characters: RFC 5280 appendix A, ub-common-name."""
CERTIFICATE_MODE = 0o644
KEY_MODE = 0o600


class Step(StrEnum):
    """Of a rotation, in this order."""

    PUBLISH = "publish"
    SWITCH = "switch"
    WITHDRAW = "withdraw"


def init(certificate: Path, key: Path, common_name: str, days: int, permitted: Sequence[str], now: float) -> None:
    """Make both files. Raises `ConfigError`, also if one exists already: a lost key breaks every client."""
    for path in (certificate, key):
        if os.path.lexists(path):
            raise ConfigError(str(path), "exists already and is not overwritten; `ca rotate` replaces an authority")
    if not 1 <= len(common_name) <= LONGEST_COMMON_NAME or not common_name.isprintable():
        raise ConfigError("--name", f"must have 1 to {LONGEST_COMMON_NAME} printable characters, not {common_name!r}")
    for domain in permitted:
        if parse_host_name(domain) is None:
            raise ConfigError("--permit", f"{domain!r} is not a domain; example.com includes all names below it")
    made, secret = create_authority(common_name, now, days, permitted)
    _write_both(certificate, made, key, secret)
    say(answers(), f"{certificate}: {_described(read_certificates(made)[0])}", "green")
    say(answers(), f"{key}: its key, for the gateway alone (mode {KEY_MODE:04o})")


def show(certificate: Path, key: Path | None) -> None:
    """Print one line for each certificate that clients trust; with the key's file also which of them signs."""
    signing = None if key is None else load_authority(certificate, key, datetime.now(UTC).timestamp()).certificate
    for each in load_certificates(certificate):
        role = "" if signing is None else ("signs: " if each == signing else "trusted: ")
        say(answers(), f"{role}{_described(each)}")


def rotate(certificate: Path, key: Path, step: Step, days: int, now: float) -> None:
    """Take one step of a rotation. Raises `ConfigError` if another one is next."""
    following = next_step(certificate, key, now)
    if step is not following:
        begun = "no rotation" if following is Step.PUBLISH else "a rotation"
        raise ConfigError(str(certificate), f"{begun} is under way: the next step is --step {following}")
    match step:
        case Step.PUBLISH:
            _publish(certificate, key, days, now)
        case Step.SWITCH:
            _switch(certificate, key, now)
        case Step.WITHDRAW:
            _withdraw(certificate, key, now)


def next_step(certificate: Path, key: Path, now: float) -> Step:
    """The next step of a rotation, as the files show it: no other state is kept."""
    load_authority(certificate, key, now)
    if os.path.lexists(_next(key)):  # also a link that leads nowhere: no key is made where it leads
        return Step.SWITCH
    return Step.PUBLISH if len(load_certificates(certificate)) == 1 else Step.WITHDRAW


def _publish(certificate: Path, key: Path, days: int, now: float) -> None:
    current = load_authority(certificate, key, now).certificate
    permitted = _permitted(current)
    made, secret = create_authority(_common_name(current), now, days, permitted)
    _write_both(certificate, published(load_pem(certificate)) + made, _next(key), secret)
    say(answers(), f"{certificate}: clients must trust both from now on; the old one still signs")
    say(answers(), "once every client has the new bundle: ca rotate --step switch", "yellow")


def _switch(certificate: Path, key: Path, now: float) -> None:
    """If it is interrupted between the two files, the same step is next again. Where the key's file is a link, the
    link stays, as that of the certificate does: others may read the file by another name."""
    load_authority(certificate, _next(key), now)
    write_whole(key, load_key(_next(key)), KEY_MODE)
    _next(key).unlink()
    say(answers(), f"{key}: the new one signs from the next start or reload on; both are trusted")
    say(answers(), "once all that the old one signed has expired (leaf_validity): ca rotate --step withdraw", "yellow")


def _withdraw(certificate: Path, key: Path, now: float) -> None:
    current = load_authority(certificate, key, now).certificate
    write_whole(certificate, current.public_bytes(serialization.Encoding.PEM), CERTIFICATE_MODE)
    say(answers(), f"{certificate}: only the one that signs is trusted", "green")


def _next(key: Path) -> Path:
    return key.with_name(f"{key.name}.next")


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else "egress gateway"


def _permitted(certificate: x509.Certificate) -> list[str]:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return []
    return [name.value for name in constraints.permitted_subtrees or () if isinstance(name, x509.DNSName)]


def _described(certificate: x509.Certificate) -> str:
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    confined = _permitted(certificate)
    only = f", only for {', '.join(confined)}" if confined else ""
    name, last_day = plain(_common_name(certificate)), f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    return f"{name}, until {last_day}{only}, SHA-256 {fingerprint}"


def _write_both(certificate: Path, made: bytes, key: Path, secret: bytes) -> None:
    """A new key, and the certificates to trust with it; if these cannot be written no key is left behind."""
    write_whole(key, secret, KEY_MODE)
    try:
        write_whole(certificate, made, CERTIFICATE_MODE)
    except ConfigError:
        key.unlink()
        raise
