"""The DNS cache, bounded in number (least recently used goes first) and in time. Time is an argument, in monotonic
seconds."""

from collections import OrderedDict
from dataclasses import dataclass

from gateway.model.addresses import Address
from gateway.model.names import HostName
from gateway.net.dns.answers import Answer, Found, Missing

FAILURE_SECONDS = 1.0
"""A failure is cached just long enough that many clients ask once (RFC 9520 section 3.2)."""
LONGEST_NEGATIVE_SECONDS = 300.0
STALE_SECONDS = 30.0
"""For how long a stale answer counts as fresh when nothing newer can be had (RFC 8767 sections 4 and 5)."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The addresses of a name, IPv6 before IPv4, those of one family in the order in which to try them."""

    addresses: tuple[Address, ...]


@dataclass(slots=True)
class _Entry:
    """`stale_at` is when the TTL ends, `expires_at` when the name has to be asked for again. `turns` counts how often
    the addresses were given out, so that each of a family comes first in turn."""

    answer: Resolution | Missing
    expires_at: float
    stale_at: float
    turns: int = 0

    def take(self) -> Resolution | Missing:
        if isinstance(self.answer, Missing) or len(self.answer.addresses) == 1:
            return self.answer
        self.turns += 1
        return Resolution(_turned(self.answer.addresses, self.turns))


class NameCache:
    """TTLs are clamped to `min_ttl..max_ttl` seconds, those of negative answers also to five minutes. Addresses may
    serve `serve_stale` seconds longer, if nothing newer can be had."""

    def __init__(self, size: int, min_ttl: float, max_ttl: float, serve_stale: float = 0.0) -> None:
        self._size = size
        self._serve_stale = serve_stale
        self._min_ttl = min_ttl
        self._max_ttl = max_ttl
        self._entries: OrderedDict[HostName, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: HostName, now: float) -> Resolution | Missing | None:
        """None: unknown, or expired."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry.expires_at <= now:
            if not self._is_stale(entry, now):
                del self._entries[name]
            return None
        self._entries.move_to_end(name)
        return entry.take()

    def stale(self, name: HostName, now: float) -> Resolution | None:
        """Addresses whose TTL has ended and that may still serve."""
        entry = self._entries.get(name)
        if entry is None or not self._is_stale(entry, now):
            return None
        addresses = entry.take()
        return addresses if isinstance(addresses, Resolution) else None

    def _is_stale(self, entry: _Entry, now: float) -> bool:
        """Whether the name has to be asked for again, and these addresses may serve if that fails."""
        is_over = entry.expires_at <= now < entry.stale_at + self._serve_stale
        return is_over and isinstance(entry.answer, Resolution)

    def keep(self, name: HostName, answer: Answer, now: float) -> Resolution | Missing:
        """Store an answer, and return it as `get` will. A failure leaves stale addresses in place for `STALE_SECONDS`,
        after which the name is asked for again."""
        entry = self._entries.get(name)
        if entry is not None and isinstance(answer, Missing) and answer.is_failure and self._is_stale(entry, now):
            entry.expires_at = min(now + STALE_SECONDS, entry.stale_at + self._serve_stale)
            return entry.take()
        known = Resolution(in_families(answer.addresses)) if isinstance(answer, Found) else answer
        expires_at = now + self.lifetime(answer)
        self._entries[name] = _Entry(known, expires_at, expires_at)
        self._entries.move_to_end(name)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return known

    def lifetime(self, answer: Answer) -> float:
        """For how many seconds an answer holds."""
        if isinstance(answer, Found):
            return max(self._min_ttl, min(answer.ttl, self._max_ttl))
        if answer.is_failure:
            return FAILURE_SECONDS
        return max(self._min_ttl, min(answer.ttl, self._max_ttl, LONGEST_NEGATIVE_SECONDS))


def in_families(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    """IPv6 first, otherwise in the given order."""
    return tuple(sorted(addresses, key=lambda address: -address.version))


def _turned(addresses: tuple[Address, ...], turns: int) -> tuple[Address, ...]:
    """Each family rotated by itself, so that each of its members comes first equally often."""
    turned: list[Address] = []
    for version in (6, 4):
        family = [address for address in addresses if address.version == version]
        start = turns % len(family) if family else 0
        turned += family[start:] + family[:start]
    return tuple(turned)
