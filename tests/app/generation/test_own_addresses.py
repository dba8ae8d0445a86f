"""What counts as this machine itself."""

import socket
from collections import namedtuple

import psutil
import pytest

from gateway.app.generation.own_addresses import own_addresses
from gateway.model.addresses import Address, parse_address

_Entry = namedtuple("_Entry", "family address")


def test_loopback_is_ours_and_what_every_local_socket_is_bound_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert parse_address(server.getsockname()[0]) in own_addresses()


def test_addresses_of_all_interfaces_are_told_without_their_zones_and_without_hardware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interfaces = {
        "lo": [_Entry(socket.AF_INET, "127.0.0.1"), _Entry(socket.AF_INET6, "::1")],
        "eth0": [
            _Entry(socket.AF_INET, "192.0.2.7"),
            _Entry(socket.AF_INET6, "fe80::1%eth0"),
            _Entry(psutil.AF_LINK, "00:16:3e:00:00:01"),
        ],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: interfaces)
    assert own_addresses() == {
        Address(4, 0x7F000001),
        Address(6, 1),
        Address(4, 0xC0000207),
        Address(6, (0xFE80 << 112) | 1),
    }
