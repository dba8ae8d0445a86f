"""The authorities that we trust towards destinations, and the certificates that we present: client-side TLS contexts,
made in a thread, once for each set of authorities and presented certificate."""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gateway.model.authority import Host
from gateway.model.errors import InternalError
from gateway.model.reasons import Reason
from gateway.net.tls.contexts import ClientCertificate, client_context
from gateway.policy.requests.credentials import SecretScope

KEPT = 256

_Key = tuple[str | None, tuple[str, ...], ClientCertificate | None]


class Showable(NamedTuple):
    """A certificate of gateway.yaml, and where it may be presented."""

    certificate: ClientCertificate
    scope: SecretScope


class Trust:
    """The system's certificates are read once; to read them again make another `Trust`. `showable` are the certificates
    that rules may name, by name."""

    def __init__(self, showable: Mapping[str, Showable] = MappingProxyType({}), size: int = KEPT) -> None:
        self._showable = showable
        self._size = size
        self._kept: OrderedDict[_Key, asyncio.Future[ssl.SSLContext]] = OrderedDict()

    def certificate(self, name: str, host: Host, groups: Sequence[str]) -> ClientCertificate:
        """The certificate of this name, to be presented to `host` for a client of these groups. A rule of another
        generation is held to the current gateway.yaml. Raises `InternalError` if it may not be presented there."""
        found = self._showable.get(name)
        if found is None or not found.scope.covers(host) or not found.scope.is_for(groups):
            raise InternalError(Reason.SECRET_UNAVAILABLE, f"client certificate {name}")
        return found.certificate

    async def context_for(
        self, authorities: str | None, alpn: tuple[str, ...], shown: ClientCertificate | None = None
    ) -> ssl.SSLContext:
        """`authorities` are CA certificates as PEM, None for the system's. The same arguments give the same context, as
        only the one that made a session can resume it."""
        key = authorities, alpn, shown
        kept = self._kept.get(key)
        if kept is None:
            kept = asyncio.ensure_future(asyncio.to_thread(client_context, authorities, alpn, shown))
            self._kept[key] = kept
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        try:
            return await asyncio.shield(kept)  # its first waiter may be cancelled; others wait for it
        except (ssl.SSLError, ValueError, OSError):
            self._kept.pop(key, None)
            raise
