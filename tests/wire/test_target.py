"""The target of a request to a proxy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.authority import parse_authority
from gateway.model.reasons import Reason
from gateway.wire.http.framing import AUTHORITY_FORM
from gateway.wire.target import MalformedTarget, Target, parse_target


@pytest.mark.parametrize(
    ("target", "method", "authority", "resource", "path"),
    [
        ("http://a.test/x?y=http://z/", "GET", "a.test:80", "/x?y=http://z/", "/x"),
        ("HTTP://A.Test:8080", "GET", "a.test:8080", "/", "/"),
        ("http://a.test?q", "GET", "a.test:80", "/?q", "/"),
        ("http://a.test", "OPTIONS", "a.test:80", "*", "*"),
        ("http://a.test/", "OPTIONS", "a.test:80", "/", "/"),
        ("http://a.test?q", "OPTIONS", "a.test:80", "/?q", "/"),
        ("http://[::1]:81/", "GET", "[::1]:81", "/", "/"),
        ("/x?y", "GET", None, "/x?y", "/x"),
        ("*", "OPTIONS", None, "*", "*"),
    ],
)
def test_what_is_named_and_what_is_asked_for(
    target: str, method: str, authority: str | None, resource: str, path: str
) -> None:
    found = parse_target(target, method)
    assert found == Target(None if authority is None else parse_authority(authority), resource)
    assert found.path == path


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://user:pw@a.test/", Reason.MALFORMED_AUTHORITY),
        ("http://a.test\\@b.test/", Reason.MALFORMED_AUTHORITY),
        ("http:///x", Reason.MALFORMED_AUTHORITY),
        ("http://a.test:0/", Reason.MALFORMED_AUTHORITY),
        ("http://a.test:/", Reason.MALFORMED_AUTHORITY),
        ("http://127.1/", Reason.MALFORMED_AUTHORITY),
        ("http://a.test/#f", Reason.MALFORMED_REQUEST),
        ("/#f", Reason.MALFORMED_REQUEST),
        ("https://a.test/", Reason.HTTPS_WITHOUT_CONNECT),
        ("ftp://a.test/", Reason.NOT_A_PROXY_REQUEST),
        ("http:a.test", Reason.NOT_A_PROXY_REQUEST),
        ("*", Reason.NOT_A_PROXY_REQUEST),
        ("a.test:80", Reason.NOT_A_PROXY_REQUEST),
    ],
)
def test_what_is_not_forwarded_is_refused_and_quoted_nowhere(target: str, reason: Reason) -> None:
    for method in ("GET", "OPTIONS") if target != "*" else ("GET",):
        with pytest.raises(MalformedTarget) as refused:
            parse_target(target, method)
        assert refused.value.reason is reason
        assert "pw" not in str(refused.value)


def test_inside_tls_the_port_goes_with_the_scheme() -> None:
    for target, authority in (("https://a.test/x", "a.test:443"), ("http://a.test/x", "a.test:80")):
        assert parse_target(target, "GET", is_secure=True) == Target(parse_authority(authority), "/x")
    with pytest.raises(MalformedTarget):
        parse_target("httpss://a.test/x", "GET", is_secure=True)


@given(st.from_regex(AUTHORITY_FORM, fullmatch=True))
def test_no_target_that_goes_with_connect_is_forwarded(target: str) -> None:
    with pytest.raises(MalformedTarget):
        parse_target(target, "CONNECT")
