"""The PROXY protocol: both versions, in and out."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.addresses import Address, parse_address
from gateway.model.decision import ProxyVersion
from gateway.model.reasons import Reason
from gateway.wire.proxy_protocol import (
    MAX_V1,
    MAX_V2,
    MalformedProxyHeader,
    ProxyHeader,
    begins_header,
    build_proxy_header,
    crc32c,
    parse_proxy_header,
)
from tests.wire.feeding import UNSHRUNK, check_every_prefix_waits

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4_BLOCK = bytes((192, 0, 2, 1, 198, 51, 100, 7)) + struct.pack(">HH", 40000, 3128)
V6_BLOCK = bytes.fromhex("20010db800000000000000000000000120010db8000000000000000000000002") + struct.pack(
    ">HH", 40000, 3128
)
MAPPED_BLOCK = bytes(10) + b"\xff\xff\x0a\x07\x01\x09" + bytes(10) + b"\xff\xff\x0a\x07\x01\x01" + bytes(4)


def address(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None
    return parsed


def v2(command: int, family: int, content: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(content) if length is None else length) + content


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def with_checksum(header: bytes) -> bytes:
    """The same with a right CRC32c behind it."""
    length = int.from_bytes(header[14:16], "big") + 7
    zeroed = header[:14] + length.to_bytes(2, "big") + header[16:] + extension(3, bytes(4))
    return zeroed[:-4] + crc32c(zeroed).to_bytes(4, "big")


REQUEST = b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
LONGEST_V1 = b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n"
LONGEST_UNKNOWN = b"PROXY UNKNOWN " + b"f" * (MAX_V1 - 16) + b"\r\n"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 3128\r\n", ("192.0.2.1", 40000)),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 0\r\n", ("2001:db8::1", 40000)),
        (b"PROXY TCP6 ::ffff:10.7.1.9 ::1 1 2\r\n", ("10.7.1.9", 1)),
        (LONGEST_V1, ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 whatever it says\r\n", None),
        (LONGEST_UNKNOWN, None),
        (v2(0x21, 0x11, V4_BLOCK), ("192.0.2.1", 40000)),
        (v2(0x21, 0x21, V6_BLOCK), ("2001:db8::1", 40000)),
        (v2(0x21, 0x21, MAPPED_BLOCK), ("10.7.1.9", 0)),
        (v2(0x21, 0x11, V4_BLOCK + extension(1, b"h2") + extension(0xEA, b"")), ("192.0.2.1", 40000)),
        (with_checksum(v2(0x21, 0x21, V6_BLOCK)), ("2001:db8::1", 40000)),
        (v2(0x21, 0x11, V4_BLOCK + extension(4, bytes(MAX_V2 - 16 - 12 - 3))), ("192.0.2.1", 40000)),
        (v2(0x21, 0x00, b""), None),
        (v2(0x21, 0x00, b"what an unspecified family brings is passed over"), None),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, V4_BLOCK), None),
        (v2(0x20, 0x31, b"nor is anything that comes with LOCAL"), None),
    ],
)
def test_a_header_names_the_client_or_nobody(header: bytes, client: tuple[str, int] | None) -> None:
    source = None if client is None else (address(client[0]), client[1])
    assert parse_proxy_header(header) == ProxyHeader(source, len(header))
    assert parse_proxy_header(header + REQUEST) == ProxyHeader(source, len(header))
    assert begins_header(header)
    check_every_prefix_waits(parse_proxy_header, header)


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 3128\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 40000\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 3128 \r\n",
        b"PROXY  TCP4 192.0.2.1 198.51.100.7 40000 3128\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 040000 3128\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 +1 1\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.7 1 1\r\n",
        b"PROXY TCP4 192.0.2 198.51.100.7 1 1\r\n",
        b"PROXY TCP4 ::1 ::1 1 1\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.1 1 1\r\n",
        b"PROXY TCP4 ::1 192.0.2.1 1 1\r\n",
        b"PROXY TCP4 192.0.2.1 ::1 1 1\r\n",
        b"PROXY TCP6 192.0.2.1 ::1 1 1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.256 1 1\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.7 1 1\r\n",
        b"PROXY tcp4 192.0.2.1 198.51.100.7 1 1\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY \r\n",
        b"PROXY " + b"x" * (MAX_V1 - 6),
        LONGEST_UNKNOWN[:-2] + b"f\r\n",
        v2(0x11, 0x11, V4_BLOCK),
        v2(0x22, 0x11, V4_BLOCK),
        v2(0x21, 0x12, V4_BLOCK),
        v2(0x21, 0x31, bytes(216)),
        v2(0x21, 0x11, V4_BLOCK[:-1]),
        v2(0x21, 0x21, V4_BLOCK),
        v2(0x21, 0x11, V4_BLOCK + b"\x01\x00"),
        v2(0x21, 0x11, V4_BLOCK + b"\x01\x00\x02x"),
        v2(0x21, 0x11, V4_BLOCK + extension(3, bytes(4))),
        v2(0x21, 0x11, V4_BLOCK + extension(3, b"abc")),
        v2(0x21, 0x11, V4_BLOCK, length=MAX_V2 - 15),
        v2(0x21, 0x11, V4_BLOCK, length=0xFFFF),
    ],
)
def test_a_header_that_is_not_exactly_one_is_malformed_whatever_follows(header: bytes) -> None:
    for data in (header, header + REQUEST):
        with pytest.raises(MalformedProxyHeader) as caught:
            parse_proxy_header(data)
        assert caught.value.reason is Reason.PROXY_HEADER_MALFORMED


@pytest.mark.parametrize(
    "data", [b"C", b"CONNECT x:1 HTTP/1.1\r\n", b"\x16\x03\x01", b"PROXYING ", b"\r\n\r\n\x00\r\nQUIT\r"]
)
def test_other_first_bytes_are_no_header(data: bytes) -> None:
    assert begins_header(data) is False
    with pytest.raises(MalformedProxyHeader) as caught:
        parse_proxy_header(data)
    assert caught.value.reason is Reason.PROXY_HEADER_MISSING


def test_a_checksum_over_other_bytes_is_malformed() -> None:
    header = with_checksum(v2(0x21, 0x11, V4_BLOCK))
    kind_at = len(header) - 7  # another kind of extension would be no checksum
    for at in {*range(16, len(header))} - {kind_at}:
        forged = header[:at] + bytes((header[at] ^ 1,)) + header[at + 1 :]
        with pytest.raises(MalformedProxyHeader):
            parse_proxy_header(forged)


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda value: Address(4, value)),
    st.integers(2**64, 2**128 - 1).map(lambda value: Address(6, value)),
)
endpoints = st.tuples(addresses, st.integers(0, 65535))


def check_what_is_sent_is_understood(
    version: ProxyVersion, source: tuple[Address, int], destination: tuple[Address, int]
) -> None:
    header = build_proxy_header(version, source, destination)
    assert len(header) <= MAX_V1
    assert parse_proxy_header(header) == ProxyHeader(source, len(header))


@given(st.sampled_from(ProxyVersion), endpoints, endpoints)
def test_what_is_sent_is_understood(
    version: ProxyVersion, source: tuple[Address, int], destination: tuple[Address, int]
) -> None:
    check_what_is_sent_is_understood(version, source, destination)


def test_addresses_in_the_wrong_order_would_be_noticed() -> None:
    @UNSHRUNK
    @given(st.sampled_from(ProxyVersion), endpoints, endpoints)
    def swapped(version: ProxyVersion, source: tuple[Address, int], destination: tuple[Address, int]) -> None:
        header = build_proxy_header(version, destination, source)
        assert parse_proxy_header(header) == ProxyHeader(source, len(header))

    with pytest.raises(AssertionError):
        swapped()


def test_two_of_one_family_are_written_as_what_they_are() -> None:
    ends = (address("192.0.2.1"), 40000), (address("198.51.100.7"), 3128)
    assert build_proxy_header(ProxyVersion.V1, *ends) == b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 3128\r\n"
    assert build_proxy_header(ProxyVersion.V2, *ends) == v2(0x21, 0x11, V4_BLOCK)


def test_where_the_families_differ_both_are_written_as_ipv6() -> None:
    ends = (address("192.0.2.1"), 1), (address("2001:db8::1"), 2)
    assert build_proxy_header(ProxyVersion.V1, *ends) == b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n"
    mapped = build_proxy_header(ProxyVersion.V2, *ends)
    assert mapped[13:32] == b"\x21\x00\x24" + bytes(10) + b"\xff\xff\xc0\x00\x02\x01"


@given(
    st.binary(max_size=64).map(lambda tail: b"PROXY TCP4 " + tail) | st.binary(max_size=64).map(lambda t: SIGNATURE + t)
)
def test_whatever_follows_is_answered_in_one_of_three_ways(data: bytes) -> None:
    try:
        header = parse_proxy_header(data)
    except MalformedProxyHeader:
        return
    assert header is None or header.size <= len(data)
