"""Keys are asked for when they are needed, once at a time, and never at a stranger's pace."""

import asyncio
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.kubernetes.tokens import keys
from gateway.kubernetes.tokens.keys import (
    KEEP_SECONDS,
    MAX_KEYS,
    REFRESH_PAUSE,
    REFRESH_SECONDS,
    TRUST_SECONDS,
    KeyRing,
    KeysUnavailable,
    parse_keys,
)
from tests.helpers.token_issuer import TokenIssuer

SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    made = TokenIssuer()
    made.rotate(ec.generate_private_key(ec.SECP256R1()))
    made.rotate(ec.generate_private_key(ec.SECP384R1()))
    made.rotate(SMALL)
    return made


def test_keys_for_two_algorithms_are_taken_and_no_others(issuer: TokenIssuer) -> None:
    taken = parse_keys(issuer.key_set())
    assert {kid: key.algorithm for kid, key in taken.items()} == {"k1": "RS256", "k2": "ES256"}


@pytest.mark.parametrize(
    "changed",
    [{"use": "enc"}, {"alg": "HS256"}, {"alg": "PS256"}, {"kty": "oct", "k": "c2VjcmV0"}, {"n": "?"}, {"d": "AQAB"}],
)
def test_a_key_for_something_else_is_left_out(issuer: TokenIssuer, changed: dict[str, Any]) -> None:
    first = json.loads(issuer.key_set())["keys"][0]
    assert parse_keys(json.dumps({"keys": [{**first, **changed}, "nonsense"]}).encode()) == {}


def test_a_set_is_read_to_its_bound(issuer: TokenIssuer) -> None:
    first = json.loads(issuer.key_set())["keys"][0]
    many = [{**first, "kid": str(number)} for number in range(MAX_KEYS + 5)]
    assert len(parse_keys(json.dumps({"keys": many}).encode())) == MAX_KEYS


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys": 1}', b"\xff"])
def test_what_is_no_key_set_is_refused(text: bytes) -> None:
    with pytest.raises(KeysUnavailable):
        parse_keys(text)


class Ring:
    """A ring, its clock, and the issuer that it asks. `failing`: it cannot be reached."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self.now = 1000.0
        self.fetched = 0
        self.failing = False
        self.hanging: asyncio.Event | None = None
        self.without: tuple[str, ...] = ()
        self._issuer = issuer
        self.ring = KeyRing(self._fetch, lambda: self.now)

    async def _fetch(self) -> bytes:
        self.fetched += 1
        await asyncio.sleep(0)
        if self.hanging is not None:
            await self.hanging.wait()
        if self.failing:
            raise KeysUnavailable("no route")
        return self._issuer.key_set(*self.without)

    async def settle(self) -> None:
        if self.ring._fetching is not None:
            await self.ring._fetching


@pytest.fixture
def ring(issuer: TokenIssuer) -> Ring:
    return Ring(issuer)


async def test_a_crowd_that_needs_a_key_asks_once(ring: Ring) -> None:
    found = await asyncio.gather(*(ring.ring.key("k1") for _ in range(50)))
    assert ({key.algorithm for key in found if key}, ring.fetched) == ({"RS256"}, 1)


async def test_unknown_keys_are_asked_for_no_more_often_than_the_pause_allows(ring: Ring) -> None:
    for _ in range(100):
        assert await ring.ring.key("nobody") is None
        ring.now += REFRESH_PAUSE / 50
    assert ring.fetched == 2


async def test_after_a_fault_of_ours_the_issuer_is_asked_no_more_often_either(
    ring: Ring, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def parse(_: bytes) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(keys, "parse_keys", parse)
    for _ in range(100):
        with pytest.raises(KeysUnavailable, match="internal error"):
            await ring.ring.key("k1")
        ring.now += REFRESH_PAUSE / 50
    assert ring.fetched == 2
    assert "planted" in caplog.text


async def test_a_new_key_is_found_and_one_taken_back_is_gone(ring: Ring) -> None:
    ring.without = ("k2",)
    assert await ring.ring.key("k2") is None
    version = ring.ring.version
    ring.without = ("k1",)
    ring.now += REFRESH_PAUSE
    assert await ring.ring.key("k2") is not None
    assert (await ring.ring.key("k1"), ring.ring.version) == (None, version + 1)


async def test_old_keys_are_asked_for_again_without_anybody_waiting(ring: Ring) -> None:
    await ring.ring.key("k1")
    ring.without, version = ("k1",), ring.ring.version
    ring.now += REFRESH_SECONDS + 1
    assert await ring.ring.key("k1") is not None
    await ring.settle()
    assert (await ring.ring.key("k1"), ring.ring.version, ring.fetched) == (None, version + 1, 2)


async def test_after_a_quiet_time_a_key_that_was_taken_back_is_trusted_by_nobody(ring: Ring) -> None:
    await ring.ring.key("k1")
    ring.without, ring.now = ("k1",), ring.now + TRUST_SECONDS + 1
    assert ring.ring.is_overdue
    assert await ring.ring.key("k1") is None
    assert not ring.ring.is_overdue


async def test_only_the_first_waits_for_an_issuer_that_does_not_answer(ring: Ring) -> None:
    await ring.ring.key("k1")
    ring.failing, ring.now = True, ring.now + TRUST_SECONDS + 1
    assert await ring.ring.key("k1") is not None
    ring.now += REFRESH_PAUSE
    waiting = asyncio.ensure_future(ring.ring.key("k1"))
    await asyncio.sleep(0)
    assert (waiting.done(), ring.fetched) == (True, 2)
    await ring.settle()
    ring.failing, ring.without, ring.now = False, ("k1",), ring.now + TRUST_SECONDS + REFRESH_PAUSE
    assert await ring.ring.key("k1") is None


async def test_nobody_with_a_known_key_waits_long_for_an_issuer_that_hangs(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PATIENCE", 0.01)
    await ring.ring.key("k1")
    ring.hanging, ring.now = asyncio.Event(), ring.now + TRUST_SECONDS + 1
    async with asyncio.timeout(5):
        assert await ring.ring.key("k1") is not None
    ring.hanging.set()
    await ring.settle()


async def test_while_the_issuer_is_silent_known_keys_hold_and_unknown_ones_are_nobodys_verdict(ring: Ring) -> None:
    await ring.ring.key("k1")
    ring.failing = True
    ring.now += REFRESH_SECONDS + 1
    await ring.ring.key("k1")
    await ring.settle()
    assert await ring.ring.key("k1") is not None
    with pytest.raises(KeysUnavailable, match="no route"):
        await ring.ring.key("nobody")
    ring.now += KEEP_SECONDS
    with pytest.raises(KeysUnavailable):
        await ring.ring.key("k1")
    await ring.settle()


async def test_an_issuer_that_does_not_answer_is_told_once_and_so_is_that_it_does_again(
    ring: Ring, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ring.failing = True
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            await ring.ring.key("k1")
        ring.now += REFRESH_PAUSE
    ring.failing = False
    for _ in range(2):
        await ring.ring.key("k1")
        ring.now += REFRESH_SECONDS + 1
    await ring.settle()
    assert caplog.messages == [
        "the keys of the token issuer cannot be fetched: no route",
        "the keys of the token issuer are fetched again",
    ]
