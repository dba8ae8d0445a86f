"""TLS sessions with destinations, for resumption: the last one for each host, port and rule, bounded in number.

A resumed session proves the destination by what was verified when it began. So it is kept for an hour at most, for the
same name under the same rule, and by the same context, which means by the same authorities.
"""

import ssl
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

KEPT = 1000
LONGEST_SECONDS = 3600.0


class _Kept(NamedTuple):
    context: ssl.SSLContext
    session: ssl.SSLSession
    proved_at: float


class Sessions:
    """`monotonic` is the clock."""

    def __init__(self, monotonic: Callable[[], float], size: int = KEPT) -> None:
        self._monotonic = monotonic
        self._size = size
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable, context: ssl.SSLContext) -> ssl.SSLSession | None:
        """One that may be resumed now."""
        kept = self._kept.get(key)
        if kept is None or kept.context is not context:
            return None
        if self._monotonic() - kept.proved_at > LONGEST_SECONDS:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept.session

    def keep(self, key: Hashable, context: ssl.SSLContext, session: ssl.SSLSession, resumed: bool) -> None:
        """The newest one. `resumed`: it continues the one that is kept, and proves nothing anew."""
        former = self._kept.pop(key, None)
        if resumed and former is None:
            return
        proved_at = former.proved_at if resumed and former is not None else self._monotonic()
        self._kept[key] = _Kept(context, session, proved_at)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
