"""What was found out about a token is found out once, and holds no longer than it is true."""

import asyncio
import time
from pathlib import Path

import pytest

from gateway.kubernetes.tokens import verifying
from gateway.kubernetes.tokens.claims import ServiceAccount
from gateway.kubernetes.tokens.keys import KeyRing
from gateway.kubernetes.tokens.verifying import LEEWAY, ByKeys, ByReview, TokenCache, Verified
from gateway.model.addresses import Address
from gateway.model.errors import DownstreamError, InternalError
from gateway.model.reasons import Reason
from tests.helpers.token_issuer import AUDIENCE, ISSUER, TokenIssuer
from tests.kubernetes.cluster import Cluster

HERE, ELSEWHERE = Address(4, 0x0A000001), Address(4, 0x0A000002)
API = ServiceAccount("payments", "api", "api-1")


class Counting:
    """Takes every token for API's, until `until`."""

    def __init__(self, until: float = 2000.0) -> None:
        self.version = 0
        self.is_overdue = False
        self.asked = 0
        self.until = until
        self.error: Exception | None = None

    async def verify(self, token: str) -> Verified:
        self.asked += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return Verified(API if token != "bad" else None, self.until, "no")


class Bed:
    """Its own clock: Unix time `now`, and `set_by` is by how much it was set since."""

    def __init__(self, verifier: Counting) -> None:
        self.now = 1000.0
        self.set_by = 0.0
        self.verifier = verifier
        self.tokens = TokenCache(verifier, self)

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + self.set_by


@pytest.fixture
def bed() -> Bed:
    return Bed(Counting())


async def test_a_crowd_with_one_token_is_one_check(bed: Bed) -> None:
    crowd = [bed.tokens.account_of("t", HERE) for _ in range(20)]
    assert set(await asyncio.gather(*crowd)) == {API}
    assert await bed.tokens.account_of("t", HERE) == API
    assert bed.verifier.asked == 1


async def test_a_verdict_ends_with_the_token_and_with_the_keys(bed: Bed) -> None:
    await bed.tokens.account_of("t", HERE)
    bed.now = 2000.5
    await bed.tokens.account_of("t", HERE)
    assert bed.verifier.asked == 2
    bed.verifier.version, bed.verifier.until = 1, 9000.0
    await bed.tokens.account_of("t", HERE)
    await bed.tokens.account_of("t", HERE)
    assert bed.verifier.asked == 3


async def test_a_verdict_by_keys_that_are_overdue_is_found_out_anew(bed: Bed) -> None:
    await bed.tokens.account_of("t", HERE)
    bed.verifier.is_overdue = True
    await bed.tokens.account_of("t", HERE)
    assert bed.verifier.asked == 2


async def test_a_clock_that_is_set_back_makes_no_verdict_last_longer(bed: Bed) -> None:
    """Of a pod that was deleted, say."""
    await bed.tokens.account_of("t", HERE)
    bed.now, bed.set_by = 1900.0, -3600.0
    await bed.tokens.account_of("t", HERE)
    assert bed.verifier.asked == 1
    bed.now = 2000.5
    await bed.tokens.account_of("t", HERE)
    assert bed.verifier.asked == 2


async def test_a_refusal_is_remembered_too_and_an_error_is_not(bed: Bed) -> None:
    for _ in range(2):
        with pytest.raises(DownstreamError, match="token_invalid"):
            await bed.tokens.account_of("bad", HERE)
    assert bed.verifier.asked == 1
    bed.verifier.error = InternalError(Reason.TOKEN_UNVERIFIABLE)
    for _ in range(2):
        with pytest.raises(InternalError):
            await bed.tokens.account_of("t", HERE)
    assert bed.verifier.asked == 3


async def test_what_is_remembered_is_bounded_and_holds_no_token(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "CACHED", 3)
    for number in range(9):
        await bed.tokens.account_of(f"token {number}", HERE)
    assert len(bed.tokens._verdicts) == 3
    assert "token 8" not in repr(bed.tokens.__dict__)


async def test_one_that_goes_away_takes_the_check_from_nobody_else(bed: Bed) -> None:
    first, second = (asyncio.create_task(bed.tokens.account_of("t", HERE)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == API
    assert bed.verifier.asked == 1


class Waiting(Counting):
    """Checks end when a test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.going_on = asyncio.Event()

    async def verify(self, token: str) -> Verified:
        verified = await super().verify(token)
        await self.going_on.wait()
        return verified


async def test_who_guesses_makes_nobody_wait_but_itself() -> None:
    verifier = Waiting()
    bed = Bed(verifier)
    guesses = [asyncio.create_task(bed.tokens.account_of(f"guess {number}", HERE)) for number in range(500)]
    other = asyncio.create_task(bed.tokens.account_of("t", ELSEWHERE))
    for _ in range(5):  # turns of the loop
        await asyncio.sleep(0)
    assert verifier.asked == 2
    verifier.going_on.set()
    assert await other == API
    assert set(await asyncio.gather(*guesses)) == {API}


async def test_clocks_may_differ_a_little() -> None:
    issuer = TokenIssuer()

    async def fetch() -> bytes:
        return issuer.key_set()

    verifier = ByKeys(KeyRing(fetch, time.monotonic), ISSUER, AUDIENCE)
    now = int(time.time())
    late = await verifier.verify(issuer.token(exp=now - 5))
    assert (late.account, late.until) == (API, now - 5 + LEEWAY)
    assert (await verifier.verify(issuer.token(nbf=now + 5))).account == API
    with pytest.raises(DownstreamError) as refusal:
        await verifier.verify(issuer.token(exp=now - LEEWAY - 5))
    assert refusal.value.reason is Reason.TOKEN_EXPIRED


async def test_tokens_that_wait_for_the_server_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "REVIEWS_WAITING", 3)
    issuer, cluster = TokenIssuer(), Cluster(tmp_path)
    with cluster.api as api:
        server = cluster.client()
        reviews = ByReview(server, AUDIENCE, time.time)
        tokens = [issuer.token(jti=str(number)) for number in range(10)]
        told = await asyncio.gather(*map(reviews.verify, tokens), return_exceptions=True)
        waited = [each for each in told if isinstance(each, Verified)]
        refused = [each for each in told if isinstance(each, InternalError)]
        assert (len(waited), len(refused), len(api.reviews)) == (3, 7, 3)
        assert {each.account for each in waited} == {None}
        await server.close()


async def test_a_server_that_does_not_know_our_audience_is_not_believed(tmp_path: Path) -> None:
    issuer, cluster = TokenIssuer(), Cluster(tmp_path)
    token = issuer.token()
    cluster.api.audiences = ["another"]
    cluster.api.accounts[token] = {"username": "system:serviceaccount:payments:api"}
    with cluster.api:
        server = cluster.client()
        verdict = await ByReview(server, AUDIENCE, time.time).verify(token)
        assert (verdict.account, verdict.detail) == (None, "it is for another audience")
        await server.close()
