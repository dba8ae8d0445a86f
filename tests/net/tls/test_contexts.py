"""From PEM to a context, or to a message that says what is wrong and shows nothing of a key."""

import ssl

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.net.tls.contexts import BadMaterial, ListenerTls, TlsMaterial, build_server_context, remembered_by
from tests.helpers.certificates import Authority, pem
from tests.helpers.handshakes import shake_hands

ROOT = Authority("root")
SERVER, OTHER = ROOT.server("gateway.test"), ROOT.server("other.test")
CERT, KEY, CA = pem(*SERVER.chain), SERVER.key_pem, pem(ROOT.certificate)
ENCRYPTED = SERVER.key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
)


def test_a_listener_speaks_tls_1_2_and_later_without_asking_for_certificates() -> None:
    context = build_server_context(TlsMaterial(CERT, KEY))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(("required", "mode"), [(False, ssl.CERT_OPTIONAL), (True, ssl.CERT_REQUIRED)])
def test_with_a_client_ca_certificates_are_asked_for_and_no_session_is_resumed(
    required: bool, mode: ssl.VerifyMode
) -> None:
    context = build_server_context(TlsMaterial(CERT, KEY, CA, client_required=required))
    assert context.verify_mode is mode
    assert context.num_tickets == 0
    assert context.options & ssl.OP_NO_TICKET


@pytest.mark.parametrize("client_ca", [CA, None])
def test_a_session_is_resumed_only_where_no_certificate_is_asked_for(client_ca: bytes | None) -> None:
    """TLS 1.2 knows sessions without tickets, and a resumed one would show a certificate that nobody looked at."""
    listener = ListenerTls(TlsMaterial(CERT, KEY, client_ca))
    client = ssl.create_default_context(cadata=CA.decode())
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # its sessions are known when the handshake ends
    first = shake_hands(client, listener.context(), "gateway.test", None)
    again = shake_hands(client, listener.context(), "gateway.test", first.session)
    assert again.session_reused is (client_ca is None)


def test_a_context_that_remembers_nothing_is_used_again() -> None:
    listener = ListenerTls(TlsMaterial(CERT, KEY, CA))
    first = listener.context()
    assert listener.context() is first
    client = ssl.create_default_context(cadata=CA.decode())
    shake_hands(client, first, "gateway.test", None)
    assert (remembered_by(first), listener.context() is first) == (0, True)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    shake_hands(client, first, "gateway.test", None)
    assert (remembered_by(first), listener.context() is first) == (1, False)


def test_with_a_list_the_whole_chain_is_looked_up_in_it() -> None:
    context = build_server_context(TlsMaterial(CERT, KEY, CA, pem(ROOT.revocation_list())))
    assert context.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN == ssl.VERIFY_CRL_CHECK_CHAIN


@pytest.mark.parametrize(
    ("material", "part", "problem"),
    [
        (TlsMaterial(b"", KEY), "cert", "or key cannot be taken as PEM: "),
        (TlsMaterial(b"hello", KEY), "cert", "or key cannot be taken as PEM: "),
        (TlsMaterial(CERT, b"hello"), "cert", "or key cannot be taken as PEM: "),
        (TlsMaterial(CERT, OTHER.key_pem), "key", "does not belong to the first certificate in cert"),
        (TlsMaterial(CERT, ENCRYPTED), "key", "is encrypted: "),
        (TlsMaterial(CERT, KEY, b"hello"), "client_ca", "cannot be taken as PEM: "),
        (TlsMaterial(CERT, KEY, pem(ROOT.revocation_list())), "client_ca", "has no CA certificate in it"),
        (TlsMaterial(CERT, KEY, CERT), "client_ca", "has no CA certificate in it"),
        (TlsMaterial(CERT, KEY, CA, b""), "crl", "cannot be taken as PEM: "),
        (TlsMaterial(CERT, KEY, CA, CA), "crl", "has no revocation list in it"),
    ],
)
def test_what_cannot_be_taken_is_named(material: TlsMaterial, part: str, problem: str) -> None:
    with pytest.raises(BadMaterial) as caught:
        build_server_context(material)
    assert caught.value.part == part
    assert str(caught.value).startswith(problem)


def test_a_key_stays_out_of_sight() -> None:
    assert b"PRIVATE" in KEY
    assert "PRIVATE" not in repr(TlsMaterial(CERT, KEY))
