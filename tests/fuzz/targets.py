"""What is fuzzed: each parser of untrusted bytes with the laws that it keeps, whatever the bytes are.

A target takes any bytes and returns; it raises `AssertionError` if a law is broken, and whatever a parser lets through
that it should have translated. `PLANTED` has the same targets over parsers with a fault.
"""

import ipaddress
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import dns.exception
import dns.message
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from gateway.model.addresses import Address, parse_address
from gateway.model.authority import parse_authority
from gateway.model.errors import Malformed
from gateway.model.intent import ClientHello
from gateway.net.dns.answers import ADDRESSES_PER_NAME, Alias, Answer, Found, read_response
from gateway.net.dns.transport import read_message
from gateway.policy.index import build_rules
from gateway.settings.compile.policy import PolicySource, compile_policy
from gateway.settings.gateway import GatewaySettings
from gateway.settings.problems import ConfigErrors
from gateway.settings.source.files import Reader
from gateway.wire.client_hello import ClientHelloParser, parse_client_hello
from gateway.wire.head import RequestHead, parse_head
from gateway.wire.http.codec import open_codec
from gateway.wire.http.writing import request_head
from gateway.wire.proxy_protocol import MAX_V2, ProxyHeader, build_proxy_header, parse_proxy_header
from gateway.wire.target import parse_target
from tests.fuzz import faulty
from tests.wire.http.reading import check_others_agree, read_request

LIMIT = 16 * 1024
"""Of a ClientHello. libFuzzer's inputs are shorter."""

Run = Callable[[bytes], None]
D = TypeVar("D", bytes, str)
V = TypeVar("V")

_CODEC = open_codec("auto")
_SETTINGS = GatewaySettings()


def fuzz_head(data: bytes, parse: Callable[[bytes], RequestHead | None] = parse_head) -> None:
    """A head that is taken has no byte that ends a line elsewhere, says the same when it is written anew, and
    says it to llhttp and h11 as well."""
    head = _asked(parse, data)
    if head is None:
        return
    taken = data[: head.size]
    assert head.size <= len(data)
    assert not set(taken.replace(b"\r\n", b"")) & set(b"\r\n\0"), "a bare line end or NUL was taken"
    assert _asked(parse, taken) == head
    assert _asked(parse, taken[:-1]) is None
    again = _asked(
        parse, request_head(head.method, head.target, head.headers).replace(b"1.1\r", b"1.%d\r" % head.minor, 1)
    )
    assert again is not None
    assert again[:4] == head[:4]
    _check_target(head)


def _check_target(head: RequestHead) -> None:
    """What is judged is the canonical spelling: it reads as itself."""
    if head.method == "CONNECT":
        authority = parse_authority(head.target)
    else:
        target = _asked(partial(parse_target, method=head.method), head.target)
        authority = None if target is None else target.authority
    if authority is not None:
        assert parse_authority(str(authority)) == authority
        assert str(authority) == str(authority).lower()
        assert isinstance(authority.host, Address) or not _is_an_address(authority.host)


def _is_an_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def fuzz_request(data: bytes) -> None:
    """Cuts change nothing, and what is taken llhttp and h11 alone read alike."""
    whole = read_request(_CODEC.request_reader(), [data])
    bytewise = read_request(_CODEC.request_reader(), [data[at : at + 1] for at in range(len(data))])
    assert whole.refused == bytewise.refused
    if not whole.refused:
        assert whole == bytewise
    check_others_agree(lambda each: read_request(_CODEC.request_reader(), [each]), data, is_request=True)


def fuzz_client_hello(data: bytes, parse: Callable[[bytes, int], ClientHello | None] = parse_client_hello) -> None:
    """The answer is the same whole and in pieces, at most one, and never for more than the limit."""
    whole = _asked_or_refused(lambda each: parse(each, LIMIT), data)
    if isinstance(whole, ClientHello):
        assert whole.server_name is None or whole.server_name == whole.server_name.lower()
        assert len(whole.ja4) == 36
    parser = ClientHelloParser(LIMIT)
    answers = [_asked_or_refused(parser.parse, data[:size]) for size in _cuts(data)]
    settled = [answer for answer in answers if answer is not None]
    assert not settled or len(set(map(repr, settled))) == 1, "an answer that changes"
    assert repr(answers[-1]) == repr(whole), "another answer in pieces than whole"


