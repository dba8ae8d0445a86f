"""Sockets that leave from a chosen address."""

import socket

import pytest

from gateway.model.errors import InternalError
from gateway.model.reasons import Reason
from gateway.net.addresses.source import open_from
from tests.helpers.requirements import require_root
from tests.net.parts import address_of, open_sockets


@pytest.mark.parametrize("text", ["127.0.0.9", "::1"])
def test_the_address_is_chosen_and_the_port_is_not_yet(text: str) -> None:
    with open_from(address_of(text), foreign=False) as sock:
        assert sock.getsockname()[:2] == (text, 0)
        assert sock.gettimeout() == 0.0


def test_destinations_share_a_local_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port bound before the destination is known would be one for all of them."""
    with open_from(address_of("127.0.0.9"), foreign=False) as sock:
        assert sock.getsockopt(socket.SOL_IP, 24) == 1


def test_an_address_that_is_not_ours_is_told_and_leaves_no_socket() -> None:
    before = open_sockets()
    with pytest.raises(InternalError, match=r"source 192\.0\.2\.1: this machine does not have the address") as refusal:
        open_from(address_of("192.0.2.1"), foreign=False)
    assert refusal.value.reason is Reason.SOURCE_UNAVAILABLE
    assert open_sockets() == before


@pytest.mark.privileged
def test_the_clients_own_address_can_be_had_with_the_privilege() -> None:
    require_root()
    with open_from(address_of("192.0.2.1"), foreign=True) as sock:
        assert sock.getsockname()[0] == "192.0.2.1"


def test_without_it_the_privilege_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sock: socket.socket, *arguments: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    class Unprivileged(socket.socket):
        setsockopt = refuse  # type: ignore[assignment]  # whatever option is asked for

    monkeypatch.setattr(socket, "socket", Unprivileged)
    with pytest.raises(InternalError, match="`source: client` needs CAP_NET_ADMIN"):
        open_from(address_of("192.0.2.1"), foreign=True)
