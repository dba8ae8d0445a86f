"""h11, the reference: readable, strict in other places than llhttp, and many times slower."""

import h11

from gateway.wire.http.messages import Fields, Request, Response

_UPGRADE = [("Host", "any"), ("Connection", "upgrade"), ("Upgrade", "any")]


class H11Witness:
    """A new connection for each head: h11's state after one message is of no use for the next."""

    def confirms_request(self, head: bytes, request: Request) -> bool:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head))
        event = _event(connection, head)
        if not isinstance(event, h11.Request):
            return False
        return (
            event.method == request.method.encode()
            and event.target == request.target.encode("latin-1")
            and event.http_version == b"1.%d" % request.minor
            and _as_h11(request.fields) == event.headers.raw_items()
            and isinstance(_event(connection), h11.EndOfMessage) == request.framing.is_empty
        )

    def confirms_response(self, head: bytes, response: Response) -> bool:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=len(head))
        connection.send(h11.Request(method="GET", target="/", headers=_UPGRADE))
        connection.send(h11.EndOfMessage())
        event = _event(connection, head)
        if not isinstance(event, h11.Response | h11.InformationalResponse):
            return False
        return (
            event.status_code == response.status
            and event.reason == response.phrase.encode("latin-1")
            and event.http_version == b"1.%d" % response.minor
            and _as_h11(response.fields) == event.headers.raw_items()
        )


def _event(connection: h11.Connection, data: bytes = b"") -> object:
    """The next event; None for what h11 refuses."""
    try:
        if data:
            connection.receive_data(data)
        return connection.next_event()
    except h11.RemoteProtocolError:
        return None


def _as_h11(fields: Fields) -> list[tuple[bytes, bytes]]:
    """As it gives them: the value of Transfer-Encoding in lower case."""
    pairs = [(name, value.lower() if name.lower() == "transfer-encoding" else value) for name, value in fields]
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
