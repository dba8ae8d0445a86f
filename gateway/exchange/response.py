"""The head of a response as the client gets it. As with requests, what was said last is kept with its connection."""

from dataclasses import dataclass

from gateway.exchange.fields import WEBSOCKET, Sorted, response_fields, sort_response
from gateway.exchange.parts import Parts
from gateway.wire.http.messages import Delimiter, Request, Response
from gateway.wire.http.writing import response_head

_NOT_MODIFIED = 304


@dataclass(slots=True)
class Telling:
    """One final response, for requests of HTTP/1.`minor`. `framing` is how the client learns where the content ends;
    `is_persistent`: the destination goes on using its connection."""

    response: Response
    minor: int
    is_head: bool
    fields: Sorted
    framing: Delimiter
    is_persistent: bool
    _keeps: bool = False
    _head: bytes = b""

    def head(self, keeps: bool, parts: Parts) -> bytes:
        """`keeps`: the client may send another request after this."""
        if keeps is not self._keeps or not self._head:
            self._keeps, self._head = keeps, _head_for(self, keeps, parts)
        return self._head


def tell(request: Request, response: Response, last: Telling | None) -> Telling:
    """How to tell it; `last` is how the one before it was told."""
    is_head = request.method == "HEAD"
    if last is not None and last.response == response and last.minor == request.minor and last.is_head is is_head:
        return last
    fields = sort_response(response)
    persistent = response.framing.delimiter is not Delimiter.CLOSE and fields.is_persistent(response.minor)
    return Telling(response, request.minor, is_head, fields, _client_framing(request, response), persistent)


def interim_head(response: Response, parts: Parts) -> bytes:
    """Of a 1xx that another response follows."""
    fields = response_fields(response, sort_response(response), parts.via, parts.name)
    return response_head(response.status, response.phrase, fields)


def switching_head(response: Response, parts: Parts) -> bytes:
    """Of the 101 after which a WebSocket is spoken."""
    fields = response_fields(response, sort_response(response), parts.via, parts.name)
    return response_head(response.status, response.phrase, [*fields, ("Connection", "Upgrade"), ("Upgrade", WEBSOCKET)])


def _client_framing(request: Request, response: Response) -> Delimiter:
    """By chunks where no length is known, or by the end of the connection if the client knows no chunks (RFC 9112
    section 6.1)."""
    delimiter = response.framing.delimiter
    if delimiter is Delimiter.NONE or delimiter is Delimiter.LENGTH:
        return delimiter
    return Delimiter.CHUNKED if request.minor == 1 else Delimiter.CLOSE


def _head_for(telling: Telling, keeps: bool, parts: Parts) -> bytes:
    response, framing = telling.response, telling.framing
    fields = response_fields(response, telling.fields, parts.via, parts.name)
    if framing is Delimiter.LENGTH:
        fields.append(("Content-Length", str(response.framing.length)))
    elif framing is Delimiter.CHUNKED:
        fields.append(("Transfer-Encoding", "chunked"))
    elif framing is Delimiter.NONE and (telling.is_head or response.status == _NOT_MODIFIED):
        fields += [("Content-Length", length) for length in telling.fields.held.get("content-length", ())[:1]]
    if not keeps:
        fields.append(("Connection", "close"))
    elif telling.minor == 0:
        fields.append(("Connection", "keep-alive"))
    return response_head(response.status, response.phrase, fields)
