"""Reaches a destination over TLS and verifies it: the connections for requests inside an inspected tunnel."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from ssl import SSLObject

from gateway.exchange.pacing.health import note_handshake
from gateway.intercept.handshakes import handshake_upstream
from gateway.intercept.tls_sessions import TlsSessions
from gateway.intercept.trust import Trust
from gateway.model.addresses import Address
from gateway.model.authority import Host
from gateway.model.decision import Permit
from gateway.model.errors import InternalError
from gateway.model.reasons import Reason
from gateway.model.roles import Breakers, Deadlines, Dialer, Upstream
from gateway.net.dialer import send_proxy_header
from gateway.net.kernel.descriptors import Descriptors
from gateway.net.stream import Stream
from gateway.net.tls.contexts import ClientCertificate
from gateway.net.tls.transport import Resumption

CONNECTIONS = 16
"""Connections that one tunnel may have to its destination. An HTTP/2 client would otherwise take one for each stream
where the destination speaks only HTTP/1 or takes few streams, and with a few tunnels all descriptors of the process."""


class VerifyingDialer:
    """Fulfils `roles.Dialer` for one tunnel of `client`. `name` is whom the destination has to prove to be;
    `is_permitted`: the permit covers that name. `alpn` is offered; `on_handshake` is called after each handshake;
    `breakers` are told of those that are not answered."""

    def __init__(
        self,
        dialer: Dialer[Stream],
        trust: Trust,
        sessions: TlsSessions,
        deadlines: Deadlines,
        descriptors: Descriptors,
        client: tuple[Address, int],
        name: Host,
        is_permitted: bool,
        alpn: tuple[str, ...],
        on_handshake: Callable[[SSLObject], None],
        breakers: Breakers | None = None,
    ) -> None:
        self._dialer = dialer
        self._trust = trust
        self._sessions = sessions
        self._deadlines = deadlines
        self._descriptors = descriptors
        self._client = client
        self._name = name
        self.is_permitted = is_permitted
        self.alpn = alpn
        self._on_handshake = on_handshake
        self._breakers = breakers
        self._dialling = 0
        self._open: list[Stream] = []

    async def dial(self, permit: Permit) -> Upstream[Stream]:
        """As `roles.Dialer.dial`. Raises `UpstreamError` also for a destination that cannot be verified, and
        `InternalError` for one connection too many, or for another one while descriptors are scarce."""
        self._open = [each for each in self._open if not (each.is_lost or each.transport.is_closing())]
        others = self._dialling + len(self._open)
        if others >= CONNECTIONS:
            raise InternalError(Reason.TOO_MANY_TUNNELS_OF_CLIENT, f"{CONNECTIONS} connections for one tunnel")
        if others and self._descriptors.are_scarce():
            detail = f"few descriptors are left, and this tunnel has {others} connections already"
            raise InternalError(Reason.DESCRIPTORS_EXHAUSTED, detail)
        self._dialling += 1
        try:
            reached = await self._dialer.dial(permit)
        finally:
            self._dialling -= 1
        send_proxy_header(reached, permit, self._client)
        return await self.secure(reached, permit)

    async def secure(self, reached: Upstream[Stream], permit: Permit) -> Upstream[Stream]:
        """The same connection, in TLS and as one of the tunnel's. It is closed if that fails. Raises `UpstreamError`,
        or `InternalError` for a certificate of ours that may not be presented."""
        self._open.append(reached.stream)
        try:
            shown = self._certificate(reached, permit)
            shaken = await self._shake(reached, permit, shown)
        except BaseException as failure:
            if not reached.stream.is_lost:
                reached.stream.transport.close()  # behind the alert
            note_handshake(self._breakers, permit, reached.dialled.address, failure)
            raise
        self._on_handshake(shaken)
        alpn = shaken.selected_alpn_protocol()
        return replace(reached, verified=self.is_permitted, alpn=alpn, presents=shown is not None)

    async def _shake(self, reached: Upstream[Stream], permit: Permit, shown: ClientCertificate | None) -> SSLObject:
        inspection = permit.terms.inspection
        authorities = inspection.upstream_ca if inspection is not None else None
        context = await self._trust.context_for(authorities, self.alpn, shown)
        key: Hashable = self._name, permit.authority, permit.rule.name
        resumption = Resumption(self._sessions.find(key, context), partial(self._sessions.keep, key, context))
        seconds = permit.terms.timeouts.tls_handshake
        return await handshake_upstream(
            reached.stream, context, str(self._name), resumption, shown is not None, self._deadlines, seconds
        )

    def _certificate(self, reached: Upstream[Stream], permit: Permit) -> ClientCertificate | None:
        """The certificate to present; as with secrets, none if only report mode lets the request pass. Raises
        `InternalError`."""
        inspection = permit.terms.inspection
        if inspection is None or inspection.client_certificate is None:
            return None
        is_doubtful = permit.would_deny is not None or any(not each.enforced for each in reached.dialled.refused)
        if is_doubtful or not self.is_permitted:
            return None
        name, groups = inspection.client_certificate, permit.groups
        self._trust.certificate(name, self._name, groups)  # it may have to be shown under this name as well
        return self._trust.certificate(name, permit.authority.host, groups)
