"""An inspected tunnel, from its judged ClientHello to the end of its requests: TLS is terminated and originated anew.

    mirror ALPN -> verify the destination -> show the client a leaf -> converse

The destination comes first: what it takes decides what the client is offered. If it cannot be verified, the client gets
the error as the answer to its request, inside TLS, as nobody reads what an alert says.
"""

from functools import partial
from ssl import SSLObject
from typing import NamedTuple

from gateway.exchange.conversation import converse
from gateway.exchange.http1.upstream import UpstreamConnection
from gateway.exchange.http2.upstream import SharedConnection
from gateway.exchange.multiplexed.conversation import converse_in_streams
from gateway.exchange.parts import Parts
from gateway.exchange.scope import OneAuthority
from gateway.exchange.upstream import Pool
from gateway.intercept.dialer import CONNECTIONS, VerifyingDialer
from gateway.intercept.handshakes import (
    alpn_for_client,
    alpn_for_destination,
    handshake_downstream,
    left_without_request,
)
from gateway.intercept.minting import Minting
from gateway.intercept.rejections import Rejections
from gateway.intercept.showing import Certificates
from gateway.intercept.tls_sessions import TlsSessions
from gateway.intercept.trust import Trust
from gateway.model.authority import Host
from gateway.model.client import Client
from gateway.model.decision import Permit, SniRule
from gateway.model.errors import DownstreamError, InternalError, UpstreamError
from gateway.model.intent import ClientHello, Intent
from gateway.model.reasons import Reason
from gateway.model.record import Draft, Ended, Side, TlsSides
from gateway.model.recording.noting import note
from gateway.model.roles import Limiter, Meter, Upstream
from gateway.net.stream import Stream
from gateway.net.tls.contexts import HTTP_2
from gateway.policy.index import Rules
from gateway.wire.http2.settings import STREAMS
from gateway.wire.target import HTTPS_PORT


class Inspected(NamedTuple):
    """A tunnel whose permit says `inspect`, whose destination was reached and whose ClientHello was confirmed."""

    permit: Permit
    client: Client
    intent: Intent
    rules: Rules
    upstream: Upstream[Stream]
    meter: Meter | None
    hello: ClientHello
    limiter: Limiter

    @property
    def name(self) -> Host:
        """The name that the client expects, and the destination has to prove."""
        return self.hello.server_name or self.permit.authority.host


class _Offer(NamedTuple):
    """What the client is offered, and the connection to the destination if that speaks HTTP/2."""

    alpn: tuple[str, ...]
    connection: SharedConnection | None = None


