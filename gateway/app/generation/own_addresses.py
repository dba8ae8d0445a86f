"""The addresses of this machine: a destination that is one of them, on a port we listen on, is ourselves."""

from socket import AF_INET, AF_INET6

import psutil

from gateway.model.addresses import Address, parse_address


def own_addresses() -> frozenset[Address]:
    """Every address of every interface, loopback included, without IPv6 zones."""
    entries = (entry for entries in psutil.net_if_addrs().values() for entry in entries)
    texts = (entry.address.partition("%")[0] for entry in entries if entry.family in (AF_INET, AF_INET6))
    return frozenset(address for text in texts if (address := parse_address(text)) is not None)
