"""Contexts towards destinations: made once, and none from what is no certificate."""

import asyncio
import errno
import ssl
import time

import pytest

from gateway.intercept.authority import create_authority
from gateway.intercept.trust import Showable, Trust
from gateway.model.errors import InternalError
from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.net.tls.contexts import ClientCertificate
from gateway.policy.requests.credentials import SecretScope
from gateway.policy.rules import HostPattern, Reach
from tests.helpers.certificates import Authority, pem


def _authority() -> str:
    return create_authority("corp", time.time())[0].decode()


def _certificate(issuer: Authority, name: str) -> ClientCertificate:
    issued = issuer.leaf(name)
    return ClientCertificate(pem(issued.certificate), issued.key_pem)


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


async def test_a_context_shows_one_certificate_alone() -> None:
    trust, corp, issuer = Trust(), _authority(), Authority("partners")
    one, other = (_certificate(issuer, name) for name in ("one", "other"))
    contexts = [await trust.context_for(corp, (), shown) for shown in (None, one, other)]
    assert len({id(context) for context in contexts}) == 3
    again = ClientCertificate(bytes(one.cert), bytes(one.key))
    assert await trust.context_for(corp, (), again) is contexts[1]


async def test_a_certificate_goes_nowhere_but_where_it_may() -> None:
    shown = _certificate(Authority("partners"), "one")
    here, there = HostName("a.example"), HostName("b.example")
    trust = Trust({"own": Showable(shown, SecretScope((HostPattern(here, Reach.EXACT),), frozenset({"payments"})))})
    assert trust.certificate("own", here, ["payments"]) is shown
    for name, host, groups in (("other", here, ["payments"]), ("own", there, ["payments"]), ("own", here, ["web"])):
        with pytest.raises(InternalError) as refusal:
            trust.certificate(name, host, groups)
        assert refusal.value.reason is Reason.SECRET_UNAVAILABLE


async def test_they_are_bounded() -> None:
    trust, corp = Trust(size=1), _authority()
    first = await trust.context_for(corp, ())
    await trust.context_for(_authority(), ())
    assert await trust.context_for(corp, ()) is not first


async def test_what_cannot_be_read_is_tried_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    trust, corp = Trust(), _authority()
    with monkeypatch.context() as patched:
        patched.setattr("gateway.intercept.trust.client_context", _no_descriptors)
        with pytest.raises(OSError, match="too many"):
            await trust.context_for(corp, ())
    await trust.context_for(corp, ())


def _no_descriptors(*_: object) -> ssl.SSLContext:
    raise OSError(errno.EMFILE, "too many")
