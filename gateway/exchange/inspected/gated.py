"""Content that inspectors see before it goes into an outlet, and heads in the form that inspectors are given."""

from gateway.exchange.inlet import Outlet, Pacing
from gateway.exchange.plan import RequestPlan
from gateway.exchange.response import ResponsePlan
from gateway.model.authority import Authority
from gateway.model.inspection.watching import Fields, Gate, RequestHead, ResponseHead
from gateway.wire.http.messages import Delimiter, End, Framing
from gateway.wire.http.messages import Fields as Trailers


class GatedOutlet(Outlet):
    """Writes what its gate releases into `onward`, whose framing, size and pace apply. Fulfils `watching.Sink`.

    While a head and its opening are put together, what the gate releases joins them; else it is written. While the gate
    is full the source is not read.
    """

    __slots__ = ("_end", "_gate", "_gathered", "_gathers", "_is_full", "_onward")

    def __init__(self, onward: Outlet, gate: Gate) -> None:
        self._onward = onward
        self._gate = gate
        self._is_full = False
        self._gathered = b""
        self._end = onward.source.end or End()
        super().__init__(onward.stream, onward.source, is_chunked=False)
        self._gathers = True
        gate.open_to(self)
        self._gathers = False

    @property
    def size(self) -> int:
        """See `Outlet`."""
        return self._onward.size

    @size.setter
    def size(self, size: int) -> None:
        self._onward.size = size

    @property
    def pacing(self) -> Pacing | None:
        """See `Outlet`."""
        return self._onward.pacing

    @pacing.setter
    def pacing(self, pacing: Pacing | None) -> None:
        self._onward.pacing = pacing

    @property
    def trailers(self) -> Trailers | None:
        """See `Outlet`."""
        return self._onward.trailers

    @trailers.setter
    def trailers(self, trailers: Trailers | None) -> None:
        self._onward.trailers = trailers

    def framed(self, data: bytes) -> bytes:
        """See `Outlet`. What the gate holds back follows later."""
        self._gathers = True
        self._gate.feed(data)
        return self._taken()

    def ending(self, end: End) -> bytes:
        """See `Outlet`. The end itself may follow later."""
        self._end = end
        self._gathers = True
        self._gate.finish()
        return self._taken()

    def _taken(self) -> bytes:
        self._gathers = False
        gathered, self._gathered = self._gathered, b""
        return gathered

    def write(self, data: bytes) -> None:
        """See `Outlet`. Who waits for the source is told of what is held back: it has arrived."""
        before = self.size
        self._gate.feed(data)
        if self.size == before:
            self.source.tell()
        if self._gate.is_full:
            self._is_full = True
            self.source.pause()

    def finish(self, end: End) -> None:
        """See `Outlet`."""
        self._end = end
        self._gate.finish()

    def relieved(self) -> None:
        """See `Feeder`."""
        if not self._is_full:
            super().relieved()

    def go_on(self) -> None:
        """Read the source again, if it had to wait for the gate and that is full no longer."""
        if self._is_full and not self._gate.is_full:
            self._is_full = False
            if not self.stream.is_congested:
                self.relieved()

    # Called by the gate.

    def passed(self, data: bytes) -> None:
        """See `Sink`."""
        if self._gathers:
            self._gathered += self._onward.framed(data)
        else:
            self._onward.write(data)

    def ended(self) -> None:
        """See `Sink`."""
        if self._gathers:
            self._gathered += self._onward.ending(self._end)
        else:
            self._onward.finish(self._end)


def shown_request(plan: RequestPlan, named: Authority, is_secure: bool) -> RequestHead:
    """As inspectors are shown it."""
    fields = (*plan.passing, *_length(plan.request.framing))
    scheme = "https" if is_secure else "http"
    return RequestHead(plan.request.method, scheme, str(named.host), named.port, plan.target.resource, fields)


def shown_response(planned: ResponsePlan) -> ResponseHead:
    """As inspectors are shown it."""
    response = planned.response
    return ResponseHead(response.status, (*planned.fields.passing, *_length(response.framing)))


def _length(framing: Framing) -> Fields:
    return (("Content-Length", str(framing.length)),) if framing.delimiter is Delimiter.LENGTH else ()
