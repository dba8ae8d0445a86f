"""The seam between asking and travelling: a question goes to one name server, a response that belongs to it comes back.

`plain` fulfils it over UDP and TCP, `secure` inside TLS. Nothing that was to be asked inside TLS is ever asked outside.
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
"""Bytes that pass every path unfragmented (DNS flag day 2020)."""
LARGEST_MESSAGE = 65535
MOST_RECORDS: Final = 128
"""Of one message that are read. 64 KiB hold thousands, and each takes a tenth of a millisecond, or four."""

_COUNTS: Final = Struct(">4H")  # of questions, answers, authorities and additional records (RFC 1035 section 4.1.1)
_COUNTS_AT: Final = 4


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
        """Waits for ever: who asks brings the time-out. Raises `OSError` where the server cannot be reached, cannot
        be trusted or breaks off, `dns.exception.DNSException` where its answer is malformed."""
        ...

    def close(self) -> None:
        """Close what is kept open; whoever waits is told by an `OSError`."""
        ...


def read_message(wire: bytes, raise_on_truncation: bool = False) -> dns.message.Message:
    """What came from a name server: of more than `MOST_RECORDS` the first ones, as if no others were there. Raises
    `dns.exception.DNSException`, also for several questions: nobody asks two at once."""
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
