"""Parsers with one fault each, as they have been found in other proxies. The laws in `targets` must catch every one."""

from dataclasses import replace
from pathlib import Path

import dns.message
import yaml
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from gateway.model.addresses import Address, parse_address
from gateway.model.decision import ProxyVersion
from gateway.model.intent import ClientHello
from gateway.net.dns.answers import Alias, Answer, Found, read_response
from gateway.settings.compile.policy import PolicySource
from gateway.settings.load import parse_policy
from gateway.wire.client_hello import parse_client_hello
from gateway.wire.head import RequestHead, parse_head
from gateway.wire.proxy_protocol import ProxyHeader, parse_proxy_header

LOOPBACK = Address(4, 0x7F000001)
PROXY_VERSIONS = tuple(ProxyVersion)


def takes_bare_line_feeds(data: bytes) -> RequestHead | None:
    """CVE-2025-22871 and its many cousins."""
    end = data.find(b"\n\n")
    if end >= 0:
        head = parse_head(data[: end + 2].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        return None if head is None else head._replace(size=end + 2)
    return parse_head(data)


def reads_one_record_only(data: bytes, limit: int) -> ClientHello | None:
    """Whatever is behind the first record does not exist."""
    size = 5 + int.from_bytes(data[3:5], "big")
    return parse_client_hello(data[:size], limit)


def believes_a_length(data: bytes) -> ProxyHeader | None:
    """The size that a binary header announces, whether or not so much has come."""
    announced = 16 + int.from_bytes(data[14:16], "big")
    if len(data) >= 16 and len(data) < announced and data.startswith(b"\r\n\r\n\0\r\nQUIT\n"):
        return ProxyHeader(None, announced)
    return parse_proxy_header(data)


def believes_every_record(response: dns.message.Message) -> Answer | Alias:
    """Whosever name it has: how caches were poisoned (RFC 2181 section 5.4.1)."""
    answer = read_response(response)
    texts = [record.address for rrset in response.answer for record in rrset if isinstance(record, A | AAAA)]
    found = tuple(address for text in texts[:64] if (address := parse_address(text)) is not None)
    return replace(answer, addresses=found) if isinstance(answer, Found) else answer


def reads_policy(text: str) -> PolicySource:
    """Without a fault: no list file is there to be read."""
    return parse_policy(text, directory=Path("/nonexistent"))


def reads_plain_yaml(text: str) -> PolicySource:
    """`yaml.safe_load` first, whose own errors nobody translates."""
    yaml.safe_load(text)
    return reads_policy(text)
