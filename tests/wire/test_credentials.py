"""Basic credentials: RFC 7617, strict."""

from base64 import b64encode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.reasons import Reason
from gateway.wire.credentials import MAX_ENCODED, BasicCredentials, MalformedCredentials, parse_basic, parse_bearer
from tests.wire.feeding import UNSHRUNK


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("value", "user", "password"),
    [
        ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"),
        ("basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"),
        ("Basic dGVzdDoxMjPCow==", "test", "123£"),
        (basic("ci:"), "ci", ""),
        (basic(":token"), "", "token"),
        (basic("ci:a:b"), "ci", "a:b"),
    ],
)
def test_user_and_password_are_what_stands_around_the_first_colon(value: str, user: str, password: str) -> None:
    assert parse_basic(value) == BasicCredentials(user, password)


@pytest.mark.parametrize("value", ["Bearer a.b-c_d~e+f/g==", "bearer  a.b-c_d~e+f/g=="])
def test_a_bearer_token_is_what_stands_behind_the_scheme(value: str) -> None:
    assert parse_bearer(value) == "a.b-c_d~e+f/g=="


@pytest.mark.parametrize("value", ["Basic QTpi", "Bearers abc", "Bearer-Token abc", ""])
def test_another_scheme_than_bearer_is_not_ours(value: str) -> None:
    assert parse_bearer(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer\ta",
        "Bearer=a",
        "Bearer/a",
        "Bearer a,b",
        "Bearer a=b",
        f"Bearer {'a' * 4097}",
    ],
)
def test_a_malformed_bearer_is_refused_and_not_quoted(value: str) -> None:
    with pytest.raises(MalformedCredentials) as caught:
        parse_bearer(value)
    assert caught.value.reason is Reason.CREDENTIALS_INVALID


@pytest.mark.parametrize("value", ["Bearer abc", "Negotiate", "", "Basically QTpi", "Basic-Token QTpi"])
def test_other_schemes_are_not_ours(value: str) -> None:
    assert parse_basic(value) is None


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("Basic", id="nothing behind the scheme"),
        pytest.param("Basic ", id="only a space"),
        pytest.param("Basic\tQTpi", id="a tab"),
        pytest.param("Basic,QTpi", id="a comma"),
        pytest.param("Basic\xe9 QTpi", id="what no name of a scheme has"),
        pytest.param("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", id="no padding"),
        pytest.param("Basic QTpi=", id="padding too many"),
        pytest.param("Basic QT pi", id="a space inside"),
        pytest.param("Basic QTpi QTpi", id="two"),
        pytest.param("Basic QTp-", id="the alphabet of URLs"),
        pytest.param("Basic \xe9", id="not ASCII"),
        pytest.param("Basic QWxhZGRpbg==", id="no colon"),
        pytest.param("Basic " + b64encode(b"test:123\xa3").decode(), id="Latin-1"),
        pytest.param(basic("a\0b:c"), id="NUL"),
        pytest.param(basic("a:b\nc"), id="line end"),
        pytest.param(basic("a:" + "b" * MAX_ENCODED), id="too long"),
    ],
)
def test_malformed_credentials_are_refused_without_being_quoted(value: str) -> None:
    with pytest.raises(MalformedCredentials) as caught:
        parse_basic(value)
    assert caught.value.reason is Reason.CREDENTIALS_INVALID
    assert caught.value.__cause__ is None
    assert value[6:] == "" or value[6:] not in str(caught.value)


def test_the_longest_credentials_that_are_read_are_of_a_bounded_length() -> None:
    longest = basic("a:" + "b" * (MAX_ENCODED // 4 * 3 - 2))
    assert len(longest) == len("Basic ") + MAX_ENCODED
    assert parse_basic(longest) is not None
    assert parse_bearer(f"Bearer {'a' * MAX_ENCODED}") == "a" * MAX_ENCODED


def test_the_password_is_not_in_the_representation() -> None:
    assert "sesame" not in repr(parse_basic("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="))


PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)


def check_round_trip(parse: Callable[[str], object], user: str, password: str) -> None:
    assert parse(basic(f"{user}:{password}")) == BasicCredentials(user, password)


@given(PRINTABLE.filter(lambda user: ":" not in user), PRINTABLE)
def test_what_a_client_encodes_is_what_is_read(user: str, password: str) -> None:
    check_round_trip(parse_basic, user, password)


def test_the_round_trip_catches_a_parser_that_splits_at_the_last_colon() -> None:
    def at_the_last_colon(value: str) -> object:
        credentials = parse_basic(value)
        assert credentials is not None
        user, _, password = f"{credentials.user}:{credentials.password}".rpartition(":")
        return BasicCredentials(user, password)

    with pytest.raises(AssertionError):
        UNSHRUNK(
            given(st.just("user"), st.text("a:"))(
                lambda user, password: check_round_trip(at_the_last_colon, user, password)
            )
        )()
