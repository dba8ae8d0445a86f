"""What the first bytes of a tunnel are: a TLS hello, the start of an HTTP/1 request line, or anything else.

The preface of HTTP/2 counts as HTTP: it starts like a request line on purpose (RFC 9113 section 3.4).
"""

import re

from gateway.model.intent import Opening, Protocol
from gateway.wire.client_hello import HANDSHAKE, ClientHelloParser

_TLS_MAJOR_VERSION = 3
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}+( ?)")
_LONGEST_METHOD = 32

_HTTP = Opening(Protocol.HTTP)
_OTHER = Opening(Protocol.TCP)


def parse_opening(data: bytes, hello: ClientHelloParser) -> Opening | None:
    """What `data` begins; None while that is open. `hello` parses this connection's. Raises `MalformedClientHello`."""
    if not data:
        return None
    if data[0] == HANDSHAKE:
        return _parse_tls(data, hello)
    method = _METHOD.match(data)
    if method is None:
        return _OTHER
    if method[1]:
        return _HTTP
    return None if method.end() == len(data) <= _LONGEST_METHOD else _OTHER


def _parse_tls(data: bytes, parser: ClientHelloParser) -> Opening | None:
    if len(data) < 2:
        return None
    if data[1] != _TLS_MAJOR_VERSION:
        return _OTHER
    hello = parser.parse(data)
    return None if hello is None else Opening(Protocol.TLS, hello)
