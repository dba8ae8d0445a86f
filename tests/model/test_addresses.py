"""Addresses and networks in one canonical form, against the standard library where that is as strict."""

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.addresses import WIDTH, Address, Network, Version, network_of, parse_address, parse_network


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("192.0.2.9", "192.0.2.9"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("::", "::"),
        ("::1", "::1"),
        ("2001:0DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("0:0:0:0:0:FFFF:c000:0209", "192.0.2.9"),
        ("64:ff9b::192.0.2.9", "64:ff9b::c000:209"),
        ("::192.0.2.9", "::192.0.2.9"),
    ],
)
def test_an_address_has_one_canonical_form(text: str, canonical: str) -> None:
    assert str(parse_address(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f.0.0.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "127.0.0.256",
        "127.0.0.-1",
        "127.0.0.1 ",
        " 127.0.0.1",
        "127.0.0.1\n",
        "127.0.0.1\x00",
        "127.0.0.1\ud800",
        "１２７.0.0.1",  # noqa: RUF001 - digits, but not ASCII
        "1.2.3.4.5",
        "1.2.3",
        "[::1]",
        "::1%eth0",
        "fe80::1%1",
        ":::",
        "1::2::3",
        "12345::",
        "::ffff:192.0.2.09",
        "::ffff:192.0.2",
        "::1 ",
        "::1\x00",
        "::ｆ",  # noqa: RUF001 - a letter, but not ASCII
        "example.com",
    ],
)
def test_every_other_spelling_is_no_address(text: str) -> None:
    assert parse_address(text) is None


def spellings(value: int) -> list[str]:
    """One IPv6 address as people write it."""
    plain = ipaddress.IPv6Address(value)
    dotted = f"{plain.exploded[:30]}{ipaddress.IPv4Address(value & 0xFFFFFFFF)}"
    return [str(plain), plain.exploded, plain.exploded.upper(), str(plain).upper(), dotted]


V6 = st.one_of(
    st.integers(0, (1 << 128) - 1),
    st.integers(0, (1 << 32) - 1),
    st.integers(0, (1 << 32) - 1).map(lambda low: 0xFFFF << 32 | low),
)


@given(V6)
def test_all_spellings_of_one_ipv6_address_are_that_address_and_a_mapped_one_is_its_ipv4(value: int) -> None:
    mapped = ipaddress.IPv6Address(value).ipv4_mapped
    expected = Address(6, value) if mapped is None else Address(4, int(mapped))
    assert {parse_address(text) for text in spellings(value)} == {expected}
    assert parse_address(str(expected)) == expected


def library_address(text: str) -> Address | None:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped is not None:
        return Address(4, int(mapped))
    return None if getattr(parsed, "scope_id", None) else Address(4 if parsed.version == 4 else 6, int(parsed))


DOTTED = st.lists(st.integers(0, 300).map(str), min_size=3, max_size=5).map(".".join)
TEXTS = st.one_of(DOTTED, st.text(alphabet="0123456789abcfx.:% ", max_size=24), st.text(max_size=12))


def check_against_library(parse: Callable[[str], Address | None]) -> None:
    @given(TEXTS)
    def agrees(text: str) -> None:
        assert parse(text) == library_address(text)

    agrees()


def test_exactly_the_texts_that_the_standard_library_takes_without_zone_are_addresses() -> None:
    check_against_library(parse_address)


def test_the_comparison_notices_a_lenient_parser() -> None:
    def with_short_forms(text: str) -> Address | None:
        return parse_address(text + ".0" if text.count(".") == 2 else text)

    with pytest.raises(AssertionError):
        check_against_library(with_short_forms)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ],
)
def test_a_network_has_one_canonical_form(text: str, canonical: str) -> None:
    assert str(parse_network(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0.0/8 ",
        "10.0.0.0/8/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0.1/8",
        "10/8",
        "::1/64",
        "::/129",
        "::ffff:10.0.0.0/95",
        "::ffff:10.0.0.0/8",
        "example.com/8",
    ],
)
def test_a_network_has_nothing_right_of_its_prefix_and_no_other_spelling(text: str) -> None:
    assert parse_network(text) is None


@given(st.sampled_from([4, 6]), st.data())
def test_a_network_holds_exactly_the_addresses_that_share_its_prefix(version: Version, data: st.DataObject) -> None:
    width = WIDTH[version]
    length = data.draw(st.integers(0, width))
    value, last = data.draw(st.integers(0, (1 << width) - 1)), (1 << width) - 1
    base = value >> (width - length) << (width - length)
    network = Network(version, base, length)
    asked = data.draw(st.one_of(st.integers(0, last), st.integers(base, min(base + 9, last))))
    theirs = ipaddress.IPv4Network((base, length)) if version == 4 else ipaddress.IPv6Network((base, length))
    inside = int(theirs.network_address) <= asked <= int(theirs.broadcast_address)
    assert (Address(version, asked) in network) is inside
    other = Address(6 if version == 4 else 4, asked & 0xFFFFFFFF)
    assert other not in network


def test_the_network_of_an_address_holds_it_alone() -> None:
    for version, width in WIDTH.items():
        own = network_of(Address(version, 5))
        assert own.length == width
        assert Address(version, 5) in own
        assert Address(version, 4) not in own


def test_an_ipv6_address_stands_in_brackets_in_a_uri() -> None:
    assert Address(6, 1).uri_host == "[::1]"
    assert Address(4, 1).uri_host == "0.0.0.1"
