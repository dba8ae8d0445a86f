"""Dials destinations.

Nothing is dialled without a permit, every address is screened before it is dialled, and the address dialled is the
address screened: there is no second lookup. For a literal, or a cached name with one address, no task is made and only
one await suspends.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from gateway.model.addresses import Address
from gateway.model.authority import Host
from gateway.model.decision import AddressRefusal, Deny, Permit, Source
from gateway.model.errors import GatewayError, InternalError, Refused, UpstreamError
from gateway.model.limits.limit import Retry
from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.model.record import Dialled
from gateway.model.roles import Breakers, Clock, Deadlines, Upstream
from gateway.net.addresses.source import open_from
from gateway.net.dns.cache import Resolution
from gateway.net.kernel.descriptors import Descriptors
from gateway.net.race import interleave, race
from gateway.net.stream import Stream
from gateway.wire.proxy_protocol import build_proxy_header

STAGGER_SECONDS = 0.25
"""The Connection Attempt Delay that RFC 8305 section 8 recommends."""
REFUSALS_SHOWN = 8

Connect = Callable[[Permit, Address], Coroutine[Any, Any, Stream]]

_REASONS = {
    errno.ECONNREFUSED: Reason.CONNECTION_REFUSED,
    errno.ECONNRESET: Reason.CONNECTION_REFUSED,
    errno.ECONNABORTED: Reason.CONNECTION_REFUSED,
    errno.ETIMEDOUT: Reason.CONNECTION_TIMEOUT,
    errno.EADDRNOTAVAIL: Reason.LOCAL_PORTS_EXHAUSTED,
    errno.EHOSTUNREACH: Reason.CONNECTION_UNROUTABLE,
    errno.ENETUNREACH: Reason.CONNECTION_UNROUTABLE,
    errno.EHOSTDOWN: Reason.CONNECTION_UNROUTABLE,
    errno.ENETDOWN: Reason.CONNECTION_UNROUTABLE,
    errno.EAFNOSUPPORT: Reason.CONNECTION_UNROUTABLE,
    errno.EINVAL: Reason.CONNECTION_UNROUTABLE,  # a link-local address without its zone
    errno.EACCES: Reason.CONNECTION_UNROUTABLE,  # a packet filter rejects
    errno.EPERM: Reason.CONNECTION_UNROUTABLE,
}


class Names(Protocol):
    """Where names become addresses, at once or after a while; as `Resolver`."""

    def known(self, name: HostName) -> Resolution | None: ...

    def resolve(self, name: HostName, within: float) -> Coroutine[Any, Any, Resolution]: ...


class TcpDialer:
    """Fulfils `roles.Dialer`. `make_stream` makes the protocol of one connection."""

    def __init__(
        self,
        names: Names,
        make_stream: Callable[[], Stream],
        clock: Clock,
        deadlines: Deadlines,
        stagger: float = STAGGER_SECONDS,
        breakers: Breakers | None = None,
        descriptors: Descriptors | None = None,
    ) -> None:
        self._names = names
        self._make_stream = make_stream
        self._clock = clock
        self._deadlines = deadlines
        self._stagger = stagger
        self._breakers = breakers
        self._descriptors = descriptors or Descriptors()

    async def dial(self, permit: Permit) -> Upstream[Stream]:
        """As `roles.Dialer.dial`. Raises `InternalError` when descriptors ran out."""
        host, timeouts, monotonic = permit.authority.host, permit.terms.timeouts, self._clock.monotonic
        asked_at = monotonic()
        if isinstance(host, Address):
            resolved: tuple[Address, ...] = ()
            candidates, refused = _screen(permit, (host,))
        else:
            if self._descriptors.are_short():  # questions take some as well
                raise _kept_back(host)
            resolved = (self._names.known(host) or await self._names.resolve(host, timeouts.dns)).addresses
            candidates, refused = _screen(permit, resolved)
        dialled_at = monotonic()
        connect: Connect = self._connect
        if permit.terms.breaker is not None and self._breakers is not None:
            connect = partial(self._connect_watched, self._breakers)
        with self._deadlines.within(timeouts.connect, partial(_too_late, permit)):
            if len(candidates) == 1:
                address, stream = candidates[0], await connect(permit, candidates[0])
            else:
                address, stream = await race(interleave(candidates), partial(connect, permit), self._stagger_of(permit))
        dial_seconds = monotonic() - dialled_at
        resolve_seconds = dialled_at - asked_at if resolved else None
        source = stream.own_address() if permit.source is not None else None
        dialled = Dialled(address, resolved, refused, resolve_seconds, dial_seconds, source, dialled_at)
        return Upstream(dialled, stream)

    def _stagger_of(self, permit: Permit) -> float:
        if self._descriptors.are_scarce():
            return 2 * permit.terms.timeouts.connect  # never: one address after the other has failed
        return self._stagger

    async def _connect_watched(self, breakers: Breakers, permit: Permit, address: Address) -> Stream:
        """Connect, unless the rule's breaker is open for this address, and tell the breaker how it went."""
        wait = breakers.admit(permit, address)
        if wait:
            detail = f"{address}: the breaker is open"
            raise UpstreamError(Reason.DESTINATION_UNAVAILABLE, detail, retry=Retry(wait))
        begun_at = self._clock.monotonic()
        try:
            stream = await self._connect(permit, address)
        except UpstreamError:
            breakers.failed(permit, address)
            raise
        except BaseException:
            if self._clock.monotonic() - begun_at >= permit.terms.timeouts.connect:
                breakers.failed(permit, address)
            else:
                breakers.given_up(permit, address)
            raise
        breakers.succeeded(permit, address)
        return stream

    async def _connect(self, permit: Permit, address: Address) -> Stream:
        """The host is a literal, so the loop looks nothing up. When this is cancelled the loop closes the socket."""
        if self._descriptors.are_short():
            raise _kept_back(address)
        port = permit.authority.port
        if permit.source is not None:
            return await self._connect_from(permit.source, address, port)
        loop = asyncio.get_running_loop()
        try:
            _, stream = await loop.create_connection(self._make_stream, str(address), port)
        except OSError as error:
            raise translate(error, address, port) from error
        return stream

    async def _connect_from(self, source: Source, address: Address, port: int) -> Stream:
        """From the first of the source's addresses that has a port left for this destination."""
        own = [each for each in source.addresses if each.version == address.version]
        failure = UpstreamError(Reason.CONNECTION_UNROUTABLE, f"{address}: the rule's source has no address like it")
        for each in own:
            sock = open_from(each, source.foreign)
            try:
                return await self._connect_socket(sock, address, port)
            except UpstreamError as error:
                if error.reason is not Reason.LOCAL_PORTS_EXHAUSTED:
                    raise
                failure = error
        raise failure

    async def _connect_socket(self, sock: socket.socket, address: Address, port: int) -> Stream:
        """Takes ownership of the socket: it becomes the stream's, or is closed."""
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, (str(address), port))
            _, stream = await loop.create_connection(self._make_stream, sock=sock)
        except OSError as error:
            sock.close()
            raise translate(error, address, port, bound=True) from error
        except BaseException:
            sock.close()
            raise
        return stream


