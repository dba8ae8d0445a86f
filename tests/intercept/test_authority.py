"""The authority signs for one exact name, for days, and only if it may."""

import re
import subprocess
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from gateway.intercept.authority import (
    LONGEST_LEAF_SECONDS,
    BadAuthority,
    CertificateAuthority,
    create_authority,
    read_authority,
    read_certificates,
)
from gateway.model.addresses import Address, parse_address
from gateway.model.names import HostName

NOW = 1_800_000_000.0
DAY = 86400.0


def authority(permitted: tuple[str, ...] = ()) -> CertificateAuthority:
    return read_authority(*create_authority("test authority", NOW, permitted=permitted), NOW)


def leaf_of(chain: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain)[0]


def test_an_authority_signs_leaves_only_and_expires() -> None:
    certificate, _ = create_authority("egress", NOW, days=10)
    made = read_certificates(certificate)[0]
    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert isinstance(made.public_key(), ec.EllipticCurvePublicKey)
    assert made.not_valid_after_utc - made.not_valid_before_utc == timedelta(days=10, hours=1)
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, True, True)
    assert not usage.value.digital_signature


def test_it_may_be_confined_to_domains() -> None:
    certificate, _ = create_authority("egress", NOW, permitted=("example.com",))
    constraints = read_certificates(certificate)[0].extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [x509.DNSName("example.com")]


def test_a_leaf_speaks_for_exactly_one_name_and_serves_only() -> None:
    leaf = leaf_of(authority().mint(HostName("api.example.com"), NOW, 7 * DAY).chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.DNSName("api.example.com")]
    assert leaf.subject.rfc4514_string() == "CN=api.example.com"
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.digital_signature) == (True, True)
    assert (usage.value.key_cert_sign, usage.value.crl_sign) == (False, False)
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]


def test_a_name_too_long_for_the_subject_stands_in_the_critical_alternative_name() -> None:
    long = HostName(".".join(["a" * 40] * 3))
    leaf = leaf_of(authority().mint(long, NOW, DAY).chain)
    assert not list(leaf.subject)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [x509.DNSName(long)]


