"""An inspected tunnel, from its judged ClientHello to the end of its requests: TLS is terminated and originated anew.

    mirror ALPN -> prove the destination -> show the client a leaf -> converse

The destination comes first: no certificate is shown to a client in the name of a destination that was not verified. If
that fails, the client gets the error in answer to its request, inside TLS, as nobody reads what an alert says.
"""

from dataclasses import dataclass
from functools import partial
from ssl import SSLObject
from typing import NamedTuple

from gateway.exchange.conversation import Patience, converse
from gateway.exchange.http1.upstream import UpstreamConnection
from gateway.exchange.http2.calling import Calling
from gateway.exchange.multiplexed.conversation import converse_in_streams
from gateway.exchange.parts import Parts
from gateway.exchange.scope import OneAuthority
from gateway.exchange.upstream import Pool
from gateway.intercept.dialer import CONNECTIONS, VerifyingDialer
from gateway.intercept.handshakes import alpn_for_client, alpn_for_destination, meet_client
from gateway.intercept.minting import Minting
from gateway.intercept.rejections import Rejections
from gateway.intercept.sessions import Sessions
from gateway.intercept.showing import Certificates
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
from gateway.policy.plan import Rules
from gateway.wire.http2.settings import STREAMS

HTTPS_PORT = 443
RIGHT_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Inspected:
    """A tunnel whose permit says `inspect`, whose destination is reached, and whose hello was confirmed."""

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


class _Met(NamedTuple):
    """What the client is offered, and the connection to a destination that speaks HTTP/2."""

    alpn: tuple[str, ...]
    calling: Calling | None = None


class Interception:
    """What all inspected tunnels of one process share. A replacement serves the tunnels that begin later."""

    def __init__(self, minting: Minting, parts: Parts, trust: Trust) -> None:
        self.minting = minting
        self._parts = parts
        self._trust = trust
        self._sessions = Sessions(parts.clock.monotonic)
        self._certificates = Certificates()
        self._rejections = Rejections(parts.clock.monotonic)

    async def converse(self, downstream: Stream, draft: Draft, tunnel: Inspected) -> None:
        """Until either side ends. Raises `DownstreamError`; closing the streams is left to their owners."""
        parts, timeouts = self._parts, tunnel.permit.terms.timeouts
        draft.tls = TlsSides()
        dialer = self._dialer(tunnel, draft, draft.tls)
        pool = Pool(parts.deadlines, parts.clock.monotonic)
        rights = tunnel.permit, tunnel.client, tunnel.intent, tunnel.rules
        limiter, meter = tunnel.limiter, tunnel.meter
        scope = OneAuthority(*rights, pool, HTTPS_PORT, dialer.is_permitted, dialer, limiter=limiter, meter=meter)
        try:
            met = await self._meet_destination(tunnel, draft, dialer, scope)
            shaken = await self._meet_client(downstream, tunnel, draft.tls, met.alpn)
            shaken_at = parts.clock.monotonic()
            patience = Patience(timeouts.head, timeouts.idle)
            if shaken.selected_alpn_protocol() == HTTP_2:
                connects = met.calling is None or await met.calling.lets_connect(parts.deadlines)
                streams = CONNECTIONS if met.calling is None else STREAMS
                await converse_in_streams(downstream, draft, scope, parts, patience, connects, streams)
            else:
                dialer.alpn = tuple([each for each in dialer.alpn if each != HTTP_2])
                await converse(downstream, draft, scope, parts, patience)
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
        )

    async def _meet_destination(
        self, tunnel: Inspected, draft: Draft, dialer: VerifyingDialer, scope: OneAuthority
    ) -> _Met:
        """What the client may be offered. A failure is kept for the answer to its first request."""
        parts, offered = self._parts, tunnel.hello.alpn
        try:
            secured = await dialer.secure(tunnel.upstream, tunnel.permit)
        except (UpstreamError, InternalError) as error:
            note(error, draft)
            dialer.owed = error
            return _Met(tuple([each for each in dialer.alpn if each in offered]))
        alpn = alpn_for_client(offered, secured.alpn)
        if secured.alpn == HTTP_2:
            calling = Calling(secured, parts.clock.monotonic)
            scope.share(calling, draft.peer)
            return _Met(alpn, calling)
        reader = parts.codec.response_reader(parts.bounds)
        scope.keep(UpstreamConnection(secured, reader, parts.clock.monotonic()), draft.peer)
        return _Met(alpn)

    async def _meet_client(
        self, downstream: Stream, tunnel: Inspected, sides: TlsSides, alpn: tuple[str, ...]
    ) -> SSLObject:
        """The client has accepted our certificate."""
        parts, permit = self._parts, tunnel.permit
        context = await self.minting.context_for(tunnel.name, alpn)
        try:
            shaken = await meet_client(downstream, context, parts.deadlines, permit.terms.timeouts.tls_handshake)
        except DownstreamError as error:
            if error.reason is Reason.CLIENT_REJECTED_CERTIFICATE:
                self._rejections.note(permit.rule, str(tunnel.name), tunnel.client.address)
            raise
        sides.version, sides.resumed = shaken.version(), bool(shaken.session_reused)
        return shaken

    def _note_destination(self, sides: TlsSides, shaken: SSLObject) -> None:
        """The first one; others of the same tunnel are dialled and verified alike."""
        if sides.upstream_version is not None:
            return
        sides.upstream_version, sides.upstream_resumed = shaken.version(), bool(shaken.session_reused)
        shown = self._certificates.shown_by(shaken)
        if shown is not None:
            sides.certificate, sides.subject, sides.issuer = shown

    def _note_silence(self, downstream: Stream, draft: Draft, tunnel: Inspected, shaken_at: float) -> None:
        """Some clients check our certificate when the handshake is over, and leave without an alert."""
        if not (downstream.is_lost or downstream.has_ended):
            note(
                InternalError(Reason.DRAINING) if self._parts.draining else DownstreamError(Reason.IDLE_TIMEOUT), draft
            )
        elif self._parts.clock.monotonic() - shaken_at > RIGHT_AFTER_SECONDS:
            draft.transfer.ended, draft.transfer.ended_by = Ended.CLOSED, Side.DOWNSTREAM
        else:
            detail = "closed right after the handshake, without a request"
            note(DownstreamError(Reason.CLIENT_REJECTED_CERTIFICATE, detail), draft)
            self._rejections.note(tunnel.permit.rule, str(tunnel.name), tunnel.client.address)
