"""Server-side TLS contexts for inspected names, each with a certificate of its own: made on demand, kept while they are
valid, bounded in number. One that many clients ask for at once is made once, without blocking the loop."""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gateway.intercept.authority import CertificateAuthority, Leaf
from gateway.model.authority import Host
from gateway.model.roles import Clock
from gateway.net.tls.contexts import load_chain, remembered_by, server_context

RENEW_AT = 0.5
"""The part of a leaf's lifetime after which it is made again."""
_AT_ONCE = 2  # threads; minting takes well under a millisecond of CPU
SESSIONS = 20_000
"""Sessions of TLS 1.2 in all contexts together: some 20 MB. A context with more than its share is made again."""

_Key = tuple[Host, tuple[str, ...]]


@dataclass(slots=True)
class _Kept:
    """Unix seconds; `counted_in` is the one in which the context's sessions were counted last."""

    context: ssl.SSLContext
    made_at: float
    renew_at: float
    counted_in: int = 0

    def is_good(self, now: float) -> bool:
        """Not so where the clock was ahead and was set back: clients whose clocks are right do not accept it yet."""
        return self.made_at <= now < self.renew_at


class Minting:
    """`validity` is seconds, `size` the number of contexts that are kept; the least recently used goes first."""

    def __init__(self, authority: CertificateAuthority, validity: float, size: int, clock: Clock) -> None:
        self._authority = authority
        self._validity = validity
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._flights: dict[_Key, asyncio.Future[ssl.SSLContext]] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="minting")

    def __len__(self) -> int:
        return len(self._kept)

    async def context_for(self, host: Host, alpn: Sequence[str]) -> ssl.SSLContext:
        """A context that proves to be `host` and offers `alpn`: one for all connections, so that clients can resume
        their sessions."""
        key, now = (host, tuple(alpn)), self._clock.time()
        known = self._kept.get(key)
        if known is not None and known.is_good(now) and not self._remembers_too_much(known, int(now)):
            self._kept.move_to_end(key)
            return known.context
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.ensure_future(self._make(key))
            flight.add_done_callback(lambda _: self._flights.pop(key))
        return await asyncio.shield(flight)  # its first waiter may be cancelled; others wait for it

    def _remembers_too_much(self, kept: _Kept, second: int) -> bool:
        """Counting takes longer than all the rest here: once a second will do."""
        if kept.counted_in == second:
            return False
        kept.counted_in = second
        return remembered_by(kept.context) * len(self._kept) > SESSIONS

    async def _make(self, key: _Key) -> ssl.SSLContext:
        now = self._clock.time()
        loop = asyncio.get_running_loop()
        context, not_after = await loop.run_in_executor(self._threads, self._mint, key, now)
        self._kept[key] = _Kept(context, now, now + (not_after - now) * RENEW_AT)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return context

    def _mint(self, key: _Key, now: float) -> tuple[ssl.SSLContext, float]:
        host, alpn = key
        leaf = self._authority.mint(host, now, self._validity)
        return leaf_context(leaf, alpn), leaf.not_after


def leaf_context(leaf: Leaf, alpn: Sequence[str]) -> ssl.SSLContext:
    """The server's side for a client that asks for the leaf's name."""
    context = server_context(alpn)
    context.num_tickets = 1  # most clients keep the newest alone, and whoever comes back with it is given another
    load_chain(context, leaf.chain, leaf.key)
    return context
