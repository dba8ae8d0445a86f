"""A port that is held is refused, and can be listened on again and again."""

import socket

import pytest

from tests.helpers import ports
from tests.helpers.ports import held_port, is_free, port_of


def test_a_held_port_refuses_until_somebody_listens_there_and_again_afterwards() -> None:
    with held_port() as held:
        address = "127.0.0.1", port_of(held)
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            with socket.create_server(address), socket.create_connection(address):
                pass


def test_nobody_is_given_it_who_asks_for_any() -> None:
    with held_port() as held, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port_of(held)))  # the kernel's own choice does not share either


def test_one_that_a_client_had_at_another_address_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.2", 0))
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        had = port_of(client)
        client.close()
        accepted.close()
    assert not is_free("127.0.0.2", had)
    found = iter((False, False, True))
    monkeypatch.setattr(ports, "is_free", lambda address, port: next(found))
    with held_port("127.0.0.2"):
        assert list(found) == []
