"""The head of a response as the client gets it."""

from gateway.exchange.fields import WEBSOCKET, Sorted, response_fields, sort_response
from gateway.exchange.parts import Parts
from gateway.wire.http.messages import Delimiter, Request, Response
from gateway.wire.http.writing import response_head

_NOT_MODIFIED = 304


def client_framing(request: Request, response: Response) -> Delimiter:
    """How the client learns where the content ends: by chunks where no length is known, or by the end of the
    connection if it knows no chunks (RFC 9112 section 6.1)."""
    delimiter = response.framing.delimiter
    if delimiter is Delimiter.NONE or delimiter is Delimiter.LENGTH:
        return delimiter
    return Delimiter.CHUNKED if request.minor == 1 else Delimiter.CLOSE


def head_for(
    request: Request, response: Response, sorted_fields: Sorted, framing: Delimiter, keeps: bool, parts: Parts
) -> bytes:
    """`keeps`: the client may send another request after this."""
    fields = response_fields(response, sorted_fields, parts.via, parts.name)
    if framing is Delimiter.LENGTH:
        fields.append(("Content-Length", str(response.framing.length)))
    elif framing is Delimiter.CHUNKED:
        fields.append(("Transfer-Encoding", "chunked"))
    elif framing is Delimiter.NONE and (request.method == "HEAD" or response.status == _NOT_MODIFIED):
        fields += [("Content-Length", length) for length in sorted_fields.held.get("content-length", ())[:1]]
    if not keeps:
        fields.append(("Connection", "close"))
    elif request.minor == 0:
        fields.append(("Connection", "keep-alive"))
    return response_head(response.status, response.phrase, fields)


def interim_head(response: Response, parts: Parts) -> bytes:
    """Of a 1xx that another response follows."""
    fields = response_fields(response, sort_response(response), parts.via, parts.name)
    return response_head(response.status, response.phrase, fields)


def switching_head(response: Response, parts: Parts) -> bytes:
    """Of the 101 after which a WebSocket is spoken."""
    fields = response_fields(response, sort_response(response), parts.via, parts.name)
    return response_head(response.status, response.phrase, [*fields, ("Connection", "Upgrade"), ("Upgrade", WEBSOCKET)])
