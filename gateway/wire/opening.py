"""What the first bytes of a tunnel are: a TLS hello, the start of an HTTP/1 request line, or anything else.

The preface of HTTP/2 counts as HTTP: it starts like a request line on purpose (RFC 9113 section 3.4).
"""

import re

from gateway.model.intent import Opening, Protocol
from gateway.wire.client_hello import HANDSHAKE, parse_client_hello

_TLS_MAJOR_VERSION = 3
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}+( ?)")
_LONGEST_METHOD = 32

_HTTP = Opening(Protocol.HTTP)
_OTHER = Opening(Protocol.TCP)


def parse_opening(data: bytes, limit: int) -> Opening | None:
    """What `data` begins; None while that is open. Raises `MalformedClientHello` (also for one above `limit` bytes)."""
    if not data:
        return None
    if data[0] == HANDSHAKE:
        return _parse_tls(data, limit)
    method = _METHOD.match(data)
    if method is None:
        return _OTHER
    if method[1]:
        return _HTTP
    return None if method.end() == len(data) <= _LONGEST_METHOD else _OTHER


def _parse_tls(data: bytes, limit: int) -> Opening | None:
    if len(data) < 2:
        return None
    if data[1] != _TLS_MAJOR_VERSION:
        return _OTHER
    hello = parse_client_hello(data, limit)
    return None if hello is None else Opening(Protocol.TLS, hello)
