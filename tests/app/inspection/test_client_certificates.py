"""Certificates that are shown to destinations: what is wrong with one is found where it is read."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509 import UnrecognizedExtension
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from gateway.app.inspection.client_certificates import load_client_certificates
from gateway.settings.load import load_settings
from gateway.settings.problems import ConfigErrors
from tests.helpers.certificates import DAY, Authority

ISSUER = Authority("partners")


def _load(folder: Path) -> str:
    """All problems, a line each; empty if there are none."""
    file = folder / "gateway.yaml"
    file.write_text("client_certificates:\n  own:\n    cert: own.crt\n    key: own.key\n    hosts: [a.example]\n")
    settings = load_settings(file, {})
    assert {folder / "own.crt", folder / "own.key"} <= set(settings.files)
    try:
        loaded = load_client_certificates(settings)
    except ConfigErrors as refusal:
        return str(refusal).replace(str(folder), "")
    assert loaded["own"].cert == (folder / "own.crt").read_bytes()
    assert "PRIVATE" not in repr(loaded)
    return ""


def test_a_good_pair_is_taken_and_its_key_is_in_no_repr(tmp_path: Path) -> None:
    ISSUER.leaf("gateway").write(tmp_path, "own")
    assert _load(tmp_path) == ""


def test_one_that_only_openssl_can_read_is_a_problem_of_its_own(tmp_path: Path) -> None:
    names = UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3002a300"))  # an X.400 address
    ISSUER.leaf("gateway", further=[(names, False)]).write(tmp_path, "own")
    assert "/own.crt has a certificate in it that cannot be read" in _load(tmp_path)


@pytest.mark.parametrize(
    ("valid", "problem"),
    [
        ((-3 * DAY, -DAY), "/gateway.yaml:3: client_certificates.own.cert: /own.crt expired on 2"),
        ((DAY, 3 * DAY), "/gateway.yaml:3: client_certificates.own.cert: /own.crt is not valid before 2"),
    ],
)
def test_one_that_holds_at_another_time_is_refused(
    tmp_path: Path, valid: tuple[timedelta, timedelta], problem: str
) -> None:
    ISSUER.leaf("gateway", valid=valid).write(tmp_path, "own")
    assert _load(tmp_path).startswith(problem)


def test_an_intermediate_that_has_expired_is_found_behind_a_good_leaf(tmp_path: Path) -> None:
    cert, _ = ISSUER.leaf("gateway").write(tmp_path, "own")
    old, _ = ISSUER.leaf("old", valid=(-3 * DAY, -DAY)).write(tmp_path, "old")
    cert.write_bytes(cert.read_bytes() + old.read_bytes())
    assert "/own.crt expired on" in _load(tmp_path)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    ISSUER.leaf("gateway").write(tmp_path, "own")
    _, key = ISSUER.leaf("other").write(tmp_path, "other")
    key.rename(tmp_path / "own.key")
    problem = "client_certificates.own.key: /own.key does not belong to the first certificate in cert"
    assert _load(tmp_path) == f"/gateway.yaml:4: {problem}"


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    _, key = ISSUER.leaf("gateway").write(tmp_path, "own")
    key.chmod(0o644)
    assert "/gateway.yaml:4: client_certificates.own.key: /own.key has mode 0644" in _load(tmp_path)


def test_one_for_servers_is_refused(tmp_path: Path) -> None:
    ISSUER.leaf("gateway", purpose=ExtendedKeyUsageOID.SERVER_AUTH).write(tmp_path, "own")
    assert "client_certificates.own.cert: /own.crt is not for clients" in _load(tmp_path)


@pytest.mark.parametrize("file", ["own.crt", "own.key"])
def test_what_is_missing_or_no_pem_is_refused(tmp_path: Path, file: str) -> None:
    ISSUER.leaf("gateway").write(tmp_path, "own")
    (tmp_path / file).write_text("nothing")
    assert "cannot be taken as PEM" in _load(tmp_path)
    (tmp_path / file).unlink()
    assert f"/{file} cannot be read: No such file or directory" in _load(tmp_path)
