"""Sets of ports and addresses, compared with Python's own sets and networks."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.migrate.sets import (
    EVERY_ADDRESS,
    EVERY_PORT,
    NO_ADDRESS,
    Spans,
    addresses,
    meant_by,
    ports,
    spans,
    special_purpose,
)
from gateway.policy.rules import PortRange
from tests.policy.builders import address, network, networks

RANGES = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: (min(pair), max(pair))), max_size=4
)


def members(set_: Spans) -> set[int]:
    return {value for first, last in set_.ranges for value in range(first, last + 1)}


@given(RANGES, RANGES)
def test_spans_are_sets(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    one, other = spans(some), spans(others)
    assert members(one | other) == members(one) | members(other)
    assert members(one & other) == members(one) & members(other)
    assert members(one - other) == members(one) - members(other)
    assert all((value in one) == (value in members(one)) for value in range(31))
    assert one == spans(reversed(one.ranges))


def test_ports_are_numbers_and_ranges() -> None:
    assert ports(443, PortRange(80, 90), 444).ranges == ((80, 90), (443, 444))
    assert ports(PortRange(1, 65535)) == EVERY_PORT


def test_a_network_without_another_is_told_in_the_fewest_prefixes() -> None:
    left = addresses(networks("10.0.0.0/8")) - addresses(networks("10.64.0.0/10"))
    expected = ip_network("10.0.0.0/8").address_exclude(ip_network("10.64.0.0/10"))  # type: ignore[arg-type]  # both are IPv4
    assert [str(each) for each in left.networks()] == sorted(map(str, expected), key=ip_network)
    assert address("10.65.0.1") not in left
    assert address("10.1.0.1") in left
    assert list((left - left).networks()) == []


def test_both_versions_stand_beside_each_other() -> None:
    both = addresses(networks("10.0.0.0/8 2001:db8::/32"))
    assert [str(each) for each in both.networks()] == ["10.0.0.0/8", "2001:db8::/32"]
    assert not both - EVERY_ADDRESS
    assert both & NO_ADDRESS == NO_ADDRESS
    assert str(addresses(networks("2001:db8::1 2001:db8::8")).around()) == "2001:db8::/124"


@pytest.mark.parametrize(
    "text", ["10.1.2.3", "127.0.0.1", "169.254.169.254", "192.0.0.9", "fe80::1", "64:ff9b::1", "::1"]
)
def test_what_is_not_global_unicast_is_special(text: str) -> None:
    assert address(text) in special_purpose()


@pytest.mark.parametrize("text", ["8.8.8.8", "192.0.1.1", "2606:2800::1", "2001:4860::1"])
def test_global_unicast_is_not(text: str) -> None:
    assert address(text) not in special_purpose()
    assert ip_address(text).is_global


def test_a_network_means_what_is_special_only_if_it_is_that_itself() -> None:
    assert meant_by([network("10.0.0.0/8")]) == addresses([network("10.0.0.0/8")])
    everything = meant_by([network("0.0.0.0/0")])
    assert address("8.8.8.8") in everything
    assert address("10.0.0.1") not in everything
    assert address("11.0.0.1") in meant_by([network("10.0.0.0/7")])
    assert address("10.0.0.1") not in meant_by([network("10.0.0.0/7")])
