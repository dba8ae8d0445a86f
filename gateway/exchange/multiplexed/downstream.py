"""A client's stream of HTTP/2 as the exchange sees it."""

import asyncio

from gateway.exchange.hops import answer_fields
from gateway.exchange.http2.channel import Channel, StreamInlet
from gateway.exchange.http2.session import Session
from gateway.exchange.inlet import HeadFields, Signal
from gateway.exchange.parts import Parts
from gateway.exchange.response import ResponsePlan, interim_fields, switching_fields
from gateway.model.errors import GatewayError
from gateway.model.reasons import Reason
from gateway.wire.http.messages import Request, Response
from gateway.wire.http2 import heads
from gateway.wire.http2.codes import ErrorCode
from gateway.wire.http2.grpc import grpc_answer, is_grpc
from gateway.wire.http2.messages import RequestMessage
from gateway.wire.replies import answer_to

_SUCCESS = 200


class DownstreamStream:
    """Fulfils `response.DownstreamSide`. `task` serves it."""

    task: "asyncio.Task[None]"

    def __init__(self, session: Session, number: int) -> None:
        self.signal = Signal()
        ring = self.signal.ring
        message = RequestMessage(session.extended_connect, session.head)
        self.inlet: StreamInlet[Request] = StreamInlet(session, number, message, Reason.MALFORMED_REQUEST, ring)
        self.stream = Channel(session, number, ring)
        self._session = session
        session.receivers[number] = self.inlet

    def head(self, planned: ResponsePlan, keeps: bool, parts: Parts) -> HeadFields:
        """See `DownstreamSide`."""
        return planned.fields_for_http2(parts)

    def pass_interim(self, response: Response, parts: Parts) -> None:
        """See `DownstreamSide`."""
        self.stream.send_head(interim_fields(response, parts), ends=False)

    def switch(self, response: Response, parts: Parts) -> int:
        """See `DownstreamSide`."""
        self.stream.send_head(switching_fields(response, parts), ends=False)
        return _SUCCESS

    def answer_here(self, request: Request, passing: list[tuple[str, str]], keeps: bool) -> None:
        """See `DownstreamSide`."""
        fields, content = answer_fields(request, passing)
        self.stream.begin(heads.response_fields(_SUCCESS, fields, str(len(content))), content, ())

    def refuse(self, error: GatewayError, request: Request | None, name: str, exchange_id: str) -> int:
        """Answer with an error, to a gRPC client in gRPC's form; returns the status that was sent."""
        if request is not None and is_grpc(request):
            answer = answer_to(error, name, exchange_id)
            self.stream.begin([*grpc_answer(answer)], b"", ())
            return _SUCCESS
        answer = answer_to(error, name, exchange_id, request.values("accept") if request is not None else ())
        content = b"" if request is not None and request.method == "HEAD" else answer.content
        fields = heads.response_fields(answer.status, answer.fields, str(len(answer.content)))
        self.stream.begin(fields, content, ())
        return answer.status

    def leave(self) -> None:
        """The exchange is over. The rest of an incomplete request is not waited for (RFC 9113 section 8.1). That is
        said in a record of its own: curl 7.88 forgets an answer that it reads together with the reset behind it."""
        stream, inlet = self.stream, self.inlet
        if not stream.has_ended:
            stream.abort()
        elif inlet.end is None and not inlet.is_lost:
            self._session.flush()
            self._session.reset(stream.number, ErrorCode.NO_ERROR)
        inlet.detach()
