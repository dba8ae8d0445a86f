"""Whom we believe towards destinations: client-side TLS contexts, made in a thread, each once for its authorities."""

import asyncio
import ssl
from collections import OrderedDict

from gateway.net.tls.contexts import client_context

KEPT = 256

_Key = tuple[str | None, tuple[str, ...]]


class Trust:
    """The system's certificates are read once; whoever wants them anew makes another `Trust`."""

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._kept: OrderedDict[_Key, asyncio.Future[ssl.SSLContext]] = OrderedDict()

    async def context_for(self, authorities: str | None, alpn: tuple[str, ...]) -> ssl.SSLContext:
        """`authorities` are CA certificates as PEM, None for the system's. Sessions are resumed by the context that
        they were made by, so it must be the same one again."""
        key = authorities, alpn
        kept = self._kept.get(key)
        if kept is None:
            kept = asyncio.ensure_future(asyncio.to_thread(client_context, authorities, alpn))
            self._kept[key] = kept
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        try:
            return await asyncio.shield(kept)  # whoever began it may go away; others wait for it
        except (ssl.SSLError, ValueError, OSError):
            self._kept.pop(key, None)
            raise
