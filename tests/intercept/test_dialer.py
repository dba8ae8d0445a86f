"""Connections to destinations that are verified."""

from contextlib import closing
from dataclasses import replace
from functools import partial
from socket import socket
from ssl import SSLObject
from typing import Any, cast

import pytest

from gateway.intercept import dialer
from gateway.intercept.dialer import VerifyingDialer
from gateway.intercept.tls_sessions import TlsSessions
from gateway.intercept.trust import Showable, Trust
from gateway.model.decision import Permit
from gateway.model.errors import InternalError
from gateway.model.inspection.terms import Inspection
from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.model.record import Dialled
from gateway.model.roles import Upstream
from gateway.net.kernel.descriptors import Descriptors
from gateway.net.stream import Stream
from gateway.net.tls.contexts import ClientCertificate
from gateway.policy.requests.credentials import SecretScope
from gateway.policy.rules import HostPattern, Reach
from tests.helpers.certificates import Authority, pem
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import stream_and_peer
from tests.telemetry.drafts import address, asked, permit_of

HERE = HostName("api.stripe.com")


class Shaken:
    def selected_alpn_protocol(self) -> None: ...


async def _shake(*_: object) -> SSLObject:
    return cast("SSLObject", Shaken())


@pytest.mark.parametrize("named", [None, "own"])
async def test_it_is_known_whether_a_certificate_of_ours_is_shown(
    named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialer, "handshake_upstream", _shake)
    issued = Authority("partners").leaf("own")
    shown = ClientCertificate(pem(issued.certificate), issued.key_pem)
    trust = Trust({"own": Showable(shown, SecretScope((HostPattern(HERE, Reach.EXACT),)))})
    permit = permit_of(asked())
    permit = replace(permit, terms=replace(permit.terms, inspection=Inspection(client_certificate=named)))
    stream, peer = await stream_and_peer()
    unused = cast("Any", None)
    dial = partial(VerifyingDialer, unused, trust, TlsSessions(lambda: 0.0), HandDeadlines(), unused)
    verifying = dial((address("10.0.0.1"), 40000), HERE, is_permitted=True, alpn=(), on_handshake=lambda _: None)
    with peer:
        reached = await verifying.secure(Upstream(Dialled(address("127.0.0.1"), (), (), None, 0.0), stream), permit)
        stream.abort()
    assert reached.presents is (named is not None)


class Dialling:
    """Fulfils `roles.Dialer`, and keeps both ends."""

    def __init__(self) -> None:
        self.ends: list[tuple[Stream, socket]] = []

    async def dial(self, permit: Permit) -> Upstream[Stream]:
        self.ends.append(await stream_and_peer())
        return Upstream(Dialled(address("127.0.0.1"), (), (), None, 0.0), self.ends[-1][0])

    def close(self) -> None:
        for stream, peer in self.ends:
            stream.abort()
            peer.close()


async def test_only_connections_that_are_open_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer, "handshake_upstream", _shake)
    permit, sessions, descriptors = permit_of(asked()), TlsSessions(lambda: 0.0), Descriptors()
    with closing(Dialling()) as dialling:
        dial = partial(VerifyingDialer, dialling, Trust({}), sessions, HandDeadlines(), descriptors)
        verifying = dial((address("10.0.0.1"), 40000), HERE, is_permitted=True, alpn=(), on_handshake=lambda _: None)
        for _ in range(dialer.CONNECTIONS):
            await verifying.dial(permit)
        with pytest.raises(InternalError) as refusal:
            await verifying.dial(permit)
        dialling.ends[0][0].abort()
        await verifying.dial(permit)
    assert refusal.value.reason is Reason.TOO_MANY_TUNNELS_OF_CLIENT
