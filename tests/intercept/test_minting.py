"""Contexts for inspected names: made once, kept while they are good, bounded, and good for a handshake."""

import asyncio
import ssl
import threading
import time

import pytest

from gateway.intercept import minting as module
from gateway.intercept.authority import CertificateAuthority, Leaf, create_authority, read_authority
from gateway.intercept.minting import Minting
from gateway.model.authority import Host
from gateway.model.names import HostName
from tests.helpers.handshakes import shake_hands

DAY = 86400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class CountingAuthority(CertificateAuthority):
    """Notes for whom it signed, and waits until it may."""

    def __init__(self, signer: CertificateAuthority) -> None:
        self._signer = signer
        self.signed: list[Host] = []
        self.may_sign = threading.Event()
        self.may_sign.set()

    def mint(self, host: Host, now: float, validity: float) -> Leaf:
        assert self.may_sign.wait(10)
        self.signed.append(host)
        return self._signer.mint(host, now, validity)


def build(size: int = 10) -> tuple[Minting, CountingAuthority, Clock]:
    clock = Clock()
    counting = CountingAuthority(read_authority(*create_authority("egress", clock.now), clock.now))
    return Minting(counting, 7 * DAY, size, clock), counting, clock


A, B, C = HostName("a.test"), HostName("b.test"), HostName("c.test")


async def test_a_context_is_made_once_and_kept() -> None:
    minting, authority, _ = build()
    first = await minting.context_for(A, ["http/1.1"])
    assert await minting.context_for(A, ["http/1.1"]) is first
    assert authority.signed == [A]


async def test_one_of_a_clock_that_was_ahead_is_made_again_when_it_is_set_right() -> None:
    minting, authority, clock = build()
    clock.now += DAY
    early = await minting.context_for(A, ())
    clock.now -= DAY  # where everybody else is: who looks at `notBefore` would not accept it
    right = await minting.context_for(A, ())
    assert right is not early
    assert await minting.context_for(A, ()) is right
    assert authority.signed == [A, A]


async def test_what_many_ask_for_at_once_is_made_once_even_if_the_first_goes_away() -> None:
    minting, authority, _ = build()
    authority.may_sign.clear()
    askers = [asyncio.ensure_future(minting.context_for(A, ())) for _ in range(20)]
    await asyncio.sleep(0)
    askers[0].cancel()
    authority.may_sign.set()
    contexts = await asyncio.gather(*askers[1:])
    assert len(set(map(id, contexts))) == 1
    assert authority.signed == [A]


async def test_a_leaf_is_made_anew_at_half_its_life() -> None:
    minting, authority, clock = build()
    first = await minting.context_for(A, ())
    clock.now += 3.4 * DAY
    assert await minting.context_for(A, ()) is first
    clock.now += 0.2 * DAY
    assert await minting.context_for(A, ()) is not first
    assert authority.signed == [A, A]


async def test_a_context_that_remembers_more_than_its_share_of_sessions_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SESSIONS", 4)
    minting, authority, clock = build()
    clock.now = time.time()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.options |= ssl.OP_NO_TICKET  # as some clients have it: then the server has to remember
    other, first = await minting.context_for(B, ()), await minting.context_for(A, ())
    for _ in range(2):
        shake_hands(client, first, A, None)
    assert await minting.context_for(A, ()) is first
    shake_hands(client, first, A, None)
    assert await minting.context_for(A, ()) is first  # they were counted in this second
    clock.now += 1
    assert await minting.context_for(A, ()) is not first
    assert await minting.context_for(B, ()) is other
    assert authority.signed == [B, A, A]


async def test_the_least_recently_used_goes_first() -> None:
    minting, authority, _ = build(size=2)
    for host in (A, B, A, C, A, B):
        await minting.context_for(host, ())
    assert authority.signed == [A, B, C, B]
    assert len(minting) == 2


async def test_a_failure_to_mint_reaches_all_who_wait_and_the_next_tries_again() -> None:
    minting, authority, _ = build()
    signer, authority._signer = authority._signer, None  # type: ignore[assignment] # a planted fault
    with pytest.raises(AttributeError):
        await minting.context_for(A, ())
    authority._signer = signer
    assert isinstance(await minting.context_for(A, ()), ssl.SSLContext)


async def test_clients_that_trust_the_authority_shake_hands_and_resume() -> None:
    clock = Clock()
    clock.now = time.time()
    certificate, key = create_authority("egress", clock.now)
    minting = Minting(read_authority(certificate, key, clock.now), 7 * DAY, 10, clock)
    server = await minting.context_for(A, ["http/1.1"])
    client = ssl.create_default_context(cadata=certificate.decode())
    client.set_alpn_protocols(["h2", "http/1.1"])
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # its sessions are known when the handshake ends
    first = shake_hands(client, server, A, None)
    assert first.selected_alpn_protocol() == "http/1.1"
    assert first.cipher()[0].startswith("ECDHE-")  # type: ignore[index] # the handshake is over
    assert shake_hands(client, server, A, first.session).session_reused
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(client, server, B, None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_protocols_are_refused(version: ssl.TLSVersion) -> None:
    minting, _, _ = build()
    server = await minting.context_for(A, ())
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = version
    with pytest.raises(ssl.SSLError):
        shake_hands(client, server, A, None)
