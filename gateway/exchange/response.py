"""The head of a response as the client gets it. As with requests, each connection keeps the last one."""

import re
from dataclasses import dataclass
from email.utils import formatdate
from math import inf
from typing import Protocol

from gateway.exchange.fields import MOST_KEPT, WEBSOCKET, Sorted, response_fields, size_of, sort_response
from gateway.exchange.inlet import Head, HeadFields, Inlet, Signal, Sink
from gateway.exchange.parts import Parts
from gateway.wire.http.messages import Delimiter, Request, Response
from gateway.wire.http.writing import response_head
from gateway.wire.http2 import heads as http2

_NO_CONTENT = 204
_NOT_MODIFIED = 304
_DATE = len("date")
_KEEPS = re.compile(r"timeout *= *([0-9]{1,6})", re.IGNORECASE)
_UNDER_WAY = 1.0  # seconds


class DownstreamSide(Protocol):
    """The client's side of an exchange. `signal` rings when something happened on either side."""

    @property
    def stream(self) -> Sink: ...

    @property
    def inlet(self) -> Inlet[Request]: ...

    @property
    def signal(self) -> Signal: ...

    def head(self, planned: "ResponsePlan", keeps: bool, parts: Parts) -> Head:
        """The head of the final response; `keeps`: another request may follow on the same connection."""
        ...

    def pass_interim(self, response: Response, parts: Parts) -> None:
        """Send an interim response, which another one follows."""
        ...

    def switch(self, response: Response, parts: Parts) -> int:
        """Say that a WebSocket is spoken from here on; returns the status that was sent."""
        ...

    def answer_here(self, request: Request, passing: list[tuple[str, str]], keeps: bool) -> None:
        """Send a response of ours to a request that may go no further: see `hops`."""
        ...


@dataclass(slots=True)
class ResponsePlan:
    """One final response, for requests of HTTP/1.`minor`. `framing` is how the client learns where the content ends.
    `is_persistent`: the destination goes on using its connection, for `keeps_for` seconds after its answer;
    `is_dated`: the answer has a Date; `is_large`: it is not to be kept. `name` is ours in Proxy-Status."""

    response: Response
    name: str
    minor: int
    is_head: bool
    fields: Sorted
    framing: Delimiter
    is_persistent: bool
    keeps_for: float
    is_dated: bool
    is_large: bool
    _told_at: int = 0
    _keeps: bool = False
    _head: bytes = b""
    _fields: HeadFields | None = None

    def fields_for_http2(self, parts: Parts) -> HeadFields:
        """The same for a client of HTTP/2."""
        if not self.is_dated:
            self._renew(parts)
        if self._fields is None:
            fields = _final_fields(self, parts)
            self._fields = http2.response_fields(self.response.status, fields, self.length)
        return self._fields

    @property
    def length(self) -> str | None:
        """The value of Content-Length, also for content that does not follow, but in no 204 (RFC 9110 section 8.6)."""
        if self.framing is Delimiter.LENGTH:
            return str(self.response.framing.length)
        status = self.response.status
        if self.framing is Delimiter.NONE and (status == _NOT_MODIFIED or (self.is_head and status != _NO_CONTENT)):
            return next(iter(self.fields.held.get("content-length", ())), None)
        return None

    def head(self, keeps: bool, parts: Parts) -> bytes:
        """`keeps`: the client may send another request after this."""
        if not self.is_dated:
            self._renew(parts)
        if keeps is not self._keeps or not self._head:
            self._keeps, self._head = keeps, _head_for(self, keeps, parts)
        return self._head

    def _renew(self, parts: Parts) -> None:
        """A Date of ours holds for a second."""
        now = int(parts.clock.time())
        if now != self._told_at:
            self._told_at, self._head, self._fields = now, b"", None


def plan_response(request: Request, response: Response, name: str, last: ResponsePlan | None) -> ResponsePlan:
    """How to send it; `name` is ours in Proxy-Status, `last` is the plan of the response before."""
    is_head = request.method == "HEAD"
    is_alike = last is not None and last.minor == request.minor and last.is_head is is_head and last.name == name
    if last is not None and is_alike and last.response == response:
        return last
    fields = sort_response(response)
    return ResponsePlan(
        response,
        name,
        request.minor,
        is_head,
        fields,
        framing=_client_framing(request, response),
        is_persistent=response.framing.delimiter is not Delimiter.CLOSE and fields.is_persistent(response.minor),
        keeps_for=_keeps_for(fields),
        is_dated=any(len(name) == _DATE and name.lower() == "date" for name, _ in fields.passing),
        is_large=size_of(response.fields) > MOST_KEPT,
    )


def interim_head(response: Response, parts: Parts) -> bytes:
    """The head of a 1xx, which another response follows."""
    return response_head(response.status, response.phrase, _fields_of(response, parts))


def interim_fields(response: Response, parts: Parts) -> HeadFields:
    """The same for a client of HTTP/2."""
    return http2.response_fields(response.status, _fields_of(response, parts), None)


def switching_head(response: Response, parts: Parts) -> bytes:
    """The head of the 101 after which a WebSocket is spoken."""
    fields = [*_fields_of(response, parts), ("Connection", "Upgrade"), ("Upgrade", WEBSOCKET)]
    return response_head(response.status, response.phrase, fields)


def switching_fields(response: Response, parts: Parts) -> HeadFields:
    """The same for a client of HTTP/2, which asked by extended CONNECT (RFC 8441 section 5)."""
    return http2.response_fields(200, _fields_of(response, parts), None, websocket=True)


def _fields_of(response: Response, parts: Parts) -> list[tuple[str, str]]:
    return response_fields(response, sort_response(response), parts.via, parts.name)


def _client_framing(request: Request, response: Response) -> Delimiter:
    """In chunks where no length is known, or until close if the client does not know chunks (RFC 9112 section 6.1)."""
    delimiter = response.framing.delimiter
    if delimiter is Delimiter.NONE or delimiter is Delimiter.LENGTH:
        return delimiter
    return Delimiter.CHUNKED if request.minor == 1 else Delimiter.CLOSE


def _keeps_for(fields: Sorted) -> float:
    """The seconds that Keep-Alive promises, less those for which a request may be under way."""
    seconds = _KEEPS.search(",".join(fields.held.get("keep-alive", ())))
    return inf if seconds is None else int(seconds[1]) - _UNDER_WAY


def _final_fields(planned: ResponsePlan, parts: Parts) -> list[tuple[str, str]]:
    """All but framing. To a response without Date a proxy adds when it was received (RFC 9110 section 6.6.1)."""
    fields = response_fields(planned.response, planned.fields, parts.via, parts.name)
    if not planned.is_dated:
        fields.append(("Date", formatdate(parts.clock.time(), usegmt=True)))
    return fields


def _head_for(planned: ResponsePlan, keeps: bool, parts: Parts) -> bytes:
    response, framing = planned.response, planned.framing
    fields = _final_fields(planned, parts)
    length = planned.length
    if length is not None:
        fields.append(("Content-Length", length))
    elif framing is Delimiter.CHUNKED:
        fields.append(("Transfer-Encoding", "chunked"))
    if not keeps:
        fields.append(("Connection", "close"))
    elif planned.minor == 0:
        fields.append(("Connection", "keep-alive"))
    return response_head(response.status, response.phrase, fields)
