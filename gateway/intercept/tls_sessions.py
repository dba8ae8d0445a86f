"""TLS sessions with destinations, for resumption: the last one for each host, port and rule, bounded in number.

A resumed session proves the destination by what was verified when the session began. So one is kept for an hour at
most, for the same name under the same rule, and for the same context, which means for the same authorities.
"""

import logging
import ssl
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

KEPT = 1000
LONGEST_SECONDS = 3600.0

LEAKS = sys.version_info < (3, 12, 8) or (3, 13, 0) <= sys.version_info[:3] < (3, 13, 1)
"""Whether this Python leaks some 6 kB each time a handshake's session is looked at (CPython issue 116810)."""
LOOKS = 5000
"""If it does: how many looks there may be (30 MB). After that no session is kept, and each handshake is a full one."""
LOOK_SECONDS = 60.0
"""If it does: how long a session that was refused is offered again before a new one is looked at."""

_logger = logging.getLogger(__name__)


class Shaken(Protocol):
    """What is asked of an `ssl.SSLObject`."""

    @property
    def session(self) -> ssl.SSLSession | None: ...

    @property
    def session_reused(self) -> bool | None: ...


class _Kept(NamedTuple):
    context: ssl.SSLContext
    session: ssl.SSLSession
    proved_at: float


class TlsSessions:
    """`monotonic` is the clock; `looks` is how many sessions may be looked at, None for any number."""

    def __init__(
        self, monotonic: Callable[[], float], size: int = KEPT, looks: int | None = LOOKS if LEAKS else None
    ) -> None:
        self._monotonic = monotonic
        self._size = size
        self._looks = looks
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable, context: ssl.SSLContext) -> ssl.SSLSession | None:
        """A session that may be resumed now."""
        kept = self._kept.get(key)
        if kept is None or kept.context is not context:
            return None
        if self._monotonic() - kept.proved_at > LONGEST_SECONDS:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept.session

    def keep(self, key: Hashable, context: ssl.SSLContext, shaken: Shaken) -> None:
        """Keep the newest session, if there is one. A resumed one continues what is kept, and proves nothing anew."""
        former, resumed = self._kept.get(key), bool(shaken.session_reused)
        if resumed and former is None:
            return
        if self._looks is not None and not self._may_look(former, context, resumed):
            return
        session = shaken.session
        if session is None:
            return
        proved_at = former.proved_at if resumed and former is not None else self._monotonic()
        self._kept[key] = _Kept(context, session, proved_at)
        self._kept.move_to_end(key)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def _may_look(self, former: _Kept | None, context: ssl.SSLContext, resumed: bool) -> bool:
        """Whether a new session is worth what the look costs: not if the one that is kept will do."""
        if former is not None and former.context is context:
            if resumed or self._monotonic() - former.proved_at < LOOK_SECONDS:
                return False
        if not self._looks:
            return False
        self._looks -= 1
        if not self._looks:
            _logger.warning(
                "TLS sessions with destinations are not resumed any more: this Python loses memory with each one "
                "(CPython issue 116810, fixed in 3.12.8 and 3.13.1)"
            )
        return True
