"""The interface of DNS transports: a question goes to one name server, a response that belongs to it comes back.

`plain` fulfils it over UDP and TCP, `secure` inside TLS. A question meant for TLS is never sent without it.
"""

from dataclasses import dataclass
from enum import StrEnum
from struct import Struct
from typing import Final, NamedTuple, Protocol

import dns.exception
import dns.message
import dns.name
from dns.rdatatype import RdataType

from gateway.net.names import NameServer

EDNS_PAYLOAD = 1232
"""Bytes that pass unfragmented on every path (DNS flag day 2020)."""
LARGEST_MESSAGE = 65535
MOST_RECORDS: Final = 128
"""Records of one message that are read. 64 KiB hold thousands, and each takes a tenth of a millisecond, or four."""

_COUNTS: Final = Struct(">4H")  # of questions, answers, authorities and additional records (RFC 1035 section 4.1.1)
_COUNTS_AT: Final = 4


class Over(StrEnum):
    """What carried a response."""

    UDP = "udp"
    TCP = "tcp"
    DOT = "dot"
    DOH = "doh"


PORTS = {Over.UDP: 53, Over.TCP: 53, Over.DOT: 853, Over.DOH: 443}
"""The port of a server for which none is given."""


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
        """What carries a question at first."""
        ...

    async def ask(self, server: NameServer, question: Question) -> Reply:
        """Has no time-out of its own. Raises `OSError` where the server cannot be reached, is not trusted or breaks
        off, `dns.exception.DNSException` where its answer is malformed."""
        ...

    def close(self) -> None:
        """Close kept connections; waiting questions raise an `OSError`."""
        ...


def read_message(wire: bytes, raise_on_truncation: bool = False) -> dns.message.Message:
    """Parse what came from a name server, without the records beyond `MOST_RECORDS`. Raises
    `dns.exception.DNSException`, also for more than one question: nobody asks two at once."""
    if len(wire) < _COUNTS_AT + _COUNTS.size:
        raise dns.message.ShortHeader
    questions, *counts = _COUNTS.unpack_from(wire, _COUNTS_AT)
    if questions > 1:
        raise dns.exception.FormError
    if sum(counts) <= MOST_RECORDS:
        return dns.message.from_wire(wire, raise_on_truncation=raise_on_truncation)
    answers, authorities, additional = counts
    answers = min(answers, MOST_RECORDS)
    authorities = min(authorities, MOST_RECORDS - answers)
    additional = min(additional, MOST_RECORDS - answers - authorities)
    head = wire[:_COUNTS_AT] + _COUNTS.pack(questions, answers, authorities, additional)
    return dns.message.from_wire(
        head + wire[len(head) :], raise_on_truncation=raise_on_truncation, ignore_trailing=True
    )
