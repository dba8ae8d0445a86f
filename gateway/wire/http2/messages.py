"""The two directions of one stream, read into the events that HTTP/1 has: a head, content, an end with its trailers.

What RFC 9113 section 8.1.1 calls malformed raises `MalformedMessage`, and the stream is to be reset. Content is counted
against its length, so that neither more nor less of it is passed on than the head has said.
"""

from gateway.model.reasons import Reason
from gateway.wire.http.messages import (
    MOST_INTERIM,
    NO_CONTENT,
    Delimiter,
    End,
    Event,
    Fields,
    Framing,
    MalformedMessage,
    Request,
)
from gateway.wire.http2.heads import UPGRADED, read_request, read_response, read_trailers
from gateway.wire.http2.settings import HEADER_LIST

_SUCCESS = range(200, 300)
_SWITCHING = 101


class _Content:
    """What follows a head."""

    def __init__(self, malformed: Reason) -> None:
        self._malformed = malformed
        self._framing: Framing | None = None
        self._size = 0

    @property
    def is_awaited(self) -> bool:
        """Whether a head has come for it."""
        return self._framing is not None

    def begin(self, framing: Framing) -> None:
        """The head has come, and frames the content like this."""
        self._framing = framing

    def data(self, data: bytes, ended: bool) -> list[Event]:
        """A piece of it."""
        framing = self._framing
        if framing is None:
            raise MalformedMessage(self._malformed, "content before a head")
        self._size += len(data)
        if data and self._exceeds(framing):
            raise MalformedMessage(self._malformed, "more content than was announced")
        events: list[Event] = [data] if data else []
        return [*events, self.end(())] if ended else events

    def _exceeds(self, framing: Framing) -> bool:
        bounded = framing.delimiter is Delimiter.NONE or framing.delimiter is Delimiter.LENGTH
        return bounded and self._size > framing.length

    def end(self, trailers: Fields) -> End:
        """Nothing follows."""
        framing = self._framing
        if framing is not None and framing.delimiter is Delimiter.LENGTH and self._size != framing.length:
            raise MalformedMessage(self._malformed, "less content than was announced")
        return End(read_trailers(trailers, self._malformed) if trailers else ())


class RequestMessage:
    """Reads a client's. `extended_connect`: it was told that it may ask for WebSockets (RFC 8441 section 3); `bound` is
    the most bytes that its head may have."""

    def __init__(self, extended_connect: bool, bound: int = HEADER_LIST) -> None:
        self._extended_connect = extended_connect
        self._bound = bound
        self._content = _Content(Reason.MALFORMED_REQUEST)

    def head(self, fields: Fields, ended: bool) -> list[Event]:
        """The head, then the trailers."""
        if self._content.is_awaited:
            if not ended:
                raise MalformedMessage(Reason.MALFORMED_REQUEST, "trailers that are not the end")
            return [self._content.end(fields)]
        request = read_request(fields, ended, self._bound)
        switches = _is_switching(request)
        if switches and not self._extended_connect:
            raise MalformedMessage(Reason.MALFORMED_REQUEST, "an extended CONNECT that was not offered")
        self._content.begin(Framing(Delimiter.CHUNKED) if switches else request.framing)
        return [request, self._content.end(())] if ended else [request]

    def data(self, data: bytes, ended: bool) -> list[Event]:
        """Content."""
        return self._content.data(data, ended)


class ResponseMessage:
    """Reads a destination's, to a request with this method. `websocket`: that was an extended CONNECT, whose success
    reads as the 101 that it would be in HTTP/1. `bound` as in `RequestMessage`."""

    def __init__(self, method: str, websocket: bool, bound: int = HEADER_LIST) -> None:
        self._method = method
        self._bound = bound
        self._websocket = websocket
        self._interim = 0
        self._content = _Content(Reason.MALFORMED_RESPONSE)

    def head(self, fields: Fields, ended: bool) -> list[Event]:
        """Interim heads, the final one, then the trailers."""
        if self._content.is_awaited:
            if not ended:
                raise MalformedMessage(Reason.MALFORMED_RESPONSE, "trailers that are not the end")
            return [self._content.end(fields)]
        response = read_response(fields, ended, self._method, self._bound)
        if response.is_interim:
            self._interim += 1
            if self._interim > MOST_INTERIM:
                raise MalformedMessage(Reason.MALFORMED_RESPONSE, f"more than {MOST_INTERIM} interim responses")
            return [response]
        if self._websocket and response.status in _SUCCESS:
            response = response._replace(status=_SWITCHING, fields=(*response.fields, *UPGRADED), framing=NO_CONTENT)
            self._content.begin(Framing(Delimiter.CHUNKED))
        else:
            self._content.begin(response.framing)
        return [response, self._content.end(())] if ended else [response]

    def data(self, data: bytes, ended: bool) -> list[Event]:
        """Content."""
        return self._content.data(data, ended)


def _is_switching(request: Request) -> bool:
    return request.fields[-len(UPGRADED) :] == UPGRADED