class Interception:
    """What all inspected tunnels of one process share. A replacement serves the tunnels that begin later."""

    def __init__(self, minting: Minting, parts: Parts, trust: Trust) -> None:
        self.minting = minting
        self._parts = parts
        self._trust = trust
        self._sessions = TlsSessions(parts.clock.monotonic)
        self._certificates = Certificates()
        self._rejections = Rejections(parts.clock.monotonic)

    async def converse(self, downstream: Stream, draft: Draft, tunnel: Inspected) -> None:
        """Serve the tunnel until either side ends. Raises `DownstreamError`; the streams are left to their owners to
        close."""
        parts, timeouts = self._parts, tunnel.permit.terms.timeouts
        draft.tls = TlsSides()
        dialer = self._dialer(tunnel, draft, draft.tls)
        pool = Pool(parts.deadlines, parts.clock.monotonic)
        scope = OneAuthority(
            permit=tunnel.permit,
            client=tunnel.client,
            intent=tunnel.intent,
            rules=tunnel.rules,
            pool=pool,
            usual_port=HTTPS_PORT,
            is_secure=True,
            dialer=dialer,
            peer=draft.peer,
            limiter=tunnel.limiter,
            meter=tunnel.meter,
        )
        try:
            offer = await self._secure_destination(tunnel, draft, dialer, scope)
            shaken = await self._accept_client(downstream, tunnel, draft.tls, offer.alpn)
            shaken_at = parts.clock.monotonic()
            if shaken.selected_alpn_protocol() == HTTP_2:
                extended_connect, streams = True, CONNECTIONS
                if offer.connection is not None:
                    settings = await offer.connection.settle(parts.deadlines)
                    extended_connect = settings.extended_connect
                    streams = min(STREAMS, CONNECTIONS * max(settings.streams, 1))
                await converse_in_streams(downstream, draft, scope, parts, timeouts, extended_connect, streams)
            else:
                dialer.alpn = tuple([each for each in dialer.alpn if each != HTTP_2])
                await converse(downstream, draft, scope, parts, timeouts)
            if not draft.requests and draft.reason is None:
                self._note_silence(downstream, draft, tunnel, shaken_at)
        finally:
            pool.close()

    def _dialer(self, tunnel: Inspected, draft: Draft, sides: TlsSides) -> VerifyingDialer:
        permit, parts = tunnel.permit, self._parts
        agrees = tunnel.name == permit.authority.host or permit.terms.sni is SniRule.RULE
        return VerifyingDialer(
            dialer=parts.dialer,
            trust=self._trust,
            sessions=self._sessions,
            deadlines=parts.deadlines,
            descriptors=parts.descriptors,
            client=draft.peer,
            name=tunnel.name,
            is_permitted=agrees and draft.would_deny is None,
            alpn=alpn_for_destination(tunnel.hello.alpn),
            on_handshake=partial(self._note_destination, sides),
            breakers=parts.breakers,
        )

    async def _secure_destination(
        self, tunnel: Inspected, draft: Draft, dialer: VerifyingDialer, scope: OneAuthority
    ) -> _Offer:
        """What the client may be offered. A failure is kept for the answer to its first request."""
        parts, offered = self._parts, tunnel.hello.alpn
        try:
            secured = await dialer.secure(tunnel.upstream, tunnel.permit)
        except (UpstreamError, InternalError) as error:
            note(error, draft)
            scope.owe(error)
            return _Offer(tuple([each for each in dialer.alpn if each in offered]))
        alpn = alpn_for_client(offered, secured.alpn)
        if secured.alpn == HTTP_2:
            connection = SharedConnection(secured, parts.clock.monotonic, parts.bounds.head)
            scope.share(connection)
            return _Offer(alpn, connection)
        reader = parts.codec.response_reader(parts.bounds)
        scope.keep(UpstreamConnection(secured, reader, parts.clock.monotonic()))
        return _Offer(alpn)

    async def _accept_client(
        self, downstream: Stream, tunnel: Inspected, sides: TlsSides, alpn: tuple[str, ...]
    ) -> SSLObject:
        """The handshake with the client. Raises `DownstreamError`."""
        parts, permit = self._parts, tunnel.permit
        context = await self.minting.context_for(tunnel.name, alpn)
        try:
            seconds = permit.terms.timeouts.tls_handshake
            shaken = await handshake_downstream(downstream, context, parts.deadlines, seconds)
        except DownstreamError as error:
            if error.reason is Reason.CLIENT_REJECTED_CERTIFICATE:
                self._rejections.note(permit.rule, str(tunnel.name), tunnel.client.address)
            raise
        sides.version, sides.resumed = shaken.version(), bool(shaken.session_reused)
        return shaken

    def _note_destination(self, sides: TlsSides, shaken: SSLObject) -> None:
        """Of the first connection only: others of the same tunnel are dialled and verified alike."""
        if sides.upstream_version is not None:
            return
        sides.upstream_version, sides.upstream_resumed = shaken.version(), bool(shaken.session_reused)
        shown = self._certificates.shown_by(shaken)
        if shown is not None:
            sides.certificate, sides.subject, sides.issuer = shown

    def _note_silence(self, downstream: Stream, draft: Draft, tunnel: Inspected, shaken_at: float) -> None:
        """Note why no request came."""
        if not (downstream.is_lost or downstream.has_ended):
            draining = self._parts.draining
            note(InternalError(Reason.DRAINING) if draining else DownstreamError(Reason.IDLE_TIMEOUT), draft)
            return
        why = left_without_request(downstream.alert, self._parts.clock.monotonic() - shaken_at)
        if why is None:
            draft.transfer.ended, draft.transfer.ended_by = Ended.CLOSED, Side.DOWNSTREAM
            return
        note(why, draft)
        if why.reason is Reason.CLIENT_REJECTED_CERTIFICATE:
            self._rejections.note(tunnel.permit.rule, str(tunnel.name), tunnel.client.address)
