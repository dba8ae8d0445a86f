"""What a name server's response means: addresses, another name to ask for, or nothing and why. No I/O, no clock.

CNAME chains are followed inside one response and bounded there by dnspython; a chain that leaves the response is an
`Alias`. TTLs are seconds, the smallest of the whole chain; for a negative answer as RFC 2308 section 5 has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from gateway.model.addresses import Address, parse_address
from gateway.model.errors import GatewayError, InternalError, UpstreamError
from gateway.model.reasons import Reason

ADDRESSES_PER_NAME = 64
INCOMPLETE_TTL = 30.0

_PRECEDENCE = (
    Reason.DNS_NAME_NOT_FOUND,
    Reason.DESCRIPTORS_EXHAUSTED,
    Reason.DNS_TIMEOUT,
    Reason.DNS_FAILURE,
    Reason.DNS_NO_ADDRESS,
)


@dataclass(frozen=True, slots=True)
class Found:
    """At least one address, at most `ADDRESSES_PER_NAME`, in the order of the response."""

    addresses: tuple[Address, ...]
    ttl: float


@dataclass(frozen=True, slots=True)
class Missing:
    """No address. `rcode` is the response's, None without a response."""

    reason: Reason
    detail: str
    rcode: str | None = None
    ttl: float = 0.0

    @property
    def is_failure(self) -> bool:
        """Nothing was learnt: another server, or a later attempt, may answer."""
        return self.is_ours or self.reason in (Reason.DNS_FAILURE, Reason.DNS_TIMEOUT)

    @property
    def is_ours(self) -> bool:
        """There was no descriptor to ask with."""
        return self.reason is Reason.DESCRIPTORS_EXHAUSTED

    def error(self) -> GatewayError:
        """A new error each time: a raised one holds on to the frames that it went through."""
        if self.is_ours:
            return InternalError(self.reason, self.detail)
        return UpstreamError(self.reason, self.detail, self.rcode)


@dataclass(frozen=True, slots=True)
class Alias:
    """The chain continues at `name`, about which this response says nothing."""

    name: dns.name.Name
    ttl: float


Answer = Found | Missing


def read_response(response: dns.message.Message) -> Answer | Alias:
    """What a validated response to an A or AAAA question says. Raises `dns.exception.DNSException` where it
    contradicts itself."""
    rcode = response.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not isinstance(response, dns.message.QueryMessage):
        text = dns.rcode.to_text(rcode)
        return Missing(Reason.DNS_FAILURE, text, text)
    chain = response.resolve_chaining()
    if chain.answer is not None:
        return Found(tuple(_addresses(chain.answer)), chain.minimum_ttl)
    has_soa = any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)
    if chain.cnames and not has_soa and rcode == dns.rcode.NOERROR:
        return Alias(chain.canonical_name, chain.minimum_ttl)
    if rcode == dns.rcode.NOERROR and _is_referral(response):
        return Missing(Reason.DNS_FAILURE, "a referral from a server that does not resolve", "NOERROR")
    ttl = chain.minimum_ttl if has_soa else 0.0  # RFC 2308 section 5: without SOA it should not be remembered
    if rcode == dns.rcode.NXDOMAIN:
        return Missing(Reason.DNS_NAME_NOT_FOUND, "the name does not exist", "NXDOMAIN", ttl)
    return Missing(Reason.DNS_NO_ADDRESS, "the name has no address", "NOERROR", ttl)


def _is_referral(response: dns.message.Message) -> bool:
    """Whether it only names other servers: who was asked to resolve the name will not (RFC 2308 section 2.2)."""
    kinds = {rrset.rdtype for rrset in response.authority}
    is_final = response.flags & (dns.flags.AA | dns.flags.RA)
    return not is_final and dns.rdatatype.NS in kinds and dns.rdatatype.SOA not in kinds


def _addresses(records: dns.rrset.RRset) -> dict[Address, None]:
    found: dict[Address, None] = {}
    for record in records:
        address = parse_address(record.address) if isinstance(record, A | AAAA) else None
        if address is not None and len(found) < ADDRESSES_PER_NAME:
            found[address] = None
    return found


def merge(answers: Sequence[Answer], asked: int) -> Answer:
    """One answer from those to A and AAAA, of which `asked` were sent and at least one was answered. An address beats
    every failure of the other family. An incomplete answer is cached for `INCOMPLETE_TTL` only."""
    found = [answer for answer in answers if isinstance(answer, Found)]
    missing = [answer for answer in answers if isinstance(answer, Missing)]
    is_whole = len(answers) == asked and not any(answer.is_failure for answer in missing)
    if not found:
        said = min(missing, key=lambda answer: (_PRECEDENCE.index(answer.reason), answer.ttl))
        return said if is_whole else replace(said, ttl=min(said.ttl, INCOMPLETE_TTL))
    ttl = min(answer.ttl for answer in found)
    addresses = tuple(dict.fromkeys(address for answer in found for address in answer.addresses))
    return Found(addresses, ttl if is_whole else min(ttl, INCOMPLETE_TTL))
