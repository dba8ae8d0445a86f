"""For a tunnel that report mode let through before its client had sent anything: a ClientHello is judged when it comes,
and not a byte of one passes that may not. Anything else passes as it comes and counts as `tcp`: under any other
`protocol` a rule would have waited for the client.
"""

from collections.abc import Callable

from gateway.model.decision import Deny
from gateway.model.intent import Opening, Protocol
from gateway.model.reasons import Reason
from gateway.net.relay import Direction
from gateway.net.tls.second_hello import Denial
from gateway.wire.client_hello import HANDSHAKE, ClientHelloParser, MalformedClientHello
from gateway.wire.opening import parse_opening

_NO_TLS = Opening(Protocol.TCP)


class LateHello:
    """Fulfils `second_hello.Watch`. `judge` says why a hello may not pass, `deny` makes the denial of a malformed one,
    `limit` bounds its size in bytes."""

    __slots__ = ("_cut", "_deny", "_direction", "_held", "_judge", "_parser", "refused")

    def __init__(self, judge: Callable[[Opening], Deny | None], deny: Denial, limit: int) -> None:
        self.refused: Deny | None = None
        self._judge = judge
        self._deny = deny
        self._parser = ClientHelloParser(limit)
        self._held = b""

    def before(self, upward: Direction, downward: Direction, cut: Callable[[Reason], None]) -> None:
        """Comes between the client and `upward`."""
        self._direction, self._cut = upward, cut
        upward.source.receiver = self

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
            self._direction.source.receiver = self._direction
            self._direction.received(held)
        else:
            self._stop(denial)

    def _opening_of(self, held: bytes) -> Opening | None:
        """None: the hello is incomplete. That holds up no protocol in which the server waits for a single byte: none
        begins with this one."""
        return parse_opening(held, self._parser) if held[0] == HANDSHAKE else _NO_TLS

    def ended(self) -> None:
        """See `Receiver`. An incomplete hello is dropped: it is of no use to anybody."""
        self._direction.ended()

    def lost(self) -> None:
        self._direction.lost()

    def _stop(self, denial: Deny) -> None:
        self.refused = denial
        self._cut(denial.reason)
