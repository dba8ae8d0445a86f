"""How clients are recognised is said completely, or refused with its place."""

from pathlib import Path

import pytest

from gateway.settings.load import load_settings
from tests.app.policies import write
from tests.settings.texts import settings_problems


@pytest.mark.parametrize(
    ("identity", "problem"),
    [
        ("{token: {issuer: i}}", "token: needs either jwks or review: true"),
        ("{token: {issuer: i, jwks: j, review: true}}", "token: needs either jwks or review: true"),
        ("{token: {jwks: j}}", "token: needs issuer: jwks are its keys"),
        ("{token: {issuer: i, review: true}}", "token.issuer: is only for jwks: the API server knows its issuers"),
        ("{token: {issuer: i, jwks: j, ca: c}}", "token.ca: is only for jwks: https://..."),
        ("{token: {issuer: i, jwks: kubernetes, ca: c}}", "token.ca: is only for jwks: https://..."),
        (
            "{token: {issuer: i, jwks: 'http://i.example/keys'}}",
            'token.jwks: "http://i.example/keys" is not a file, `kubernetes`, or an address such as https://iss',
        ),
        (
            "{token: {review: true}, sources: [address, token]}",
            "token: is never asked: identity.sources does not name it before address",
        ),
        (
            "{kubernetes: true, sources: [token, address]}",
            "kubernetes: is never asked: identity.sources does not name it before address",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, identity: str, problem: str) -> None:
    found = settings_problems(tmp_path, f"identity: {identity}")
    assert any(each.startswith(f"gateway.yaml:1: identity.{problem}") for each in found), found


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ("api:6443", '"api:6443" is not the address of an API server such as https://10.96.0.1:443'),
        ("https://me:secret@api", "must have no user, password or query: credentials go into token_file"),
    ],
)
def test_what_is_wrong_about_the_api_servers_address_is_said_of_it(tmp_path: Path, server: str, problem: str) -> None:
    found = settings_problems(tmp_path, f"kubernetes: {{server: '{server}'}}")
    assert found == [f"gateway.yaml:1: kubernetes.server: {problem}"]


@pytest.mark.parametrize("jwks", ["jwks.json", "kubernetes", "'https://i.example/keys'"])
def test_keys_come_from_a_file_an_address_or_the_api_server(tmp_path: Path, jwks: str) -> None:
    text = f"identity: {{token: {{issuer: i, jwks: {jwks}}}}}"
    token = load_settings(write(tmp_path / "gateway.yaml", text), {}).identity.token
    assert token is not None
    expected = tmp_path / "jwks.json" if jwks == "jwks.json" else jwks.strip("'")
    assert (token.jwks, token.audience) == (expected, "egress-gateway")


def test_the_api_server_is_the_one_that_a_pod_finds_unless_it_is_named(tmp_path: Path) -> None:
    usual = load_settings(write(tmp_path / "gateway.yaml", "identity: {kubernetes: true}"), {}).kubernetes
    assert (usual.server, usual.first_list, usual.stale_after) == (None, 30.0, 300.0)
    text = "kubernetes: {server: 'https://[2001:db8::1]:6443', ca: ca.pem, token_file: token, stale_after: 1m}"
    named = load_settings(write(tmp_path / "gateway.yaml", text), {}).kubernetes
    assert (named.server, named.ca, named.stale_after) == ("https://[2001:db8::1]:6443", tmp_path / "ca.pem", 60.0)
