"""What is meant as a token is judged as one, wherever it stands."""

from base64 import b64encode

import pytest

from gateway.app.clock import SystemClock
from gateway.kubernetes.tokens.claims import ServiceAccount
from gateway.kubernetes.tokens.source import TokenSource
from gateway.kubernetes.tokens.verifying import TokenCache, Verified
from gateway.model.addresses import Address
from gateway.model.client import Client, IdentitySource
from gateway.model.errors import DownstreamError
from gateway.model.reasons import Reason
from gateway.wire.head import RequestHead

PEER = Address(4, 0x0A000105)
TOKEN = "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2ln"


class Believer:
    version = 0
    is_overdue = False

    async def verify(self, token: str) -> Verified:
        return Verified(ServiceAccount("payments", "api", "api-1"), 0.0)


def source(*, passwords: bool = True) -> TokenSource:
    return TokenSource(TokenCache(Believer(), SystemClock()), passwords=passwords)


def head(*values: str) -> RequestHead:
    return RequestHead("CONNECT", "x.test:443", 1, tuple(("proxy-authorization", value) for value in values), 0)


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}", basic("token", TOKEN), basic("ci", TOKEN), basic("", TOKEN)])
async def test_a_token_names_an_account(value: str) -> None:
    client = Client(PEER, IdentitySource.TOKEN, namespace="payments", service_account="api", pod="api-1")
    assert await source().identify(PEER, head(value), None) == client


@pytest.mark.parametrize("values", [(), ("Negotiate abc",), (basic("ci", "correct-horse"),)])
async def test_what_is_no_token_passes_on(values: tuple[str, ...]) -> None:
    assert await source().identify(PEER, head(*values), None) is None


@pytest.mark.parametrize(
    "value", ["Bearer abc", basic("token", "correct-horse"), basic("ci", "eyJ.x.y z"), basic("ci", "eyJx.y.\u00e9")]
)
async def test_what_was_meant_as_a_token_never_passes_on(value: str) -> None:
    with pytest.raises(DownstreamError) as refusal:
        await source().identify(PEER, head(value), None)
    assert refusal.value.reason is Reason.TOKEN_INVALID


async def test_where_nobody_has_passwords_every_password_is_meant_as_a_token() -> None:
    with pytest.raises(DownstreamError):
        await source(passwords=False).identify(PEER, head(basic("ci", "correct-horse")), None)


@pytest.mark.parametrize("values", [(f"Bearer {TOKEN}", f"Bearer {TOKEN}"), ("Basic %%%",), ("Bearer",)])
async def test_malformed_credentials_end_the_attempt(values: tuple[str, ...]) -> None:
    with pytest.raises(DownstreamError) as refusal:
        await source().identify(PEER, head(*values), None)
    assert refusal.value.reason is Reason.CREDENTIALS_INVALID
