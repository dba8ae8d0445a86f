"""The table of networks against a linear search."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.addresses import WIDTH, Address, Network, Version
from gateway.policy.tables import divided
from gateway.policy.tables.networks import NetworkTable, network_set
from tests.policy.builders import address, network, networks


def _network(version: Version, value: int, length: int) -> Network:
    shift = WIDTH[version] - length
    return Network(version, value >> shift << shift, length)


# Few bits, so that networks nest and addresses fall inside.
V4 = st.integers(0, 15).map(lambda bits: bits << 28 | bits)
V6 = st.integers(0, 15).map(lambda bits: bits << 124 | bits)
ADDRESSES = st.one_of(V4.map(lambda value: Address(4, value)), V6.map(lambda value: Address(6, value)))
NETWORKS = st.one_of(
    st.builds(_network, st.just(4), V4, st.sampled_from([0, 1, 2, 4, 30, 32])),
    st.builds(_network, st.just(6), V6, st.sampled_from([0, 1, 3, 4, 127, 128])),
)


class ForgetsTheFamily(NetworkTable[Network]):
    """The planted fault: an IPv6 address is looked up among the IPv4 networks too."""

    def find(self, address: Address) -> list[Network]:
        return super().find(address) + (super().find(Address(4, address.value >> 96)) if address.version == 6 else [])


def check_against_naive(table_type: type[NetworkTable[Network]]) -> None:
    @given(st.sets(NETWORKS, max_size=10), ADDRESSES)
    def agrees(given_networks: set[Network], asked: Address) -> None:
        table = table_type({one: one for one in given_networks})
        holding = sorted((one for one in given_networks if asked in one), key=lambda one: -one.length)
        assert table.find(asked) == holding
        assert table.longest(asked) == (holding[0] if holding else None)
        assert (asked in table) == bool(holding)

    agrees()


def test_the_table_finds_every_network_around_an_address_the_longest_first() -> None:
    check_against_naive(NetworkTable[Network])


def test_a_table_that_was_divided_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divided, "WHOLE", 1)
    check_against_naive(NetworkTable[Network])


def test_the_property_notices_mixed_families() -> None:
    with pytest.raises(AssertionError):
        check_against_naive(ForgetsTheFamily)


def test_a_set_says_through_which_network_an_address_is_inside() -> None:
    table = network_set(networks("10.0.0.0/8 10.1.0.0/16 fd00::/8"))
    assert table
    assert table.longest(address("10.1.2.3")) == network("10.1.0.0/16")
    assert table.longest(address("10.2.2.3")) == network("10.0.0.0/8")
    assert table.longest(address("fd00::1")) == network("fd00::/8")
    assert address("11.0.0.1") not in table


def test_the_empty_set_holds_nothing_and_is_false() -> None:
    assert not network_set(())
    assert address("10.0.0.1") not in network_set(())


def test_a_mapped_address_is_inside_the_ipv4_network() -> None:
    assert address("::ffff:10.1.2.3") in network_set(networks("10.0.0.0/8"))
    assert address("10.1.2.3") in network_set(networks("::ffff:10.0.0.0/104"))