@pytest.mark.parametrize("text", ["192.0.2.7", "2001:db8::7"])
def test_a_leaf_for_a_literal_names_the_address(text: str) -> None:
    address = parse_address(text)
    assert isinstance(address, Address)
    leaf = leaf_of(authority().mint(address, NOW, DAY).chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == [text]


@pytest.mark.parametrize(
    ("asked", "given"),
    [(7 * DAY, 7 * DAY), (400 * DAY, LONGEST_LEAF_SECONDS)],
    ids=["as asked", "never above 190 days"],
)
def test_a_leaf_lives_as_long_as_asked_within_bounds(asked: float, given: float) -> None:
    leaf = authority().mint(HostName("a.test"), NOW, asked)
    assert leaf.not_after == NOW + given
    assert leaf_of(leaf.chain).not_valid_after_utc.timestamp() == NOW + given


def test_a_leaf_never_outlives_its_authority() -> None:
    signer = read_authority(*create_authority("short", NOW, days=2), NOW)
    assert signer.mint(HostName("a.test"), NOW + DAY, 7 * DAY).not_after == NOW + 2 * DAY


def test_what_is_signed_after_the_authoritys_end_is_over_before_it_begins() -> None:
    certificate, key = create_authority("short", NOW, days=2)
    with pytest.raises(BadAuthority, match="expired"):
        read_authority(certificate, key, NOW + 3 * DAY)
    leaf = read_authority(certificate, key, None).mint(HostName("a.test"), NOW + 3 * DAY, DAY)
    assert leaf.not_after == leaf_of(leaf.chain).not_valid_before_utc.timestamp() == NOW + 2 * DAY


def test_serial_numbers_are_random_and_keys_are_not_shown() -> None:
    signer = authority()
    one, other = (signer.mint(HostName("a.test"), NOW, DAY) for _ in range(2))
    assert leaf_of(one.chain).serial_number != leaf_of(other.chain).serial_number
    assert leaf_of(one.chain).serial_number.bit_length() > 100
    assert "PRIVATE" not in repr(one)


def test_openssl_verifies_a_leaf_and_its_name(tmp_path: Path) -> None:
    certificate, key = create_authority("test authority", NOW - 1e6)
    leaf = read_authority(certificate, key, NOW).mint(HostName("api.example.com"), NOW, DAY)
    (tmp_path / "ca.crt").write_bytes(certificate)
    (tmp_path / "leaf.crt").write_bytes(leaf.chain)
    command = [
        "openssl",
        "verify",
        "-attime",
        str(int(NOW)),
        "-CAfile",
        "ca.crt",
        "-purpose",
        "sslserver",
        "-x509_strict",
    ]
    for name, status in (("api.example.com", 0), ("example.com", 2)):
        verified = subprocess.run(
            [*command, "-verify_hostname", name, "leaf.crt"], cwd=tmp_path, capture_output=True, text=True
        )
        assert verified.returncode == status, verified.stdout + verified.stderr


def test_a_confined_authority_cannot_speak_for_other_names(tmp_path: Path) -> None:
    certificate, key = create_authority("confined", NOW - 1e6, permitted=("example.com",))
    signer = read_authority(certificate, key, NOW)
    (tmp_path / "ca.crt").write_bytes(certificate)
    for name, status in (("api.example.com", 0), ("api.example.org", 2)):
        (tmp_path / "leaf.crt").write_bytes(signer.mint(HostName(name), NOW, DAY).chain)
        verified = subprocess.run(
            ["openssl", "verify", "-attime", str(int(NOW)), "-CAfile", "ca.crt", "leaf.crt"],
            cwd=tmp_path,
            capture_output=True,
        )
        assert verified.returncode == status, verified.stdout


def test_of_several_certificates_the_one_of_the_key_signs_and_all_are_published() -> None:
    old, _ = create_authority("old", NOW)
    new, key = create_authority("new", NOW)
    signer = read_authority(b"a comment\n" + old + new, key, NOW)
    assert signer.certificate.subject.rfc4514_string() == "CN=new"
    assert signer.published == old + new


WEAK = rsa.generate_private_key(65537, 1024)
STRONG = rsa.generate_private_key(65537, 2048)
EDWARDS = ed25519.Ed25519PrivateKey.generate()
ANOTHER = ec.generate_private_key(ec.SECP256R1())
NO_SIGNER = "the key must be ECDSA, or RSA of 2048 bits or more"


@pytest.mark.parametrize(
    ("key", "problem"),
    [(WEAK, NO_SIGNER), (EDWARDS, NO_SIGNER), (ANOTHER, "no certificate in the file belongs to the key")],
    ids=["weak", "ed25519", "another"],
)
def test_a_key_that_cannot_sign_is_refused(key: PrivateKeyTypes, problem: str) -> None:
    certificate, _ = create_authority("egress", NOW)
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(BadAuthority, match=re.escape(problem)):
        read_authority(certificate, encoded, NOW)


def test_an_encrypted_key_is_refused_in_words() -> None:
    certificate, key = create_authority("egress", NOW)
    encrypted = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    with pytest.raises(BadAuthority, match="encrypted"):
        read_authority(certificate, encrypted, NOW)


@pytest.mark.parametrize("key", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(key: bytes) -> None:
    certificate, _ = create_authority("egress", NOW)
    with pytest.raises(BadAuthority, match="no readable PEM private key"):
        read_authority(certificate, key, NOW)


@pytest.mark.parametrize(("length", "fits"), [(64, True), (65, False)])
def test_a_name_stands_in_the_subject_as_far_as_it_fits(length: int, fits: bool) -> None:
    name = HostName("a" * 30 + "." + "b" * (length - 31))
    assert bool(list(leaf_of(authority().mint(name, NOW, DAY).chain).subject)) is fits


@pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(text: bytes) -> None:
    _, key = create_authority("egress", NOW)
    with pytest.raises(BadAuthority, match="no readable PEM certificate"):
        read_authority(text, key, NOW)


@pytest.mark.parametrize(("at", "problem"), [(NOW + 20 * DAY, "expired"), (NOW - DAY, "not valid before")])
def test_an_authority_out_of_its_time_is_refused(at: float, problem: str) -> None:
    with pytest.raises(BadAuthority, match=problem):
        read_authority(*create_authority("egress", NOW, days=10), at)


def test_a_leaf_is_no_authority() -> None:
    leaf = authority().mint(HostName("a.test"), NOW, DAY)
    with pytest.raises(BadAuthority, match="not an authority's"):
        read_authority(leaf.chain, leaf.key, NOW)


def certificate_of(key: rsa.RSAPrivateKey, *extensions: x509.ExtensionType) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made elsewhere")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime.fromtimestamp(NOW - DAY, UTC))
    builder = builder.not_valid_after(datetime.fromtimestamp(NOW + DAY, UTC))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(True, False, False, False, False, signs, False, False, False)


MAY = x509.BasicConstraints(ca=True, path_length=None)


@pytest.mark.parametrize(
    ("extensions", "problem"),
    [
        ((MAY,), None),
        ((MAY, usage(True)), None),
        ((), "not an authority's"),
        ((x509.BasicConstraints(ca=False, path_length=None), usage(True)), "not an authority's"),
        ((usage(True),), "not an authority's"),
        ((MAY, usage(False)), "key usage does not include"),
    ],
)
def test_an_authority_made_elsewhere_signs_if_its_certificate_lets_it(
    extensions: tuple[x509.ExtensionType, ...], problem: str | None
) -> None:
    made = certificate_of(STRONG, *extensions)
    key = STRONG.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    if problem is None:
        assert read_authority(made, key, NOW).certificate == x509.load_pem_x509_certificate(made)
    else:
        with pytest.raises(BadAuthority, match=problem):
            read_authority(made, key, NOW)


@pytest.mark.parametrize(
    "extension",
    [
        x509.UnrecognizedExtension(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3002a300")
        ),  # an X.400 address
        x509.UnrecognizedExtension(ExtensionOID.BASIC_CONSTRAINTS, b"?"),
    ],
)
def test_a_certificate_that_only_openssl_can_read_is_no_authority(extension: x509.ExtensionType) -> None:
    key = STRONG.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(BadAuthority, match="no readable PEM certificate"):
        read_authority(certificate_of(STRONG, usage(True), extension), key, NOW)


@pytest.mark.parametrize(("at", "valid"), [(-DAY - 1, False), (-DAY, True), (DAY - 1, True), (DAY, False)])
def test_an_authority_is_good_from_its_first_second_to_its_last(at: float, valid: bool) -> None:
    made = certificate_of(STRONG, MAY)
    key = STRONG.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with nullcontext() if valid else pytest.raises(BadAuthority):
        read_authority(made, key, NOW + at)
