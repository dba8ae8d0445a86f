"""The interface of DNS transports: a question goes to one name server, a response that belongs to it comes back.

`plain` fulfils it over UDP and TCP, `secure` inside TLS. A question meant for TLS is never sent without it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

import dns.message
import dns.name
from dns.rdatatype import RdataType

from gateway.net.names import NameServer

EDNS_PAYLOAD = 1232
"""Bytes that pass every path unfragmented (DNS flag day 2020)."""
LARGEST_MESSAGE = 65535


class Over(StrEnum):
    """What carried a response."""

    UDP = "udp"
    TCP = "tcp"
    DOT = "dot"
    DOH = "doh"


PORTS = {Over.UDP: 53, Over.TCP: 53, Over.DOT: 853, Over.DOH: 443}
"""Where a server is asked unless its port is given."""


@dataclass(frozen=True, slots=True)
class Question:
    """`kind` is A or AAAA."""

    name: dns.name.Name
    kind: RdataType


class Reply(NamedTuple):
    """A response with our id and our question, whatever its rcode."""

    message: dns.message.Message
    over: Over


class DnsTransport(Protocol):
    """How questions travel."""

    @property
    def over(self) -> Over:
        """What a question is put over first."""
        ...

    async def ask(self, server: NameServer, question: Question) -> Reply:
        """Has no time-out of its own. Raises `OSError` where the server cannot be reached, is not trusted or breaks
        off, `dns.exception.DNSException` where its answer is malformed."""
        ...

    def close(self) -> None:
        """Close kept connections; waiting questions raise an `OSError`."""
        ...
