"""A client of HTTP/1 as the exchange sees it: one request at a time, answered in turn."""

from dataclasses import dataclass

from gateway.exchange.hops import answer_here
from gateway.exchange.http1.inlets import RequestInlet
from gateway.exchange.inlet import Signal
from gateway.exchange.parts import Parts
from gateway.exchange.response import ResponsePlan, interim_head, switching_head
from gateway.net.stream import Stream
from gateway.wire.http.messages import Request, Response


@dataclass(slots=True)
class DownstreamConnection:
    """Fulfils `response.DownstreamSide`."""

    stream: Stream
    inlet: RequestInlet
    signal: Signal

    def head(self, planned: ResponsePlan, keeps: bool, parts: Parts) -> bytes:
        """See `DownstreamSide`."""
        return planned.head(keeps, parts)

    def pass_interim(self, response: Response, parts: Parts) -> None:
        """See `DownstreamSide`."""
        self.stream.write(interim_head(response, parts))

    def switch(self, response: Response, parts: Parts) -> int:
        """See `DownstreamSide`."""
        self.stream.write(switching_head(response, parts))
        return response.status

    def answer_here(self, request: Request, passing: list[tuple[str, str]], keeps: bool) -> None:
        """See `DownstreamSide`."""
        self.stream.write(answer_here(request, passing, keeps))
