"""Contexts towards destinations: made once, and none from what is no certificate."""

import asyncio
import ssl
import time

import pytest

from gateway.intercept.authority import create_authority
from gateway.intercept.trust import Trust


def _authority() -> str:
    return create_authority("corp", time.time())[0].decode()


async def test_one_context_serves_all_that_believe_alike() -> None:
    trust, corp = Trust(), _authority()
    first, second, alpn = await asyncio.gather(
        trust.context_for(corp, ()), trust.context_for(corp, ()), trust.context_for(corp, ("http/1.1",))
    )
    assert first is second
    assert alpn is not first
    assert len(first.get_ca_certs()) == 1


async def test_it_is_strict() -> None:
    context = await Trust().context_for(None, ())
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.verify_flags & ssl.VERIFY_X509_STRICT


async def test_they_are_bounded() -> None:
    trust, corp = Trust(size=1), _authority()
    first = await trust.context_for(corp, ())
    await trust.context_for(_authority(), ())
    assert await trust.context_for(corp, ()) is not first


async def test_what_cannot_be_read_is_tried_anew() -> None:
    trust = Trust()
    for _ in range(2):
        with pytest.raises((ssl.SSLError, ValueError)):
            await trust.context_for("no certificate", ())
