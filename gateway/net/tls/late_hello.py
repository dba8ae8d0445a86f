"""For a tunnel that report mode let through before its client had sent anything: a ClientHello is judged when it comes,
and not a byte of one passes that may not. Anything else passes as it comes and counts as `tcp`: under any other
`protocol` a rule would have waited for the client.
"""

from collections.abc import Callable

from gateway.model.decision import Deny
from gateway.model.intent import Opening, Protocol
from gateway.model.reasons import Reason
from gateway.net.relay import Direction
from gateway.net.tls.second_hello import Denial, HelloWatch, watch_for
from gateway.wire.client_hello import HANDSHAKE, ClientHelloParser, MalformedClientHello
from gateway.wire.opening import parse_opening

_NO_TLS = Opening(Protocol.TCP)


class LateHello:
    """Fulfils `second_hello.Watch`. `judge` says why a hello may not pass, `deny` makes the denial of a malformed one,
    `limit` bounds its size in bytes. One that passes is followed by a watch for the second."""

    __slots__ = ("_cut", "_deny", "_downward", "_held", "_judge", "_limit", "_next", "_parser", "_refused", "_upward")

    def __init__(self, judge: Callable[[Opening], Deny | None], deny: Denial, limit: int) -> None:
        self._refused: Deny | None = None
        self._next: HelloWatch | None = None
        self._judge = judge
        self._deny = deny
        self._limit = limit
        self._parser = ClientHelloParser(limit)
        self._held = b""

    def before(self, upward: Direction, downward: Direction, cut: Callable[[Reason], None]) -> None:
        """Comes between the client and `upward`."""
        self._upward, self._downward, self._cut = upward, downward, cut
        upward.source.receiver = self

    @property
    def refused(self) -> Deny | None:
        """See `Watch`."""
        return self._refused if self._next is None else self._next.refused

    def received(self, data: bytes) -> None:
        held = self._held = self._held + data
        try:
            opening = self._opening_of(held)
        except MalformedClientHello as malformed:
            self._stop(self._deny(malformed.reason, str(malformed)))
            return
        if opening is None:
            return
        denial = self._judge(opening)
        if denial is None:
            self._let_pass(opening, held)
        else:
            self._stop(denial)

    def _let_pass(self, opening: Opening, held: bytes) -> None:
        self._next = watch_for(opening.hello, self._limit, self._deny)
        if self._next is None:
            self._upward.source.receiver = self._upward
            self._upward.received(held)
        else:
            self._next.begin(held, self._upward, self._downward, self._cut)
            self._next.received(held)

    def _opening_of(self, held: bytes) -> Opening | None:
        """None: the hello is incomplete. That holds up no protocol in which the server waits for a single byte: none
        begins with this one."""
        return parse_opening(held, self._parser) if held[0] == HANDSHAKE else _NO_TLS

    def ended(self) -> None:
        """See `Receiver`. An incomplete hello is dropped: it is of no use to anybody."""
        self._upward.ended()

    def lost(self) -> None:
        self._upward.lost()

    def _stop(self, denial: Deny) -> None:
        self._refused = denial
        self._cut(denial.reason)
