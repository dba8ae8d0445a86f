"""Whom a client asks for, in all the spellings that clients and attackers use."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.addresses import Address, parse_address
from gateway.model.authority import Authority, parse_authority, parse_host
from gateway.model.names import HostName


def literal(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None
    return parsed


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("ALLOWED.Test:443", HostName("allowed.test"), 443),
        ("allowed.test.:443", HostName("allowed.test"), 443),
        ("allowed.test:1", HostName("allowed.test"), 1),
        ("allowed.test:65535", HostName("allowed.test"), 65535),
        ("127.0.0.1:80", literal("127.0.0.1"), 80),
        ("[::1]:443", literal("::1"), 443),
        ("[0:0:0:0:0:0:0:1]:443", literal("::1"), 443),
        ("[2001:0DB8:0:0:0:0:0:1]:443", literal("2001:db8::1"), 443),
        ("[::ffff:192.0.2.9]:443", literal("192.0.2.9"), 443),
        ("[::ffff:c000:209]:443", literal("192.0.2.9"), 443),
    ],
)
def test_a_host_and_a_port_have_one_canonical_form(text: str, host: HostName | Address, port: int) -> None:
    assert parse_authority(text) == Authority(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":443",
        "allowed.test",
        "allowed.test:",
        "allowed.test:0",
        "allowed.test:65536",
        "allowed.test:99999",
        "allowed.test:0443",
        "allowed.test:+443",
        "allowed.test:-1",
        "allowed.test: 443",
        "allowed.test:443 ",
        "allowed.test:443\n",
        "allowed.test:４４３",  # noqa: RUF001 - digits, but not ASCII
        "allowed.test:4_4",
        "allowed.test:https",
        "allowed.test:443:443",
        "allowed.test..:443",
        "[forbidden.test]:443",
        "[allowed.test]:443",
        "[127.0.0.1]:443",
        "[]:443",
        "[::1:443",
        "::1]:443",
        "::1:443",
        "[[::1]]:443",
        "[::1]443",
        "[::1]x:443",
        "[::1%25eth0]:443",
        "[fe80::1%eth0]:443",
        "[v1.x]:443",
        "user@allowed.test:443",
        "user:pw@allowed.test:443",
        "allowed.test:80@forbidden.test:443",
        "forbidden%2Etest:443",
        "http://allowed.test:443",
        "allowed.test:443/",
        "127.1:80",
        "2130706433:80",
        "3221225993:443",
        "0x7f.1:80",
        "0177.0.0.1:80",
        "127.0.0.01:80",
        "127.0.0.1.:80",
        "127.0.0.256:80",
        "1.2.3.4.5:80",
        "bücher.test:443",
        "a\x00b.test:443",
    ],
)
def test_every_other_spelling_is_malformed_with_and_without_a_default_port(text: str) -> None:
    assert parse_authority(text) is None
    if text != "allowed.test":
        assert parse_authority(text, 443) is None


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("allowed.test", HostName("allowed.test")),
        ("127.0.0.1", literal("127.0.0.1")),
        ("[::1]", literal("::1")),
    ],
)
def test_the_port_may_be_missing_only_where_a_default_is_given(text: str, host: HostName | Address) -> None:
    assert parse_authority(text) is None
    assert parse_authority(text, 80) == Authority(host, 80)
    assert parse_authority(f"{text}:8080", 80) == Authority(host, 8080)


def test_the_longest_name_still_counts_and_what_is_longer_is_not_remembered() -> None:
    label = "a" * 63
    longest = f"{label}.{label}.{label}.{label[:61]}"
    assert parse_authority(f"{longest}.:65535") == Authority(HostName(longest), 65535)
    tracemalloc.start()
    try:
        for number in range(100):
            assert parse_authority(f"{'a' * 60_000}{number}:443") is None
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000


@pytest.mark.parametrize("text", ["::1", "127.1", "[::1", "::1]", "[1.2.3.4]", "a:b", "1.2.3.4.", ""])
def test_a_host_alone_is_a_name_an_ipv4_or_a_bracketed_ipv6(text: str) -> None:
    assert parse_host(text) is None


@pytest.mark.parametrize("text", ["allowed.test:443", "192.0.2.9:80", "[2001:db8::1]:443"])
def test_the_canonical_form_is_what_is_printed(text: str) -> None:
    assert str(parse_authority(text)) == text


@given(st.text(alphabet="aA1.:[]@%-_x\x00 é", max_size=20))
def test_whatever_is_accepted_reads_the_same_when_printed(text: str) -> None:
    for default in (None, 443):
        authority = parse_authority(text, default)
        assert authority is None or parse_authority(str(authority)) == authority