def send_proxy_header(upstream: Upstream[Stream], permit: Permit, client: tuple[Address, int]) -> None:
    """Tell the destination who the client is, if the rule says so. To be called before anything else is sent."""
    version = permit.terms.proxy_protocol
    if version is not None:
        destination = upstream.dialled.address, permit.authority.port
        upstream.stream.write(build_proxy_header(version, client, destination))


def _screen(permit: Permit, found: Sequence[Address]) -> tuple[list[Address], tuple[AddressRefusal, ...]]:
    """The addresses that may be dialled, and every refusal, those that report mode sets aside included. Raises if none
    may be dialled."""
    allowed: list[Address] = []
    refused: list[AddressRefusal] = []
    for address in found:
        refusal = permit.screen(address)
        if refusal is not None:
            refused.append(refusal)
        if refusal is None or not refusal.enforced:
            allowed.append(address)
    if not allowed:
        raise _refusal(permit, refused)
    return allowed, tuple(refused)


def _refusal(permit: Permit, refused: Sequence[AddressRefusal]) -> GatewayError:
    """A loop if every address leads back to this gateway, else a denial that names the rules in the way."""
    detail = "; ".join(f"{refusal.address}: {refusal.detail}" for refusal in refused[:REFUSALS_SHOWN])
    if all(refusal.reason is Reason.PROXY_LOOP for refusal in refused):
        return UpstreamError(Reason.PROXY_LOOP, detail)
    rules = [refusal.rule.name for refusal in refused if refusal.rule is not None and refusal.rule != permit.rule]
    also = tuple(dict.fromkeys(rules))
    return Refused(
        Deny(Reason.ADDRESS_REFUSED, permit.generation, permit.rule, permit.groups, also, detail, tuple(refused))
    )


def _kept_back(host: Host) -> InternalError:
    return InternalError(Reason.DESCRIPTORS_EXHAUSTED, f"{host}: the last descriptors are kept for other uses")


def _too_late(permit: Permit) -> UpstreamError:
    return UpstreamError(
        Reason.CONNECTION_TIMEOUT, f"{permit.authority}: not connected within {permit.terms.timeouts.connect:g} s"
    )


def translate(error: OSError, address: Address, port: int, bound: bool = False) -> GatewayError:
    """What a failed `connect` means. EADDRNOTAVAIL says that no local port is left (connect(2)); but for IPv6, unless
    the socket is `bound`, that this machine has no address of the family."""
    detail = f"{address.uri_host}:{port}: {error.strerror or error}"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return InternalError(Reason.DESCRIPTORS_EXHAUSTED, detail)
    if error.errno == errno.EADDRNOTAVAIL and address.version == 6 and not bound:
        return UpstreamError(Reason.CONNECTION_UNROUTABLE, detail)
    reason = _REASONS.get(error.errno or 0)
    return InternalError(Reason.INTERNAL_ERROR, detail) if reason is None else UpstreamError(reason, detail)