def _cuts(data: bytes) -> list[int]:
    """Some, chosen by the data itself, and the end."""
    step = max(1 + data[-1] % 61 if data else 1, len(data) // 64)
    return [*range(0, len(data), step), len(data)]


def fuzz_proxy_header(data: bytes, parse: Callable[[bytes], ProxyHeader | None] = parse_proxy_header) -> None:
    """A header is never longer than what came or what is allowed, and what it says can be said again."""
    header = _asked(parse, data)
    if header is None:
        return
    assert 0 < header.size <= min(len(data), MAX_V2), "longer than what came"
    assert _asked(parse, data[: header.size]) == header
    assert _asked(parse, data[: header.size - 1]) is None
    if header.source is not None:
        for version in faulty.PROXY_VERSIONS:
            told = _asked(parse, build_proxy_header(version, header.source, (faulty.LOOPBACK, 1)))
            assert told is not None
            assert told.source == header.source


def fuzz_dns(data: bytes, read: Callable[[dns.message.Message], Answer | Alias] = read_response) -> None:
    """Whatever a name server says is no error but dnspython's own, and bounded."""
    try:
        response = read_message(data, raise_on_truncation=True)
        if not _answers_a_question_of_ours(response):
            return
        answer = read(response)
    except dns.message.Truncated as truncated:
        truncated.message()  # type: ignore[no-untyped-call] # dnspython left it untyped
        return
    except dns.exception.DNSException:
        return
    if isinstance(answer, Found):
        assert 0 < len(answer.addresses) <= ADDRESSES_PER_NAME, "more addresses than a name may have"
        assert {*map(str, answer.addresses)} <= _led_to(response), "an address of another name"
    assert answer.ttl >= 0


def _led_to(response: dns.message.Message) -> set[str]:
    """Every address at the end of the chain that begins at the question."""
    name, records = response.question[0].name, [(rrset.name, each) for rrset in response.answer for each in rrset]
    for _ in range(len(records)):
        name = next((each.target for owner, each in records if owner == name and isinstance(each, CNAME)), name)
    return {str(parse_address(each.address)) for owner, each in records if owner == name and isinstance(each, A | AAAA)}


def _answers_a_question_of_ours(response: dns.message.Message) -> bool:
    """Others the resolver drops before anybody reads them."""
    kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
    return any(each.rdtype in kinds and each.rdclass == dns.rdataclass.IN for each in response.question[:1])


def fuzz_policy(data: bytes, parse: Callable[[str], PolicySource] = faulty.reads_policy) -> None:
    """A policy is taken, or every problem names its line."""
    try:
        source = parse(data.decode())
        compiled = compile_policy([source], _SETTINGS, Reader())
    except UnicodeDecodeError:
        return
    except ConfigErrors as refusal:
        problems = [str(problem) for problem in refusal.problems]
    else:
        build_rules(compiled.policy, 1)
        return
    assert problems
    assert all(map(_names_a_line, problems)), problems


def _names_a_line(problem: str) -> bool:
    file, _, rest = problem.partition(":")
    return file == "policy.yaml" and rest.partition(":")[0].isdigit()


def _asked(parse: Callable[[D], V | None], data: D) -> V | None:
    try:
        return parse(data)
    except Malformed:
        return None


def _asked_or_refused(parse: Callable[[bytes], V | None], data: bytes) -> V | type[Malformed] | None:
    try:
        return parse(data)
    except Malformed as refusal:
        return type(refusal)


TARGETS: Mapping[str, Run] = {
    "head": fuzz_head,
    "request": fuzz_request,
    "client_hello": fuzz_client_hello,
    "proxy_header": fuzz_proxy_header,
    "dns": fuzz_dns,
    "policy": fuzz_policy,
}

PLANTED: Mapping[str, Run] = {
    "head": partial(fuzz_head, parse=faulty.takes_bare_line_feeds),
    "client_hello": partial(fuzz_client_hello, parse=faulty.reads_one_record_only),
    "proxy_header": partial(fuzz_proxy_header, parse=faulty.believes_a_length),
    "dns": partial(fuzz_dns, read=faulty.believes_every_record),
    "policy": partial(fuzz_policy, parse=faulty.reads_plain_yaml),
}
