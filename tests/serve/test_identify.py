"""Who is asking: sources in their order, and no falling through from a wrong credential."""

import asyncio
import threading
from base64 import b64encode

import bcrypt
import pytest

from gateway.model.addresses import Address
from gateway.model.client import Certificate, Client, IdentitySource
from gateway.model.errors import DownstreamError, Refused
from gateway.model.reasons import Reason
from gateway.serve import identify
from gateway.serve.identify import CertificateNames, Challenge, CredentialSource, Identifier, PasswordFile
from gateway.wire.head import RequestHead
from tests.policy.builders import NOW, ask, build, connect, denied, group, rule

PEER = Address(4, 0x0A000105)
USERS = {"ci": bcrypt.hashpw(b"correct-horse", bcrypt.gensalt(4))}


def _head(*authorizations: str) -> RequestHead:
    return RequestHead("CONNECT", "x.test:443", 1, tuple(("proxy-authorization", value) for value in authorizations), 0)


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _identifier(challenge: Challenge = Challenge.AUTO) -> Identifier:
    return Identifier([PasswordFile(USERS)], challenge)


async def test_a_right_password_names_the_user() -> None:
    client = await _identifier().identify(PEER, _head(_basic("ci", "correct-horse")), None)
    assert client == Client(PEER, IdentitySource.BASIC, user="ci")


async def test_without_credentials_the_address_is_who_it_is() -> None:
    assert await _identifier().identify(PEER, _head(), None) == Client(PEER)


async def test_another_scheme_passes_on() -> None:
    assert await _identifier().identify(PEER, _head("Bearer abc"), None) == Client(PEER)


@pytest.mark.parametrize(
    "value", [_basic("ci", "wrong"), _basic("nobody", "correct-horse"), "Basic ", "Basic %%%", "Basic bm9jb2xvbg=="]
)
async def test_a_credential_that_is_not_accepted_ends_the_attempt(value: str) -> None:
    with pytest.raises(DownstreamError) as refusal:
        await _identifier().identify(PEER, _head(value), None)
    assert refusal.value.reason is Reason.CREDENTIALS_INVALID
    assert "wrong" not in str(refusal.value)


async def test_two_credentials_are_no_choice() -> None:
    good = _basic("ci", "correct-horse")
    with pytest.raises(DownstreamError, match="more than one") as refusal:
        await _identifier().identify(PEER, _head(good, good), None)
    assert refusal.value.reason is Reason.CREDENTIALS_INVALID


async def test_with_challenge_always_nobody_passes_without_credentials() -> None:
    with pytest.raises(DownstreamError) as refusal:
        await _identifier(Challenge.ALWAYS).identify(PEER, _head(), None)
    assert refusal.value.reason is Reason.CREDENTIALS_MISSING


async def test_a_verdict_is_remembered_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = []

    def counting(password: bytes, stored: bytes) -> bool:
        checks.append(password)
        return bcrypt.checkpw(password, stored)

    monkeypatch.setattr(identify, "_matches", counting)
    passwords = PasswordFile(USERS)
    for _ in range(3):
        await passwords.identify(PEER, _head(_basic("ci", "correct-horse")), None)
    assert len(checks) == 1
    assert "correct-horse" not in repr(passwords.__dict__)


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify, "REMEMBERED", 3)
    passwords = PasswordFile(USERS)
    for number in range(6):
        with pytest.raises(DownstreamError):
            await passwords.identify(PEER, _head(_basic("ci", f"wrong {number}")), None)
    assert len(passwords._verdicts) == 3


async def test_of_what_is_remembered_the_oldest_is_forgotten_and_not_what_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks = []

    def counting(password: bytes, stored: bytes) -> bool:
        checks.append(password)
        return bcrypt.checkpw(password, stored)

    monkeypatch.setattr(identify, "REMEMBERED", 2)
    monkeypatch.setattr(identify, "_matches", counting)
    passwords = PasswordFile(USERS)
    for number in range(4):
        assert await passwords.identify(PEER, _head(_basic("ci", "correct-horse")), None) is not None
        with pytest.raises(DownstreamError):
            await passwords.identify(PEER, _head(_basic("ci", f"wrong {number}")), None)
    assert checks.count(b"correct-horse") == 1


async def test_of_a_password_what_bcrypt_looks_at_counts_and_no_less() -> None:
    passwords = PasswordFile({"ci": bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))})
    for length in (72, 73, 100):
        assert await passwords.identify(PEER, _head(_basic("ci", "x" * length)), None) is not None
    with pytest.raises(DownstreamError):
        await passwords.identify(PEER, _head(_basic("ci", "x" * 71)), None)


async def test_an_unknown_user_costs_a_password_check_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []

    def noting(password: bytes, stored: bytes) -> bool:
        costs.append(stored.split(b"$")[2])
        return False

    monkeypatch.setattr(identify, "_matches", noting)
    for user in ("ci", "nobody"):
        with pytest.raises(DownstreamError):
            await _identifier().identify(PEER, _head(_basic(user, "x")), None)
    assert costs[0] == costs[1]


async def test_a_crowd_with_the_same_credentials_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = []

    def counting(password: bytes, stored: bytes) -> bool:
        checks.append(password)
        return bcrypt.checkpw(password, stored)

    monkeypatch.setattr(identify, "_matches", counting)
    passwords = PasswordFile(USERS)
    crowd = [passwords.identify(PEER, _head(_basic("ci", "correct-horse")), None) for _ in range(20)]
    assert set(await asyncio.gather(*crowd)) == {Client(PEER, IdentitySource.BASIC, user="ci")}
    assert len(checks) == 1


async def test_who_guesses_makes_nobody_else_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guesses hang until they are let go: neither another client's check nor the loop's own threads need a turn."""
    let_go = threading.Event()

    def hanging(password: bytes, stored: bytes) -> bool:
        return bcrypt.checkpw(password, stored) if password == b"correct-horse" else not let_go.wait(10)

    monkeypatch.setattr(identify, "_matches", hanging)
    passwords = PasswordFile(USERS)
    heads = [_head(_basic("ci", f"guess {n}")) for n in range(50)]
    guesses = [asyncio.create_task(passwords.identify(PEER, head, None)) for head in heads]
    try:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            other = Address(4, PEER.value + 1)
            client = await passwords.identify(other, _head(_basic("ci", "correct-horse")), None)
            assert client == Client(other, IdentitySource.BASIC, user="ci")
            assert await asyncio.to_thread(lambda: "free") == "free"
        assert not any(guess.done() for guess in guesses)
    finally:
        let_go.set()
        await asyncio.gather(*guesses, return_exceptions=True)


SVID = "spiffe://cluster.local/ns/payments/sa/api"


@pytest.mark.parametrize(
    ("certificate", "spiffe", "name"),
    [
        (Certificate("", uris=(SVID,)), SVID, None),
        (Certificate("commonName=api", "api", ("a.test", "b.test"), (SVID,)), SVID, "a.test"),
        (Certificate("organizationName=x,commonName=api", "api"), None, "api"),
        (Certificate("organizationName=x"), None, "organizationName=x"),
        (Certificate("", uris=("https://a.test/", "https://b.test/")), None, None),
    ],
)
async def test_a_verified_certificate_says_who_it_is(
    certificate: Certificate, spiffe: str | None, name: str | None
) -> None:
    client = await Identifier([CertificateNames()]).identify(PEER, _head(), certificate)
    assert client == Client(PEER, IdentitySource.MTLS, spiffe=spiffe, certificate=name)


@pytest.mark.parametrize(
    "uris",
    [
        (SVID, SVID),
        (SVID, "https://a.test/"),
        ("spiffe://cluster.local",),
        ("spiffe://cluster.local/",),
        ("SPIFFE://cluster.local/a",),
        ("spiffe://Cluster.local/a",),
        ("spiffe://cluster.local:1/a",),
        ("spiffe://user@cluster.local/a",),
        ("spiffe://cluster.local/a//b",),
        ("spiffe://cluster.local/a/../b",),
        ("spiffe://cluster.local/a/.",),
        ("spiffe://cluster.local/a/",),
        ("spiffe://cluster.local/a?b",),
        ("spiffe://cluster.local/a%2fb",),
        ("spiffe://cluster.local/" + "a" * 2048,),
        ("spiffe:cluster.local/a",),
    ],
)
async def test_what_claims_to_be_a_spiffe_id_and_is_not_exactly_one_ends_the_attempt(uris: tuple[str, ...]) -> None:
    with pytest.raises(DownstreamError) as refusal:
        await Identifier([CertificateNames(), PasswordFile(USERS)]).identify(
            PEER, _head(_basic("ci", "correct-horse")), Certificate("CN=x", uris=uris)
        )
    assert refusal.value.reason is Reason.CREDENTIALS_INVALID


async def test_sources_are_asked_in_their_order() -> None:
    sources: list[CredentialSource] = [PasswordFile(USERS), CertificateNames()]
    for order, user in ((sources, "ci"), (sources[::-1], None)):
        client = await Identifier(order).identify(
            PEER, _head(_basic("ci", "correct-horse")), Certificate("", uris=(SVID,))
        )
        assert client.user == user


async def test_who_shows_no_certificate_passes_on() -> None:
    assert await Identifier([CertificateNames()]).identify(PEER, _head(), None) == Client(PEER)


# What a denied client is told

RULES = build(group("ci", user="ci"), rule("a", "x.test", clients="ci"))
PASSWORDS = PasswordFile(USERS)


class Tokens:
    """Fulfils `CredentialSource` as one of tokens, which make nobody a user."""

    asks = IdentitySource.TOKEN

    async def identify(self, address: Address, head: object, certificate: Certificate | None) -> Client | None:
        return None


@pytest.mark.parametrize(
    ("identifier", "client", "target", "asked"),
    [
        (Identifier([PASSWORDS]), Client(PEER), "x.test:443", True),
        (Identifier([CertificateNames(), PASSWORDS]), Client(PEER), "x.test:443", True),
        (Identifier([PASSWORDS]), Client(PEER, IdentitySource.KUBERNETES, namespace="pay"), "x.test:443", True),
        (Identifier([PASSWORDS]), Client(PEER), "y.test:443", False),
        (Identifier([PASSWORDS]), Client(PEER, IdentitySource.BASIC, user="other"), "x.test:443", False),
        (Identifier([CertificateNames()]), Client(PEER), "x.test:443", False),
        (Identifier([Tokens()]), Client(PEER), "x.test:443", False),
        (Identifier([Tokens(), PASSWORDS]), Client(PEER), "x.test:443", True),
        (Identifier([]), Client(PEER), "x.test:443", False),
        (Identifier([PASSWORDS], Challenge.NEVER), Client(PEER), "x.test:443", False),
    ],
)
def test_a_denied_client_is_asked_for_credentials_only_where_they_would_help(
    identifier: Identifier, client: Client, target: str, asked: bool
) -> None:
    intent = connect(target)
    denial = denied(ask(RULES, intent, client))
    refusal = identifier.refusal(denial, client, intent, RULES, NOW)
    if asked:
        assert isinstance(refusal, DownstreamError)
        assert (refusal.reason, refusal.detail) == (Reason.CREDENTIALS_MISSING, "no_rule without credentials")
    else:
        assert isinstance(refusal, Refused)
        assert refusal.denial is denial
